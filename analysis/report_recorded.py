"""What was recorded: where the traces come from, their prompts, and how many there are of each.

Knows what was gathered. Does not know what was found.
"""

from __future__ import annotations

from typing import Any

from analysis import report_provenance as provenance
from analysis.report_gather import PHASES, Recorded
from analysis.report_html import Html, details, foreign, join, table, tag
from analysis.report_provenance import Facts
from analysis.report_sections import Content, fact_name, group_name, phase_name
from analysis.words import Words

VALUES_SHOWN = 6  # of one fact in one group
PROMPTS_SHOWN = 2_000


def recorded(content: Content, words: Words) -> Html:
    """Routers, provenance and prompts: what differs between groups first, then what all recordings share."""
    groups = content.recorded.groups
    facts = [group.facts for group in groups]
    whole, known = provenance.together(facts), provenance.names(facts)
    apart = [n for n in known if len(facts) > 1 and not provenance.shared(facts, n)]
    said = [tag("p", words("report.recorded_note"))]
    if apart:
        head = [words("report.what"), *(group_name(g.name, words) for g in groups)]
        lines = [[fact_name(name, words), *(_values(f, name, words) for f in facts)] for name in apart]
        said.append(table(words("report.facts_apart"), head, lines, numbers=99))
    rows: list[list[Any]] = [[words("report.routers"), _routers(content)]]
    rows += [[fact_name(name, words), _values(whole, name, words)] for name in known if name not in apart]
    rows += [
        [words("page.key_capture_check"), _checked(whole, words)],
        [words("page.key_created"), _created(whole, words)],
    ]
    head = [words("report.what"), words("report.all_recordings")]
    return join([*said, table(words("report.facts_table"), head, rows, numbers=99), _prompts(content.recorded, words)])


def _routers(content: Content) -> str:
    spec = content.recorded.spec
    experts, k = spec.shared_value("num_experts"), spec.shared_value("top_k")
    scoring = ", ".join(dict.fromkeys(layer.scoring for layer in spec.layers))
    return f"{spec.num_moe_layers} MoE ({_spans(spec.layer_numbers)}) · {experts} · top-{k} · {scoring}"


def _spans(numbers: list[int]) -> str:
    """ "0–5, 7": runs of consecutive numbers."""
    cuts = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    runs = [numbers[a:b] for a, b in zip([0, *cuts], [*cuts, len(numbers)], strict=True)]
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)


def _values(facts: Facts, name: str, words: Words) -> Html:
    counted = facts.counted(name)
    shown: list[Html] = []
    for value, number in counted[:VALUES_SHOWN]:
        said = foreign(value) if value else tag("i", words("report.not_said"))
        shown.append(join([said, f" ({number:,})"]) if len(counted) > 1 else said)
    if len(counted) > VALUES_SHOWN:
        shown.append(Html(words("report.more_values", n=f"{len(counted) - VALUES_SHOWN:,}")))
    return join(shown, ", ")


def _checked(facts: Facts, words: Words) -> str:
    match = "–" if facts.least_match is None else f"{facts.least_match:.2%}"
    return words("report.checked", n=f"{facts.passed:,}", m=f"{facts.traces:,}", match=match)


def _created(facts: Facts, words: Words) -> Html:
    if facts.created is None:
        return tag("i", words("report.not_said"))
    first, last = facts.created
    return foreign(first if first == last else f"{first} – {last}")


def _prompts(found: Recorded, words: Words) -> Html:
    head = [words("report.number"), words("report.prompt"), words("report.labels"), words("report.recordings")]
    shown = found.prompts[:PROMPTS_SHOWN]
    rows = [[i, foreign(text), foreign(labels), f"{n:,}"] for i, (text, labels, n) in enumerate(shown, 1)]
    title = words("report.prompts", n=f"{len(found.prompts):,}")
    more = len(found.prompts) - len(shown)
    rest = tag("p", words("report.prompts_more", n=f"{more:,}")) if more else ""
    return details(title, table(title, head, rows, numbers=3), rest)


def sizes(content: Content, words: Words) -> Html:
    """How many recordings, prompts and routed tokens each group has."""
    head = [
        words("report.group"),
        words("report.recordings"),
        words("report.prompts_column"),
        *(phase_name(phase, words) for phase in PHASES),
    ]
    rows = [
        [group_name(g.name, words), f"{g.traces:,}", f"{len(g.prompts):,}", *(f"{g.rows[p]:,}" for p in PHASES)]
        for g in content.recorded.groups
    ]
    said = [table(words("report.sizes_table"), head, rows), tag("p", words("report.sizes_note"))]
    if content.comparison is not None:
        shares = content.comparison.contrast.shares
        a, b = content.comparison.plan.groups
        entered = words(
            "report.entered",
            a=a,
            b=b,
            n=f"{len(shares.first):,}",
            m=f"{len(shares.second):,}",
            rows_a=f"{shares.rows[0]:,}",
            rows_b=f"{shares.rows[1]:,}",
        )
        said.append(tag("p", entered))
    return join(said)
