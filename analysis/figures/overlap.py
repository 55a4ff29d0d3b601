"""How far two sets of experts agree: of two recordings of one text, and for one word in two contexts.

Knows statistics of ``overlap`` and the gates of single tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import by_layer, style
from analysis.figures.style import Theme
from analysis.overlap import jaccard_by_chance
from analysis.statistic import Statistic
from analysis.token_metrics import TokenGates
from analysis.trace import LayerSpec
from analysis.words import Words


def shared_by_layer(overlap: Statistic, words: Words, theme: Theme) -> go.Figure:
    """Two recordings of one text: the share of a token's experts that both use, by layer, as the mean over the tokens
    and the middle half of them, beside what chance gives.

    Args:
        overlap: ``overlap.token_overlap``.
    """
    layers, ink = overlap.along("layer"), style.INK[theme]
    title, height = words("figures.overlap.both_title"), style.layers_height(len(layers), least=180)
    made = style.figure(title, style.sample(overlap, words), theme, height, below=2 * style.LEGEND_ROOM)
    if not np.isfinite(overlap.values).any():
        return style.note(made, words("figures.no_rows"), theme)
    known = np.isfinite(overlap.values).any(axis=0)
    mean, low, high = np.full((3, len(layers)), np.nan)
    mean[known] = 100 * np.nanmean(overlap.values[:, known], axis=0)
    low[known], high[known] = 100 * np.nanquantile(overlap.values[:, known], [0.25, 0.75], axis=0)
    chance = 100 * np.broadcast_to(np.asarray(overlap.chance), (len(layers),))
    by_layer.band(made, low, high, ink["grid"], name=words("figures.overlap.middle"))
    by_layer.ruler(made, chance, theme, name=words("figures.chance"))
    hover = words(
        "figures.overlap.both_hover",
        layer="%{customdata[0]}",
        value="%{x:.3g}",
        low="%{customdata[1]:.3g}",
        high="%{customdata[2]:.3g}",
        chance="%{customdata[3]:.3g}",
    )
    facts = [np.asarray(layers), low, high, chance]
    by_layer.line(made, mean, ink["text"], hover, facts, name=words("figures.overlap.mean_tokens"))
    made.update_yaxes(**style.layer_axis(layers, words))
    return made.update_xaxes(range=[0, 102], title={"text": words("figures.overlap.both_axis")})


def context_overlap(overlap: Statistic, words: Words, theme: Theme) -> go.Figure:
    """How far the experts of one word agree in two contexts, against those of two different words, by layer.

    Args:
        overlap: ``overlap.token_controlled_overlap``.
    """
    layers, ink = overlap.along("layer"), style.INK[theme]
    title, height = words("figures.overlap.context_title"), style.layers_height(len(layers), least=180)
    made = style.figure(title, style.sample(overlap, words), theme, height, below=2 * style.LEGEND_ROOM)
    if not overlap.n:
        return style.note(made, words("figures.overlap.no_pairs"), theme)
    chance = np.broadcast_to(np.asarray(overlap.chance), (len(layers),))
    for kind, colour, symbol in (("same", ink["text"], "circle"), ("different", ink["soft"], "diamond")):
        label = words(f"figures.overlap.{kind}")
        hover = words(
            "figures.overlap.context_hover",
            layer="%{customdata[0]}",
            pair=label,
            value="%{x:.3f}",
            chance="%{customdata[1]:.3f}",
        )
        values = overlap.values[0 if kind == "same" else 1]
        by_layer.line(made, values, colour, hover, [np.asarray(layers), chance], name=label, symbol=symbol)
    by_layer.ruler(made, chance, theme, name=words("figures.chance"))
    made.update_yaxes(**style.layer_axis(layers, words))
    return made.update_xaxes(range=[0, 1.02], title={"text": words("figures.overlap.jaccard")})


def same_word(
    gates: tuple[TokenGates, TokenGates], contexts: tuple[str, str], router: LayerSpec, words: Words, theme: Theme
) -> go.Figure:
    """One word in two contexts: the experts of a layer as a small grid for either, lit by gate weight, those that both
    use outlined.

    Args:
        gates: ``token_metrics.token_gates`` of the two tokens, of traces with the same routers.
        contexts: the text around each.
        router: of the layer shown.
    """
    position, experts = gates[0].layers.index(router.layer), router.num_experts
    used = [found.ids[position][found.ids[position] >= 0] for found in gates]
    shared = np.intersect1d(*used)
    union = len(np.union1d(*used))
    facts = [
        words("figures.overlap.of", shared=len(shared), k=max(map(len, used))),
        words("figures.overlap.index", value=style.number(len(shared) / union if union else np.nan, 2)),
        words("figures.overlap.by_chance", value=style.number(jaccard_by_chance(experts, router.top_k), 2)),
        words("figures.overlap.both"),
        words("figures.overlap.two_tokens"),
    ]
    columns = int(np.ceil(np.sqrt(experts)))
    lines = -(-experts // columns)
    title = words("figures.overlap.word_title", layer=router.layer)
    made = style.figure(title, " · ".join(facts), theme, 270, below=2 * style.BAR_ROOM)
    made.set_subplots(1, 2, horizontal_spacing=0.04)
    cell = style.INK["dark"]["cell"]
    weights = [None if found.weights is None else found.weights.values[position] for found in gates]
    even = np.array([float("nan") if found.weights is None else _chance(found, position) for found in gates])
    top = style.gate_top(even, np.concatenate([w[np.isfinite(w)] for w in weights if w is not None] or [np.ones(1)]))
    for column, (found, values, chosen) in enumerate(zip(gates, weights, used, strict=True), 1):
        place: dict[str, Any] = {"row": 1, "col": column}
        table, rank = np.full(lines * columns, np.nan), np.full(lines * columns, np.nan)
        table[chosen] = top if values is None else values[found.ids[position] >= 0]
        rank[chosen] = np.arange(1, len(chosen) + 1)
        ground = np.where(np.arange(lines * columns) < experts, 0.0, np.nan).reshape(lines, columns)
        names = np.arange(lines * columns).reshape(lines, columns)
        blank = {"z": ground, "colorscale": [[0, cell], [1, cell]], "showscale": False, "customdata": names}
        gaps: dict[str, Any] = {"xgap": 2, "ygap": 2, "hoverongaps": False}
        unlit = words("figures.overlap.unused", expert="%{customdata}") + "<extra></extra>"
        made.add_heatmap(**blank, **gaps, hovertemplate=unlit, **place)
        hover = words(
            "figures.overlap.word_hover" if values is not None else "figures.overlap.word_hover_ids",
            expert="%{customdata[0]}",
            weight="%{z:.3f}",
            rank="%{customdata[1]}",
            even=style.number(float(even[column - 1])),
        )
        made.add_heatmap(
            z=table.reshape(lines, columns),
            customdata=np.stack([names, rank.reshape(lines, columns)], -1),
            hovertemplate=hover + "<extra></extra>",
            colorscale=style.scale(style.GATE),
            zmin=0,
            zmax=top,
            showscale=column == 1 and values is not None,
            colorbar=style.colour_bar(words("figures.axis.gate"), theme, ypad=56),
            **gaps,
            **place,
        )
        made.add_scatter(
            x=chosen % columns,
            y=chosen // columns,
            text=chosen.astype(str),
            mode="text",
            textfont={
                "size": 10 if columns <= 12 else 7,
                "color": np.where(np.nan_to_num(table[chosen]) > 0.5 * top, "#10141c", "#ffffff").tolist(),
            },
            hoverinfo="skip",
            showlegend=False,
            **place,
        )
        for y, x in zip(*divmod(shared, columns), strict=True):
            corners = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            made.add_shape(type="rect", **corners, line={"color": "#ffffff", "width": 2}, **place)
    style.style_axes(made, theme)
    made.update_layout(plot_bgcolor=style.GATE_GROUND, margin={"l": 16})
    made.update_xaxes(showgrid=False, showticklabels=False, range=[-0.5, columns - 0.5])
    for column, text in enumerate(contexts, 1):
        made.update_xaxes(title={"text": "<br>".join(style.wrap(style.shown(text, 56), 28))}, col=column)
    return made.update_yaxes(showgrid=False, showticklabels=False, range=[lines - 0.5, -0.5])


def _chance(found: TokenGates, position: int) -> float:
    assert found.weights is not None
    return float(np.broadcast_to(np.asarray(found.weights.chance), found.weights.values.shape)[position, 0])
