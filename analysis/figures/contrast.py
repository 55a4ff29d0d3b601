"""A tested comparison of two groups of prompts: which experts differ, by how much, in which layers, how surely.

Knows ``Comparison``. Says n, the phase, the control and what may be significant at all on every picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from analysis.comparing import Comparison
from analysis.contrast import RATE
from analysis.figures import by_layer, style, tested
from analysis.figures.style import Theme
from analysis.metrics import absent_experts
from analysis.statistic import Statistic
from analysis.words import Words

_EACH = 19  # pixels for an expert


def dumbbell(comparison: Comparison, words: Words, theme: Theme, most: int = 20) -> go.Figure:
    """The experts that the groups use most differently: their mean shares, and the difference with its interval.

    Significant experts only, the largest difference first; where none is, the largest of those tested, and the
    subtitle says so.

    Args:
        most: how many experts at most.
    """
    c, (a, b) = comparison.contrast, tested.names(comparison, words)
    chosen = c.significant if c.significant.any() else c.tested
    order = np.argwhere(chosen)
    order = order[np.argsort(-np.abs(c.difference[chosen]), kind="stable")][: max(1, most)]
    facts = [tested.sample(comparison, words), tested.outcome(c, words)]
    if len(order) < np.count_nonzero(chosen):
        facts.append(words("figures.contrast.shown", n=len(order)))
    facts.append(words("figures.contrast.whiskers", level=tested.level(c)))
    title = words("figures.contrast.dumbbell_title", a=a, b=b)
    height = max(120, _EACH * len(order))
    made = style.figure(title, " · ".join(facts), theme, height, below=style.LEGEND_ROOM)
    if not len(order):
        return style.note(made, words("figures.contrast.nothing"), theme)
    made.set_subplots(1, 2, shared_yaxes=True, column_widths=[0.58, 0.42], horizontal_spacing=0.04)
    facts_of, ink, rows = tested.table(c)[tuple(order.T)], style.INK[theme], np.arange(len(order))
    numbers, experts, first, second, chance, difference, low, high, _ = facts_of.T
    hover = tested.hover(c, a, b, words)
    bars = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "line": {"color": ink["soft"], "width": 2}}
    made.add_scatter(x=_between(first, second), y=_between(rows, rows), **bars, row=1, col=1)
    for values, name, group, symbol in ((first, a, "a", "circle"), (second, b, "b", "diamond")):
        made.add_scatter(
            x=values,
            y=rows,
            customdata=facts_of,
            mode="markers",
            marker={"color": style.PAIR[theme][group], "size": 10, "symbol": symbol},
            name=name,
            hovertemplate=hover,
            row=1,
            col=1,
        )
    ticks = {"mode": "lines", "hoverinfo": "skip", "line": {"color": ink["soft"], "width": 1.5, "dash": "dash"}}
    edges = _between(rows - 0.5, rows + 0.5)
    chance_name = words("figures.contrast.chance")
    made.add_scatter(x=_between(chance, chance), y=edges, name=chance_name, **ticks, row=1, col=1)
    made.add_vline(x=0, line={"color": ink["soft"], "width": 1.5, "dash": "dash"}, row=1, col=2)
    made.add_scatter(
        x=difference,
        y=rows,
        customdata=facts_of,
        mode="markers",
        error_x={"symmetric": False, "array": high - difference, "arrayminus": difference - low, "thickness": 1.5},
        marker={"color": ink["text"], "size": 6},
        hovertemplate=hover,
        showlegend=False,
        row=1,
        col=2,
    )
    style.style_axes(made, theme)
    labels = [words("figures.contrast.row", layer=int(x), expert=int(y)) for x, y in zip(numbers, experts, strict=True)]
    made.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], showgrid=False)
    made.update_xaxes(rangemode="tozero", nticks=5, title={"text": words("figures.axis.share")}, col=1)
    made.update_xaxes(nticks=5, title={"text": words("figures.contrast.points")}, col=2)
    return made.update_layout(margin={"l": 68})


def difference_map(comparison: Comparison, words: Words, theme: Theme) -> go.Figure:
    """Layers × experts: the difference where it is significant, in the groups' colours; all other experts in grey."""
    c, (a, b) = comparison.contrast, tested.names(comparison, words)
    layers, present = c.shares.spec.layer_numbers, ~absent_experts(c.shares.spec)
    facts = [tested.sample(comparison, words), tested.outcome(c, words), words("figures.contrast.map_subtitle")]
    title = words("figures.contrast.map_title", a=a, b=b)
    made = style.figure(title, " · ".join(facts), theme, style.layers_height(len(layers)), below=style.BAR_ROOM)
    ink, points, shape = style.INK[theme], 100 * c.difference, c.difference.shape
    gaps = {"xgap": 1 if shape[1] <= 64 else 0, "ygap": 1, "hoverongaps": False}
    made.add_heatmap(
        z=np.where(present, c.tested, np.nan),
        customdata=tested.table(c).astype(np.float32),  # of every expert once: the coloured cells on top leave it seen
        hovertemplate=tested.hover(c, a, b, words),
        colorscale=style.scale([ink["cell"], style.mixed(ink["cell"], ink["soft"], 0.35)]),
        zmin=0,
        zmax=1,
        showscale=False,
        **gaps,
    )
    if c.significant.any():
        colours, ground = style.PAIR[theme], ink["ground"]
        faint = [style.mixed(ground, colours[group], 0.4) for group in ("b", "a")]
        top = float(np.abs(points[c.significant]).max())
        made.add_heatmap(
            z=np.where(c.significant, points, np.nan),
            colorscale=[[0, colours["b"]], [0.5, faint[0]], [0.5, faint[1]], [1, colours["a"]]],
            zmin=-top,
            zmax=top,
            colorbar=style.colour_bar(words("figures.compare.difference_bar", a=a, b=b), theme),
            hoverinfo="skip",
            **gaps,
        )
    made.update_yaxes(showgrid=False, **style.layer_axis(layers, words))
    made.update_xaxes(showgrid=False, range=[-0.5, shape[1] - 0.5], title={"text": words("figures.axis.expert")})
    return made


def volcano(comparison: Comparison, words: Words, theme: Theme) -> go.Figure:
    """Every tested expert: the difference against q, with the line of the false discovery rate and the least q that
    these prompts can give."""
    c, (a, b) = comparison.contrast, tested.names(comparison, words)
    facts = [tested.sample(comparison, words), tested.outcome(c, words)]
    if c.tested.any():
        facts.append(words("figures.contrast.together", n=c.fewest_visible, p=style.number(c.test.smallest_p, 2)))
    title = words("figures.contrast.volcano_title", a=a, b=b)
    made = style.figure(title, " · ".join(facts), theme, 280, below=style.LEGEND_ROOM)
    if not c.tested.any():
        return style.note(made, words("figures.contrast.nothing"), theme)
    facts_of, ink = tested.table(c)[c.tested], style.INK[theme]
    points, q, significant = facts_of[:, 5], facts_of[:, 8], c.significant[c.tested]
    for mask, colour, name, symbol in (
        (~significant, style.mixed(ink["ground"], ink["soft"], 0.5), words("figures.contrast.not_significant"), "x"),
        (significant & (points > 0), style.PAIR[theme]["a"], words("figures.contrast.more", group=a), "circle"),
        (significant & (points <= 0), style.PAIR[theme]["b"], words("figures.contrast.more", group=b), "diamond"),
    ):
        if mask.any():
            made.add_scatter(
                x=points[mask],
                y=q[mask],
                customdata=facts_of[mask],
                mode="markers",
                marker={"color": colour, "size": 7 if symbol != "x" else 5, "symbol": symbol},
                name=name,
                hovertemplate=tested.hover(c, a, b, words),
            )
    made.add_vline(x=0, line={"color": ink["grid"], "width": 1.5})
    style.level(made, RATE, words("figures.contrast.rate_line", rate=f"{RATE:.0%}"), theme, log=True, at=0)
    style.level(made, c.test.smallest_p, words("figures.contrast.least_line"), theme, dash="dot", log=True, at=0)
    least = min(float(q.min()), c.test.smallest_p, RATE / 2)
    made.update_yaxes(type="log", range=[0.1, np.log10(least) - 0.25], dtick=1, exponentformat="none")
    made.update_yaxes(title={"text": words("figures.contrast.q")})
    return made.update_xaxes(title={"text": words("figures.compare.difference_bar", a=a, b=b)})


def group_js(comparison: Comparison, words: Words, theme: Theme) -> go.Figure:
    """Divergence of the groups by layer, the middle 95% with labels permuted as a band, and each group's own floor
    (its answers to the same prompts with another seed) where it was recorded."""
    c, names = comparison.contrast, tested.names(comparison, words)
    layers, ink = c.shares.spec.layer_numbers, style.INK[theme]
    apart = int(np.count_nonzero(c.p_layer < RATE))
    facts = [tested.sample(comparison, words), words("figures.contrast.apart", n=apart, layers=len(layers))]
    if all(floor is None for floor in c.floors):
        facts.append(words("figures.contrast.no_floor"))
    height = style.layers_height(len(layers), least=180)
    title = words("figures.contrast.js_title", a=names[0], b=names[1])
    made = style.figure(title, " · ".join(facts), theme, height, below=2 * style.LEGEND_ROOM)
    low, high = c.divergence.band.T
    by_layer.band(made, low, high, ink["grid"], name=words("figures.contrast.band"))
    for floor, group, name in zip(c.floors, ("a", "b"), names, strict=True):
        if floor is not None:
            said = words("figures.contrast.floor", group=name)
            by_layer.ruler(made, floor, theme, colour=style.PAIR[theme][group], dash="dot", name=said)
    hover = words(
        "figures.contrast.js_hover",
        layer="%{customdata[0]}",
        value="%{x:.3g}",
        low="%{customdata[1]:.3g}",
        high="%{customdata[2]:.3g}",
        p="%{customdata[3]:.2g}",
    )
    shown = [np.array(layers), low, high, c.p_layer]
    by_layer.line(made, c.divergence.values, ink["text"], hover, shown, name=f"{names[0]} – {names[1]}")
    made.update_yaxes(**style.layer_axis(layers, words))
    return made.update_xaxes(rangemode="tozero", title={"text": words("figures.axis.js")})


def sorted_load(statistics: Mapping[str, Statistic], words: Words, theme: Theme, layer: int | None = None) -> go.Figure:
    """One layer's experts by falling load, a line a group, each in its own order, with the uniform share.

    Args:
        statistics: name of each of one or two groups → ``contrast.mean_load`` or ``metrics.expert_load``.
        layer: the model's own layer number; by default the first.
    """
    groups = dict(zip(style.shown_apart(list(statistics)), statistics.values(), strict=True))
    layers = next(iter(groups.values())).along("layer")
    number = layers[0] if layer is None and layers else layer
    facts = [f"{name}: {style.sample(statistic, words)}" for name, statistic in groups.items()]
    made = style.figure(
        words("figures.contrast.sorted_title", layer=number), " · ".join(facts), theme, 220, below=style.LEGEND_ROOM
    )
    if not layers or not any(statistic.n for statistic in groups.values()):
        return style.note(made, words("figures.no_rows"), theme)
    position, chance = layers.index(number), np.nan
    for (name, statistic), group in zip(groups.items(), "ab"[: len(groups)], strict=True):
        shares = statistic.values[position]
        order = np.argsort(-shares, kind="stable")[: np.count_nonzero(np.isfinite(shares))]
        chance = float(np.broadcast_to(np.asarray(statistic.chance), statistic.values.shape)[position, 0])
        made.add_scatter(
            x=np.arange(1, len(order) + 1),
            y=100 * shares[order],
            customdata=np.stack([order, shares[order] / chance], -1),
            mode="lines+markers",
            line={"color": style.PAIR[theme][group], "width": 2, "dash": "solid" if group == "a" else "dash"},
            marker={"size": 4, "symbol": "circle" if group == "a" else "diamond"},
            name=name,
            hovertemplate=f"{name}<br>"
            + words(
                "figures.load.sorted_hover",
                layer=number,
                expert="%{customdata[0]}",
                share="%{y:.3g} %",
                ratio="%{customdata[1]:.2f}",
                chance=style.percent(chance),
            )
            + "<extra></extra>",
        )
    style.level(made, 100 * chance, words("figures.load.uniform_line"), theme)
    made.update_xaxes(showgrid=False, title={"text": words("figures.axis.place")})
    return made.update_yaxes(rangemode="tozero", title={"text": words("figures.axis.share")})


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The ends of many separate lines in one trace: first, second, gap, first …"""
    return np.stack([first, second, np.full(len(first), np.nan)], -1).ravel()
