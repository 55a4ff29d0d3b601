"""How the load is spread: the map of all experts, one layer sorted, and balance by layer. Knows load statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.figures import by_layer, ratio, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def levels(load: Statistic) -> np.ndarray:
    """(L, E) log2(load / uniform share), cut to the ends of the scale, ±``style.LOAD_SPAN``; NaN for experts that a
    layer does not have."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log2(load.values / np.asarray(load.chance)), -style.LOAD_SPAN, style.LOAD_SPAN)


def load_map(load: Statistic, words: Words, theme: Theme, name: str = "", order: np.ndarray | None = None) -> go.Figure:
    """Layers × experts, coloured by load / uniform share on a log2 scale.

    Args:
        load: ``metrics.expert_load``.
        name: whose load it is, at the head of the title; "" where that is clear.
        order: (L, E) the expert at each place of a layer; None for the experts by their numbers.
    """
    title = words("figures.load.map_title")
    layers = load.along("layer")
    subtitle = f"{style.sample(load, words)} · {words('figures.load.uniform', share=uniform_share(load))}"
    height = style.layers_height(len(layers))
    made = style.figure(f"{name} · {title}" if name else title, subtitle, theme, height, below=style.BAR_ROOM)
    if not load.n or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    experts = np.broadcast_to(np.arange(load.values.shape[1]), load.values.shape) if order is None else order
    hover = words(
        "figures.load.map_hover",
        layer="%{customdata[3]}",
        expert="%{customdata[4]}",
        share="%{customdata[0]:.3g} %",
        ratio="%{customdata[1]:.2f}",
        chance="%{customdata[2]:.3g} %",
    )
    numbers, bar = np.array(layers)[:, None], words("figures.load.bar")
    shares = 100 * np.take_along_axis(load.values, experts, 1)
    ratio.heat(made, shares, 100 * np.asarray(load.chance), hover, [numbers, experts], bar, theme)
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    made.update_xaxes(showgrid=False, title={"text": words(f"figures.axis.{'expert' if order is None else 'place'}")})
    return made


def sorted_load(load: Statistic, layer: int, words: Words, theme: Theme, random: np.ndarray | None = None) -> go.Figure:
    """One layer's experts by falling load, with the uniform share.

    Args:
        load: ``metrics.expert_load``.
        layer: the model's own layer number.
        random: (E,) mean sorted load under uniform random routing of as many tokens, drawn as a second ruler.
    """
    title = words("figures.load.sorted_title", layer=layer)
    subtitle = f"{style.sample(load, words)} · {words('figures.load.uniform', share=uniform_share(load, layer))}"
    made = style.figure(title, subtitle, theme, 220, below=style.LEGEND_ROOM)
    position = load.along("layer").index(layer)
    shares = load.values[position]
    order = np.argsort(-np.nan_to_num(shares, nan=-1), kind="stable")[: np.count_nonzero(np.isfinite(shares))]
    if not load.n or not len(order):
        return style.note(made, words("figures.no_rows"), theme)
    chance = float(np.asarray(load.chance)[position, 0])
    places = np.arange(1, len(order) + 1)
    made.add_bar(
        x=places,
        y=100 * shares[order],
        customdata=np.stack([order, shares[order] / chance], -1),
        marker={"color": style.phase_colour(load.phase, theme), "line": {"width": 0}},
        name=words("figures.load.measured"),
        hovertemplate=words(
            "figures.load.sorted_hover",
            layer=layer,
            expert="%{customdata[0]}",
            share="%{y:.3g} %",
            ratio="%{customdata[1]:.2f}",
            chance=style.percent(chance),
        )
        + "<extra></extra>",
    )
    if random is not None:
        ink = style.INK[theme]
        rim = {"x": places, "y": 100 * random, "mode": "lines", "hoverinfo": "skip"}
        made.add_scatter(**rim, line={"color": ink["ground"], "width": 4}, showlegend=False)
        dots = {"color": ink["text"], "width": 2, "dash": "dot"}
        made.add_scatter(**rim, line=dots, name=words("figures.load.random"))
    style.level(made, 100 * chance, words("figures.load.uniform_line"), theme)
    made.update_xaxes(showgrid=False, title={"text": words("figures.axis.place")})
    made.update_yaxes(rangemode="tozero", title={"text": words("figures.axis.share")})
    return made


BALANCE = ("max_violation", "entropy", "gini")


def balance(
    measures: Mapping[str, Sequence[Statistic]], experts: Sequence[int], words: Words, theme: Theme
) -> go.Figure:
    """Balance by layer, a line a phase, each with the mean of uniform random routing of as many tokens, dotted.

    Args:
        measures: for each name of ``BALANCE`` its statistic in one phase or more; entropy in nats.
        experts: experts of each layer, to show the entropy as a share of ln E.
    """
    drawn = [s for s in measures[BALANCE[0]] if s.n]
    counts = ", ".join(f"{words(f'figures.phase.{s.phase}')} {s.n:,}" for s in drawn)
    subtitle = words("figures.load.balance_subtitle", counts=counts) if drawn else ""
    layers = measures[BALANCE[0]][0].along("layer") if measures[BALANCE[0]] else []
    made = style.figure(
        words("figures.load.balance_title"),
        subtitle,
        theme,
        style.layers_height(len(layers)) + 20,
        below=style.LEGEND_ROOM,
    )
    if not drawn or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    made.set_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.06)
    positions = np.arange(len(layers))
    for column, name in enumerate(BALANCE, 1):
        unit = np.log(np.maximum(experts, 2)) if name == "entropy" else 1.0
        label = words(f"figures.load.{name}")
        for statistic in measures[name]:
            if not statistic.n:
                continue
            phase, colour = (
                words(f"figures.phase.{statistic.phase}"),
                style.phase_colour(statistic.phase, theme),
            )
            chance = np.broadcast_to(np.asarray(statistic.chance), positions.shape)
            made.add_scatter(
                x=statistic.values / unit,
                y=positions,
                customdata=np.stack([np.asarray(layers), chance / unit], -1),
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 5},
                name=phase,
                legendgroup=statistic.phase,
                showlegend=column == 1,
                hovertemplate=words(
                    "figures.load.balance_hover",
                    phase=phase,
                    measure=label,
                    n=f"{statistic.n:,}",
                    layer="%{customdata[0]}",
                    value="%{x:.3g}",
                    chance="%{customdata[1]:.3g}",
                )
                + "<extra></extra>",
                row=1,
                col=column,
            )
            made.add_scatter(
                x=chance / unit,
                y=positions,
                mode="lines",
                line={"color": colour, "width": 1.5, "dash": "dot"},
                legendgroup=statistic.phase,
                showlegend=False,
                hoverinfo="skip",
                row=1,
                col=column,
            )
        made.update_xaxes(title={"text": label}, nticks=3, tickangle=0, row=1, col=column)
    return by_layer.share_axis(made, layers, words, theme)


def uniform_share(load: Statistic, layer: int | None = None) -> str:
    """ "1.56 %", or the range where layers differ."""
    chance = np.asarray(load.chance)[:, 0]
    if layer is not None:
        chance = chance[[load.along("layer").index(layer)]]
    if not len(chance):
        return "–"
    low, high = style.percent(float(chance.min())), style.percent(float(chance.max()))
    return low if low == high else f"{low} – {high}"
