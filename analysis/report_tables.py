"""The tables behind a report's pictures. Knows what each picture draws; does not draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.comparing import Comparison
from analysis.contrast import Contrast
from analysis.figures import confidence as confidence_figures
from analysis.metrics import per_layer
from analysis.report_gather import Group
from analysis.report_html import Html, details, foreign, join, table
from analysis.report_sections import phase_name, plain, points
from analysis.statistic import Statistic
from analysis.words import Words

MOST = 20  # experts of the dumbbell
PAIRS_SHOWN = 50


def behind_picture(head: list[Any], rows: list[list[Any]], words: Words, caption: str, numbers: int = 1) -> Html:
    """A table that opens on demand."""
    return details(words("report.numbers"), table(caption, head, rows, numbers))


def _order(c: Contrast) -> np.ndarray:
    """(n, 2) layer and expert of the largest significant differences; of all tested where none is."""
    chosen = c.significant if c.significant.any() else c.tested
    order = np.argwhere(chosen)
    return order[np.argsort(-np.abs(c.difference[chosen]), kind="stable")][:MOST]


def controlled(found: Comparison, free: Contrast, words: Words) -> Html:
    """The largest differences of ``free``, the contrast without a control, beside those under it."""
    c = found.contrast
    head = [
        words("report.layer"),
        words("report.expert"),
        words("report.without_control"),
        words("report.with_control"),
    ]
    head += [words("report.interval", level=f"{100 * c.level:.5g}%"), "q"]
    rows = []
    for layer, expert in _order(free):
        at = layer, expert
        reach = f"{points(float(c.low[at]))} … {points(float(c.high[at]))}" if c.tested[at] else "–"
        number, q = c.shares.spec.layer_numbers[layer], f"{c.q[at]:.2g}" if c.tested[at] else "–"
        differences = [points(float(each.difference[at])) for each in (free, c)]
        rows.append([number, int(expert), *differences, reach, q])
    return behind_picture(head, rows, words, words("report.picture.control"), 2)


def largest(found: Comparison, words: Words) -> Html:
    """The experts of the dumbbell."""
    c = found.contrast
    head = [words("report.layer"), words("report.expert"), *(foreign(name, 40) for name in found.plan.groups)]
    head += [words("report.difference"), words("report.interval", level=f"{100 * c.level:.5g}%"), "q"]
    rows = []
    for layer, expert in _order(c):
        at = layer, expert
        shares = [f"{side[:, layer, expert].mean():.3%}" for side in (c.shares.first, c.shares.second)]
        reach = f"{points(float(c.low[at]))} … {points(float(c.high[at]))}"
        number = c.shares.spec.layer_numbers[layer]
        rows.append([number, int(expert), *shares, points(float(c.difference[at])), reach, f"{c.q[at]:.2g}"])
    return behind_picture(head, rows, words, words("report.picture.dumbbell"), 2)


def by_layer(found: Comparison, words: Words) -> Html:
    """Divergence, null band, p and floors of each layer."""
    c = found.contrast
    head = [words("report.layer"), words("figures.axis.js"), words("report.null_band"), words("report.p_layer")]
    head += [words("report.floor_of", group=name) for name in found.plan.groups]
    rows = []
    for i, layer in enumerate(c.shares.spec.layer_numbers):
        low, high = c.divergence.band[i]
        floors = ["–" if floor is None else f"{floor[i]:.4f}" for floor in c.floors]
        values = [f"{c.divergence.values[i]:.4f}", f"{low:.4f} … {high:.4f}", f"{c.p_layer[i]:.2g}", *floors]
        rows.append([layer, *values])
    return behind_picture(head, rows, words, words("report.picture.js"))


def sorted_load(loads: list[tuple[str, Statistic]], layer: int, words: Words) -> Html:
    """One layer\'s experts of each group by falling load."""
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
    return behind_picture(head, rows, words, words("report.sorted_table", layer=layer))


def balance(measures: dict[str, list[Statistic]], group: Group, words: Words) -> Html:
    """Measures by layer and phase, each with what random routing would give."""
    scale = {"entropy": np.log(np.maximum(per_layer(group.spec, lambda layer: layer.num_experts), 2))}
    head, columns = [words("report.layer")], []
    for name, statistics in measures.items():
        for statistic in statistics:
            unit = scale.get(name, 1.0)
            values = np.stack(np.broadcast_arrays(statistic.values / unit, np.asarray(statistic.chance) / unit), -1)
            columns.append([f"{plain(v)} ({plain(by_chance)})" for v, by_chance in values])
            head.append(f"{words(f'figures.load.{name}')}, {phase_name(statistic.phase, words)}")
    rows = [[layer, *line] for layer, line in zip(group.spec.layer_numbers, zip(*columns, strict=True), strict=True)]
    return behind_picture(head, rows, words, words("report.balance_table"))


def confidence(found: Sequence[Mapping[str, Statistic]], group: Group, words: Words) -> Html:
    """Median and middle half by layer, of ``SummarySample.quantiles`` of one phase or more."""
    head, columns = [words("report.layer")], []
    for name in confidence_figures.MEASURES:
        for statistic in (q[name] for q in found if name in q):
            wanted = [statistic.along("quantile").index(q) for q in (0.25, 0.5, 0.75)]
            columns.append([f"{plain(m)} ({plain(a)} … {plain(b)})" for a, m, b in statistic.values[:, wanted]])
            head.append(f"{words(f'figures.token.{name}')}, {phase_name(statistic.phase, words)}")
    rows = [[layer, *line] for layer, line in zip(group.spec.layer_numbers, zip(*columns, strict=True), strict=True)]
    return behind_picture(head, rows, words, words("report.confidence_table"))


def pairs(lift: Statistic, layer: int, words: Words) -> Html:
    """The pairs with the largest lift of one layer; ``lift`` is ``report_gather.pair_lift``."""
    ratio = np.triu(np.nan_to_num(lift.values[0] / np.asarray(lift.chance)[0]))
    order = [divmod(int(at), len(ratio)) for at in np.argsort(-ratio, axis=None)[:PAIRS_SHOWN]]
    rows = [[a, b, f"{ratio[a, b]:.2f}"] for a, b in order if ratio[a, b] > 0]
    head = [words("report.expert"), words("report.partner"), words("figures.coactivation.bar")]
    return behind_picture(head, rows, words, words("report.pairs_table", layer=layer, n=len(rows)), 2)
