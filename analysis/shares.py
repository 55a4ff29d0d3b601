"""Per-prompt load shares of the two sides of a comparison, read one prompt at a time; only counts stay in memory.

Knows traces and controls. Does not know tests: those are in ``permutation``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.errors import BadValue, NoComparison
from analysis.metrics import expert_counts
from analysis.recordings import Entry, Plan, Unit
from analysis.storage import load
from analysis.trace import RouterSpec, RoutingTrace
from analysis.words import Words

CONTROLS = ("none", "token", "position")
MIN_ROWS = 4  # rows of a trace in the phase, or matched rows under a control, below which it is left out


@dataclass(frozen=True)
class LeftOut:
    """What a comparison did without, and why; ``str`` says it in English."""

    reason: str
    values: dict[str, Any] = field(default_factory=dict)

    def in_words(self, words: Words) -> str:
        return words(f"finding.left_out.{self.reason}", **self.values)

    def __str__(self) -> str:
        return self.in_words(Words("en"))


@dataclass(frozen=True)
class Shares:
    """Load shares of P prompts on either side.

    Attributes:
        spec: the routers.
        first, second: (P, L, E) shares of slots, the mean over a prompt's traces; the same prompts in the same order
            where ``paired``, else independent of each other. Under a control, of the matched rows.
        counts: for each side (P, L, E) int32 selections, summed over a prompt's traces; of all rows of the phase.
        halves: for each side, (Q, 2, L, E) counts of the prompts that were answered more than once there, the answers
            dealt into two halves.
        clusters: for each side, the cluster of each prompt; "" throughout where there are none.
        rows: for each side, rows of the phase in all.
        left_out: traces and prompts that did not enter.
        coverage: for each side, the share of its rows that a control could match; None without a control.
        paired: see ``first``.
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


Rows = tuple[RoutingTrace, np.ndarray]  # a trace and the indices of its rows that count


def measure(
    plan: Plan, control: str = "none", min_rows: int = MIN_ROWS, opened: Callable[..., RoutingTrace] = load
) -> Shares:
    """Read every trace of ``plan`` once.

    Raises:
        BadValue: traces of different routers, or a control without pairs.
        NoComparison: fewer than 2 prompts on a side.
        TraceError: a file is missing or damaged; it is named.
    """
    if control not in CONTROLS:
        raise BadValue(f"Unknown control {control!r}; choose from {', '.join(CONTROLS)}.")
    if control != "none" and not plan.paired:
        raise BadValue(f"The {control} control needs the same prompts on both sides; these have none in common.")
    reader = _Reader(plan, min_rows, opened)
    shares: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    counts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    clusters: tuple[list[str], list[str]] = ([], [])
    rows, matched = [0, 0], [0, 0]
    short = unmatched = 0
    for unit in plan.units:
        sides = reader.read(unit)
        wanted = [bool(entries) for entries in unit.sides]
        if [bool(side) for side in sides] != wanted:
            short += 1
            continue
        if control != "none":
            found = _MATCH[control](sides[0], sides[1], min_rows)
            if found is None:
                unmatched += 1
                continue
            unit_shares, used = found
        else:
            unit_shares = [_mean_share([expert_counts(t, r) for t, r in side]) for side in sides]
            used = (0, 0)
        for side in range(2):
            if not sides[side]:
                continue
            each = [expert_counts(t, r).astype(np.int32) for t, r in sides[side]]
            shares[side].append(unit_shares[side])
            counts[side].append(np.array(each).sum(axis=0, dtype=np.int32))
            clusters[side].append(unit.cluster)
            rows[side] += sum(len(r) for _, r in sides[side])
            matched[side] += used[side]
            if len(each) > 1:
                halves[side].append(np.array([np.sum(each[::2], axis=0), np.sum(each[1::2], axis=0)], np.int32))
    left_out = [*reader.left_out, *_left_out(plan, short, unmatched, min_rows)]
    fewest = min((0, 1), key=lambda side: len(shares[side]))
    if len(shares[fewest]) < 2:
        raise NoComparison.said(
            "few_pairs" if plan.paired else "few_prompts",
            n=len(shares[fewest]),
            least=min_rows,
            phase=" / ".join(dict.fromkeys(plan.phases)),
            group=repr(plan.groups[fewest]),
            other=repr(plan.groups[1 - fewest]),
        )
    assert reader.spec is not None
    shape = (0, 2, reader.spec.num_moe_layers, reader.spec.num_experts)
    return Shares(
        reader.spec,
        np.array(shares[0]),
        np.array(shares[1]),
        (np.array(counts[0]), np.array(counts[1])),
        (np.array(halves[0], np.int32).reshape(-1, *shape[1:]), np.array(halves[1], np.int32).reshape(-1, *shape[1:])),
        clusters,
        (rows[0], rows[1]),
        left_out,
        None if control == "none" else (matched[0] / rows[0], matched[1] / rows[1]),
        plan.paired,
    )


class _Reader:
    """Opens the traces of a prompt, checks that all have the same routers, and picks their rows."""

    def __init__(self, plan: Plan, min_rows: int, opened: Callable[..., RoutingTrace]) -> None:
        self.plan, self.min_rows, self.opened = plan, min_rows, opened
        self.spec: RouterSpec | None = None
        self.left_out: list[LeftOut] = []

    def read(self, unit: Unit) -> tuple[list[Rows], list[Rows]]:
        first, second = (
            [found for entry in entries if (found := self._rows(entry, phase)) is not None]
            for entries, phase in zip(unit.sides, self.plan.phases, strict=True)
        )
        return first, second

    def _rows(self, entry: Entry, phase: str) -> Rows | None:
        trace = self.opened(entry.path)
        if self.spec is None:
            self.spec = trace.spec
            if not trace.spec.num_moe_layers:
                raise BadValue(f"{entry.path} comes from a dense model: it has no router to compare.")
        if trace.spec != self.spec:
            raise BadValue(f"{entry.path} comes from other routers than the traces before it; they cannot be compared.")
        rows = np.flatnonzero(trace.rows_in(phase))
        if len(rows) < self.min_rows:
            facts = {"file": entry.path.name, "rows": len(rows), "phase": phase, "least": self.min_rows}
            self.left_out.append(LeftOut("short", facts))
            return None
        return trace, rows


def _mean_share(counts: list[np.ndarray]) -> np.ndarray:
    """(L, E) mean over traces of their load shares; a layer without selections gives 0, no traces an empty array."""
    if not counts:
        return np.zeros(0)
    shares = []
    for count in counts:
        total = count.sum(axis=1, keepdims=True)
        shares.append(np.divide(count, total, out=np.zeros(count.shape), where=total > 0))
    return np.mean(shares, axis=0)


Matched = tuple[list[np.ndarray], tuple[int, int]]


def _match_tokens(first: list[Rows], second: list[Rows], min_rows: int) -> Matched | None:
    """Shares over the token ids that both sides have, each id weighted alike on both sides: by the smaller of its two
    counts. Rows used: those whose id both sides have. None where the smaller counts sum to less than ``min_rows``."""
    ids = [np.concatenate([t.token_ids[t.row_start + r] for t, r in side]) for side in (first, second)]
    (known_a, count_a), (known_b, count_b) = (np.unique(i, return_counts=True) for i in ids)
    common, at_a, at_b = np.intersect1d(known_a, known_b, assume_unique=True, return_indices=True)
    weight = np.minimum(count_a[at_a], count_b[at_b])
    if weight.sum() < min_rows:
        return None
    shares = []
    for side, counted in ((first, count_a[at_a]), (second, count_b[at_b])):
        total = np.zeros((side[0][0].spec.num_moe_layers, side[0][0].spec.num_experts))
        for trace, rows in side:
            place = np.searchsorted(common, trace.token_ids[trace.row_start + rows])
            place[place == len(common)] = 0
            inside = common[place] == trace.token_ids[trace.row_start + rows]
            rows, place = rows[inside], place[inside]
            total += _weighted_counts(trace, rows, (weight / counted)[place])
        shares.append(_mean_share([total]))
    return shares, (int(count_a[at_a].sum()), int(count_b[at_b].sum()))


def _match_positions(first: list[Rows], second: list[Rows], min_rows: int) -> Matched | None:
    """Shares over the first rows of the phase, as many on both sides as the shortest trace of the prompt has."""
    length = min(len(rows) for _, rows in (*first, *second))
    shares = [_mean_share([expert_counts(t, r[:length]) for t, r in side]) for side in (first, second)]
    return shares, (length * len(first), length * len(second))


_MATCH: dict[str, Callable[[list[Rows], list[Rows], int], Matched | None]] = {
    "token": _match_tokens,
    "position": _match_positions,
}


def _weighted_counts(trace: RoutingTrace, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(L, E) the weights of ``rows``, summed over the rows that selected each expert."""
    experts = trace.spec.num_experts
    ids = np.minimum(trace.expert_ids[rows].astype(np.intp), experts)
    spread = np.repeat(weights, ids.shape[2])
    return np.array(
        [
            np.bincount(ids[:, position].ravel(), spread, experts + 1)[:experts]
            for position in range(trace.spec.num_moe_layers)
        ]
    )


def _left_out(plan: Plan, short: int, unmatched: int, min_rows: int) -> list[LeftOut]:
    counted = (("one_side", plan.unpaired_out), ("too_short", short), ("unmatched", unmatched))
    return [LeftOut(reason, {"n": n, "least": min_rows}) for reason, n in counted if n]
