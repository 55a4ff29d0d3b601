"""The tab "Compare": the same prompt thinking (A) and not thinking (B), answers and loads side by side.

One pair of answers describes and proves nothing; the tab says so. What many pairs can show is in ``set_tab``.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.words import Words
from app.engine.base import MODES
from app.ui import pair_tab, set_tab
from app.ui import tabs_common as common
from app.ui.arms import Stops
from app.ui.chat import status_html
from app.ui.compare_run import REASONS, ArmView, Options, PairView, run_pair
from app.ui.context import Services, Shared
from app.ui.pair_view import PairPlots, build_plots, pair_figures, tinted_html
from app.ui.quiet import DRAWING, QUIET
from app.ui.selecting import wire_selected

NAME = "compare"
PHASES = ("generated", "answer", "prompt")
KINDS = ("one", "many", pair_tab.KIND)


@dataclass(frozen=True)
class Arm:
    """Components of one answer."""

    thinking: gr.Textbox
    answer: gr.Textbox
    counts: gr.Markdown
    tinted: gr.HTML


@dataclass(frozen=True)
class CompareTab:
    """Components of the tab.

    Attributes:
        filled: state, the prompt that was taken from the trace and may be replaced by the next trace's.
        run_id: state, the comparison under way; "" for none.
        pair: state, ids of the two traces in the store; None where there is none.
        drawn: what is hidden until both answers are there.
        kinds: the parts of the tab; ``kind`` is a state, the name of the one that is open.
        many, two: the parts on many prompts and on two recordings.
    """

    prompt: gr.Textbox
    filled: gr.State
    run: gr.Button
    stop: gr.Button
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Number
    seed: gr.Number
    status: gr.HTML
    run_id: gr.State
    pair: gr.State
    arms: tuple[Arm, Arm]
    message: gr.HTML
    drawn: gr.Column
    view: PairPlots
    kinds: gr.Tabs
    kind: gr.State
    parts: tuple[gr.Tab, ...]
    many: set_tab.SetTab
    two: pair_tab.PairTab
    sampling: gr.Accordion


def build(services: Services, words: Words) -> CompareTab:
    settings, modes = services.settings, services.engine.capabilities.modes
    able = set(modes) == set(MODES) and bool(services.engine.spec.layers)
    filled, run_id, pair, kind = gr.State(""), gr.State(""), gr.State(None), gr.State(KINDS[0])
    line = "" if able else words("tabs.dense")
    if len(modes) == 1:
        line = words("tabs.compare.one_mode", mode=modes[0])
    with gr.Tabs(elem_id="compare-kinds") as kinds:
        with gr.Tab(words("tabs.compare.one"), id=KINDS[0], elem_id="compare-one") as part_one:
            common.hint(words("tabs.compare.intro"))
            prompt = gr.Textbox(
                label=words("tabs.compare.prompt"), lines=2, max_lines=8, interactive=able, elem_id="compare-prompt"
            )
            with gr.Row():
                run = gr.Button(
                    words("tabs.compare.run"), variant="primary", interactive=able, min_width=160, elem_id="compare-run"
                )
                stop = gr.Button(words("tabs.compare.stop"), interactive=False, min_width=80, elem_id="compare-stop")
            status = gr.HTML(status_html(line), elem_id="compare-status", js_on_load=None)
            with gr.Row():
                arms = (_build_arm("a", words), _build_arm("b", words))
            message = gr.HTML(status_html(), elem_id="compare-message", js_on_load=None)
            with gr.Column(visible=False) as drawn:
                common.hint(words("tabs.compare.caution"), elem_id="compare-caution")
                view = build_plots(words, "compare", PHASES)
        with gr.Tab(words("tabs.compare.many"), id=KINDS[1], elem_id="compare-many") as part_many:
            many = set_tab.build(services, words)
        with gr.Tab(words("tabs.compare.two"), id=KINDS[2], elem_id="compare-two") as part_two:
            two = pair_tab.build(services, words)
    with gr.Accordion(words("tabs.compare.settings"), open=False) as sampling, gr.Row():
        temperature = gr.Slider(0, 2, 0.6, step=0.05, label=words("tabs.compare.temperature"), min_width=150)
        top_p = gr.Slider(0.05, 1, 0.95, step=0.05, label=words("tabs.compare.top_p"), min_width=150)
        most = min(1024, settings.max_new_tokens)
        max_tokens = gr.Number(most, precision=0, label=words("tabs.compare.max_tokens"), min_width=120)
        seed = gr.Number(0, precision=0, label=words("tabs.compare.seed"), min_width=120)
    return CompareTab(
        prompt=prompt,
        filled=filled,
        run=run,
        stop=stop,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        status=status,
        run_id=run_id,
        pair=pair,
        arms=arms,
        message=message,
        drawn=drawn,
        view=view,
        kinds=kinds,
        kind=kind,
        parts=(part_one, part_many, part_two),
        many=many,
        two=two,
        sampling=sampling,
    )


def _build_arm(letter: str, words: Words) -> Arm:
    with gr.Column(min_width=300):
        name = words(f"tabs.compare.{letter}")
        answer = gr.Textbox(
            label=f"{name} · {words('tabs.compare.answer')}",
            lines=3,
            max_lines=14,
            interactive=False,
            elem_id=f"compare-answer-{letter}",
        )
        with gr.Accordion(words("tabs.compare.thinking"), visible=letter == "a"):
            thinking = gr.Textbox(
                lines=3,
                max_lines=14,
                interactive=False,
                container=False,
                label=words("tabs.compare.thinking"),
                show_label=False,
                elem_id=f"compare-thinking-{letter}",
            )
        counts = gr.Markdown(elem_id=f"compare-counts-{letter}")
        tinted = gr.HTML(elem_id=f"compare-tinted-{letter}", js_on_load=None)
    return Arm(thinking, answer, counts, tinted)


def counts_line(arm: ArmView, words: Words) -> str:
    """How many tokens an arm has, and how it ended once it has."""
    if not arm.reason:
        counts = {"thinking": arm.thinking_tokens, "answer": arm.answer_tokens}
        return words("tabs.compare.so_far", **counts) if any(counts.values()) else ""
    reason = arm.reason if arm.reason in REASONS else "stopped"
    return words(
        "tabs.compare.counts",
        thinking=arm.thinking_tokens,
        answer=arm.answer_tokens,
        reason=words(f"tabs.compare.reason.{reason}"),
    )


def wire(tab: CompareTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    set_tab.wire(tab.many, [tab.temperature, tab.top_p, tab.max_tokens, tab.seed], services, shared, NAME)
    stops = Stops()
    arm_boxes = [box for arm in tab.arms for box in (arm.thinking, arm.answer, arm.counts)]

    def on_run(
        language: Any, prompt: Any, temperature: Any, top_p: Any, max_tokens: Any, seed: Any
    ) -> Generator[tuple[Any, ...], None, None]:
        run_id, words = secrets.token_urlsafe(16), Words(language)
        try:
            options = Options(prompt, temperature, top_p, max_tokens, seed)
            for view in run_pair(services, options, stops.open(run_id), words):
                yield _updates(view, run_id, words)
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    def draw(words: Words, pair: Any, phase: Any, theme: Any) -> tuple[Any, ...]:
        if not pair:
            return "", gr.update(visible=False), *(common.shown(None) for _ in range(4)), "", ""
        a, b = (services.store.get(trace_id) for trace_id in pair)
        drawn = pair_figures(a, b, (words("tabs.compare.a"), words("tabs.compare.b")), phase, words, theme)
        return (
            status_html(drawn.message),
            gr.update(visible=True),
            *drawn.shown(),
            tinted_html(a, b, "a", words),
            tinted_html(b, a, "b", words),
        )

    def fill(open_tab: Any, trace_id: Any, prompt: Any, filled: Any) -> tuple[Any, ...]:
        if open_tab != NAME or not trace_id or (prompt and prompt != filled):
            return gr.skip(), gr.skip()
        try:
            text = services.store.get(trace_id).prompt
        except UserError:
            text = ""
        return (text, text) if text and len(text) <= services.settings.max_chars else (gr.skip(), gr.skip())

    tab.run.click(
        on_run,
        [shared.language, tab.prompt, tab.temperature, tab.top_p, tab.max_tokens, tab.seed],
        [tab.run_id, tab.status, tab.run, tab.stop, *arm_boxes, tab.pair],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    tab.stop.click(on_stop, tab.run_id, None, queue=False, **QUIET)
    wire_selected(dict(zip(KINDS, tab.parts, strict=True)), tab.kind)
    tab.kind.change(lambda kind: gr.update(visible=kind != pair_tab.KIND), tab.kind, tab.sampling, **QUIET)
    outputs = [tab.message, tab.drawn, *tab.view.plots, *(arm.tinted for arm in tab.arms)]
    inputs = [shared.open_tab, shared.language, tab.pair, tab.view.phase, shared.theme]
    changes = [tab.pair.change, shared.open_tab.change, shared.theme.change, tab.view.phase.input]
    gr.on(changes, common.guarded(NAME, len(outputs))(draw), inputs, outputs, **DRAWING)
    gr.on(
        [shared.trace_id.change, shared.open_tab.change],
        fill,
        [shared.open_tab, shared.trace_id, tab.prompt, tab.filled],
        [tab.prompt, tab.filled],
        **QUIET,
    )


def _updates(view: PairView, run_id: str, words: Words) -> tuple[Any, ...]:
    ids = tuple(arm.trace_id for arm in view.arms) if not view.running else ("", "")
    shown: list[Any] = [v for arm in view.arms for v in (arm.thinking, arm.answer, counts_line(arm, words))]
    shown.append(ids if all(ids) else None)
    if view.problem and not any(arm.reason or arm.thinking_tokens or arm.answer_tokens for arm in view.arms):
        shown = [gr.skip()] * len(shown)  # refused before anything ran: what was there stays
    return (
        run_id if view.running else "",
        status_html(view.status, view.problem, over=not view.running),
        gr.update(interactive=not view.running),
        gr.update(interactive=view.running),
        *shown,
    )
