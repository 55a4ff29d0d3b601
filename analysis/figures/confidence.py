"""How sure the router is, by layer: the spread over the tokens of each phase. Knows quantiles of recorded summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import by_layer, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words

MEASURES = ("entropy", "top_k_mass", "margin")


def confidence_bands(quantiles: Sequence[Mapping[str, Statistic]], words: Words, theme: Theme) -> go.Figure:
    """Entropy, top-k mass and margin by layer: for each phase the median as a line, the middle half as a band.

    Args:
        quantiles: ``token_metrics.uncertainty_quantiles`` of one phase or more; empty ones are passed over.
    """
    drawn = [found for found in quantiles if found]
    names = [name for name in MEASURES if any(name in found for found in drawn)]
    facts = [style.sample(next(iter(found.values())), words) for found in drawn]
    facts += [words("figures.confidence.subtitle")] if drawn else []
    layers = next(iter(drawn[0].values())).along("layer") if drawn else []
    height = style.layers_height(len(layers), least=200)
    title = words("figures.confidence.title")
    made = style.figure(title, " · ".join(facts), theme, height, below=2 * style.LEGEND_ROOM)
    if not names:
        return style.note(made, words("figures.confidence.nothing"), theme)
    made.set_subplots(1, len(names), shared_yaxes=True, horizontal_spacing=0.06)
    for column, name in enumerate(names, 1):
        place: dict[str, Any] = {"row": 1, "col": column}
        shown = [found[name] for found in drawn if name in found]
        label = words(f"figures.token.{name}")
        level = np.broadcast_to(np.asarray(shown[0].chance)[:, 0], (len(layers),))
        for statistic in shown:
            colour, wanted = style.phase_colour(statistic.phase, theme), statistic.along("quantile")
            low, middle, high = (statistic.values[:, wanted.index(q)] for q in (0.25, 0.5, 0.75))
            group = {"legendgroup": statistic.phase, **place}
            by_layer.band(made, low, high, style.faint(colour), showlegend=False, **group)
            phase = style.phases(statistic.phase, words)
            hover = words(
                "figures.confidence.hover",
                phase=phase,
                n=f"{statistic.n:,}",
                measure=label,
                layer="%{customdata[0]}",
                value="%{x:.3g}",
                low="%{customdata[1]:.3g}",
                high="%{customdata[2]:.3g}",
                chance="%{customdata[3]:.3g}",
            )
            numbers = [np.asarray(layers), low, high, level]
            by_layer.line(made, middle, colour, hover, numbers, name=phase, showlegend=column == 1, **group)
        ruler: dict[str, Any] = {
            "name": words("figures.token.no_preference"),
            "legendgroup": "chance",
            "showlegend": column == 1,
        }
        by_layer.ruler(made, level, theme, **ruler, **place)
        made.update_xaxes(title={"text": label}, rangemode="tozero", nticks=3, tickangle=0, row=1, col=column)
    return by_layer.share_axis(made, layers, words, theme)
