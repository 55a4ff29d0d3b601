"""The pictures of a report: each drawn in light and in dark, with what it shows in a sentence and a table behind it.

Knows which picture answers which question. Does not know how figures are drawn (``figures/``) or where they stand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.comparing import Comparison
from analysis.contrast import mean_load
from analysis.figures import contrast as contrast_figures
from analysis.figures import load as load_figures
from analysis.figures.style import Theme
from analysis.metrics import per_layer
from analysis.report_gather import Group
from analysis.report_html import Html, details, foreign, join, table, tag, text
from analysis.report_sections import Content, group_name, phase_name, plain, points
from analysis.statistic import Statistic
from analysis.words import Words

MOST = 20  # experts of the dumbbell
PHASES = ("prompt", "thinking", "answer")
MEASURES = {"max_violation": "maximal violation", "entropy": "load entropy", "gini": "Gini coefficient"}

Draw = Callable[[Theme], go.Figure]


@dataclass(frozen=True)
class Picture:
    """Attributes:
    name: its id in the page.
    heading: the question it answers.
    about: how to read it.
    draw: theme → figure.
    behind: the table with its numbers, or where they stand.
    """

    name: str
    heading: Any
    about: str
    draw: Draw
    behind: Html

    def in_page(self, words: Words) -> Html:
        save = tag("button", words("report.save"), type="button", data_save=self.name, hidden=True)
        label = re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", self.draw("light").layout.title.text or "")))
        plot = tag("div", id=self.name, class_="plot", role="img", aria_label=label.strip())
        return tag("figure", tag("h3", self.heading), tag("figcaption", self.about), plot, save, self.behind)

    def as_json(self) -> str:
        """The figure in both themes, as Plotly reads it."""
        return f'{{"light": {self.draw("light").to_json()}, "dark": {self.draw("dark").to_json()}}}'


def pictures(content: Content, words: Words) -> list[Picture]:
    """Those for which there is something to draw, in the order of the page."""
    made = _of_comparison(content.comparison, words) if content.comparison else []
    made += _loads(content, words)
    made += [p for i, group in enumerate(content.recorded.groups) for p in _of_group(content, group, i, words)]
    return made


def _of_comparison(found: Comparison, words: Words) -> list[Picture]:
    in_experts = tag("p", tag("a", words("report.numbers_experts"), href="#experts"))
    return [
        _picture("dumbbell", lambda t: contrast_figures.dumbbell(found, words, t, MOST), _largest(found, words), words),
        _picture("map", lambda t: contrast_figures.difference_map(found, words, t), in_experts, words),
        _picture("volcano", lambda t: contrast_figures.volcano(found, words, t), in_experts, words),
        _picture("js", lambda t: contrast_figures.group_js(found, words, t), _by_layer(found, words), words),
    ]


def _picture(name: str, draw: Draw, behind: Html, words: Words) -> Picture:
    return Picture(f"picture-{name}", words(f"report.picture.{name}"), words(f"report.about.{name}"), draw, behind)


def _behind(head: list[Any], rows: list[list[Any]], words: Words, caption: str, numbers: int = 1) -> Html:
    return details(words("report.numbers"), table(caption, head, rows, numbers))


def _largest(found: Comparison, words: Words) -> Html:
    c = found.contrast
    chosen = c.significant if c.significant.any() else c.tested
    order = np.argwhere(chosen)
    order = order[np.argsort(-np.abs(c.difference[chosen]), kind="stable")][:MOST]
    head = [words("report.layer"), words("report.expert"), *(foreign(name, 40) for name in found.plan.groups)]
    head += [words("report.difference"), words("report.interval", level=f"{100 * c.level:.5g}%"), "q"]
    rows = []
    for layer, expert in order:
        at = layer, expert
        shares = [f"{side[:, layer, expert].mean():.3%}" for side in (c.shares.first, c.shares.second)]
        reach = f"{points(float(c.low[at]))} … {points(float(c.high[at]))}"
        number = c.shares.spec.layer_numbers[layer]
        rows.append([number, int(expert), *shares, points(float(c.difference[at])), reach, f"{c.q[at]:.2g}"])
    return _behind(head, rows, words, words("report.picture.dumbbell"), 2)


def _by_layer(found: Comparison, words: Words) -> Html:
    c = found.contrast
    head = [words("report.layer"), words("figures.axis.js"), words("report.null_band"), words("report.p_layer")]
    head += [words("report.floor_of", group=name) for name in found.plan.groups]
    rows = []
    for i, layer in enumerate(c.shares.spec.layer_numbers):
        low, high = c.divergence.band[i]
        floors = ["–" if floor is None else f"{floor[i]:.4f}" for floor in c.floors]
        values = [f"{c.divergence.values[i]:.4f}", f"{low:.4f} … {high:.4f}", f"{c.p_layer[i]:.2g}", *floors]
        rows.append([layer, *values])
    return _behind(head, rows, words, words("report.picture.js"))


def _loads(content: Content, words: Words) -> list[Picture]:
    """The sorted loads of one layer: both sides of a comparison in one picture, else a picture a group."""
    found = content.comparison
    if found is not None:
        layer, shares = found.finding.layer, found.contrast.shares
        named = [(name, mean_load(shares, i, found.plan.phases[i])) for i, name in enumerate(found.plan.groups)]
        draw: Draw = lambda theme: contrast_figures.sorted_load(dict(named), words, theme, layer)  # noqa: E731
        return [_picture("load", draw, _sorted(named, layer, words), words)]
    sides = [(side, load) for side in content.sides if (load := side.group.load(side.phase)).n]
    made = []
    for i, (side, load) in enumerate(sides):
        layer = load.along("layer")[int(np.nanargmax(side.group.balance("maximal violation", side.phase).values))]
        heading = _named(words("report.picture.load"), side.group, content, words)
        behind = _sorted([(side.name or words("report.all_recordings"), load)], layer, words)
        draw = _drawn(load_figures.sorted_load, load, layer, words)
        made.append(Picture(f"picture-load-{i}", heading, words("report.about.load_one"), draw, behind))
    return made


def _drawn(figure: Callable[..., go.Figure], *values: Any) -> Draw:
    """A figure of these values, the theme still to come."""
    return lambda theme: figure(*values, theme)


def _sorted(loads: list[tuple[str, Statistic]], layer: int, words: Words) -> Html:
    head: list[Any] = [words("figures.axis.place")]
    columns = []
    for name, load in loads:
        shares = load.values[load.along("layer").index(layer)]
        order = np.argsort(-np.nan_to_num(shares, nan=-1), kind="stable")[: np.count_nonzero(np.isfinite(shares))]
        columns.append([(int(e), f"{shares[e]:.3%}") for e in order])
        head += [join([foreign(name, 40), f": {words('report.expert')}"]), words("report.share")]
    rows = [
        [place, *(cell for pair in line for cell in pair)] for place, line in enumerate(zip(*columns, strict=True), 1)
    ]
    return _behind(head, rows, words, words("report.sorted_table", layer=layer))


def _named(heading: str, group: Group, content: Content, words: Words) -> Html:
    """The heading, with whose it is where there are several."""
    if len(content.recorded.groups) == 1:
        return text(heading)
    return join([heading, " · ", group_name(group.name, words)])


def _of_group(content: Content, group: Group, number: int, words: Words) -> list[Picture]:
    phases = [phase for phase in PHASES if group.rows_in(phase)]
    if not phases:
        return []
    measures = {name: [group.balance(full, phase) for phase in phases] for name, full in MEASURES.items()}
    experts = [layer.num_experts for layer in group.spec.layers]
    heading = _named(words("report.picture.balance"), group, content, words)
    draw = _drawn(load_figures.balance, measures, experts, words)
    behind = _balance_table(measures, group, words)
    return [Picture(f"picture-balance-{number}", heading, words("report.about.balance"), draw, behind)]


def _balance_table(measures: dict[str, list[Statistic]], group: Group, words: Words) -> Html:
    scale = {"entropy": np.log(np.maximum(per_layer(group.spec, lambda layer: layer.num_experts), 2))}
    head, columns = [words("report.layer")], []
    for name, statistics in measures.items():
        for statistic in statistics:
            unit = scale.get(name, 1.0)
            values = np.stack(np.broadcast_arrays(statistic.values / unit, np.asarray(statistic.chance) / unit), -1)
            columns.append([f"{plain(v)} ({plain(by_chance)})" for v, by_chance in values])
            head.append(f"{words(f'figures.load.{name}')}, {phase_name(statistic.phase, words)}")
    rows = [[layer, *line] for layer, line in zip(group.spec.layer_numbers, zip(*columns, strict=True), strict=True)]
    return _behind(head, rows, words, words("report.balance_table"))
