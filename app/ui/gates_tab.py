"""The tab "Gates": how the gate weights are spread over the ranks, in one layer and in all."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis import metrics
from analysis.figures import gates as figures
from analysis.figures.style import theme_of
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.quiet import CHOOSING, DRAWING

NAME = "gates"
SINGLE_PHASES = ("prompt", "thinking", "answer")


@dataclass(frozen=True)
class GatesTab:
    """Components of the tab; ``body`` is hidden while there is nothing to draw."""

    status: gr.HTML
    body: gr.Column
    phase: gr.Dropdown
    layer: gr.Dropdown
    ranks: gr.Plot
    layers: gr.Plot


def build(services: Services, words: Words) -> GatesTab:
    common.hint(words("tabs.gates.intro"))
    status = gr.HTML(status_html(words("tabs.loading")), elem_id="gates-message", js_on_load=None)
    with gr.Column(visible=False) as body:
        with gr.Row():
            phase = common.phase_dropdown(words, elem_id="gates-phase")
            layer = common.layer_dropdown(words, elem_id="gates-layer")
        with gr.Row():
            ranks = common.plot(words, elem_id="gates-ranks", min_width=300)
            layers = common.plot(words, elem_id="gates-layers", min_width=300)
    return GatesTab(status, body, phase, layer, ranks, layers)


def gate_figures(trace: RoutingTrace, phase: str, layer: int, words: Words, theme: Any) -> tuple[go.Figure, go.Figure]:
    """Weight by rank in ``layer`` (phases that are groups are drawn as their parts), and the medians of all layers.

    Raises:
        Nothing: the engine sent no gate weights.
    """
    statistic = metrics.gate_weights_by_rank(trace, phase)
    if statistic is None:
        raise common.Nothing(words("tabs.gates.unavailable"))
    parts = {"generated": ("thinking", "answer"), "all": SINGLE_PHASES}.get(phase, ())
    drawn = [s for s in (metrics.gate_weights_by_rank(trace, part, layer) for part in parts) if s is not None]
    theme = theme_of(theme)
    return (
        figures.gate_ranks(drawn or [statistic], layer, words, theme),
        figures.gate_layers(statistic, words, theme),
    )


def wire(tab: GatesTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    outputs = [tab.status, tab.body, tab.phase, tab.layer, tab.ranks, tab.layers]

    def draw(
        words: Words, trace_id: Any, phase: Any, layer: Any, theme: Any, *, insist: bool = False
    ) -> tuple[Any, ...]:
        trace = common.trace_to_show(services.store, trace_id, words)
        phase, layer = common.chosen_phase(trace, phase, insist=insist), common.chosen_layer(trace, layer)
        drawn = gate_figures(trace, phase, layer, words, theme)
        return (
            "",
            gr.update(visible=True),
            phase,
            common.layer_update(trace, layer, words),
            *map(common.shown, drawn),
        )

    guard = common.guarded(NAME, len(outputs))
    inputs = [shared.open_tab, shared.language, shared.trace_id, tab.phase, shared.layer, shared.theme]
    changes = [state.change for state in (shared.trace_id, shared.open_tab, shared.layer, shared.theme)]
    gr.on(changes, guard(draw), inputs, outputs, **DRAWING)
    tab.phase.input(guard(functools.partial(draw, insist=True)), inputs, outputs, **DRAWING)
    tab.layer.input(lambda layer: layer, tab.layer, shared.layer, **CHOOSING)
