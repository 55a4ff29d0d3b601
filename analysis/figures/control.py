"""Myth or effect: the specialists of a plain comparison, and what a control leaves of them. Knows ``Comparison``."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.comparing import Comparison
from analysis.figures import style, tested
from analysis.figures.style import Theme
from analysis.words import Words

_EACH = 19  # pixels for an expert


def myth_or_effect(comparison: Comparison, words: Words, theme: Theme, most: int = 20) -> go.Figure:
    """The most different experts without a control, and the same experts under it: those that stay significant with
    the same sign are filled, those that do not are hollow.

    Args:
        comparison: one with a control ("token" or "position").
        most: how many experts at most.
    """
    c, plain, (a, b) = comparison.contrast, comparison.plain, tested.names(comparison, words)
    facts = [tested.sample(comparison, words)]
    if plain is None:
        made = style.figure(words("figures.control.title"), facts[0], theme, 120)
        return style.note(made, words("figures.control.none"), theme)
    found = np.argwhere(plain.significant)
    order = found[np.argsort(-np.abs(plain.difference[plain.significant]), kind="stable")]
    kept = (c.significant & (np.sign(c.difference) == np.sign(plain.difference)))[tuple(order.T)]
    facts.append(words("figures.control.kept", kept=int(kept.sum()), before=len(order)))
    order, kept = order[:most], kept[:most]
    if len(order) < len(found):
        facts.append(words("figures.contrast.shown", n=len(order)))
    height = max(120, _EACH * len(order))
    made = style.figure(words("figures.control.title"), " · ".join(facts), theme, height, below=3 * style.LEGEND_ROOM)
    if not len(order):
        return style.note(made, words("figures.control.nothing"), theme)
    at, rows, ink = tuple(order.T), np.arange(len(order)), style.INK[theme]
    before, after = 100 * plain.difference[at], 100 * c.difference[at]
    made.add_vline(x=0, line={"color": ink["soft"], "width": 1.5, "dash": "dash"})
    gap = np.full(len(rows), np.nan)
    made.add_scatter(
        x=np.stack([before, after, gap], -1).ravel(),
        y=np.stack([rows, rows, gap], -1).ravel(),
        mode="lines",
        line={"color": ink["grid"], "width": 3},
        hoverinfo="skip",
        showlegend=False,
    )
    made.add_scatter(
        x=before,
        y=rows,
        customdata=tested.table(plain)[at],
        mode="markers",
        marker={"color": style.mixed(ink["ground"], ink["soft"], 0.6), "size": 8, "symbol": "line-ns-open"},
        marker_line={"width": 2.5},
        name=words("figures.control.before"),
        hovertemplate=tested.hover(plain, a, b, words),
    )
    control = words(f"figures.contrast.control.{comparison.control}")
    for mask, name, hollow in ((kept, "stays", ""), (~kept, "goes", "-open")):
        if mask.any():
            group = np.where(before[mask] > 0, style.PAIR[theme]["a"], style.PAIR[theme]["b"]).tolist()
            made.add_scatter(
                x=after[mask],
                y=rows[mask],
                customdata=tested.table(c)[at][mask],
                mode="markers",
                marker={"color": group, "size": 10, "symbol": f"circle{hollow}", "line": {"width": 2, "color": group}},
                name=words(f"figures.control.{name}", control=control),
                hovertemplate=tested.hover(c, a, b, words),
            )
    numbers = np.array(c.shares.spec.layer_numbers)[order[:, 0]]
    labels = [words("figures.contrast.row", layer=x, expert=y) for x, y in zip(numbers, order[:, 1], strict=True)]
    made.update_layout(margin={"l": 68})
    made.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], showgrid=False)
    return made.update_xaxes(title={"text": words("figures.compare.difference_bar", a=a, b=b)})
