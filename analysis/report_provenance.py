"""Where traces come from, counted over many: which facts they share, and which differ.

Knows a trace's provenance, which may hold anything. Does not know words or pages.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.show import edit_text

LISTED = (
    "model",
    "model_type",
    "revision",
    "dtype",
    "quantization",
    "engine",
    "device",
    "experts_implementation",
    "mode",
    "sampling",
    "thinking_budget",
    "seed",
    "edits",
    "finish_reason",
    "versions",
)
"""Facts in the order they are shown; others follow by name."""
_ELSEWHERE = frozenset(("messages", "created", "capture_check", "model_name", "hard_switch", "parent"))
_MAY_DIFFER = frozenset(("mode", "seed", "finish_reason", "device"))
_ONLY_SAMPLED = frozenset(("sampling.top_p", "sampling.top_k", "sampling.min_p"))  # do nothing at temperature 0
MOST = 200  # characters of a value
ABSENT = ""


@dataclass
class Facts:
    """Attributes:
    traces: how many were counted.
    values: fact → value → traces that have it; nested facts as ``sampling.top_p``.
    checked, passed: traces with a capture check, and those of them that passed it.
    least_match: the least share of executed ids that followed from the routers' inputs; None where none says.
    created: the first and the last time of recording, as written; None where none says.
    """

    traces: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)
    checked: int = 0
    passed: int = 0
    least_match: float | None = None
    created: tuple[str, str] | None = None

    def add(self, provenance: dict[str, Any]) -> None:
        self.traces += 1
        for name, value in _flat(provenance):
            self.values.setdefault(name, Counter())[value] += 1
        check = provenance.get("capture_check")
        if isinstance(check, dict):
            self.checked += 1
            self.passed += check.get("ok") is True
            match = check.get("ids_match")
            if isinstance(match, int | float):
                self.least_match = match if self.least_match is None else min(match, self.least_match)
        made = provenance.get("created")
        if isinstance(made, str):
            first, last = self.created or (made, made)
            self.created = min(first, made), max(last, made)

    def counted(self, name: str) -> list[tuple[str, int]]:
        """The values of a fact with their numbers of traces, the most frequent first; "" for traces without it."""
        found = self.values.get(name, Counter())
        missing = self.traces - found.total()
        return found.most_common() + ([(ABSENT, missing)] if missing else [])


def together(groups: Sequence[Facts]) -> Facts:
    """Several groups' facts as one."""
    whole = Facts(sum(g.traces for g in groups))
    for group in groups:
        for name, values in group.values.items():
            whole.values.setdefault(name, Counter()).update(values)
    whole.checked, whole.passed = sum(g.checked for g in groups), sum(g.passed for g in groups)
    whole.least_match = min((g.least_match for g in groups if g.least_match is not None), default=None)
    times = [time for g in groups if g.created for time in g.created]
    whole.created = (min(times), max(times)) if times else None
    return whole


def names(groups: Sequence[Facts]) -> list[str]:
    """Every fact of any group, those of ``LISTED`` first."""
    known = {name for facts in groups for name in facts.values}
    place = {name: i for i, name in enumerate(LISTED)}
    return sorted(known, key=lambda name: (place.get(name.split(".")[0], len(place)), name))


def differing(groups: Sequence[Facts]) -> list[str]:
    """Facts that ought to be the same in all groups and are not: their values, or how often each occurs."""

    def share(facts: Facts, name: str) -> dict[str, float]:
        return {value: number / facts.traces for value, number in facts.counted(name)}

    return [n for n in _comparable(groups) if any(share(f, n) != share(groups[0], n) for f in groups[1:])]


def mixed(groups: Sequence[Facts]) -> list[str]:
    """Facts that vary within a group and ought not to."""
    return [name for name in _comparable(groups) if any(len(f.counted(name)) > 1 for f in groups if f.traces)]


def shared(groups: Sequence[Facts], name: str) -> bool:
    """All traces of all groups have the same value."""
    return len(together(groups).counted(name)) == 1


def _comparable(groups: Sequence[Facts]) -> list[str]:
    greedy = all(value in ("0", "0.0") for value, _ in together(groups).counted("sampling.temperature"))
    idle = _ONLY_SAMPLED if greedy else frozenset()
    return [name for name in names(groups) if name.split(".")[0] not in _MAY_DIFFER and name not in idle]


def _flat(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in provenance.items():
        if key == "model":
            yield key, _shown(provenance.get("model_name") or value)
        elif key == "edits":
            made = ", ".join(map(edit_text, value)) if isinstance(value, list) else value
            yield key, _shown(made or "none")
        elif key not in _ELSEWHERE and isinstance(value, dict):
            yield from ((f"{key}.{name}", _shown(inner)) for name, inner in value.items())
        elif key not in _ELSEWHERE:
            yield key, _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    said = said or '""'
    return said if len(said) <= MOST else said[: MOST - 1] + "…"
