"""The table of all experts in a report: every tested number, or the load by phase where nothing was compared.

Knows contrasts and loads. Does not know how the table is searched and sorted (``assets/report/report.js``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.comparing import to_json
from analysis.contrast import RATE
from analysis.metrics import absent_experts
from analysis.report_gather import merged
from analysis.report_html import Html, foreign, join, table, tag
from analysis.report_sections import Content, phase_name, points
from analysis.words import Words

PHASES = ("prompt", "thinking", "answer")


def experts(content: Content, words: Words) -> Html:
    """The table with its filter."""
    head, rows, note = _tested(content, words) if content.comparison else _described(content, words)
    compared = content.comparison is not None
    made = table(words("report.experts_table"), head, rows, numbers=2, id="experts-table")
    return join([tag("p", note), _filter(content, compared, words), made, _more(words)])


def _tested(content: Content, words: Words) -> tuple[list[Any], list[list[Any]], str]:
    assert content.comparison is not None
    found = content.comparison.contrast
    data = to_json(content.comparison)
    a, b = data["groups"]
    level = f"{100 * data['interval_level']:.5g}%"
    head = [
        words("report.layer"),
        words("report.expert"),
        foreign(a, 40),
        foreign(b, 40),
        words("report.uniform"),
        words("report.difference"),
        words("report.interval", level=level),
        "p",
        "q",
        "max-T p",
    ]
    chance = [1 / layer.num_experts for layer in found.shares.spec.layers]
    place = {layer: i for i, layer in enumerate(data["moe_layers"])}
    rows = [
        [
            e["layer"],
            e["expert"],
            *(f"{e[side]:.3%}" for side in ("first", "second")),
            f"{chance[place[e['layer']]]:.3%}",
            points(e["difference"]),
            f"{points(e['ci_low'])} … {points(e['ci_high'])}",
            f"{e['p']:.2g}",
            _strong(f"{e['q']:.2g}", e["q"] < RATE),
            _strong(f"{e['p_family']:.2g}", e["p_family"] < RATE),
        ]
        for e in data["experts"]
    ]
    untested = ~found.tested & ~absent_experts(found.shares.spec)
    dash = tag("span", "–", title=words("report.not_tested"))
    for layer, expert in np.argwhere(untested):
        first, second = (side[:, layer, expert].mean() for side in (found.shares.first, found.shares.second))
        shares = [
            f"{first:.3%}",
            f"{second:.3%}",
            f"{chance[layer]:.3%}",
            points(float(found.difference[layer, expert])),
        ]
        rows.append([data["moe_layers"][layer], int(expert), *shares, dash, dash, dash, dash])
    note = words("report.experts_note", tested=f"{data['tested']:,}", untested=f"{int(untested.sum()):,}", rate=RATE)
    return head, rows, note


def _strong(said: str, significant: bool) -> Html:
    return tag("strong", said) if significant else Html(said)


def _described(content: Content, words: Words) -> tuple[list[Any], list[list[Any]], str]:
    whole = merged(content.recorded.groups)
    phases = dict.fromkeys([content.phase, *PHASES])
    shown = [phase for phase in phases if whole.rows_in(phase)]
    loads = [whole.load(phase) for phase in shown]
    head = [words("report.layer"), words("report.expert"), words("report.uniform")]
    head += [f"{phase_name(load.phase, words)}, n = {load.n:,}" for load in loads]
    rows = []
    for position, layer in enumerate(content.recorded.spec.layers):
        for expert in range(layer.num_experts):
            shares = [f"{load.values[position, expert]:.3%}" for load in loads]
            rows.append([layer.layer, expert, f"{1 / layer.num_experts:.3%}", *shares])
    return head, rows, words("report.experts_load_note")


def _filter(content: Content, compared: bool, words: Words) -> Html:
    """Shown by the script that makes it work."""
    layers = [tag("option", words("report.every_layer"), value="")]
    layers += [tag("option", number, value=number) for number in content.recorded.spec.layer_numbers]
    parts = [
        tag("label", words("report.layer"), " ", tag("select", *layers, id="experts-layer")),
        tag(
            "label", words("report.expert"), " ", tag("input", id="experts-number", type="search", inputmode="numeric")
        ),
    ]
    if compared:
        box = tag("input", id="experts-significant", type="checkbox")
        parts.append(tag("label", box, " ", words("report.only_significant", rate=RATE)))
    count = tag("output", id="experts-count", data_say=words("report.shown", n="{n}", m="{m}"))
    return tag("form", *parts, count, id="experts-filter", hidden=True)


def _more(words: Words) -> Html:
    return tag("button", words("report.show_all"), id="experts-more", type="button", hidden=True)
