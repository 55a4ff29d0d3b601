"""The tab "Load": how often each expert was used, one layer sorted, and balance by layer and phase."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis import metrics
from analysis.balance import sorted_by_chance
from analysis.figures import load as figures
from analysis.figures.style import theme_of
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.quiet import CHOOSING, DRAWING

NAME = "load"
BALANCE_PHASES = ("prompt", "thinking", "answer")


@dataclass(frozen=True)
class LoadTab:
    """Components of the tab; ``body`` is hidden while there is nothing to draw."""

    status: gr.HTML
    body: gr.Column
    phase: gr.Dropdown
    layer: gr.Dropdown
    map: gr.Plot
    sorted: gr.Plot
    balance: gr.Plot


def build(services: Services, words: Words) -> LoadTab:
    common.hint(words("tabs.load.intro"))
    status = gr.HTML(status_html(words("tabs.loading")), elem_id="load-message", js_on_load=None)
    with gr.Column(visible=False) as body:
        with gr.Row():
            phase = common.phase_dropdown(words, elem_id="load-phase")
            layer = common.layer_dropdown(words, elem_id="load-layer")
        load_map = common.plot(words, elem_id="load-map")
        with gr.Row():
            ordered = common.plot(words, elem_id="load-sorted", min_width=300)
            balance = common.plot(words, elem_id="load-balance", min_width=300)
        common.hint(words("tabs.load.balance_hint"))
    return LoadTab(status, body, phase, layer, load_map, ordered, balance)


def load_figures(
    trace: RoutingTrace, phase: str, layer: int, words: Words, theme: Any
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """The map of all experts, ``layer`` sorted, and balance by layer and phase."""
    load, theme = metrics.expert_load(trace, phase), theme_of(theme)
    router = trace.spec.layers[trace.spec.position(layer)]
    random = sorted_by_chance(load.n, router.num_experts, router.top_k) if load.n else None
    names = {"max_violation": metrics.max_violation, "entropy": metrics.load_entropy, "gini": metrics.gini}
    measures = {name: [metric(trace, p) for p in BALANCE_PHASES] for name, metric in names.items()}
    experts = [entry.num_experts for entry in trace.spec.layers]
    return (
        figures.load_map(load, words, theme),
        figures.sorted_load(load, layer, words, theme, random),
        figures.balance(measures, experts, words, theme),
    )


def wire(tab: LoadTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    outputs = [tab.status, tab.body, tab.phase, tab.layer, tab.map, tab.sorted, tab.balance]

    def draw(
        words: Words, trace_id: Any, phase: Any, layer: Any, theme: Any, *, insist: bool = False
    ) -> tuple[Any, ...]:
        trace = common.trace_to_show(services.store, trace_id, words)
        phase, layer = common.chosen_phase(trace, phase, insist=insist), common.chosen_layer(trace, layer)
        return (
            "",
            gr.update(visible=True),
            phase,
            common.layer_update(trace, layer, words),
            *(common.shown(figure) for figure in load_figures(trace, phase, layer, words, theme)),
        )

    guard = common.guarded(NAME, len(outputs))
    inputs = [shared.open_tab, shared.language, shared.trace_id, tab.phase, shared.layer, shared.theme]
    changes = [state.change for state in (shared.trace_id, shared.open_tab, shared.layer, shared.theme)]
    gr.on(changes, guard(draw), inputs, outputs, **DRAWING)
    tab.phase.input(guard(functools.partial(draw, insist=True)), inputs, outputs, **DRAWING)
    tab.layer.input(lambda layer: layer, tab.layer, shared.layer, **CHOOSING)
