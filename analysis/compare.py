"""Two traces side by side: how far apart their loads are, and how far apart chance alone would put them.

Knows pairs of traces. Everything here **describes**: the tokens of one answer depend on each other, so nothing that is
computed from one pair is a test of significance; that takes many prompts, with the prompt as the unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadValue
from analysis.metrics import absent_experts, expert_counts, expert_load
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace

MAX_ROWS = 2000  # of each trace that enter the divergence; a random choice of a longer one's
FEW_TOKENS = 30  # below this, a load says little
SMOOTH = 0.5  # selections added to either load, so that an unused expert is not infinitely rarer than a used one


@dataclass(frozen=True)
class PairDivergence:
    """How far two traces' loads are apart, by layer, at equal sample sizes.

    Attributes:
        divergence: axis layer, bits; ``chance`` is the mean of the random splits, ``n`` the tokens of each side.
        band: (L, 2) the middle 95% of the random splits: both traces' tokens, mixed and dealt out again. It shows what
            the same routing would give at this sample size if tokens were independent, which they are not.
        rows: tokens with a row in the phase, in the first and in the second trace.
    """

    divergence: Statistic
    band: np.ndarray
    rows: tuple[int, int]


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence in bits between distributions along the last axis.

    In [0, 1], symmetric, 0 when equal, 1 when nothing is shared. Inputs are normalised; NaN counts as absent. NaN where
    either sums to 0. Lin, "Divergence measures based on the Shannon entropy" (1991).
    """
    p, q = _normalised(p), _normalised(q)
    middle = (p + q) / 2
    value = _entropy_bits(middle) - (_entropy_bits(p) + _entropy_bits(q)) / 2
    return np.clip(value, 0.0, 1.0)


def pair_js(
    a: RoutingTrace, b: RoutingTrace, phase: str = "generated", seed: int = 0, draws: int = 200
) -> PairDivergence | None:
    """Divergence of the loads of ``a`` and ``b`` by layer, rarefied: the longer side is cut to the shorter one's number
    of tokens at random, ``draws`` times, and the mean is given. None where either has no row in ``phase``.

    Raises:
        BadValue: the traces come from different routers.
    """
    _expect_same_routers(a, b)
    random = np.random.default_rng(seed)
    rows = [np.flatnonzero(trace.rows_in(phase)) for trace in (a, b)]
    counts = (len(rows[0]), len(rows[1]))
    if not min(counts):
        return None
    rows = [r if len(r) <= MAX_ROWS else random.choice(r, MAX_ROWS, replace=False) for r in rows]
    sizes = [len(r) for r in rows]
    n = min(sizes)
    ids = np.concatenate([a.expert_ids[rows[0]], b.expert_ids[rows[1]]])
    # Which pooled rows each draw gives to A, to B, and to the two halves of a random deal of the same 2 n rows.
    given = np.zeros((4, draws, len(ids)), np.float32)
    for draw in range(draws):
        first = random.permutation(sizes[0])[:n]
        second = sizes[0] + random.permutation(sizes[1])[:n]
        mixed = random.permutation(np.concatenate([first, second]))
        for group, chosen in enumerate((first, second, mixed[:n], mixed[n:])):
            given[group, draw, chosen] = 1
    layers, experts = a.spec.num_moe_layers, a.spec.num_experts
    observed, null = np.empty((layers, draws)), np.empty((layers, draws))
    used = np.empty((len(ids), experts + 1), np.float32)
    for position in range(layers):
        used[:] = 0
        np.put_along_axis(used, np.minimum(ids[:, position].astype(np.intp), experts), 1, axis=1)
        loads = given @ used[:, :experts]  # (4, draws, E), exact: counts stay far below 2²⁴
        observed[position] = js_divergence(loads[0], loads[1])
        null[position] = js_divergence(loads[2], loads[3])
    divergence = Statistic(
        "Jensen–Shannon divergence",
        observed.mean(axis=1),
        ("layer",),
        {"layer": a.spec.layer_numbers},
        unit="bits",
        chance=null.mean(axis=1),
        n=n,
        phase=phase,
    )
    return PairDivergence(divergence, np.quantile(null, [0.025, 0.975], axis=1).T, counts)


def load_difference(a: RoutingTrace, b: RoutingTrace, phase: str = "generated") -> Statistic:
    """Load of ``a`` minus load of ``b``; axes layer, expert; in [−1, 1], changes sign with the order; chance 0.

    ``n`` is the smaller number of tokens. NaN where ``expert_load`` is.

    Raises:
        BadValue: the traces come from different routers.
    """
    _expect_same_routers(a, b)
    first, second = expert_load(a, phase), expert_load(b, phase)
    values = first.values - second.values
    values[absent_experts(a.spec)] = np.nan
    return Statistic(
        "load difference",
        values,
        ("layer", "expert"),
        {"layer": a.spec.layer_numbers},
        unit="share of slots",
        chance=0.0,
        n=min(first.n, second.n),
        phase=phase,
    )


def token_lean(a: RoutingTrace, b: RoutingTrace, phase: str = "generated") -> Statistic:
    """How much more the experts of each token of ``a`` are used in ``a`` than in ``b``: over its (layer, expert) pairs
    the mean of (load in a − load in b) / (load in a + load in b), the token itself left out of its own load. Axis token
    (labels: index in ``a``), in [−1, 1]; chance 0: at equal lengths the loads of one routing are alike. It describes
    the pair.

    Raises:
        BadValue: the traces come from different routers.
    """
    _expect_same_routers(a, b)
    rows = np.flatnonzero(a.rows_in(phase))
    used, other = expert_counts(a, rows), expert_counts(b, np.flatnonzero(b.rows_in(phase)))
    slots = [np.maximum(counts.sum(axis=1, keepdims=True), 1) for counts in (used, other)]
    ids = a.expert_ids[rows].astype(np.intp)
    chosen = ids < a.spec.num_experts
    ids = np.where(chosen, ids, 0)
    layers = np.arange(a.spec.num_moe_layers)[:, None]
    alone = np.maximum(slots[0] - chosen.sum(axis=2)[..., None], 1)  # (R, L, 1) slots of the other tokens
    here = (used[layers, ids] - 1 + SMOOTH) / alone
    there = (other[layers, ids] + SMOOTH) / slots[1]
    lean = np.where(chosen, (here - there) / (here + there), 0)
    values = lean.sum(axis=(1, 2)) / np.maximum(chosen.sum(axis=(1, 2)), 1)
    tokens = (rows + a.row_start).tolist()
    return Statistic("lean", values, ("token",), {"token": tokens}, "", 0.0, n=len(rows), phase=phase)


def _expect_same_routers(a: RoutingTrace, b: RoutingTrace) -> None:
    if a.spec != b.spec:
        raise BadValue("The two recordings come from models with different routers and cannot be compared.")


def _normalised(values: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0)


def _entropy_bits(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum(axis=-1)
