"""Is load balanced? One answer against every recording that comes along, with the uniform share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from analysis import metrics
from analysis.figures.contrast import sorted_load
from analysis.figures.style import theme_of
from analysis.storage import load
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import TRACES
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs
from app.ui.quiet import CHOOSING, DRAWING

NAME = "balance"


@dataclass(frozen=True)
class Lesson:
    message: gr.HTML
    shown: gr.Column
    layer: gr.Dropdown
    figure: gr.Plot
    said: gr.HTML


def build(services: Services, words: Words) -> Lesson:
    paragraphs(words("learn.balance.text"), words("learn.balance.do"))
    message = gr.HTML(status_html(words("tabs.empty")), elem_id="lesson-balance-message", js_on_load=None)
    with gr.Column(visible=False) as shown:
        layer = common.layer_dropdown(words, elem_id="lesson-balance-layer")
        figure = common.plot(words, elem_id="lesson-balance-figure")
        said = gr.HTML(elem_id="lesson-balance-said", js_on_load=None)
    return Lesson(message, shown, layer, figure, said)


@cache
def gallery() -> tuple[RoutingTrace, ...]:
    """The recordings that come along."""
    return tuple(load(file) for file in sorted((TRACES / "gallery").glob("*.safetensors")))


def drawn(trace: RoutingTrace, layer: int, words: Words, theme: Any) -> tuple[go.Figure, str]:
    """The figure, and a sentence with the numbers of the layer."""
    groups = {words("learn.balance.this"): [trace]}
    if others := [other for other in gallery() if other.spec == trace.spec]:
        groups[words("learn.balance.all", n=len(others))] = others
    loads = {name: metrics.expert_load(traces) for name, traces in groups.items()}
    position, lines = trace.spec.position(layer), []
    for name, traces in groups.items():
        balance = metrics.max_violation(traces)
        chance = np.broadcast_to(np.asarray(balance.chance, float), balance.values.shape)[position]
        lines.append(
            words(
                "learn.balance.said",
                name=name,
                value=f"{balance.values[position]:.2f}",
                chance=f"{chance:.2f}",
                n=balance.n,
            )
        )
    return sorted_load(loads, words, theme_of(theme), layer), " ".join(lines)


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""
    outputs = [lesson.message, lesson.shown, lesson.layer, lesson.figure, lesson.said]

    def draw(words: Words, trace_id: Any, layer: Any, theme: Any) -> tuple[Any, ...]:
        trace = common.trace_to_show(services.store, trace_id, words)
        layer = common.chosen_layer(trace, layer)
        figure, said = drawn(trace, layer, words, theme)
        return (
            "",
            gr.update(visible=True),
            common.layer_update(trace, layer, words),
            common.shown(figure),
            status_html(said),
        )

    def choose(layer: Any) -> Any:
        return layer

    inputs = [shared.open_tab, shared.language, shared.trace_id, shared.layer, shared.theme]
    changes = [s.change for s in (shared.trace_id, shared.open_tab, shared.layer, shared.theme)]
    gr.on(changes, common.guarded("learn", len(outputs))(draw), inputs, outputs, **DRAWING)
    lesson.layer.input(choose, lesson.layer, shared.layer, **CHOOSING)
