"""Which experts of a layer are used by the same tokens. Knows the lift of ``coactivation``."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.clustering import leaf_order
from analysis.figures import ratio, style
from analysis.figures.style import Theme
from analysis.statistic import Statistic
from analysis.words import Words


def coactivation(lift: Statistic, layer: int, words: Words, theme: Theme) -> go.Figure:
    """Experts × experts of one layer by how many times as often as by chance they serve the same token; experts that
    go together stand together.

    Args:
        lift: ``coactivation.coactivation_lift``; experts below its minimum are left out.
        layer: the model's own layer number.
    """
    position = lift.along("layer").index(layer)
    table, chance = lift.values[position], float(np.asarray(lift.chance)[position, 0, 0])
    known = np.flatnonzero(np.isfinite(table).any(axis=1))
    facts = [style.sample(lift, words), words("figures.coactivation.kept", kept=len(known))]
    facts.append(words("figures.coactivation.chance", chance=style.number(chance)))
    title = words("figures.coactivation.title", layer=layer)
    made = style.figure(title, " · ".join(facts), theme, 440, below=style.BAR_ROOM)
    if len(known) < 2 or not chance > 0:
        return style.note(made, words("figures.coactivation.nothing"), theme)
    kept = table[np.ix_(known, known)]
    order = known[leaf_order(np.log2(np.nan_to_num(kept, nan=chance) + 0.25))]
    labels = [str(expert) for expert in order]
    hover = words(
        "figures.coactivation.hover",
        layer=layer,
        expert="%{y}",
        partner="%{x}",
        lift="%{customdata[0]:.2f}",
        chance=style.number(chance),
    )
    values, bar = table[np.ix_(order, order)], words("figures.coactivation.bar")
    ratio.heat(
        made, values, np.array(chance), hover, [], bar, theme, x=labels, y=labels, ygap=1 if len(order) <= 64 else 0
    )
    axis = {"type": "category", "showgrid": False, "nticks": 22, "tickangle": 0, "tickfont": {"size": 9}}
    made.update_xaxes(title={"text": words("figures.coactivation.axis")}, **axis)
    return made.update_yaxes(autorange="reversed", title={"text": words("figures.axis.expert")}, **axis)
