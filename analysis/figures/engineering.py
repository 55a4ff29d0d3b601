"""What to prune and where to place: frequency against saliency, and the load of devices under a placement.

Knows statistics of ``output_metrics`` and ``placement``.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.figures import ratio, style
from analysis.figures.style import Theme
from analysis.output_metrics import are_super
from analysis.statistic import Statistic
from analysis.words import Words


def saliency_scatter(
    load: Statistic, saliency: Statistic | None, maxima: Statistic | None, words: Words, theme: Theme
) -> go.Figure:
    """Every expert by how often it is used and by how much it then adds; super experts are starred.

    Rarely used and adding little: what pruning takes first. Rarely used and adding much: what pruning by frequency
    would lose.

    Args:
        load: ``metrics.expert_load``.
        saliency, maxima: ``output_metrics.saliency`` and ``.super_experts``; None where outputs were not measured.
    """
    layers, shape = load.along("layer"), load.values.shape
    chance = np.broadcast_to(np.asarray(load.chance), shape)
    values = np.full(shape, np.nan) if saliency is None else saliency.values
    with np.errstate(invalid="ignore"):
        times = load.values / chance
    known = np.isfinite(values) & (times > 0)
    beyond = np.zeros(shape, bool) if maxima is None else are_super(maxima) & known
    facts = [style.sample(load, words), words("figures.engineering.experts", n=f"{np.count_nonzero(known):,}")]
    if maxima is not None:
        facts.append(words("figures.engineering.super_count", n=np.count_nonzero(beyond)))
    title = words("figures.engineering.saliency_title")
    made = style.figure(title, " · ".join(facts), theme, 320, below=style.LEGEND_ROOM)
    if not known.any():
        return style.note(made, words("figures.engineering.no_outputs"), theme)
    largest = np.full(shape, np.nan) if maxima is None else maxima.values
    numbers, experts = np.broadcast_to(np.array(layers)[:, None], shape), np.broadcast_to(np.arange(shape[1]), shape)
    facts_of = np.stack([numbers, experts, 100 * load.values, 100 * chance, largest], -1)
    ink = style.INK[theme]
    for mask, name, marker in (
        (known & ~beyond, "expert", {"color": style.faint(ink["group"], 0.45), "size": 6}),
        (beyond, "super", {"color": ink["text"], "size": 14, "symbol": "star"}),
    ):
        if mask.any():
            label = words(f"figures.engineering.{name}")
            made.add_scatter(
                x=times[mask],
                y=values[mask],
                customdata=facts_of[mask],
                mode="markers",
                marker=marker,
                name=label,
                hovertemplate=words(
                    f"figures.engineering.saliency_hover{'' if maxima is None else '_largest'}",
                    kind=label,
                    layer="%{customdata[0]}",
                    expert="%{customdata[1]}",
                    share="%{customdata[2]:.3g} %",
                    ratio="%{x:.2f}",
                    chance="%{customdata[3]:.3g} %",
                    value="%{y:.3g}",
                    largest="%{customdata[4]:.3g}",
                )
                + "<extra></extra>",
            )
    made.add_vline(x=1, line={"color": ink["soft"], "width": 1.5, "dash": "dash"})
    made.add_annotation(
        x=0,
        y=1,
        yref="y domain",
        text=words("figures.load.uniform_line"),
        showarrow=False,
        xanchor="left",
        yanchor="top",
        font={"size": 11, "color": ink["soft"]},
    )
    ticks = [2.0**power for power in range(-8, 9)]
    made.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" if t >= 1 else f"1/{1 / t:g}" for t in ticks])
    made.update_xaxes(title={"text": words("figures.load.bar")})
    ticks = [digit * 10.0**power for power in range(-8, 9) for digit in (1, 3)]
    made.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    return made.update_yaxes(title={"text": words("figures.engineering.saliency")})


def device_load(load: Statistic, imbalance: Statistic, words: Words, theme: Theme) -> go.Figure:
    """Layers × devices by work against an equal share, and how much longer each layer waits for its fullest device.

    Args:
        load, imbalance: ``placement.device_load`` and ``placement.device_imbalance`` of one placement.
    """
    layers, devices = load.along("layer"), load.values.shape[1]
    facts = [style.sample(load, words), words("figures.engineering.devices", n=devices)]
    title = words("figures.engineering.device_title")
    height = style.layers_height(len(layers))
    made = style.figure(title, " · ".join(facts), theme, height, below=style.BAR_ROOM + style.LEGEND_ROOM)
    if not load.n or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    made.set_subplots(1, 2, shared_yaxes=True, column_widths=[0.62, 0.38], horizontal_spacing=0.04)
    hover = words(
        "figures.engineering.device_hover",
        layer="%{customdata[3]}",
        device="%{x}",
        share="%{customdata[0]:.3g} %",
        ratio="%{customdata[1]:.2f}",
        chance="%{customdata[2]:.3g} %",
    )
    chance, numbers = 100 * np.asarray(load.chance), np.array(layers)[:, None]
    place = {"row": 1, "col": 1}
    ratio.heat(
        made, 100 * load.values, chance, hover, [numbers], words("figures.engineering.device_bar"), theme, **place
    )
    rows, drawn, ink = np.arange(len(layers)), np.asarray(imbalance.chance), style.INK[theme]
    made.add_bar(
        orientation="h",
        x=imbalance.values,
        y=rows,
        customdata=np.stack([np.asarray(layers), drawn], -1),
        marker={"color": style.mixed(ink["ground"], style.phase_colour(load.phase, theme), 0.45), "line": {"width": 0}},
        name=words("figures.load.measured"),
        showlegend=False,
        hovertemplate=words(
            "figures.engineering.imbalance_hover",
            layer="%{customdata[0]}",
            value="%{x:.2f}",
            chance="%{customdata[1]:.2f}",
        )
        + "<extra></extra>",
        row=1,
        col=2,
    )
    made.add_scatter(
        x=drawn,
        y=rows,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": ink["text"], "line": {"width": 2.5}},
        name=words("figures.load.random"),
        hoverinfo="skip",
        row=1,
        col=2,
    )
    style.style_axes(made, theme)
    made.update_yaxes(**{**style.layer_axis(layers, words), "title": {"text": ""}}, showgrid=False)
    made.update_yaxes(title={"text": words("figures.axis.layer")}, col=1)
    made.update_xaxes(showgrid=False, nticks=9, title={"text": words("figures.engineering.device")}, col=1)
    return made.update_xaxes(
        rangemode="tozero", nticks=5, title={"text": words("figures.engineering.imbalance")}, col=2
    )
