"""Per-prompt load shares of the two sides of a comparison, read one prompt at a time; only counts stay in memory.

Knows readings of traces (``sources``) and when a prompt is left out. Does not know how a control weighs rows
(``controls``) or tests (``permutation``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.controls import MATCH, MIN_UNITS, Rows, Standardised, Strata, mean_share
from analysis.errors import BadValue, NoComparison
from analysis.recordings import Entry, Plan, Unit
from analysis.sources import Reading, Sources
from analysis.trace import RouterSpec
from analysis.words import Words

CONTROLS = ("none", "token", "position")
OF_ONE_ANSWER = frozenset(
    ("file", "answer", "thinking", "thinking_tokens", "answer_tokens", "sample", "seed", "finish_reason")
)
"""Keys of an index line in which answers of one kind to one prompt differ."""
MIN_ROWS = 4  # rows of a trace in the phase, or matched rows under a control, below which it is left out


@dataclass(frozen=True)
class LeftOut:
    """What a comparison did without, and why; ``str`` says it in English.

    Attributes:
        values: what the sentence names; of a trace that was too short ("short") also its ``prompt`` and ``mode``, of
            prompts with too little in common ("unmatched") also their texts, ``prompts``.
    """

    reason: str
    values: dict[str, Any] = field(default_factory=dict)

    def in_words(self, words: Words, name: str = "") -> str:
        """``name`` is what to call a trace, by default its file."""
        values = {**self.values, "name": name or self.values.get("file", "")}
        if "phase" in values:
            values["phase"] = words(f"finding.phase.{values['phase']}")
        return words(f"finding.left_out.{self.reason}", **values)

    def __str__(self) -> str:
        return self.in_words(Words("en"))


@dataclass(frozen=True)
class Shares:
    """Load shares of P prompts on either side.

    Attributes:
        spec: the routers.
        first, second: (P, L, E) shares of slots, the mean over a prompt's traces; the same prompts in the same order
            where ``paired``, else independent of each other. Under a control, of the matched rows; see
            ``controls.Standardised`` for prompts that are not paired.
        counts: for each side (P, L, E) int32 selections, summed over a prompt's traces; of all rows of the phase.
        halves: for each side, (Q, 2, L, E) counts of the prompts that were answered more than once there by the same
            settings, those answers dealt into two halves.
        clusters: for each side, the cluster of each prompt; "" throughout where there are none.
        rows: for each side, rows of the phase in all.
        left_out: traces and prompts that did not enter.
        coverage: for each side, the share of its rows that a control could match; None without a control.
        paired: see ``first``.
        effective: for each side, as what share of its rows the matched ones count, given their weights; 1 without a
            control.
        clustered: see ``Plan``: what is called a prompt here is then a cluster of them.
    """

    spec: RouterSpec
    first: np.ndarray
    second: np.ndarray
    counts: tuple[np.ndarray, np.ndarray]
    halves: tuple[np.ndarray, np.ndarray]
    clusters: tuple[list[str], list[str]]
    rows: tuple[int, int]
    left_out: list[LeftOut]
    coverage: tuple[float, float] | None
    paired: bool
    effective: tuple[float, float] = (1.0, 1.0)
    clustered: bool = False

    @property
    def design(self) -> str:
        """ "paired", "clustered" or "unpaired": the key of what is said of the units."""
        return "clustered" if self.clustered else "paired" if self.paired else "unpaired"


def measure(
    plan: Plan, control: str = "none", min_rows: int = MIN_ROWS, opened: Callable[[Entry], Reading] | None = None
) -> Shares:
    """Read every trace of ``plan`` once; twice under a control without pairs. ``opened`` is ``Sources.open``.

    Raises:
        BadValue: traces of different routers or tokenizers, or nothing in common under a control.
        NoComparison: fewer than 2 prompts on a side.
        TraceError: a file is missing or damaged; it is named.
    """
    if control not in CONTROLS:
        raise BadValue(f"Unknown control {control!r}; choose from {', '.join(CONTROLS)}.")
    if opened is None:
        with Sources() as sources:
            return measure(plan, control, min_rows, sources.open)
    reader = _Reader(plan, min_rows, opened)
    shares: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    counts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    strata: tuple[list[Strata], list[Strata]] = ([], [])
    units: tuple[list[Unit], list[Unit]] = ([], [])
    rows, used, effective = [0, 0], [0.0, 0.0], [0.0, 0.0]
    short, unmatched = 0, list[str]()
    for unit in plan.units:
        sides = reader.read(unit)
        if [bool(side) for side in sides] != [bool(entries) for entries in unit.sides]:
            short += 1
            continue
        if control == "token":
            reader.expect_same_tokens(sides)
        if control != "none" and plan.paired:
            first, second = (reader.strata(side, n, control) for n, side in enumerate(sides))
            assert reader.spec is not None
            found = MATCH[control](first, second, reader.spec, min_rows)
            if found is None:
                unmatched.append(unit.sides[0][0].prompt)
                continue
            for side in range(2):
                shares[side].append(found.shares[side])
                used[side] += found.used[side]
                effective[side] += found.effective[side]
        for side in range(2):
            if not sides[side]:
                continue
            each = [reading.counts(plan.phases[side]).astype(np.int32) for reading in sides[side]]
            if control == "none":
                shares[side].append(mean_share([c.astype(np.float64) for c in each]))
            elif not plan.paired:
                strata[side].append(Strata.of([s for s, _ in reader.strata(sides[side], side, control)]))
            units[side].append(unit)
            counts[side].append(np.array(each).sum(axis=0, dtype=np.int32))
            rows[side] += sum(reading.rows(plan.phases[side]) for reading in sides[side])
            if (dealt := _dealt(each, reader.kinds[side])) is not None:
                halves[side].append(dealt)
    left_out = [*reader.left_out, *_left_out(plan, short, unmatched, min_rows)]
    _expect_two(plan, [len(side) for side in counts], min_rows)
    assert reader.spec is not None
    clusters = [u.cluster for u in units[0]], [u.cluster for u in units[1]]
    first_values, second_values = (np.array(side) for side in shares)
    if control != "none" and not plan.paired:
        names = tuple(c if any(c) else [str(i) for i in range(len(c))] for c in clusters)
        common = Standardised(strata, (names[0], names[1]), reader.spec.num_moe_layers * reader.spec.num_experts)
        if min(common.used) < 2 * min_rows:
            raise BadValue(
                f"The {control} control has next to nothing to compare: it needs what at least {MIN_UNITS} "
                f"{'clusters' if any(clusters[0]) else 'prompts'} of both sides have in common."
            )

        def again(side: int) -> Iterator[list[Rows]]:
            return (reader.strata(reader.read(unit)[side], side, control) for unit in units[side])

        first_values, second_values = common.values(strata, again, reader.spec)
        used, effective = list(common.used), list(common.effective)
    shape = (0, 2, reader.spec.num_moe_layers, reader.spec.num_experts)
    return Shares(
        reader.spec,
        first_values,
        second_values,
        (np.array(counts[0]), np.array(counts[1])),
        (np.array(halves[0], np.int32).reshape(-1, *shape[1:]), np.array(halves[1], np.int32).reshape(-1, *shape[1:])),
        clusters,
        (rows[0], rows[1]),
        left_out,
        None if control == "none" else (used[0] / rows[0], used[1] / rows[1]),
        plan.paired,
        (1.0, 1.0) if control == "none" else (effective[0] / rows[0], effective[1] / rows[1]),
        plan.clustered,
    )


class _Reader:
    """Opens the traces of a prompt, checks that all have the same routers, and leaves out those that are too short."""

    def __init__(self, plan: Plan, min_rows: int, opened: Callable[[Entry], Reading]) -> None:
        self.plan, self.min_rows, self.opened = plan, min_rows, opened
        self.spec: RouterSpec | None = None
        self.left_out: list[LeftOut] = []
        self._short: set[tuple[Path, str]] = set()
        self._texts: dict[int, dict[int, bytes]] = {}
        self.kinds: list[list[str]] = [[], []]  # of the unit read last, and its readings: all but what a seed decides

    def read(self, unit: Unit) -> tuple[list[Reading], list[Reading]]:
        sides: tuple[list[Reading], list[Reading]] = ([], [])
        self.kinds = [[], []]
        for side, (entries, phase) in enumerate(zip(unit.sides, self.plan.phases, strict=True)):
            for entry in entries:
                if (found := self._long_enough(entry, phase)) is not None:
                    sides[side].append(found)
                    self.kinds[side].append(_kind(entry))
        return sides

    def strata(self, readings: list[Reading], side: int, control: str) -> list[Rows]:
        """The rows of a prompt's traces by token id, or by place in the phase."""
        found = [reading.routed(self.plan.phases[side]) for reading in readings]
        return found if control == "token" else [(np.arange(len(ids)), experts) for ids, experts in found]

    def expect_same_tokens(self, sides: tuple[list[Reading], list[Reading]]) -> None:
        """Compare the texts of token ids between the first traces of either side."""
        if len(self._texts) == 2:
            return
        for side, readings in enumerate(sides):
            if readings and side not in self._texts:
                self._texts[side] = readings[0].texts(self.plan.phases[side])
        if len(self._texts) == 2:
            one, two = self._texts.values()
            common = [i for i in one.keys() & two.keys() if one[i] and two[i]]
            if sum(one[i] != two[i] for i in common) * 2 > len(common):
                raise BadValue("The token control needs one tokenizer; here the same token ids stand for other texts.")

    def _long_enough(self, entry: Entry, phase: str) -> Reading | None:
        trace = self.opened(entry)
        if self.spec is None:
            self.spec = trace.spec
            if not trace.spec.num_moe_layers:
                raise BadValue(f"{entry.path} comes from a dense model: it has no router to compare.")
        if trace.spec != self.spec:
            raise BadValue(f"{entry.path} comes from other routers than the traces before it; they cannot be compared.")
        if (rows := trace.rows(phase)) < self.min_rows:
            if (entry.path, phase) not in self._short:
                self._short.add((entry.path, phase))
                facts = {"rows": rows, "phase": phase, "least": self.min_rows}
                named = {"file": entry.path.name, "prompt": entry.prompt, "mode": entry.label("mode") or ""}
                self.left_out.append(LeftOut("short", facts | named))
            return None
        return trace


def _kind(entry: Entry) -> str:
    """What answers of one kind share: prompt, model, mode and every label; they differ in their seeds alone."""
    settings = {name: value for name, value in entry.line.items() if name not in OF_ONE_ANSWER}
    return json.dumps([entry.digest, entry.model, settings], sort_keys=True, default=str)


def _dealt(counts: list[np.ndarray], kinds: list[str]) -> np.ndarray | None:
    """(2, L, E) answers of one kind dealt into two halves, of every kind that has two; None where none has."""
    halves = np.zeros((2, *counts[0].shape), np.int32)
    same = [[one for one, kind in zip(counts, kinds, strict=True) if kind == wanted] for wanted in dict.fromkeys(kinds)]
    for answers in same:
        if len(answers) > 1:
            for half in range(2):
                halves[half] += np.sum(answers[half::2], axis=0, dtype=np.int32)
    return halves if halves.any() else None


def _expect_two(plan: Plan, found: list[int], min_rows: int) -> None:
    fewest = min((0, 1), key=lambda side: found[side])
    if found[fewest] < 2:
        raise NoComparison.said(
            "few_pairs" if plan.paired else "few_prompts",
            n=found[fewest],
            least=min_rows,
            phase=" / ".join(dict.fromkeys(plan.phases)),
            group=repr(plan.groups[fewest]),
            other=repr(plan.groups[1 - fewest]),
        )


def _left_out(plan: Plan, short: int, unmatched: list[str], min_rows: int) -> list[LeftOut]:
    counted: list[tuple[str, int, dict[str, Any]]] = [
        ("one_side", plan.unpaired_out, {}),
        ("too_short", short, {}),
        ("unmatched", len(unmatched), {"prompts": unmatched}),
    ]
    return [LeftOut(reason, {"n": n, "least": min_rows} | more) for reason, n, more in counted if n]
