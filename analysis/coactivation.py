"""Which experts are used together by the same token, in the same layer.

Knows all k (k − 1) / 2 pairs of each row. Does not know pairs across layers. Pair counts of several traces add up, so
they can be gathered from parts of a collection.
"""

from __future__ import annotations

import numpy as np

from analysis.metrics import absent_experts
from analysis.pooling import Traces, as_traces, clean_ids
from analysis.statistic import Statistic
from analysis.trace import RouterSpec, RoutingTrace

_CHUNK = 4096  # rows whose pairs are counted at a time, few enough for the processor's cache


def pair_counts(trace: RoutingTrace, rows: np.ndarray | None = None) -> np.ndarray:
    """(L, E, E) how many of ``rows`` used both experts; symmetric, on the diagonal how many used the one."""
    return count_pairs(trace.expert_ids if rows is None else trace.expert_ids[rows], trace.spec.num_experts)


def count_pairs(ids: np.ndarray, experts: int) -> np.ndarray:
    """(L, E, E) as ``pair_counts``, from expert ids (R, L, K)."""
    width = experts + 1  # one more for "no expert"
    found = np.zeros((ids.shape[1], width, width), np.int64)
    used = np.zeros((ids.shape[1], width), np.int64)
    for start in range(0, len(ids), _CHUNK):
        for layer in range(ids.shape[1]):
            block = np.ascontiguousarray(clean_ids(ids[start : start + _CHUNK, layer], experts).T)  # (K, rows)
            used[layer] += np.bincount(block.ravel(), minlength=width)
            cells = found[layer].reshape(-1)
            for rank in range(len(block) - 1):
                codes = block[rank] * width + block[rank + 1 :]
                cells += np.bincount(codes.ravel(), minlength=width * width)
    once = np.einsum("lee->le", found) + used
    both = found + found.transpose(0, 2, 1)
    np.einsum("lee->le", both)[:] = once
    return both[:, :experts, :experts]


def coactivation(traces: Traces, phase: str = "all", minimum: int = 1) -> Statistic:
    """N_ij / N_i: the share of the tokens of expert i that also used expert j. Axes layer, expert (i), partner (j).

    In [0, 1], not symmetric; a popular j is everyone's partner, so see ``coactivation_lift`` before calling two experts
    a pair. Chance (k − 1) / (E − 1). NaN on the diagonal, where i has fewer than ``minimum`` tokens, and for experts
    that a layer does not have. Source: OLMoE (Muennighoff et al., 2024), expert co-activation.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    return coactivation_of(*_gathered(traces, phase), phase, minimum)


def coactivation_of(both: np.ndarray, n: int, spec: RouterSpec, phase: str = "all", minimum: int = 1) -> Statistic:
    """``coactivation`` from ``pair_counts`` of n tokens, wherever they were counted."""
    once = np.einsum("lee->le", both)[:, :, None]
    values = np.divide(both, once, out=np.full(both.shape, np.nan), where=once >= max(1, minimum))
    return _statistic("co-activation", "share of the expert's tokens", values, _chance(spec), n, spec, phase)


def coactivation_lift(traces: Traces, phase: str = "all", minimum: int = 1) -> Statistic:
    """N_ij N / (N_i N_j): how many times as often experts i and j are used together as if they were independent.

    Axes layer, expert, partner. From 0, symmetric; above 1 they seek each other, below 1 they avoid each other. Chance
    is (k − 1) E / (k (E − 1)), just below 1: the experts of one token exclude each other. N are the tokens that used
    any expert of the layer. NaN on the diagonal, where either has fewer than ``minimum`` tokens (rare experts give wild
    ratios), and for experts that a layer does not have.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    both, n, spec = _gathered(found, phase)
    return lift_of(both, np.sum([routed_tokens(t, t.rows_in(phase)) for t in found], axis=0), n, spec, phase, minimum)


def routed_tokens(trace: RoutingTrace, rows: np.ndarray) -> np.ndarray:
    """(L,) how many of ``rows`` used any expert of each layer."""
    return (trace.expert_ids[rows] != trace.spec.no_expert).any(-1).sum(0)


def lift_of(
    both: np.ndarray, routed: np.ndarray, n: int, spec: RouterSpec, phase: str = "all", minimum: int = 1
) -> Statistic:
    """``coactivation_lift`` from ``pair_counts`` and (L,) ``routed_tokens`` of n tokens, wherever they were counted."""
    once = np.einsum("lee->le", both)
    enough = once >= max(1, minimum)
    product = once[:, :, None].astype(np.float64) * once[:, None, :]
    values = np.divide(
        both * np.asarray(routed, np.float64)[:, None, None],
        product,
        out=np.full(both.shape, np.nan),
        where=enough[:, :, None] & enough[:, None, :],
    )
    sizes = np.array([layer.num_experts / layer.top_k for layer in spec.layers])
    return _statistic("co-activation lift", "times independence", values, _chance(spec) * sizes, n, spec, phase)


def _gathered(traces: Traces, phase: str) -> tuple[np.ndarray, int, RouterSpec]:
    found = as_traces(traces)
    rows = [trace.rows_in(phase) for trace in found]
    both = pair_counts(found[0], rows[0])
    for trace, chosen in zip(found[1:], rows[1:], strict=True):
        both += pair_counts(trace, chosen)
    return both, sum(int(np.count_nonzero(chosen)) for chosen in rows), found[0].spec


def _chance(spec: RouterSpec) -> np.ndarray:
    """(L,) the chance that a used expert has a given other one beside it; NaN where there is no other."""
    return np.array([(r.top_k - 1) / (r.num_experts - 1) if r.num_experts > 1 else np.nan for r in spec.layers])


def _statistic(
    name: str, unit: str, values: np.ndarray, chance: np.ndarray, n: int, spec: RouterSpec, phase: str
) -> Statistic:
    absent = absent_experts(spec)
    values[absent[:, :, None] | absent[:, None, :] | np.eye(spec.num_experts, dtype=bool)] = np.nan
    return Statistic(
        name,
        values,
        ("layer", "expert", "partner"),
        {"layer": spec.layer_numbers},
        unit=unit,
        chance=chance[:, None, None],
        n=n,
        phase=phase,
    )
