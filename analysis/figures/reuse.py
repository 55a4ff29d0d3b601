"""Do the next tokens need the same experts? Repetition by layer, and what a cache of experts would save.

Knows statistics of ``repetition`` and ``caching``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import by_layer, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def repetition(statistics: Sequence[Statistic], words: Words, theme: Theme) -> go.Figure:
    """How often the next token has the same first choice, and how often it shares any expert, by layer.

    Args:
        statistics: ``repetition.consecutive_repetition`` in one phase or more.
    """
    drawn = [s for s in statistics if s.n]
    layers = statistics[0].along("layer") if statistics else []
    height = style.layers_height(len(layers), least=180)
    title = words("figures.reuse.repetition_title")
    made = style.figure(title, style.samples(drawn, words), theme, height, below=2 * style.LEGEND_ROOM)
    if not drawn or not layers:
        return style.note(made, words("figures.reuse.no_pairs"), theme)
    made.set_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    for column, kind in enumerate(("first", "any"), 1):
        place: dict[str, Any] = {"row": 1, "col": column, "showlegend": column == 1}
        label = words(f"figures.reuse.{kind}")
        chance = 100 * np.asarray(drawn[0].chance)[:, column - 1]
        for statistic in drawn:
            phase = style.phases(statistic.phase, words)
            hover = words(
                "figures.reuse.repetition_hover",
                layer="%{customdata[0]}",
                phase=phase,
                n=f"{statistic.n:,}",
                measure=label,
                value="%{x:.3g}",
                chance="%{customdata[1]:.3g}",
            )
            colour, values = style.phase_colour(statistic.phase, theme), 100 * statistic.values[:, column - 1]
            facts = [np.asarray(layers), chance]
            by_layer.line(made, values, colour, hover, facts, name=phase, legendgroup=statistic.phase, **place)
        by_layer.ruler(made, chance, theme, name=words("figures.chance"), legendgroup="chance", **place)
        made.update_xaxes(title={"text": label}, rangemode="tozero", nticks=4, row=1, col=column)
    return by_layer.share_axis(made, layers, words, theme)


def cache_hits(lru: Statistic, belady: Statistic, words: Words, theme: Theme, layer: int | None = None) -> go.Figure:
    """Hit rate of a cache of experts against the slots it keeps in each layer: what a simple cache reaches (LRU), what
    none can exceed (Belady), and what chance gives.

    Args:
        lru, belady: ``caching.lru_hit_rate`` and ``caching.belady_hit_rate`` for the same slots and phase.
        layer: the model's own number; by default the mean over layers, with the stretch from the lowest to the highest.
    """
    slots, layers = lru.along("slots"), lru.along("layer")
    rows = list(range(len(layers))) if layer is None else [layers.index(layer)]
    where = words("figures.reuse.mean_layers", n=len(layers)) if layer is None else words("figures.layer", layer=layer)
    facts = f"{style.sample(lru, words)} · {where} · {words('figures.reuse.whole_trace')}"
    made = style.figure(words("figures.reuse.cache_title"), facts, theme, 240, below=3 * style.LEGEND_ROOM)
    if not lru.n or not rows:
        return style.note(made, words("figures.no_rows"), theme)
    at = np.asarray(slots)
    colour, ink = style.phase_colour(lru.phase, theme), style.INK[theme]
    middle = {}
    for name, statistic, dash, symbol in (("belady", belady, "dash", "diamond"), ("lru", lru, "solid", "circle")):
        values = 100 * statistic.values[rows]
        chance = 100 * np.broadcast_to(np.asarray(statistic.chance), statistic.values.shape)[rows]
        known = np.isfinite(values).all(axis=0)
        x, values, chance = at[known], values[:, known], chance[:, known]
        low, high, middle[name] = values.min(axis=0), values.max(axis=0), (x, values.mean(axis=0), chance.mean(axis=0))
        if len(rows) > 1:
            made.add_scatter(
                x=np.concatenate([x, x[::-1]]),
                y=np.concatenate([high, low[::-1]]),
                fill="toself",
                mode="lines",
                line={"width": 0},
                fillcolor=style.faint(colour, 0.12),
                hoverinfo="skip",
                showlegend=False,
            )
        label = words(f"figures.reuse.{name}")
        made.add_scatter(
            x=x,
            y=middle[name][1],
            customdata=np.stack([middle[name][2], low, high], -1),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 7, "symbol": symbol},
            name=label,
            hovertemplate=words(
                "figures.reuse.cache_hover",
                policy=label,
                slots="%{x}",
                value="%{y:.3g}",
                low="%{customdata[1]:.3g}",
                high="%{customdata[2]:.3g}",
                chance="%{customdata[0]:.3g}",
            )
            + "<extra></extra>",
        )
    for name, dash in (("belady", "dot"), ("lru", "dash")):
        x, _, chance = middle[name]
        line = {"color": ink["soft"], "width": 1.5, "dash": dash}
        said = words("figures.reuse.chance_of", policy=words(f"figures.reuse.{name}"))
        made.add_scatter(x=x, y=chance, mode="lines", line=line, name=said, hoverinfo="skip")
    made.update_xaxes(type="log", tickvals=slots, ticktext=list(map(str, slots)), showgrid=False)
    made.update_xaxes(title={"text": words("figures.reuse.slots")})
    return made.update_yaxes(range=[0, 102], title={"text": words("figures.reuse.hit_rate")})
