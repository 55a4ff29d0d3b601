"""What an edit of the routing changed: by layer, in the load of the experts it names, and in ln p of the text.

The edit has the colour of A, its random controls that of B; without the edit is ink. Knows statistics of ``edited``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.figures import style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words

MOST_EXPERTS = 24


def by_layer(
    name: str,
    edit: Statistic,
    controls: Sequence[Statistic],
    noise: Statistic | None,
    touched: Collection[int],
    words: Words,
    theme: Theme,
) -> go.Figure:
    """One measure by layer: the edit, its controls, and what a second reading without an edit gives.

    Args:
        name: "changed" (``sets_changed``, drawn in per cent) or "moved" (``load_moved``).
        touched: the numbers of the layers that the edit names, drawn as diamonds.
    """
    layers, factor = edit.along("layer"), 100.0 if name == "changed" else 1.0
    made = style.figure(
        words(f"figures.edited.{name}_title"),
        f"{style.sample(edit, words)} · {words('figures.edited.same_text')} · {_controls(controls, words)}",
        theme,
        style.layers_height(len(layers), least=180),
        below=3 * style.LEGEND_ROOM,
    )
    if not edit.n or not layers:
        return style.note(made, words("figures.no_rows"), theme)
    colours, ink, positions = style.PAIR[theme], style.INK[theme], np.arange(len(layers))
    if noise is not None and noise.n:
        made.add_scatter(
            x=factor * noise.values,
            y=positions,
            mode="lines",
            line={"color": ink["soft"], "width": 1.5, "dash": "dot"},
            name=words("figures.edited.noise"),
            hoverinfo="skip",
        )
    for number, control in enumerate(controls, 1):
        made.add_scatter(
            x=factor * control.values,
            y=positions,
            customdata=np.asarray(layers)[:, None],
            mode="lines+markers",
            line={"color": colours["b"], "width": 1.5},
            marker={"size": 4},
            name=words("figures.edited.controls"),
            legendgroup="controls",
            showlegend=number == 1,
            hovertemplate=_hover(name, words("figures.edited.control", n=number), words),
        )
    made.add_scatter(
        x=factor * edit.values,
        y=positions,
        customdata=np.asarray(layers)[:, None],
        mode="lines+markers",
        line={"color": colours["a"], "width": 2},
        marker={
            "size": [10 if layer in touched else 6 for layer in layers],
            "symbol": ["diamond" if layer in touched else "circle" for layer in layers],
        },
        cliponaxis=False,
        name=words("figures.edited.edit"),
        hovertemplate=_hover(name, words("figures.edited.edit"), words),
    )
    made.update_yaxes(**style.layer_axis(layers, words))
    largest = [100.0] if name == "changed" else [np.nanmax(one.values) for one in (edit, *controls)]
    reach = max(float(max(largest)), 1e-6)  # a little room, so that a mark at 0 does not lie on the layer's number
    made.update_xaxes(range=[-0.03 * reach, 1.05 * reach], title={"text": words(f"figures.edited.{name}_axis")})
    return made


def touched(edit: Statistic, controls: Sequence[Statistic], words: Words, theme: Theme) -> go.Figure:
    """Load of each expert that is named, without the edit (ring) and under it (dot), with its layer's uniform share.

    Args:
        edit, controls: ``touched_load`` of the experts that the edit names, and of those that each control names. The
            edit's come first; ``MOST_EXPERTS`` are drawn.
    """
    rows = [(edit, i, "a") for i in range(len(edit.along("expert")))]
    rows += [(control, i, "b") for control in controls for i in range(len(control.along("expert")))]
    drawn = rows[:MOST_EXPERTS]
    cut = words("figures.edited.cut", drawn=len(drawn), all=len(rows)) if len(rows) > len(drawn) else ""
    facts = (style.sample(edit, words), words("figures.edited.same_text"), _controls(controls, words), cut)
    made = style.figure(
        words("figures.edited.touched_title"),
        " · ".join(fact for fact in facts if fact),
        theme,
        max(120, 20 * len(drawn)),
        below=2 * style.LEGEND_ROOM,
    )
    if not edit.n or not drawn:
        return style.note(made, words("figures.no_rows"), theme)
    colours, ink, places = style.PAIR[theme], style.INK[theme], np.arange(len(drawn))
    names = [
        words("figures.edited.expert", layer=s.along("expert")[i][0], expert=s.along("expert")[i][1])
        for s, i, _ in drawn
    ]
    shares = 100 * np.array([s.values[i] for s, i, _ in drawn])
    uniform = 100 * np.array([np.asarray(s.chance)[i, 0] for s, i, _ in drawn])
    for place, (before, after) in enumerate(shares):
        made.add_scatter(
            x=[before, after],
            y=[place, place],
            mode="lines",
            line={"color": colours[drawn[place][2]], "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    made.add_scatter(
        x=uniform,
        y=places,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": ink["soft"], "line": {"width": 2, "color": ink["soft"]}},
        name=words("figures.load.uniform_line"),
        hoverinfo="skip",
    )
    made.add_scatter(
        x=shares[:, 0],
        y=places,
        mode="markers",
        marker={"symbol": "circle-open", "size": 9, "color": ink["text"], "line": {"width": 2}},
        cliponaxis=False,
        name=words("figures.edited.before"),
        hoverinfo="skip",
    )
    for side in ("a", "b"):
        mine = [i for i, row in enumerate(drawn) if row[2] == side]
        if not mine:
            continue
        made.add_scatter(
            x=shares[mine, 1],
            y=places[mine],
            customdata=np.stack([shares[mine, 0], uniform[mine]], -1),
            text=[names[i] for i in mine],
            mode="markers",
            marker={"size": 9, "color": colours[side]},
            cliponaxis=False,
            name=words("figures.edited.edit" if side == "a" else "figures.edited.controls"),
            hovertemplate=words(
                "figures.edited.touched_hover",
                expert="%{text}",
                before="%{customdata[0]:.3g} %",
                after="%{x:.3g} %",
                chance="%{customdata[1]:.3g} %",
            )
            + "<extra></extra>",
        )
    made.update_yaxes(
        tickvals=places.tolist(), ticktext=names, range=[len(drawn) - 0.5, -0.5], showgrid=False, automargin=True
    )
    reach = float(np.nanmax([shares.max(), uniform.max()]))
    made.update_xaxes(range=[-0.03 * reach, 1.05 * reach], title={"text": words("figures.axis.share")})
    return made


def log_prob(edit: Statistic, controls: Sequence[Statistic], words: Words, theme: Theme) -> go.Figure:
    """Mean change of ln p per token of the answer that was given without the edit: a bar each, 0 = no change."""
    made = style.figure(
        words("figures.edited.log_prob_title"),
        f"{style.sample(edit, words)} · {words('figures.edited.unedited_answer')} · {_controls(controls, words)}",
        theme,
        40 + 26 * (1 + len(controls)),
        below=0,
    )
    if not edit.n:
        return style.note(made, words("figures.edited.no_drawn"), theme)
    bars = [(words("figures.edited.edit"), edit, "a")]
    bars += [(words("figures.edited.control", n=i), control, "b") for i, control in enumerate(controls, 1)]
    values = np.array([float(statistic.values) for _, statistic, _ in bars])
    made.add_bar(
        x=values,
        y=[name for name, _, _ in bars],
        customdata=np.exp(values),
        orientation="h",
        marker={"color": [style.PAIR[theme][side] for _, _, side in bars], "line": {"width": 0}},
        text=[signed(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate=words("figures.edited.log_prob_hover", name="%{y}", value="%{x:+.4f}", factor="%{customdata:.3g}")
        + "<extra></extra>",
        showlegend=False,
    )
    ink, reach = style.INK[theme], 1.35 * max(float(np.nanmax(np.abs(values))), 0.01)
    made.add_vline(x=0, line={"color": ink["soft"], "width": 1.5, "dash": "dash"})
    made.update_xaxes(
        title={"text": words("figures.edited.log_prob_axis")},
        range=[-reach if values.min() < 0 else -0.2 * reach, reach if values.max() > 0 else 0.2 * reach],
    )
    made.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    return made.update_layout(bargap=0.35)


def signed(value: float, digits: int = 3) -> str:
    """A change for people, with its sign; one too small for the digits is 0."""
    shown = f"{value:+.{digits}f}".replace("-", "−")
    return shown if float(f"{value:.{digits}f}") else f"{0:.{digits}f}"


def _controls(controls: Sequence[Statistic], words: Words) -> str:
    return words("figures.edited.n_controls", n=len(controls)) if controls else words("figures.edited.no_controls")


def _hover(name: str, who: str, words: Words) -> str:
    key = f"figures.edited.{name}_hover"
    return words(key, who=who, layer="%{customdata[0]}", value="%{x:.3g}") + "<extra></extra>"
