"""Two answers against each other: where their loads differ, and by how much against what chance alone gives."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.compare import PairDivergence
from analysis.figures import by_layer, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def js_by_layer(pair: PairDivergence, words: Words, theme: Theme) -> go.Figure:
    """Divergence by layer, with the middle 95% of random splits as a band and their mean as a dotted line."""
    statistic = pair.divergence
    layers = statistic.along("layer")
    made = style.figure(
        words("figures.compare.js_title"),
        f"{style.sample(statistic, words)} · {words('figures.compare.js_subtitle', a=pair.rows[0], b=pair.rows[1])}",
        theme,
        style.layers_height(len(layers), least=180),
        below=2 * style.LEGEND_ROOM,
    )
    ink = style.INK[theme]
    low, high = pair.band.T
    by_layer.band(made, low, high, ink["grid"], name=words("figures.compare.band"))
    chance = np.broadcast_to(np.asarray(statistic.chance), low.shape)
    by_layer.ruler(made, chance, theme, dash="dot", name=words("figures.compare.split"))
    hover = words(
        "figures.compare.js_hover",
        layer="%{customdata[0]}",
        value="%{x:.3g}",
        low="%{customdata[1]:.3g}",
        high="%{customdata[2]:.3g}",
    )
    facts = [np.asarray(layers), low, high]
    by_layer.line(made, statistic.values, ink["text"], hover, facts, name=words("figures.compare.measured"))
    made.update_yaxes(**style.layer_axis(layers, words))
    made.update_xaxes(rangemode="tozero", title={"text": words("figures.axis.js")})
    return made


def difference_map(difference: Statistic, a: str, b: str, words: Words, theme: Theme) -> go.Figure:
    """Layers × experts, coloured by load of A minus load of B in the colours of A and B.

    Args:
        difference: ``compare.load_difference``.
        a, b: what the two are.
    """
    layers = difference.along("layer")
    made = style.figure(
        words("figures.compare.difference_title", a=a, b=b),
        f"{style.sample(difference, words)} · {words('figures.compare.difference_subtitle')}",
        theme,
        style.layers_height(len(layers)),
        below=style.BAR_ROOM,
    )
    if not difference.n or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    points = 100 * difference.values
    top = max(float(np.nanmax(np.abs(points))), 0.1)
    colours = style.PAIR[theme]
    made.add_heatmap(
        z=points,
        text=[[str(layer)] * points.shape[1] for layer in layers],
        hovertemplate=words("figures.compare.difference_hover", layer="%{text}", expert="%{x}", points="%{z:+.2f}")
        + "<extra></extra>",
        colorscale=style.scale([colours["b"], style.INK[theme]["cell"], colours["a"]]),
        zmin=-top,
        zmax=top,
        xgap=1 if points.shape[1] <= 64 else 0,
        ygap=1,
        colorbar=style.colour_bar(words("figures.compare.difference_bar", a=a, b=b), theme),
    )
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    made.update_xaxes(showgrid=False, title={"text": words("figures.axis.expert")})
    return made
