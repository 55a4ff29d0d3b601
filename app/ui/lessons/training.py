"""How training formed the routing: the same texts through the stages of a training.

Knows the recordings of stages that come along; where there are none it says how to make them. Only stages on the way
from one to the next are shown: not the teacher, what was distilled from it, nor checkpoints of other names.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from analysis import metrics
from analysis.figures import stages as figures
from analysis.figures.style import one_line, percent, theme_of
from analysis.overlap import saturation
from analysis.token_metrics import token_gates
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import Shipped
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs
from app.ui.quiet import DRAWING, HEARING
from app.ui.shelves.cards import WAY, stage_name, stage_place, text_name
from app.ui.shelves.names import text_of

NAME = "training"

Texts = dict[str, list[Shipped]]
"""A text's name → its recordings, in the order of the stages."""


@dataclass(frozen=True)
class Lesson:
    """``pressed``: state, a text's name and the index of the token that was pressed in it."""

    message: gr.HTML
    shown: gr.Column
    text: gr.Dropdown
    said: gr.HTML
    saturation: gr.Plot
    balance: gr.Plot
    tokens: gr.HTML
    pressed: gr.State
    layer: gr.Dropdown
    experts: gr.Plot


def build(services: Services, words: Words) -> Lesson:
    texts = [(text_name(text, words), text) for text in staged(services.recordings)]
    paragraphs(words("learn.training.text"), words("learn.training.do" if texts else "learn.training.none"))
    message = gr.HTML(status_html(), elem_id="lesson-training-message", js_on_load=None)
    pressed = gr.State(("", -1))
    text = gr.Dropdown(
        texts,
        value=texts[0][1] if texts else None,
        label=words("learn.training.choose"),
        filterable=False,
        visible=bool(texts),
        elem_id="lesson-training-text",
    )
    with gr.Column(visible=False) as shown:
        said = gr.HTML(elem_id="lesson-training-said", js_on_load=None)
        with gr.Row():
            saturated = common.plot(words, elem_id="lesson-training-saturation", min_width=300)
            balance = common.plot(words, elem_id="lesson-training-balance", min_width=300)
        common.hint(words("learn.training.press"))
        tokens = gr.HTML(js_on_load=common.links(), elem_id="lesson-training-tokens")
        layer = common.layer_dropdown(words, elem_id="lesson-training-layer")
        experts = common.plot(words, elem_id="lesson-training-experts")
    return Lesson(message, shown, text, said, saturated, balance, tokens, pressed, layer, experts)


def staged(recordings: Sequence[Shipped]) -> Texts:
    """The texts that at least two stages routed; of other texts under one name, those of the last stage."""
    found: Texts = {}
    for recording in sorted(recordings, key=lambda r: stage_place(r.stage)):
        if recording.stage in WAY:
            found.setdefault(recording.prompt, []).append(recording)
    alike = {text: [one for one in line if text_of(one) == text_of(line[-1])] for text, line in found.items()}
    return {text: line for text, line in alike.items() if len(line) > 1}


def pictures(stages: Mapping[str, RoutingTrace], words: Words, theme: Any) -> tuple[go.Figure, go.Figure, str]:
    """Saturation against the last stage, evenness of the load, and a sentence with the first stage's number.

    Raises:
        BadValue: the stages routed different texts, or their routers differ.
    """
    *earlier, last = stages
    shares = {name: saturation(stages[name], stages[last]) for name in earlier}
    loads = {name: metrics.max_violation(trace) for name, trace in stages.items()}
    theme, first = theme_of(theme), shares[earlier[0]]
    said = words(
        "learn.training.said",
        first=earlier[0],
        last=last,
        share=percent(float(np.nanmean(first.values))),
        chance=percent(float(np.nanmean(np.asarray(first.chance)))),
        n=first.n,
    )
    return figures.saturation(shares, last, words, theme), figures.balance(loads, words, theme), said


def chosen_token(trace: RoutingTrace, token: Any) -> int:
    """``token`` where it was routed, else one in the middle."""
    index = common.whole(token)
    inside = trace.row_start <= index < trace.row_start + trace.num_rows
    return index if inside else trace.row_start + trace.num_rows // 2


def tokens_html(trace: RoutingTrace, chosen: int, words: Words) -> str:
    """The text, a button a token that was routed."""
    made = []
    for index, text in enumerate(trace.texts()):
        shown, line_end = html.escape(one_line(text)), "\n" if "\n" in text else ""
        if not trace.row_start <= index < trace.row_start + trace.num_rows:
            made.append(f"<span>{html.escape(text)}</span>")
            continue
        name = html.escape(words("learn.training.token", token=index, text=one_line(text)))
        pressed = "true" if index == chosen else "false"
        made.append(
            f'<button type="button" data-token="0,{index}" aria-pressed="{pressed}" aria-label="{name}" '
            f'title="{name}">{shown}</button>{line_end}'
        )
    return f'<p class="pick-token">{"".join(made)}</p>'


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""
    texts = staged(services.recordings)
    if not texts:
        return
    plots = [lesson.saturation, lesson.balance]
    outputs = [lesson.message, lesson.shown, lesson.said, *plots, lesson.tokens, lesson.layer, lesson.experts]

    def draw(words: Words, text: Any, pressed: Any, layer: Any, theme: Any) -> tuple[Any, ...]:
        line = texts[text] if isinstance(text, str) and text in texts else next(iter(texts.values()))
        stages = {stage_name(r.stage, words): services.store.get(r.id) for r in line}
        saturated, balanced, said = pictures(stages, words, theme)
        last = list(stages.values())[-1]
        layer = common.chosen_layer(last, layer)
        index = chosen_token(last, pressed[1] if pressed[0] == text else None)
        gates = {name: found for name, trace in stages.items() if (found := token_gates(trace, index)) is not None}
        experts = figures.token_experts(gates, layer, last.texts()[index], words, theme_of(theme)) if gates else None
        return (
            "",
            gr.update(visible=True),
            status_html(said),
            common.shown(saturated),
            common.shown(balanced),
            tokens_html(last, index, words),
            common.layer_update(last, layer, words),
            common.shown(experts),
        )

    def press(event: gr.EventData, text: Any) -> tuple[Any, int]:
        return text, common.event_pair(event)[1]

    lesson.tokens.token(press, lesson.text, lesson.pressed, **HEARING)  # type: ignore[attr-defined]
    inputs = [shared.open_tab, shared.language, lesson.text, lesson.pressed, lesson.layer, shared.theme]
    changes = [
        shared.open_tab.change,
        shared.theme.change,
        lesson.pressed.change,
        lesson.text.input,
        lesson.layer.input,
    ]
    gr.on(changes, common.guarded("learn", len(outputs))(draw), inputs, outputs, **DRAWING)
