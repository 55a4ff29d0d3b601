"""How the gate weights are spread: by rank in one layer, and the median of every rank and layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def gate_ranks(statistics: Sequence[Statistic], layer: int, words: Words, theme: Theme) -> go.Figure:
    """Gate weight by rank in one layer, a group of boxes a phase: median, middle half, whiskers to the middle 90%.

    Args:
        statistics: ``metrics.gate_weights_by_rank``, in one phase or more.
        layer: the model's own layer number.
    """
    drawn = [s for s in statistics if s.n]
    subtitle = " · ".join(style.sample(s, words) for s in drawn)
    position = statistics[0].along("layer").index(layer)
    even = float(np.asarray(statistics[0].chance)[position, 0, 0])
    if drawn and np.isfinite(even):
        subtitle += f" · {words('figures.gates.even', weight=style.number(even))}"
    title = words("figures.gates.ranks_title", layer=layer)
    made = style.figure(title, subtitle, theme, 260, below=style.LEGEND_ROOM)
    if not drawn:
        return style.note(made, words("figures.no_rows"), theme)
    for statistic in drawn:
        ranks = np.asarray(statistic.along("rank"))
        low, q1, median, q3, high = statistic.values[position].T
        used = np.isfinite(median)
        phase = words(f"figures.phase.{statistic.phase}")
        colour = style.phase_colour(statistic.phase, theme)
        made.add_box(
            x=ranks[used],
            lowerfence=low[used],
            q1=q1[used],
            median=median[used],
            q3=q3[used],
            upperfence=high[used],
            name=phase,
            marker={"color": colour},
            line={"color": colour, "width": 1.5},
            hoverinfo="skip",
        )
        # Boxes have a hover text of their own that cannot be worded; an unseen line carries ours.
        made.add_scatter(
            x=ranks[used],
            y=median[used],
            mode="markers",
            marker={"color": colour, "size": 14, "opacity": 0},
            customdata=np.stack([low, q1, q3, high], -1)[used],
            showlegend=False,
            hovertemplate=words(
                "figures.gates.ranks_hover",
                phase=phase,
                layer=layer,
                rank="%{x}",
                median="%{y:.3f}",
                low="%{customdata[0]:.3f}",
                high="%{customdata[3]:.3f}",
                q1="%{customdata[1]:.3f}",
                q3="%{customdata[2]:.3f}",
                even=style.number(even),
                n=f"{statistic.n:,}",
            )
            + "<extra></extra>",
        )
    if np.isfinite(even):
        style.level(made, even, words("figures.gates.even_line"), theme)
    made.update_layout(boxmode="group")
    made.update_xaxes(showgrid=False, dtick=1, title={"text": words("figures.axis.rank")})
    made.update_yaxes(rangemode="tozero", title={"text": words("figures.axis.gate")})
    return made


def gate_layers(statistic: Statistic, words: Words, theme: Theme) -> go.Figure:
    """The median gate weight of every layer and rank.

    Args:
        statistic: ``metrics.gate_weights_by_rank``.
    """
    layers, ranks = statistic.along("layer"), statistic.along("rank")
    chance = np.asarray(statistic.chance)[:, 0, 0]
    subtitle = style.sample(statistic, words)
    if len(chance) and np.isfinite(chance).all() and chance.min() == chance.max():
        subtitle += f" · {words('figures.gates.even', weight=style.number(float(chance[0])))}"
    made = style.figure(
        words("figures.gates.layers_title"),
        subtitle,
        theme,
        style.layers_height(len(layers)),
        below=style.BAR_ROOM,
    )
    if not statistic.n or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    median = statistic.values[:, :, statistic.along("quantile").index(0.5)]
    top = style.gate_top(chance, median)
    made.add_heatmap(
        z=median,
        x=ranks,
        customdata=np.stack(
            [np.broadcast_to(np.asarray(layers)[:, None], median.shape), _even_like(chance, median)], -1
        ),
        hovertemplate=words(
            "figures.gates.layers_hover",
            layer="%{customdata[0]}",
            rank="%{x}",
            median="%{z:.3f}",
            even="%{customdata[1]:.3g}",
        )
        + "<extra></extra>",
        colorscale=style.scale(style.GATE),
        zmin=0,
        zmax=top,
        xgap=1,
        ygap=1,
        colorbar=style.colour_bar(words("figures.gates.median"), theme),
    )
    if len(layers) <= 24:
        labels = [["" if np.isnan(v) else f"{v:.2f}" for v in line] for line in median]
        style.cell_text(made, np.asarray(ranks), median, labels, top)
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    made.update_xaxes(showgrid=False, dtick=1, title={"text": words("figures.axis.rank")})
    return made


def _even_like(chance: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(chance[:, None], values.shape)
