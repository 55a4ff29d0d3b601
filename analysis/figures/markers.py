"""Which experts go with the start or the end of thinking. Knows nPMI statistics of ``association``."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def marker_map(association: Statistic, marker: str, words: Words, theme: Theme, most: int = 5) -> go.Figure:
    """Layers × experts by nPMI with a marker, above or below what as few markers give by chance; the strongest ringed.

    Args:
        association: ``association.marker_npmi`` or ``association.thinking_npmi``.
        marker: what it is the association with.
        most: how many of the strongest to ring and name.
    """
    layers, values = association.along("layer"), association.values
    excess = values - np.broadcast_to(np.asarray(association.chance), values.shape)
    facts = [style.sample(association, words)]
    known = np.argwhere(np.isfinite(excess))
    best = known[np.argsort(-excess[tuple(known.T)], kind="stable")][:most]
    if len(best):
        listed = ", ".join(words("figures.contrast.row", layer=layers[x], expert=y) for x, y in best)
        facts.append(words("figures.markers.strongest", experts=listed))
    title = words("figures.markers.title", marker=style.shown(marker))
    made = style.figure(title, " · ".join(facts), theme, style.layers_height(len(layers)), below=style.BAR_ROOM)
    if not len(known):
        return style.note(made, words("figures.markers.nothing"), theme)
    top = max(float(np.nanmax(np.abs(excess))), 1e-6)
    made.add_heatmap(
        z=excess,
        customdata=np.stack([np.broadcast_to(np.array(layers)[:, None], values.shape), values, values - excess], -1),
        hovertemplate=words(
            "figures.markers.hover",
            layer="%{customdata[0]}",
            expert="%{x}",
            value="%{customdata[1]:+.3f}",
            chance="%{customdata[2]:+.3f}",
            n=f"{association.n:,}",
        )
        + "<extra></extra>",
        hoverongaps=False,
        colorscale=style.scale(style.LOAD[theme]),
        zmin=-top,
        zmax=top,
        xgap=1 if values.shape[1] <= 64 else 0,
        ygap=1,
        colorbar=style.colour_bar(words("figures.markers.bar"), theme),
    )
    made.add_scatter(
        x=best[:, 1],
        y=best[:, 0],
        mode="markers",
        marker={"symbol": "circle-open", "size": 13, "color": style.INK[theme]["text"], "line": {"width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    return made.update_xaxes(
        showgrid=False, range=[-0.5, values.shape[1] - 0.5], title={"text": words("figures.axis.expert")}
    )
