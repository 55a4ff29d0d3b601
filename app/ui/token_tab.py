"""The tab "Token": which experts one token used in every layer, how sure its router was, and its neighbours.

Everything here is the routing used **by** the token; the last token of a turn was never routed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis import token_metrics as metrics
from analysis.errors import BadValue
from analysis.figures import token as figures
from analysis.figures.style import theme_of
from analysis.output_metrics import contributions
from analysis.statistic import Statistic
from analysis.trace import Origin, Phase, RoutingTrace
from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.expert_html import button_grid, expert_button
from app.ui.following import SO_FAR
from app.ui.live.wire import pointer
from app.ui.quiet import CHOOSING, DRAWING, HEARING

NAME = "token"
AROUND = 24
"""Tokens before and after the chosen one in the heatmap."""


@dataclass(frozen=True)
class TokenTab:
    """Components of the tab; ``head`` is hidden without a trace, ``body`` for a token without a row."""

    status: gr.HTML
    head: gr.Column
    previous: gr.Button
    next: gr.Button
    layer: gr.Dropdown
    text: gr.Textbox
    about: gr.Markdown
    body: gr.Column
    ladder: gr.Plot
    bridge: gr.HTML
    uncertainty: gr.Plot
    scores: gr.Plot
    heat: gr.Plot
    missing: gr.Markdown
    table: gr.HTML


@dataclass(frozen=True)
class TokenView:
    """What is shown of one token.

    Attributes:
        token: its index.
        text: its text, from the model or a user.
        about: a sentence of ours about it.
        missing: sentences about what was not recorded.
        ladder: None where the token has no row; the other figures too, or where nothing was recorded.
        table: the gates as HTML, each expert a button.
    """

    token: int
    text: str
    about: str
    missing: str = ""
    ladder: go.Figure | None = None
    uncertainty: go.Figure | None = None
    scores: go.Figure | None = None
    heat: go.Figure | None = None
    table: str = ""


def build(services: Services, words: Words) -> TokenTab:
    status = gr.HTML(status_html(words("tabs.loading")), elem_id="token-message", js_on_load=None)
    with gr.Column(visible=False) as head:
        common.hint(words("tabs.token.pick"))
        with gr.Row():
            before = gr.Button(words("tabs.token.previous"), elem_id="token-previous", min_width=140, size="sm")
            after = gr.Button(words("tabs.token.next"), elem_id="token-next", min_width=140, size="sm")
        with gr.Row():
            text = gr.Textbox(
                label=words("tabs.token.text"),
                interactive=False,
                lines=1,
                max_lines=3,
                min_width=160,
                elem_id="token-text",
            )
            layer = common.layer_dropdown(words, elem_id="token-layer")
        about = gr.Markdown(elem_id="token-about")
    with gr.Column(visible=False) as body:
        with gr.Row():
            with gr.Column(min_width=300):
                ladder = common.plot(words, elem_id="token-ladder")
                bridge = common.bridge("token-ladder", elem_id="token-bridge")
                common.hint(words("tabs.token.to_card"))
                sure = common.plot(words, elem_id="token-uncertainty")
                scores = common.plot(words, elem_id="token-scores")
            with gr.Column(min_width=300):
                heat = common.plot(words, elem_id="token-heat")
        common.hint(words("tabs.token.sure_hint"))
        missing = gr.Markdown(elem_id="token-missing")
        with gr.Accordion(words("tabs.token.table"), open=False):
            table = gr.HTML(
                "", elem_id="token-table", elem_classes="xp-card", apply_default_css=False, js_on_load=common.links()
            )
    top = (status, head, before, after, layer, text, about, body)
    return TokenTab(*top, ladder, bridge, sure, scores, heat, missing, table)


def chosen_token(trace: RoutingTrace, token: Any, words: Words) -> int:
    """``token`` as an index; for None the last one that has a row, which the live view rests on too.

    Raises:
        BadValue: there is no such token.
    """
    if token is None:
        return min(max(0, trace.row_start + trace.num_rows - 1), trace.num_tokens - 1)
    whole = isinstance(token, int | float) and not isinstance(token, bool) and math.isfinite(token)
    if not whole or int(token) != token or not 0 <= token < trace.num_tokens:
        raise BadValue(words("tabs.token.gone", token=str(token)[:40], last=trace.num_tokens - 1))
    return int(token)


def step_token(trace: RoutingTrace, token: Any, step: int, words: Words) -> int:
    """The token ``step`` further, within the trace."""
    return min(max(chosen_token(trace, token, words) + step, 0), trace.num_tokens - 1)


def token_view(trace: RoutingTrace, token: int, layer: int, words: Words, theme: Any) -> TokenView:
    """Everything that is shown of ``token``; ``layer`` is the one whose probabilities and neighbours are drawn."""
    theme, texts = theme_of(theme), trace.texts()
    text, phase = texts[token], Phase(int(trace.phase[token])).label
    gates = metrics.token_gates(trace, token)
    about = words(
        "tabs.token.about" if gates is not None else "tabs.token.no_row",
        token=token,
        last=trace.num_tokens - 1,
        phase=words(f"figures.phase.{phase}"),
        origin=words(f"tabs.origin.{Origin(int(trace.origin[token])).label}"),
    )
    if gates is None:
        return TokenView(token, text, about)
    scores = metrics.token_scores(trace, token, layer)
    sure = metrics.uncertainty(trace, token)
    heat = metrics.layer_heatmap(trace, layer, token - AROUND, token + AROUND + 1)
    window = heat.along("token")
    used = gates.ids[trace.spec.position(layer)]
    missing = [
        words(f"tabs.token.{key}") for key, lost in (("no_scores", scores is None), ("no_summaries", not sure)) if lost
    ]
    return TokenView(
        token,
        text,
        about,
        "\n\n".join(missing),
        ladder=figures.gate_ladder(gates, text, phase, words, theme),
        uncertainty=figures.uncertainty(sure, metrics.uncertainty_quantiles(trace, phase), token, text, words, theme)
        if sure
        else None,
        scores=None
        if scores is None
        else figures.router_scores(scores, used[used >= 0].tolist(), layer, token, text, words, theme),
        heat=figures.layer_heatmap(
            heat,
            [texts[i] for i in window],
            [Phase(int(trace.phase[i])).label for i in window],
            token,
            layer,
            words,
            theme,
        ),
        table=gate_table(gates, words, contributions(trace, token)),
    )


def gate_table(gates: metrics.TokenGates, words: Words, given: Statistic | None = None) -> str:
    """The gates as a table, a line a layer, the largest weight first, each expert a button that leads to its card; with
    what each expert added where that was measured."""
    lines = []
    for position, layer in enumerate(gates.layers):
        buttons = []
        for rank, expert in enumerate(gates.ids[position].tolist()):
            name = words("tabs.token.table_cell_id", expert=expert)
            if gates.weights is not None:
                weight = f"{gates.weights.values[position, rank]:.3f}"
                name = words("tabs.token.table_cell", expert=expert, weight=weight)
                if given is not None:
                    share = f"{given.values[position, gates.order[position, rank]]:.0%}"
                    name += words("tabs.token.table_adds", share=share)
            buttons.append(expert_button(layer, expert, name) if expert >= 0 else "")
        lines.append((str(layer), buttons))
    ranks = (words("tabs.token.table_rank", rank=rank + 1) for rank in range(gates.ids.shape[1]))
    return button_grid((words("tabs.layer"), *ranks), lines)


def wire(tab: TokenTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    outputs = [tab.status, tab.head, tab.body, tab.layer, tab.text, tab.about, tab.previous, tab.next]
    outputs += [tab.ladder, tab.uncertainty, tab.scores, tab.heat, tab.missing, tab.table]

    def draw(words: Words, trace_id: Any, token: Any, layer: Any, theme: Any) -> tuple[Any, ...]:
        trace = common.trace_to_show(services.store, trace_id, words)
        layer = common.chosen_layer(trace, layer)
        view = token_view(trace, chosen_token(trace, token, words), layer, words, theme)
        return (
            "",
            gr.update(visible=True),
            gr.update(visible=view.ladder is not None),
            common.layer_update(trace, layer, words),
            view.text,
            view.about,
            gr.update(interactive=view.token > 0),
            gr.update(interactive=view.token < trace.num_tokens - 1),
            *(common.shown(figure) for figure in (view.ladder, view.uncertainty, view.scores, view.heat)),
            gr.update(value=view.missing, visible=bool(view.missing)),
            view.table,
        )

    def step(by: int, trace_id: Any, token: Any, layer: Any, language: Any) -> Any:
        try:
            words = Words(language)
            stepped = step_token(common.trace_to_show(services.store, trace_id, words), token, by, words)
        except (BadValue, common.Nothing):
            return None, gr.skip()
        return stepped, pointer(trace_id.removesuffix(SO_FAR), stepped, layer)

    def choose_layer(layer: Any, trace_id: Any, token: Any) -> Any:
        known = isinstance(trace_id, str) and isinstance(token, int)
        return layer, pointer(trace_id.removesuffix(SO_FAR), token, layer) if known else gr.skip()

    inputs = [shared.open_tab, shared.language, shared.trace_id, shared.token, shared.layer, shared.theme]
    changes = [s.change for s in (shared.trace_id, shared.open_tab, shared.token, shared.layer, shared.theme)]
    gr.on(changes, common.guarded(NAME, len(outputs), containers=2)(draw), inputs, outputs, **DRAWING)
    for button, by in ((tab.previous, -1), (tab.next, 1)):
        button.click(
            functools.partial(step, by),
            [shared.trace_id, shared.token, shared.layer, shared.language],
            [shared.token, shared.live],
            **HEARING,
        )
    tab.layer.input(choose_layer, [tab.layer, shared.trace_id, shared.token], [shared.layer, shared.live], **CHOOSING)
