"""The head of a report: what it is about, the finding in words, and its cautions.

Knows what was gathered and compared. Does not know pictures, tests or files; how it was done says ``report_method``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis import report_provenance as provenance
from analysis.comparing import Comparison
from analysis.errors import UserError
from analysis.figures import style
from analysis.findings import in_words
from analysis.report_gather import Group, Recorded, merged
from analysis.report_html import Html, foreign, items, join, tag
from analysis.report_provenance import Facts
from analysis.words import Words

FEW_TOKENS = 30  # routed tokens of a side below which a load says little


@dataclass(frozen=True)
class Side:
    """What a picture draws as one: a group in a phase."""

    name: str
    group: Group
    phase: str


@dataclass(frozen=True)
class Content:
    """What a report says, in values.

    Attributes:
        by: the label whose values make the groups.
        phase: rows that are described where nothing is compared.
        comparison: None where nothing could be compared; ``why_not`` says why.
    """

    by: str
    phase: str
    recorded: Recorded
    comparison: Comparison | None
    why_not: UserError | None

    @property
    def sides(self) -> list[Side]:
        """The two sides of the comparison; every group in ``phase`` where there is none."""
        groups = self.recorded.groups
        if self.comparison is None:
            return [Side(group.name, group, self.phase) for group in groups]
        plan = self.comparison.plan
        of = groups if len(groups) == 2 else groups * 2
        return [Side(n, g, p) for n, g, p in zip(plan.groups, of, plan.phases, strict=True)]

    @property
    def model(self) -> str:
        known = [v for group in self.recorded.groups for v, _ in group.facts.counted("model") if v]
        return " / ".join(dict.fromkeys(known)) or "?"


def title(content: Content, words: Words) -> str:
    model = content.model if len(content.model) <= 120 else content.model[:119] + "…"
    if content.comparison is None:
        return words("report.title_one", model=model)
    a, b = content.comparison.plan.groups
    return words("report.title", a=a, b=b, model=model)


def group_name(name: str, words: Words) -> Html:
    return foreign(name, 80) if name else Html(words("report.all_recordings"))


def finding(content: Content, words: Words) -> Html:
    """Three sentences of what was found; a description where nothing was compared."""
    if content.comparison is not None:
        said = [tag("p", line) for line in in_words(content.comparison.finding, words)]
    else:
        why = content.why_not.in_words(words) if content.why_not else ""
        said = [tag("p", words("report.no_comparison", why=why)), *_described(content, words)]
    cautions = _cautions(content, words) or [words("report.caution.none")]
    return join([tag("div", *said, class_="finding"), tag("h3", words("report.cautions")), items(cautions)])


def _described(content: Content, words: Words) -> list[Html]:
    whole, phase = merged(content.recorded.groups), words(f"finding.phase.{content.phase}")
    rows = whole.rows_in(content.phase)
    facts = {"traces": f"{whole.traces:,}", "prompts": f"{len(whole.prompts):,}", "rows": f"{rows:,}", "phase": phase}
    lines = [words("report.described", **facts)]
    if rows:
        violation, load = whole.balance("maximal violation", content.phase), whole.load(content.phase)
        position = int(np.nanargmax(violation.values))
        expert = int(np.nanargmax(load.values[position]))
        share, chance = float(load.values[position, expert]), float(np.asarray(load.chance)[position, 0])
        lines.append(
            words(
                "report.uneven",
                layer=load.along("layer")[position],
                expert=expert,
                share=f"{share:.2%}",
                times=f"{share / chance:.1f}",
                chance=f"{chance:.2%}",
                value=f"{violation.values[position]:.2f}",
                random=f"{np.asarray(violation.chance)[position]:.2f}",
            )
        )
    return [tag("p", line) for line in lines]


def _cautions(content: Content, words: Words) -> list[str]:
    groups, comparison = content.recorded.groups, content.comparison
    facts = [group.facts for group in groups]
    said = []
    expected = {content.by, *(("model_type", "revision") if content.by == "model" else ())}
    apart = [n for n in provenance.differing(facts) if n not in expected] if comparison else []
    if apart:
        said.append(words("report.caution.differ", facts=_facts_named(apart, facts, words)))
    mixed = [n for n in provenance.mixed(facts) if n not in {*apart, *expected}]
    if mixed:
        said.append(words("report.caution.mixed", facts=", ".join(fact_name(n, words) for n in mixed)))
    traces, passed = sum(f.traces for f in facts), sum(f.passed for f in facts)
    if passed < traces:
        said.append(words("report.caution.unchecked", n=f"{traces - passed:,}", m=f"{traces:,}"))
    for key, plain in (("quantization", "none"), ("edits", "none")):
        other = list(dict.fromkeys(v for f in facts for v, _ in f.counted(key) if v not in (plain, "–", "")))
        if other:
            said.append(words(f"report.caution.{key}", how=" / ".join(other)))
    cut = sum(n for f in facts for value, n in f.counted("finish_reason") if value == "length")
    if cut:
        said.append(words("report.caution.cut", n=f"{cut:,}", m=f"{traces:,}"))
    for side in content.sides:
        rows = side.group.rows_in(side.phase)
        if rows < FEW_TOKENS:
            name = side.name or words("report.all_recordings")
            phase = words(f"finding.phase.{side.phase}")
            said.append(words("report.caution.few_tokens", name=name, n=rows, phase=phase))
    if comparison is not None:
        shares = comparison.contrast.shares
        if not shares.paired:
            said.append(words("report.caution.unpaired"))
        if content.by == "model":
            said.append(words("report.caution.weights"))
        if content.by != "phase" and all(f is None for f in comparison.contrast.floors):
            said.append(words("report.caution.no_floor"))
    if content.recorded.beside:
        said.append(words("report.caution.beside", n=f"{content.recorded.beside:,}", by=content.by))
    return said


def _facts_named(names: list[str], facts: list[Facts], words: Words) -> str:
    """ "Sampling: top_p (0.95 / 0.8), …"."""
    shown = []
    for name in names:
        values = [", ".join(v or words("report.not_said") for v, _ in f.counted(name)[:2]) for f in facts]
        shown.append(f"{fact_name(name, words)} ({' / '.join(values)})")
    return ", ".join(shown)


def fact_name(name: str, words: Words) -> str:
    """A fact's name for people; those nobody knows keep their key."""
    first, _, rest = name.partition(".")
    key = next((k for k in (f"page.key_{first}", f"report.fact.{first}") if k in words), None)
    said = words(key) if key else first
    return f"{said}: {rest}" if rest else said


def phase_name(phase: str, words: Words) -> str:
    return words(f"figures.phase.{phase}")


def points(value: float, digits: int = 3) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * value:+.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def plain(value: float, digits: int = 3) -> str:
    """A number of a table, with a true minus."""
    return style.number(float(value), digits).replace("-", "−")
