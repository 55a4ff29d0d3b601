"""One token: the experts it used, its router's probabilities, how sure the router was, and its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures import by_layer, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.token_metrics import TokenGates
from analysis.words import Words

MEASURES = ("entropy", "margin", "top_k_mass")


def gate_ladder(gates: TokenGates, text: str, phase: str, words: Words, theme: Theme) -> go.Figure:
    """A line a layer: the experts used by the token, the largest gate weight first.

    Args:
        gates: ``token_metrics.token_gates``.
        text: the token's text.
        phase: name of its phase.
    """
    layers, weights = gates.layers, gates.weights
    subtitle = _token(gates.token, text, phase, words)
    chance = None if weights is None else np.asarray(weights.chance)[:, 0]
    if chance is None:
        subtitle += f" · {words('figures.token.no_weights')}"
    elif np.isfinite(chance).all() and chance.min() == chance.max():
        subtitle += f" · {words('figures.gates.even', weight=style.number(float(chance[0])))}"
    each = 34 if len(layers) <= 16 else 18
    made = style.figure(
        words("figures.token.ladder_title"),
        subtitle,
        theme,
        max(80, each * len(layers)),
        below=style.BAR_ROOM if weights is not None else 0,
    )
    values = np.where(gates.ids < 0, np.nan, 0.0) if weights is None else weights.values
    labels = [
        ["" if e < 0 else _cell(int(e), None if weights is None else v, each) for e, v in zip(*line, strict=True)]
        for line in zip(gates.ids, values, strict=True)
    ]
    top = 1.0 if chance is None else style.gate_top(chance, values)
    key = "figures.token.ladder_hover" if weights is not None else "figures.token.ladder_hover_ids"
    made.add_heatmap(
        z=values,
        x=np.arange(1, values.shape[1] + 1),
        customdata=np.stack(
            [
                np.broadcast_to(np.asarray(layers)[:, None], values.shape),
                gates.ids,
                np.broadcast_to(np.nan if chance is None else chance[:, None], values.shape),
            ],
            -1,
        ),
        hovertemplate=words(
            key,
            layer="%{customdata[0]}",
            expert="%{customdata[1]}",
            weight="%{z:.3f}",
            rank="%{x}",
            even="%{customdata[2]:.3g}",
        )
        + "<extra></extra>",
        hoverongaps=False,
        colorscale=style.scale(style.GATE),
        zmin=0,
        zmax=top,
        showscale=weights is not None,
        xgap=2,
        ygap=2,
        colorbar=style.colour_bar(words("figures.axis.gate"), theme),
    )
    axis = "figures.axis.order" if weights is None else "figures.axis.rank"
    style.cell_text(made, np.arange(1, values.shape[1] + 1), values, labels, top)
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    made.update_xaxes(showgrid=False, dtick=1, title={"text": words(axis)})
    return made


def router_scores(
    scores: Statistic, used: Sequence[int], layer: int, token: int, text: str, words: Words, theme: Theme
) -> go.Figure:
    """The router's probabilities in one layer by falling size, the experts that were used in another colour.

    Args:
        scores: ``token_metrics.token_scores``.
        used: ids of the experts that were used.
    """
    values, experts = scores.values, len(scores.values)
    order = np.argsort(-values, kind="stable")
    most = max(64, 4 * len(used))
    places = np.flatnonzero((np.arange(experts) < most) | np.isin(order, list(used)))  # from 0
    kept, places = order[places], places + 1
    subtitle = _token(token, text, scores.phase, words)
    if len(kept) < experts:
        subtitle += f" · {words('figures.token.scores_cut', kept=len(kept), experts=experts)}"
    if scores.chance is not None:
        subtitle += f" · {words('figures.load.uniform', share=style.percent(float(scores.chance)))}"
    made = style.figure(words("figures.token.scores_title", layer=layer), subtitle, theme, 220, below=style.LEGEND_ROOM)
    chosen = np.isin(kept, list(used))
    colours = (style.GATE[5], style.PHASE[theme]["marker"])
    for mask, colour, name in zip((chosen, ~chosen), colours, ("used", "not_used"), strict=True):
        made.add_bar(
            x=places[mask],
            y=values[kept[mask]],
            customdata=kept[mask],
            marker={"color": colour, "line": {"width": 0}},
            name=words(f"figures.token.{name}"),
            hovertemplate=words(
                "figures.token.scores_hover",
                layer=layer,
                expert="%{customdata}",
                value="%{y:.3g}",
                place="%{x}",
                state=words(f"figures.token.{name}"),
                chance="–" if scores.chance is None else style.number(float(scores.chance)),
            )
            + "<extra></extra>",
        )
    if scores.chance is not None:
        style.level(made, float(scores.chance), words("figures.load.uniform_line"), theme)
    made.update_layout(barmode="overlay")
    made.update_xaxes(showgrid=False, title={"text": words("figures.axis.place")})
    made.update_yaxes(rangemode="tozero", title={"text": words(f"figures.axis.{scores.unit.replace(' ', '_')}")})
    return made


def uncertainty(
    one: Mapping[str, Statistic], many: Mapping[str, Statistic], token: int, text: str, words: Words, theme: Theme
) -> go.Figure:
    """Entropy, margin and top-k mass by layer: this token, and the tokens of its phase as a band.

    Args:
        one: ``token_metrics.uncertainty``.
        many: ``token_metrics.uncertainty_quantiles`` of the token's phase.
    """
    names = [name for name in MEASURES if name in one]
    first = one[names[0]]
    layers, phase = first.along("layer"), words(f"figures.phase.{first.phase}")
    subtitle = _token(token, text, first.phase, words)
    if many:
        subtitle += f" · {words('figures.token.band', phase=phase, n=f'{next(iter(many.values())).n:,}')}"
    made = style.figure(
        words("figures.token.uncertainty_title"),
        subtitle,
        theme,
        style.layers_height(len(layers)),
        below=2 * style.LEGEND_ROOM,
    )
    made.set_subplots(1, len(names), shared_yaxes=True, horizontal_spacing=0.06)
    ink, positions = style.INK[theme], np.arange(len(layers))
    for column, name in enumerate(names, 1):
        place: dict[str, Any] = {"row": 1, "col": column, "showlegend": column == 1}
        chance = np.broadcast_to(np.asarray(one[name].chance), positions.shape)
        if name in many:
            by_layer.band(
                made,
                many[name].values[:, 0],
                many[name].values[:, -1],
                ink["grid"],
                name=words("figures.token.band_name", phase=phase),
                legendgroup="band",
                **place,
            )
        no_preference = words("figures.token.no_preference")
        by_layer.ruler(made, chance, theme, name=no_preference, legendgroup="chance", **place)
        label = words(f"figures.token.{name}")
        hover = words(
            "figures.token.uncertainty_hover",
            measure=label,
            layer="%{customdata[0]}",
            value="%{x:.3g}",
            chance="%{customdata[1]:.3g}",
        )
        by_layer.line(
            made,
            one[name].values,
            style.phase_colour(first.phase, theme),
            hover,
            [np.asarray(layers), chance],
            name=words("figures.token.this"),
            legendgroup="token",
            **place,
        )
        made.update_xaxes(title={"text": label}, rangemode="tozero", nticks=3, tickangle=0, row=1, col=column)
    return by_layer.share_axis(made, layers, words, theme)


def layer_heatmap(
    heat: Statistic,
    texts: Sequence[str],
    phases: Sequence[str],
    token: int,
    layer: int,
    words: Words,
    theme: Theme,
) -> go.Figure:
    """Tokens × experts of one layer by gate weight, with one token's line marked.

    Args:
        heat: ``token_metrics.layer_heatmap``.
        texts, phases: of the tokens of ``heat``; the phase colours a bar beside the label.
        token: index of the token to mark.
    """
    tokens = heat.along("token")
    weighted = heat.unit != "used"
    subtitle = words("figures.token.heat_subtitle", n=heat.n, first=tokens[0], last=tokens[-1])
    even = float(heat.chance) if isinstance(heat.chance, float) and np.isfinite(heat.chance) else float("nan")
    if not weighted:
        subtitle += f" · {words('figures.token.no_weights')}"
    elif np.isfinite(even):
        subtitle += f" · {words('figures.gates.even', weight=style.number(even))}"
    made = style.figure(
        words("figures.token.heat_title", layer=layer),
        subtitle,
        theme,
        max(120, 13 * len(tokens)),
        below=style.BAR_ROOM if weighted else 0,
    )
    values = np.where(heat.values > 0, heat.values, np.nan)
    labels = [f"{index} {style.shown(text, 10)}" for index, text in zip(tokens, texts, strict=True)]
    made.add_heatmap(
        z=values,
        text=[[label] * values.shape[1] for label in labels],
        hovertemplate=words(
            "figures.token.heat_hover" if weighted else "figures.token.heat_hover_ids",
            layer=layer,
            token="%{text}",
            expert="%{x}",
            weight="%{z:.3f}",
            even=style.number(even),
        )
        + "<extra></extra>",
        hoverongaps=False,
        colorscale=style.scale(style.GATE),
        zmin=0,
        zmax=style.gate_top(np.array([even]), values) if weighted else 1,
        showscale=weighted,
        colorbar=style.colour_bar(words("figures.axis.gate"), theme),
    )
    if token in tokens:
        at = tokens.index(token)
        made.add_shape(
            type="rect",
            x0=-0.5,
            x1=values.shape[1] - 0.5,
            y0=at - 0.5,
            y1=at + 0.5,
            line={"color": "#ffffff", "width": 1.5},
        )
        labels[at] = f"<b>▸ {labels[at]}</b>"
    coloured = [
        f"{label} <span style='color:{style.phase_colour(phase, theme)}'>▌</span>"
        for label, phase in zip(labels, phases, strict=True)
    ]
    made.update_layout(plot_bgcolor=style.GATE_GROUND, margin={"l": 104})
    made.update_yaxes(
        showgrid=False,
        tickvals=list(range(len(tokens))),
        ticktext=coloured,
        tickfont={"size": 10},
        range=[len(tokens) - 0.5, -0.5],
    )
    made.update_xaxes(showgrid=False, range=[-0.5, values.shape[1] - 0.5], title={"text": words("figures.axis.expert")})
    return made


def _token(token: int, text: str, phase: str, words: Words) -> str:
    return words("figures.token.used_by", token=token, text=style.shown(text), phase=words(f"figures.phase.{phase}"))


def _cell(expert: int, weight: float | None, height: int) -> str:
    if weight is None or height < 30:
        return str(expert)
    return f"<b>{expert}</b><br>{weight:.2f}"
