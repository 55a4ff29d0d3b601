"""What is drawn of two recordings, wherever they come from: loads side by side, their divergence and difference, and
either text on the colour of the side whose experts it uses.

Knows traces and figures. Does not know how the two were chosen or made.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis import compare, metrics
from analysis.figures import compare as figures
from analysis.figures.load import load_map
from analysis.figures.style import one_line, theme_of
from analysis.figures.style import shown as named
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.pair_facts import token_text_html


@dataclass(frozen=True)
class PairPlots:
    """Components that show a ``PairFigures``."""

    phase: gr.Dropdown
    loads: tuple[gr.Plot, gr.Plot]
    divergence: gr.Plot
    difference: gr.Plot

    @property
    def plots(self) -> list[gr.Plot]:
        return [*self.loads, self.divergence, self.difference]


def build_plots(words: Words, prefix: str, phases: tuple[str, ...]) -> PairPlots:
    """The components, with ids that begin with ``prefix``."""
    phase = common.phase_dropdown(words, phases, elem_id=f"{prefix}-phase")
    with gr.Row():
        load_a = common.plot(words, elem_id=f"{prefix}-load-a", min_width=300)
        load_b = common.plot(words, elem_id=f"{prefix}-load-b", min_width=300)
    with gr.Row():
        divergence = common.plot(words, elem_id=f"{prefix}-divergence", min_width=300)
        difference = common.plot(words, elem_id=f"{prefix}-difference", min_width=300)
    return PairPlots(phase, (load_a, load_b), divergence, difference)


@dataclass(frozen=True)
class PairFigures:
    """What is drawn of two traces. ``message`` says why ``divergence`` and ``difference`` are missing, if they are."""

    loads: tuple[go.Figure, go.Figure]
    divergence: go.Figure | None = None
    difference: go.Figure | None = None
    message: str = ""

    def shown(self) -> list[dict[str, Any]]:
        """Updates for ``PairPlots.plots``."""
        return [common.shown(figure) for figure in (*self.loads, self.divergence, self.difference)]


def pair_figures(
    a: RoutingTrace, b: RoutingTrace, names: tuple[str, str], phase: Any, words: Words, theme: Any
) -> PairFigures:
    """Loads side by side under ``names``, their divergence by layer, and their difference.

    Raises:
        BadValue: there is no such phase, or the traces come from different routers.
    """
    theme, phase = theme_of(theme), common.chosen_phase(a, phase, insist=True)
    loads = [
        load_map(metrics.expert_load(t, phase), words, theme, named(n, 48)) for t, n in zip((a, b), names, strict=True)
    ]
    pair = compare.pair_js(a, b, phase)
    if pair is None:
        return PairFigures((loads[0], loads[1]), message=words("tabs.compare.no_overlap"))
    return PairFigures(
        (loads[0], loads[1]),
        figures.js_by_layer(pair, words, theme),
        figures.difference_map(compare.load_difference(a, b, phase), "A", "B", words, theme),
    )


def tinted_html(
    trace: RoutingTrace, other: RoutingTrace, letter: str, words: Words, phase: str = "generated", heading: str = ""
) -> str:
    """The text of ``trace`` ("a" or "b") in ``phase``, each token on the colour of the side whose experts it uses."""
    lean, texts = compare.token_lean(trace, other, phase), trace.texts()
    if not lean.n:
        return ""
    far = "b" if letter == "a" else "a"
    spans, rows = [], []
    for token, value in zip(lean.along("token"), lean.values.tolist(), strict=True):
        signed = f"{value:+.2f}".replace("-", "−")
        title = words("tabs.compare.lean_token", value=signed)
        rows.append((f"{token} {one_line(texts[token])}", signed))
        strength = round(min(1.0, 1.6 * abs(value)), 2)
        spans.append(
            f'<span class="{letter if value >= 0 else far}" style="--lean:{strength}" title="{title}">'
            f"{html.escape(texts[token])}</span>"
        )
    about = words("tabs.compare.lean", n=lean.n, here=letter.upper(), there=far.upper())
    above = f"<h4>{html.escape(heading)}</h4>" if heading else ""
    name = f"{words('tabs.pair.text')} {heading or letter.upper()}"
    read = token_text_html(spans, name, rows, words("tabs.compare.lean_column"), words)
    return f'{above}<p class="hint">{html.escape(about)}</p>{read}'
