"""The pictures of a report: each drawn in light and in dark, with what it shows in a sentence and a table behind it.

Knows which picture answers which question. Does not know how figures are drawn (``figures/``) or where they stand.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis import report_tables as tables
from analysis.comparing import Comparison
from analysis.contrast import mean_load
from analysis.figures import coactivation as coactivation_figures
from analysis.figures import confidence as confidence_figures
from analysis.figures import contrast as contrast_figures
from analysis.figures import load as load_figures
from analysis.figures.control import myth_or_effect
from analysis.figures.style import Theme
from analysis.recordings import Entry
from analysis.report_gather import PAIR_TOKENS, Group, pair_lift
from analysis.report_html import Html, join, tag, text
from analysis.report_sample import MOST as MOST_ROWS
from analysis.report_sections import Content, group_name
from analysis.words import Words

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


def pictures(content: Content, entries: Sequence[Entry], words: Words) -> list[Picture]:
    """Those for which there is something to draw, in the order of the page."""
    made = _of_comparison(content.comparison, words) if content.comparison else []
    made += _loads(content, words)
    groups = list(enumerate(content.recorded.groups))
    made += [p for i, group in groups if (p := _balance(content, group, i, words))]
    made += [p for i, group in groups if (p := _confidence(content, group, i, words))]
    return made + _pairs(content, entries, words)


def _of_comparison(found: Comparison, words: Words) -> list[Picture]:
    in_experts = tag("p", tag("a", words("report.numbers_experts"), href="#experts"))
    made = [
        _picture(
            "dumbbell",
            lambda t: contrast_figures.dumbbell(found, words, t, tables.MOST),
            tables.largest(found, words),
            words,
        ),
        _picture("map", lambda t: contrast_figures.difference_map(found, words, t), in_experts, words),
        _picture("volcano", lambda t: contrast_figures.volcano(found, words, t), in_experts, words),
        _picture("js", lambda t: contrast_figures.group_js(found, words, t), tables.by_layer(found, words), words),
    ]
    if found.plain is not None and found.plain.significant.any():
        behind = tables.controlled(found, found.plain, words)
        made.insert(1, _picture("control", lambda t: myth_or_effect(found, words, t, tables.MOST), behind, words))
    return made


def _picture(name: str, draw: Draw, behind: Html, words: Words) -> Picture:
    return Picture(f"picture-{name}", words(f"report.picture.{name}"), words(f"report.about.{name}"), draw, behind)


def _loads(content: Content, words: Words) -> list[Picture]:
    """The sorted loads of one layer: both sides of a comparison in one picture, else a picture a group."""
    found = content.comparison
    if found is not None:
        layer, shares = found.finding.layer, found.contrast.shares
        named = [(name, mean_load(shares, i, found.plan.phases[i])) for i, name in enumerate(found.plan.groups)]
        draw: Draw = lambda theme: contrast_figures.sorted_load(dict(named), words, theme, layer)  # noqa: E731
        return [_picture("load", draw, tables.sorted_load(named, layer, words), words)]
    sides = [(side, load) for side in content.sides if (load := side.group.load(side.phase)).n]
    made = []
    for i, (side, load) in enumerate(sides):
        layer = _least_even(side.group, side.phase)
        heading = _named(words("report.picture.load"), side.group, content, words)
        behind = tables.sorted_load([(side.name or words("report.all_recordings"), load)], layer, words)
        draw = _drawn(load_figures.sorted_load, load, layer, words)
        made.append(Picture(f"picture-load-{i}", heading, words("report.about.load_one"), draw, behind))
    return made


def _drawn(figure: Callable[..., go.Figure], *values: Any) -> Draw:
    """A figure of these values, the theme still to come."""
    return lambda theme: figure(*values, theme)


def _named(heading: str, group: Group, content: Content, words: Words) -> Html:
    """The heading, with whose it is where there are several."""
    if len(content.recorded.groups) == 1:
        return text(heading)
    return join([heading, " · ", group_name(group.name, words)])


def _balance(content: Content, group: Group, number: int, words: Words) -> Picture | None:
    phases = [phase for phase in PHASES if group.rows_in(phase)]
    if not phases:
        return None
    measures = {name: [group.balance(full, phase) for phase in phases] for name, full in MEASURES.items()}
    experts = [layer.num_experts for layer in group.spec.layers]
    heading = _named(words("report.picture.balance"), group, content, words)
    draw = _drawn(load_figures.balance, measures, experts, words)
    behind = tables.balance(measures, group, words)
    return Picture(f"picture-balance-{number}", heading, words("report.about.balance"), draw, behind)


def _confidence(content: Content, group: Group, number: int, words: Words) -> Picture | None:
    """None where the engine recorded no summaries."""
    found = [q for phase in PHASES if (q := group.summaries[phase].quantiles(group.spec))]
    if not found:
        return None
    behind = tables.confidence(found, group, words)
    about = words("report.about.confidence")
    if any(group.summaries[phase].seen > MOST_ROWS for phase in PHASES):
        about += " " + words("report.about.sampled", n=f"{MOST_ROWS:,}")
    heading = _named(words("report.picture.confidence"), group, content, words)
    draw = _drawn(confidence_figures.confidence_bands, found, words)
    return Picture(f"picture-confidence-{number}", heading, about, draw, behind)


def _pairs(content: Content, entries: Sequence[Entry], words: Words) -> list[Picture]:
    """The lift of one layer's pairs, a picture a side: the layer of the largest difference, else the least even one."""
    made = []
    for i, side in enumerate(content.sides):
        if not side.group.rows_in(side.phase):
            continue
        layer = content.comparison.finding.layer if content.comparison else _least_even(side.group, side.phase)
        lift = pair_lift(entries, content.by, side.group.name, side.phase, layer)
        behind = tables.pairs(lift, layer, words)
        heading = join([words("report.picture.pairs"), " · ", group_name(side.name, words)])
        about = words("report.about.pairs", least=PAIR_TOKENS)
        draw = _drawn(coactivation_figures.coactivation, lift, layer, words)
        made.append(Picture(f"picture-pairs-{i}", heading, about, draw, behind))
    return made


def _least_even(group: Group, phase: str) -> int:
    """The model's number of the layer with the largest MaxVio."""
    violation = group.balance("maximal violation", phase)
    return int(violation.along("layer")[int(np.nanargmax(violation.values))])
