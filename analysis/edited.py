"""What an edit of the routing changed on one and the same text: routing, load, and how probable the text was.

Knows two recordings of the same tokens, one without the edit and one under it; likewise a recording and a second
reading of its tokens, which differ by numerical noise alone. Everything here **describes** one text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.compare import js_divergence
from analysis.errors import BadValue
from analysis.metrics import absent_experts, expert_counts
from analysis.statistic import Statistic
from analysis.trace import PHASE_GROUPS, Origin, RoutingTrace


def sets_changed(base: RoutingTrace, edited: RoutingTrace, phase: str = "generated") -> Statistic:
    """Share of tokens whose set of executed experts is another one than in ``base``; axis layer.

    In [0, 1], 0 where nothing changed; symmetric. An expert whose weight an ablation set to 0 was executed and counts
    as used. Without a chance level: sets drawn at random would nearly always differ. ``n`` tokens have a row in both.

    Raises:
        BadValue: the tokens or the layers differ, or there is no such phase.
    """
    _expect_same(base, edited)
    start, stop = _shared_rows(base, edited)
    width = max(base.expert_ids.shape[-1], edited.expert_ids.shape[-1])
    sets = [_sets(t.expert_ids[_rows(t, base, phase, start, stop)], width, t.spec.no_expert) for t in (base, edited)]
    different = (sets[0] != sets[1]).any(-1)
    values = different.mean(0) if len(different) else np.full(base.spec.num_moe_layers, np.nan)
    return _by_layer("changed expert sets", values, base, "share of tokens", len(different), phase)


def load_moved(base: RoutingTrace, edited: RoutingTrace, phase: str = "generated") -> Statistic:
    """Jensen–Shannon divergence between the loads of the same tokens in ``base`` and under the edit; axis layer, bits.

    In [0, 1], 0 where the loads are equal, symmetric; see ``compare.js_divergence``. The tokens are the same on both
    sides, so a split of them at random is no ruler for it; the noise of a second reading and random controls are.

    Raises:
        BadValue: as for ``sets_changed``.
    """
    _expect_same(base, edited)
    start, stop = _shared_rows(base, edited)
    counts = [expert_counts(t, _rows(t, base, phase, start, stop)) for t in (base, edited)]
    n = len(_rows(base, base, phase, start, stop))
    values = js_divergence(*counts) if n else np.full(base.spec.num_moe_layers, np.nan)
    return _by_layer("Jensen–Shannon divergence", values, base, "bits", n, phase)


def touched_load(
    base: RoutingTrace, edited: RoutingTrace, experts: Sequence[tuple[int, int]], phase: str = "generated"
) -> Statistic:
    """Share of their layer's slots that went to ``experts``, without the edit and under it, on the same tokens.

    Args:
        experts: (layer number, expert id) of each.

    Returns:
        Axes expert ((layer, expert) pairs), reading ("before", "after"). In [0, 1]; chance 1 / E of the layer. NaN
        where no token is in ``phase``.

    Raises:
        BadValue: as for ``sets_changed``, or there is no such layer.
    """
    _expect_same(base, edited)
    start, stop = _shared_rows(base, edited)
    positions = [base.spec.position(layer) for layer, _ in experts]
    ids = [expert for _, expert in experts]
    values = np.full((len(positions), 2), np.nan)
    n = len(_rows(base, base, phase, start, stop))
    for reading, trace in enumerate((base, edited) if n else ()):
        counts = expert_counts(trace, _rows(trace, base, phase, start, stop)).astype(np.float64)
        values[:, reading] = (counts / counts.sum(1, keepdims=True))[positions, ids]
    sizes = [base.spec.layers[p].num_experts for p in positions]
    return Statistic(
        "load of the touched experts",
        values,
        ("expert", "reading"),
        {"expert": list(experts), "reading": ("before", "after")},
        unit="share of slots",
        chance=1 / np.array(sizes, np.float64)[:, None],
        n=n,
        phase=phase,
    )


def log_prob_change(
    trace: RoutingTrace, before: Sequence[float | None], after: Sequence[float | None], phase: str = "generated"
) -> Statistic:
    """Mean change of ln p per token of ``trace``, between two readings of its tokens: ``after`` minus ``before``.

    A single number in nats per token; below 0 the edit made the text less probable. Counted are the ``n`` tokens in
    ``phase`` that the model itself drew, since those alone are its answer; NaN where there is none. 0 = no change.

    Args:
        before, after: ln p of every token in its place, None where it has no place before it.

    Raises:
        BadValue: there are not as many numbers as tokens, or there is no such phase.
    """
    if not len(before) == len(after) == trace.num_tokens:
        raise BadValue(f"There are {len(before)} and {len(after)} probabilities for {trace.num_tokens} tokens.")
    if phase not in PHASE_GROUPS:
        raise BadValue(f"Unknown phase {phase!r}; choose from {', '.join(PHASE_GROUPS)}.")
    first, second = (np.array([np.nan if v is None else v for v in values], np.float64) for values in (before, after))
    drawn = np.isin(trace.phase, PHASE_GROUPS[phase]) & (trace.origin == Origin.SAMPLED)
    change = (second - first)[drawn & np.isfinite(first) & np.isfinite(second)]
    value = change.mean() if len(change) else np.nan
    return Statistic(
        "change of log-probability", np.asarray(value), unit="nats per token", chance=0.0, n=len(change), phase=phase
    )


def busiest_experts(trace: RoutingTrace, phase: str, n: int, layer: int | None = None) -> list[tuple[int, int]]:
    """(layer number, expert id) of the ``n`` experts with the largest load against their layer's uniform share, of all
    layers or of the one numbered ``layer``; fewer where no more were used in ``phase``. Ties go to the first.

    Raises:
        BadValue: there is no such layer or phase.
    """
    counts = expert_counts(trace, trace.rows_in(phase)).astype(np.float64)
    counts[absent_experts(trace.spec)] = 0
    slots = counts.sum(1, keepdims=True)
    sizes = np.array([[entry.num_experts] for entry in trace.spec.layers], np.float64)
    ratio = np.divide(counts * sizes, slots, out=np.zeros_like(counts), where=slots > 0)
    positions = range(len(ratio)) if layer is None else [trace.spec.position(layer)]
    ranked = sorted((-ratio[p, e], p, e) for p in positions for e in np.flatnonzero(ratio[p]))
    return [(trace.spec.layer_numbers[p], int(e)) for _, p, e in ranked[:n]]


def _shared_rows(a: RoutingTrace, b: RoutingTrace) -> tuple[int, int]:
    """The first token that has a row in both, and the one behind the last."""
    start = max(a.row_start, b.row_start)
    return start, max(start, min(a.row_start + a.num_rows, b.row_start + b.num_rows))


def _rows(trace: RoutingTrace, base: RoutingTrace, phase: str, start: int, stop: int) -> np.ndarray:
    """Rows of ``trace`` that belong to the tokens ``start`` to ``stop`` − 1 that are in ``phase`` of ``base``."""
    if phase not in PHASE_GROUPS:
        raise BadValue(f"Unknown phase {phase!r}; choose from {', '.join(PHASE_GROUPS)}.")
    tokens = start + np.flatnonzero(np.isin(base.phase[start:stop], PHASE_GROUPS[phase]))
    return tokens - trace.row_start


def _expect_same(base: RoutingTrace, edited: RoutingTrace) -> None:
    sizes = [[(layer.layer, layer.num_experts) for layer in trace.spec.layers] for trace in (base, edited)]
    if sizes[0] != sizes[1]:
        raise BadValue("The two recordings come from models with different routers and cannot be compared.")
    if not np.array_equal(base.token_ids, edited.token_ids):
        raise BadValue("The two recordings are of different texts; an edit is judged on one and the same text.")


def _sets(ids: np.ndarray, width: int, none: int) -> np.ndarray:
    """(R, L, width) ids ascending, "no expert" (the largest) at the end: equal where the sets are."""
    filled = np.pad(ids.astype(np.int64), ((0, 0), (0, 0), (0, width - ids.shape[-1])), constant_values=none)
    return np.sort(filled, axis=-1)


def _by_layer(name: str, values: np.ndarray, base: RoutingTrace, unit: str, n: int, phase: str) -> Statistic:
    return Statistic(name, values, ("layer",), {"layer": base.spec.layer_numbers}, unit=unit, n=n, phase=phase)
