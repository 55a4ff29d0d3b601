"""What experts are used for: domains against experts, and tokens whose word alone decides the expert.

Knows statistics of ``specialization`` and of ``counts``. These describe a sample; a test is in ``contrast``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from analysis.figures import ratio, style
from analysis.figures.style import Theme
from analysis.specialization import VocabularySpecialization
from analysis.statistic import Statistic
from analysis.words import Words


def domain_map(domains: Statistic, layer: int, words: Words, theme: Theme) -> go.Figure:
    """Domains × experts of one layer, coloured by the share of the domain's tokens that use the expert against chance.

    Args:
        domains: ``specialization.domain_specialization`` or ``counts.domain_specialization``.
        layer: the model's own layer number.
    """
    position, names = domains.along("layer").index(layer), domains.along("domain")
    chance = np.broadcast_to(np.asarray(domains.chance), domains.values.shape)[:, position]
    known = np.flatnonzero(np.isfinite(domains.values[:, position]).any(axis=0))
    facts = [words("figures.specialization.sample", sample=style.sample(domains, words))]
    if len(known):
        facts.append(words("figures.specialization.uniform", share=style.percent(float(chance[0, known[0]]))))
    title = words("figures.specialization.domain_title", layer=layer)
    height = int(min(900, max(120, 26 * len(names))))
    made = style.figure(title, " · ".join(facts), theme, height, below=style.BAR_ROOM)
    if not len(known):
        return style.note(made, words("figures.no_rows"), theme)
    labels = style.shown_apart([str(name) for name in names], 14)
    hover = words(
        "figures.specialization.domain_hover",
        layer=layer,
        expert="%{x}",
        domain="%{y}",
        share="%{customdata[0]:.3g} %",
        ratio="%{customdata[1]:.2f}",
        chance="%{customdata[2]:.3g} %",
    )
    values = 100 * domains.values[:, position, : known[-1] + 1]
    bar = words("figures.specialization.bar")
    ratio.heat(made, values, 100 * chance[:, : known[-1] + 1], hover, [], bar, theme, y=labels)
    made.update_layout(margin={"l": 92})
    made.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return made.update_xaxes(showgrid=False, title={"text": words("figures.axis.expert")})


def vocabulary(
    found: VocabularySpecialization,
    texts: Mapping[int, str],
    layer: int,
    words: Words,
    theme: Theme,
    minimum: int = 10,
    most: int = 20,
) -> go.Figure:
    """The tokens that go to one expert most, beyond what as few occurrences give by chance: one bar a token.

    Args:
        found: ``specialization.vocabulary_specialization``.
        texts: token id → its text.
        layer: the model's own layer number.
        minimum: occurrences below which a token is not shown.
        most: how many tokens at most.
    """
    share = found.share
    position = share.along("layer").index(layer)
    values, chance = share.values[:, position], np.asarray(share.chance)[:, position]
    known = np.flatnonzero(np.isfinite(values) & (found.occurrences >= minimum))
    order = known[np.argsort(-(values - chance)[known], kind="stable")][:most]
    facts = [style.sample(share, words), words("figures.specialization.minimum", n=minimum, tokens=len(known))]
    if len(order) < len(known):
        facts.append(words("figures.specialization.most", n=len(order)))
    title = words("figures.specialization.vocabulary_title", layer=layer)
    height = max(120, 19 * len(order))
    made = style.figure(title, " · ".join(facts), theme, height, below=2 * style.LEGEND_ROOM)
    if not len(order):
        return style.note(made, words("figures.specialization.too_rare", n=minimum), theme)
    ids, rows = share.along("token"), np.arange(len(order))
    ink, colour = style.INK[theme], style.phase_colour(share.phase, theme)
    labels = [f"{style.shown(texts.get(ids[i], f'#{ids[i]}'), 12)} · {found.occurrences[i]:,} ×" for i in order]
    experts = found.expert[order, position]
    made.add_bar(
        orientation="h",
        x=100 * values[order],
        y=rows,
        text=[words("figures.specialization.expert", expert=int(expert)) for expert in experts],
        textposition="inside",
        insidetextanchor="start",
        insidetextfont={"color": ink["text"]},
        customdata=np.stack([experts, found.occurrences[order], 100 * chance[order]], -1),
        marker={"color": style.mixed(ink["ground"], colour, 0.45), "line": {"width": 0}},
        name=words("figures.specialization.share"),
        hovertext=labels,
        hovertemplate=words(
            "figures.specialization.vocabulary_hover",
            token="%{hovertext}",
            layer=layer,
            expert="%{customdata[0]}",
            share="%{x:.3g} %",
            chance="%{customdata[2]:.3g} %",
        )
        + "<extra></extra>",
    )
    made.add_scatter(
        x=100 * chance[order],
        y=rows,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 13, "color": ink["text"], "line": {"width": 2.5}},
        name=words("figures.specialization.chance"),
        hoverinfo="skip",
    )
    made.update_layout(margin={"l": 140})
    made.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5], showgrid=False)
    return made.update_xaxes(range=[0, 100], title={"text": words("figures.specialization.share_axis")})
