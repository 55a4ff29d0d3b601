"""Pieces of pictures with a line by layer, the layers running down: the band, the measured line, the ruler.

Knows arrays with a value a layer. Does not know what they measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.words import Words


def band(made: go.Figure, low: np.ndarray, high: np.ndarray, colour: str, **settings: Any) -> None:
    """The stretch from ``low`` to ``high``, each (L,); a layer without numbers is passed over.

    Args:
        colour: of the filling.
        settings: ``name``, the place of a subplot, and what else a Plotly trace takes.
    """
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    made.add_scatter(
        x=np.concatenate([high[known], low[known][::-1]]),
        y=np.concatenate([known, known[::-1]]),
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=colour,
        hoverinfo="skip",
        **settings,
    )


def line(made: go.Figure, values: np.ndarray, colour: str, hover: str, facts: list[Any], **settings: Any) -> None:
    """The measured (L,) values as a line with dots.

    Args:
        hover: text for the pointer, in Plotly's terms.
        facts: arrays of (L,), the text's ``customdata``.
    """
    made.add_scatter(
        x=values,
        y=np.arange(len(values)),
        customdata=np.stack(facts, -1) if facts else None,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 6, "symbol": settings.pop("symbol", "circle")},
        hovertemplate=hover + "<extra></extra>",
        **settings,
    )


def ruler(
    made: go.Figure, values: np.ndarray, theme: Theme, *, colour: str = "", dash: str = "dash", **more: Any
) -> None:
    """What ``values`` (L,) would be by chance, as a thin broken line; soft grey unless ``colour`` says otherwise."""
    made.add_scatter(
        x=values,
        y=np.arange(len(values)),
        mode="lines",
        line={"color": colour or style.INK[theme]["soft"], "width": 1.5, "dash": dash},
        hoverinfo="skip",
        **more,
    )


def share_axis(made: go.Figure, layers: Sequence[int], words: Words, theme: Theme) -> go.Figure:
    """The axis of layers for subplots side by side, named once."""
    style.style_axes(made, theme)
    made.update_yaxes(**{**style.layer_axis(layers, words), "title": {"text": ""}})
    return made.update_yaxes(title={"text": words("figures.axis.layer")}, col=1)
