"""How the routing of the same texts changed through training: from checkpoint to checkpoint, in the order of training.

Knows statistics by the name of the checkpoint. Does not know which checkpoints there are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.token_metrics import TokenGates
from analysis.words import Words

NAME_CHARS = 32  # of a checkpoint's name


def saturation(stages: Mapping[str, Statistic], last: str, words: Words, theme: Theme) -> go.Figure:
    """How much of the last checkpoint's routing each earlier one already had: a faint line a layer, their mean bold.

    Args:
        stages: name of each earlier checkpoint, in the order of training → ``overlap.saturation`` against the last.
        last: name of the last checkpoint.
    """
    found = list(stages.values())
    facts = [style.sample(found[0], words)] if found else []
    facts.append(words("figures.stages.last", last=style.shown(last)))
    made = _picture("saturation", facts, words, theme)
    shares = np.array([100 * s.values for s in found])
    if not np.isfinite(shares).any():
        return style.note(made, words("figures.stages.none"), theme)
    chance = np.array([100 * np.broadcast_to(np.asarray(s.chance), s.values.shape) for s in found])
    _lines(made, list(stages), found[0].along("layer"), shares, chance, "saturation_hover", words, theme)
    return made.update_yaxes(range=[0, 102], title={"text": words("figures.stages.saturation_axis")})


def balance(stages: Mapping[str, Statistic], words: Words, theme: Theme) -> go.Figure:
    """How unevenly each checkpoint loads its experts: a faint line a layer, their mean bold.

    Args:
        stages: name of each checkpoint, in the order of training → ``metrics.max_violation``.
    """
    found = list(stages.values())
    made = _picture("balance", [style.sample(found[0], words)] if found else [], words, theme)
    values = np.array([s.values for s in found])
    if not np.isfinite(values).any():
        return style.note(made, words("figures.no_rows"), theme)
    chance = np.array([np.broadcast_to(np.asarray(s.chance), s.values.shape) for s in found])
    _lines(made, list(stages), found[0].along("layer"), values, chance, "balance_hover", words, theme)
    return made.update_yaxes(rangemode="tozero", title={"text": words("figures.load.max_violation")})


def token_experts(stages: Mapping[str, TokenGates], layer: int, text: str, words: Words, theme: Theme) -> go.Figure:
    """One token through training: a line a checkpoint, a column an expert that any of them uses in one layer, lit by
    gate weight; the last checkpoint's experts stand first, by its gate weights.

    Args:
        stages: name of each checkpoint, in the order of training → ``token_metrics.token_gates`` of the token.
        layer: the model's number of the layer.
        text: the token's text.
    """
    gates = list(stages.values())
    position = gates[0].layers.index(layer)
    used = [[int(e) for e in found.ids[position] if e >= 0] for found in gates]
    columns = list(dict.fromkeys(expert for experts in reversed(used) for expert in experts))
    weights = np.full((len(gates), len(columns)), np.nan)
    ranks = np.zeros(weights.shape, int)
    for line, (found, experts) in enumerate(zip(gates, used, strict=True)):
        places = [columns.index(expert) for expert in experts]
        ranks[line, places] = np.arange(1, len(experts) + 1)
        weights[line, places] = 1.0 if found.weights is None else found.weights.values[position, : len(experts)]
    shared = [len(set(experts) & set(used[-1])) for experts in used]
    facts = [
        words("figures.stages.token_subtitle", token=gates[0].token, text=style.shown(text)),
        words("figures.stages.one_token"),
        words("figures.stages.line"),
    ]
    made = style.figure(
        words("figures.stages.token_title", layer=layer),
        " · ".join(facts),
        theme,
        36 * len(gates),
        below=style.BAR_ROOM + 48,
    )
    weighed = all(found.weights is not None for found in gates)
    even = [found.weights.chance for found in gates if found.weights is not None]
    top = style.gate_top(np.asarray(even, float)[:, position], weights) if even else 1.0
    made.add_heatmap(
        z=weights,
        x=[str(expert) for expert in columns],
        y=[_name(f"{name} · {n}/{len(used[-1])}", 18) for name, n in zip(stages, shared, strict=True)],
        customdata=ranks,
        hovertemplate=words(
            f"figures.stages.token_hover{'' if weighed else '_ids'}",
            stage="%{y}",
            expert="%{x}",
            weight="%{z:.3f}",
            rank="%{customdata}",
        )
        + "<extra></extra>",
        hoverongaps=False,
        colorscale=style.scale(style.GATE),
        zmin=0,
        zmax=top,
        showscale=weighed,
        xgap=1,
        ygap=2,
        colorbar=style.colour_bar(words("figures.axis.gate"), theme, ypad=54),
    )
    made.add_vline(x=len(used[-1]) - 0.5, line={"color": style.INK[theme]["text"], "width": 1.5})
    made.update_layout(plot_bgcolor=style.INK[theme]["cell"])
    made.update_yaxes(type="category", autorange="reversed", showgrid=False, automargin=True)
    return made.update_xaxes(
        type="category", showgrid=False, tickangle=-90, title={"text": words("figures.axis.expert")}
    )


def _picture(name: str, facts: list[str], words: Words, theme: Theme) -> go.Figure:
    title, below = words(f"figures.stages.{name}_title"), style.LEGEND_ROOM + 12
    return style.figure(title, " · ".join(facts), theme, 260, below=below).update_xaxes(type="category", showgrid=False)


def _name(text: str, width: int) -> str:
    """A checkpoint's name as it stands at an axis."""
    return "<br>".join(style.wrap(style.shown(text, NAME_CHARS), width))


def _lines(
    made: go.Figure,
    stages: list[str],
    layers: list[int],
    values: np.ndarray,
    chance: np.ndarray,
    hover: str,
    words: Words,
    theme: Theme,
) -> None:
    """``values`` and ``chance``, (stages, layers) each, along the stages."""
    ink, known = style.INK[theme], np.isfinite(values)
    names = [_name(name, 11) for name in stages]
    mean = np.divide(
        np.nansum(values, axis=1), known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1)
    )

    def said(where: str, by_chance: str) -> str:
        return words(f"figures.stages.{hover}", stage="%{x}", where=where, value="%{y:.3g}", chance=by_chance)

    for position, layer in enumerate(layers):
        made.add_scatter(
            x=names,
            y=values[:, position],
            customdata=chance[:, position],
            mode="lines",
            line={"color": style.mixed(ink["ground"], ink["soft"], 0.4), "width": 1},
            name=words("figures.stages.layers"),
            legendgroup="layers",
            showlegend=position == 0,
            hovertemplate=said(words("figures.layer", layer=layer), "%{customdata:.3g}") + "<extra></extra>",
        )
    made.add_scatter(
        x=names,
        y=mean,
        mode="lines+markers",
        line={"color": ink["text"], "width": 3},
        marker={"size": 8},
        name=words("figures.stages.mean"),
        hovertemplate=said(words("figures.stages.mean"), f"{np.nanmean(chance):.3g}") + "<extra></extra>",
    )
    style.level(made, float(np.nanmean(chance)), words("figures.chance"), theme)
