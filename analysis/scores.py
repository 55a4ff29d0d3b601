"""What the router's scores of all experts say, used or not: steady favourites, and who was nearly used.

Knows traces with ``router_scores``; without them everything here is None. Ranks are by the recorded score, 1 the
highest, equal scores by expert number; a router that chooses by something else (a bias, groups) may use others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.metrics import absent_experts, expert_counts, per_layer
from analysis.pooling import Traces, as_traces, clean_ids
from analysis.statistic import Statistic
from analysis.trace import RouterSpec

_CHUNK = 2048  # rows ranked at a time, to bound memory


@dataclass(frozen=True)
class StandingCommittee:
    """How steadily each expert is ranked high; axes layer, expert throughout, NaN for experts that do not exist.

    Attributes:
        mean_rank: 1 (always first) to E; chance (E + 1) / 2.
        rank_deviation: standard deviation of the rank, from 0; chance √((E² − 1) / 12).
        presence: share of tokens that used the expert, in [0, 1]; chance k / E.
        members: (L, E) bool, the committee.
    """

    mean_rank: Statistic
    rank_deviation: Statistic
    presence: Statistic
    members: np.ndarray


def standing_committee(traces: Traces, phase: str = "all", least_presence: float = 0.8) -> StandingCommittee | None:
    """The experts that nearly every token uses: presence at or above ``least_presence``, mean rank and deviation of the
    rank at most k.

    They are few and the same in every domain, so their load says nothing about a text; take them out before speaking of
    specialists. Empty by chance. None where a trace has no router scores. Source: Wang et al., "The Illusion of
    Specialization" (2026), up to 5 a layer in Qwen3-30B-A3B.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    if any(trace.router_scores is None for trace in found):
        return None
    spec = found[0].spec
    shape, n = (spec.num_moe_layers, spec.num_experts), 0
    total, squares, used = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for trace in found:
        rows = np.flatnonzero(trace.rows_in(phase))
        n += len(rows)
        used += expert_counts(trace, rows)
        for start in range(0, len(rows), _CHUNK):
            block = sortable(trace.router_scores[rows[start : start + _CHUNK]])  # type: ignore[index]
            for position, layer in enumerate(spec.layers):
                histogram = _ranks(block[:, position, : layer.num_experts])
                ranks = np.arange(1, layer.num_experts + 1)
                total[position, : layer.num_experts] += histogram @ ranks
                squares[position, : layer.num_experts] += histogram @ ranks**2
    mean, presence = (_over(values, n, spec) for values in (total, used))
    deviation = np.sqrt(np.maximum(_over(squares, n, spec) - mean**2, 0))
    k = per_layer(spec, lambda layer: layer.top_k)[:, None]
    members = (presence >= least_presence) & (mean <= k) & (deviation <= k)
    sizes = per_layer(spec, lambda layer: layer.num_experts)[:, None]
    return StandingCommittee(
        _statistic("mean rank", "rank", mean, (sizes + 1) / 2, n, spec, phase),
        _statistic("rank deviation", "ranks", deviation, np.sqrt((sizes**2 - 1) / 12), n, spec, phase),
        _statistic("presence", "share of tokens", presence, k / np.maximum(sizes, 1), n, spec, phase),
        members,
    )


def near_misses(traces: Traces, phase: str = "all") -> Statistic | None:
    """Share of tokens for which an expert had the highest score among those not used. Axes layer, expert.

    In [0, 1], sums to 1 over the experts of a layer; chance 1 / E. High for an expert that waits at the border: a small
    change of the input, or of precision, would use it. NaN without tokens, where a layer uses all its experts, and for
    experts that do not exist. None where a trace has no router scores.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    if any(trace.router_scores is None for trace in found):
        return None
    spec = found[0].spec
    experts, n = spec.num_experts, 0
    missed, tokens = np.zeros((spec.num_moe_layers, experts)), np.zeros((spec.num_moe_layers, 1))
    for trace in found:
        rows = np.flatnonzero(trace.rows_in(phase))
        n += len(rows)
        for start in range(0, len(rows), _CHUNK):
            chosen = rows[start : start + _CHUNK]
            ids = clean_ids(trace.expert_ids[chosen], experts)
            block = sortable(trace.router_scores[chosen])  # type: ignore[index]
            for position, layer in enumerate(spec.layers):
                keys = np.zeros((len(chosen), experts + 1), np.int32)
                keys[:, : layer.num_experts] = block[:, position, : layer.num_experts].astype(np.int32) + 1
                np.put_along_axis(keys, ids[:, position], 0, axis=1)
                best = keys.argmax(axis=1)
                any_left = keys[np.arange(len(keys)), best] > 0
                missed[position] += np.bincount(best[any_left], minlength=experts + 1)[:experts]
                tokens[position] += np.count_nonzero(any_left)
    values = np.divide(missed, tokens, out=np.full(missed.shape, np.nan), where=tokens > 0)
    values[absent_experts(spec)] = np.nan
    chance = per_layer(spec, lambda layer: 1 / layer.num_experts)[:, None]
    return _statistic("near miss", "share of tokens", values, chance, n, spec, phase)


def sortable(scores: np.ndarray) -> np.ndarray:
    """float16 scores as uint16 in the same order, so that they are compared as whole numbers."""
    bits = np.ascontiguousarray(scores, np.float16).view(np.uint16)
    return np.where(bits & 0x8000, ~bits, bits | 0x8000).astype(np.uint16)


def _ranks(block: np.ndarray) -> np.ndarray:
    """(E, E) how many of the rows of (R, E) ``sortable`` scores give expert e the rank r + 1."""
    experts = block.shape[1]
    keys = (~block).astype(np.uint32) << 16 | np.arange(experts, dtype=np.uint32)
    keys.sort(axis=1)
    cells = (keys & 0xFFFF).astype(np.int64) * experts + np.arange(experts)
    return np.bincount(cells.ravel(), minlength=experts * experts).reshape(experts, experts)


def _over(values: np.ndarray, n: int, spec: RouterSpec) -> np.ndarray:
    mean = values / n if n else np.full(values.shape, np.nan)
    mean[absent_experts(spec)] = np.nan
    return mean


def _statistic(
    name: str, unit: str, values: np.ndarray, chance: np.ndarray, n: int, spec: RouterSpec, phase: str
) -> Statistic:
    return Statistic(
        name,
        values,
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit=unit,
        chance=chance,
        n=n,
        phase=phase,
    )
