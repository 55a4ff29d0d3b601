"""How often would an expert be in memory when it is needed? Hit rates of a cache of experts, one for each layer.

Knows the order of the tokens of a trace. Each trace starts with empty caches and is played whole; the hits of the rows
in ``phase`` are counted. A token asks for its k experts at once: those in the cache are hits, the others are fetched,
and none of the k makes way for another. A cache therefore needs at least k slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from analysis.errors import BadValue
from analysis.pooling import Traces, as_traces
from analysis.repetition import NEVER, next_use
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace

_CHUNK = 4096  # rows looked at together
_DRAWN = 1500  # tokens of random routing from which the chance level of a policy with foresight is taken
_WARM = 300  # of these, the ones before counting starts


def lru_hit_rate(traces: Traces, phase: str = "all", slots: Sequence[int] | None = None) -> Statistic:
    """Share of the used experts found in a cache that keeps the ``slots`` least long unused. Axes layer, slots.

    In [0, 1], grows with the slots; chance slots / E, once the cache is full. Of one token's experts the first in the
    router's order counts as used last. By default the slots are k, 2 k, 4 k … E. NaN below a layer's k and without a
    row in ``phase``. "Least recently used" is what a simple cache can do; ``belady_hit_rate`` is what none can exceed.
    Source: LRU on experts, Eliseev & Mazur, "Fast Inference of Mixture-of-Experts Language Models" (2023).

    Raises:
        BadValue: a cache without slots, no traces, traces of different routers, or no such phase.
    """
    return _hit_rate("LRU hit rate", _lru_hits, traces, phase, slots)


def belady_hit_rate(traces: Traces, phase: str = "all", slots: Sequence[int] | None = None) -> Statistic:
    """Share of the used experts found in a cache that always drops the expert needed again last. Axes layer, slots.

    The best that any cache of that size can do, with the future known: the room that is left above LRU. In [0, 1],
    never below ``lru_hit_rate`` where all rows count; chance as drawn for uniform random routing, once the cache is
    full. Slots and NaN as there. Source: Belady, "A study of replacement algorithms for a virtual-storage computer"
    (1966).

    Raises:
        BadValue: a cache without slots, no traces, traces of different routers, or no such phase.
    """
    return _hit_rate("Belady hit rate", _belady_hits, traces, phase, slots)


_Hits = Callable[[RoutingTrace, np.ndarray], np.ndarray]
"""(trace, (C,) slots) → (R, L, C) hits of each row."""


def _hit_rate(name: str, policy: _Hits, traces: Traces, phase: str, slots: Sequence[int] | None) -> Statistic:
    found = as_traces(traces)
    spec = found[0].spec
    kept = np.array(doubling(spec) if slots is None else list(slots), np.int64)
    if (kept < 1).any():
        raise BadValue(f"A cache needs 1 slot or more, not {int(kept.min())}.")
    hits, total, n = np.zeros((spec.num_moe_layers, len(kept))), np.zeros((spec.num_moe_layers, 1)), 0
    for trace in found:
        rows = trace.rows_in(phase)
        if rows.any():
            n += int(np.count_nonzero(rows))
            hits += policy(trace, kept)[rows].sum(axis=0)
            total[:, 0] += (trace.expert_ids[rows] != spec.no_expert).sum(axis=(0, 2))
    possible = kept >= np.array([layer.top_k for layer in spec.layers], np.int64)[:, None]
    chance = [[_by_chance(policy, r.num_experts, r.top_k, int(size)) for size in kept] for r in spec.layers]
    return Statistic(
        name,
        np.divide(hits, total, out=np.full(hits.shape, np.nan), where=possible & (total > 0)),
        ("layer", "slots"),
        {"layer": spec.layer_numbers, "slots": kept.tolist()},
        unit="share of used experts",
        chance=np.array(chance, np.float64).reshape(hits.shape),
        n=n,
        phase=phase,
    )


def doubling(spec: RouterSpec) -> list[int]:
    """k, 2 k, 4 k … below E, and E."""
    sizes, size = [], spec.top_k
    while size < spec.num_experts:
        sizes.append(size)
        size *= 2
    return [*sizes, spec.num_experts] if spec.layers else []


def _lru_hits(trace: RoutingTrace, slots: np.ndarray) -> np.ndarray:
    """An expert is in the cache if fewer than ``slots`` experts were used since it was."""
    rows, layers, k = trace.expert_ids.shape
    experts = trace.spec.num_experts
    hits = np.zeros((rows, layers, len(slots)), np.int32)
    # The s-th largest time of last use is the oldest that s slots keep; beyond E slots, all are kept.
    oldest = np.maximum(experts - slots, 0)
    rank = np.arange(k, 0, -1, dtype=np.int32)  # the first in the row is used last
    for layer in range(layers):
        last = np.full(experts + 1, -1, np.int32)
        for start in range(0, rows, _CHUNK):
            ids = np.minimum(trace.expert_ids[start : start + _CHUNK, layer].astype(np.intp), experts)
            times = np.full((len(ids) + 1, experts + 1), -1, np.int32)
            times[0] = last
            moments = np.arange(start, start + len(ids), dtype=np.int32)[:, None] * k + rank
            np.put_along_axis(times[1:], ids, moments, axis=1)
            np.maximum.accumulate(times, axis=0, out=times)
            times[:, experts] = -1  # "no expert" is never in a cache
            last, before = times[-1].copy(), times[:-1]
            wanted = np.take_along_axis(before, ids, axis=1)
            bar = np.maximum(np.sort(before[:, :experts], axis=1)[:, oldest], 0)
            for column in range(len(slots)):
                hits[start : start + len(ids), layer, column] = (wanted >= bar[:, column, None]).sum(axis=1)
    return hits


def _belady_hits(trace: RoutingTrace, slots: np.ndarray) -> np.ndarray:
    """A cache is told by when each of its experts is used next; which expert it is does not matter."""
    rows, layers, k = trace.expert_ids.shape
    ahead = next_use(trace)
    hits = np.zeros((rows, layers, len(slots)), np.int32)
    all_fit = slots >= trace.spec.num_experts  # nothing is ever dropped: every use but the first is a hit
    row, layer, _ = reused = np.nonzero(ahead != NEVER)
    seen = np.bincount((row + ahead[reused]) * layers + layer, minlength=rows * layers).reshape(rows, layers)
    hits[..., all_fit] = seen[..., None]
    if not all_fit.all():
        hits[..., ~all_fit] = _played(trace, slots[~all_fit], ahead)
    return hits


def _played(trace: RoutingTrace, sizes: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    rows, layers, k = ahead.shape
    used = (trace.expert_ids != trace.spec.no_expert).sum(axis=-1)  # (R, L)
    widest = int(sizes.max())
    cache = np.full((layers, len(sizes), widest + k), NEVER, np.int32)  # sorted; the last k are room for the newcomers
    place = np.arange(widest + k)
    hits = np.zeros((rows, layers, len(sizes)), np.int32)
    for row in range(rows):
        due = cache[..., :k] == row  # sorted, so hits come first
        hits[row] = due.sum(axis=2)
        cache[..., :k][due] = NEVER
        cache[..., widest:] = np.where(ahead[row] == NEVER, NEVER, ahead[row] + row)[:, None]
        cache.sort(axis=2)
        # While the next token runs, its own experts hold slots of their own; of the others, so many fit beside them.
        at_once = (cache[..., :k] == row + 1).sum(axis=2)
        needed = used[row + 1] if row + 1 < rows else np.zeros(layers, np.int64)
        room = at_once + np.maximum(sizes - needed[:, None], 0)
        cache[place >= room[..., None]] = NEVER
    return hits


@lru_cache(maxsize=1024)
def _by_chance(policy: _Hits, experts: int, top_k: int, slots: int) -> float:
    """The hit rate of a full cache under uniform random routing; NaN where a token's experts do not fit."""
    if slots < top_k:
        return float("nan")
    if policy is _lru_hits or slots >= experts:
        return min(1.0, slots / experts)
    random = np.random.default_rng([experts, top_k])
    ids = np.argpartition(random.random((_DRAWN, experts)), top_k, axis=1)[:, None, :top_k]
    spec = RouterSpec((LayerSpec(0, experts, top_k),))
    nothing = np.zeros(_DRAWN, np.uint8)
    trace = RoutingTrace(
        spec=spec,
        token_ids=nothing.astype(np.int32),
        phase=nothing,
        origin=nothing,
        turn=nothing.astype(np.uint16),
        pieces=(b"",) * _DRAWN,
        row_start=0,
        step=nothing,
        expert_ids=ids.astype(spec.id_dtype),
    )
    return float(policy(trace, np.array([slots]))[_WARM:-_WARM].mean() / top_k)
