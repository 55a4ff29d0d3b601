"""Which experts two groups of prompts use differently: tests, corrections and intervals, the prompt as the unit.

Knows shares (``shares.measure``). Does not know files or words: those are in ``recordings`` and ``findings``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadValue, NoComparison
from analysis.group_js import GroupDivergence, group_divergence
from analysis.metrics import absent_experts
from analysis.multiple import benjamini_hochberg, fcr_level, fewest_visible, holm, t_quantile
from analysis.permutation import PermutationTest, label_permutations, sign_flips
from analysis.shares import Shares
from analysis.statistic import Statistic

PERMUTATIONS = 100_000
MAX_PERMUTATIONS = 10_000_000
RATE = 0.05
MIN_COUNT = 10  # selections expected of an expert on the side with fewer slots, below which it is not tested
SKEWED_COUNT = 60  # the same where the other side is much longer; see ``enough_selections``


@dataclass(frozen=True)
class Contrast:
    """The tested difference of two groups, first minus second.

    Attributes:
        shares: what was compared.
        test: the permutation test.
        units: what was flipped or permuted: prompts, or clusters.
        tested: (L, E) bool, the experts with enough selections.
        difference: (L, E) mean over prompts of the share of slots, first minus second, in [−1, 1].
        low, high: (L, E) its interval, corrected for having been selected, at ``level``.
        level: see ``multiple.fcr_level``; the same for experts that were not selected.
        q: (L, E) Benjamini–Hochberg over all tested experts; 1 where not tested.
        p_layer: (L,) p of each layer as a whole, corrected over layers (Holm).
        divergence: rarefied Jensen–Shannon divergence by layer and its null band.
        floors: for each side, (L,) the divergence of two halves of its own answers to the same prompts, other seeds
            (A/A′); None where fewer than 2 prompts were answered twice.
        fewest_visible: see ``multiple``.
    """

    shares: Shares
    test: PermutationTest
    units: int
    tested: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    q: np.ndarray
    p_layer: np.ndarray
    divergence: GroupDivergence
    floors: tuple[np.ndarray | None, np.ndarray | None]
    fewest_visible: int

    @property
    def significant(self) -> np.ndarray:
        """(L, E) bool."""
        return self.tested & (self.q < RATE)


def contrast(shares: Shares, permutations: int = PERMUTATIONS, seed: int = 0, min_count: int = MIN_COUNT) -> Contrast:
    """Test every expert with at least ``min_count`` expected selections.

    Raises:
        BadValue: ``permutations`` is out of range.
        NoComparison: there are fewer than 2 prompts or clusters on a side.
    """
    if not 100 <= permutations <= MAX_PERMUTATIONS:
        raise BadValue(f"--permutations must be from 100 to {MAX_PERMUTATIONS:,}, not {permutations}.")
    tested = enough_selections(shares, min_count)
    if shares.paired:
        differences = shares.first - shares.second
        summed, sizes = _by_cluster(differences, shares.clusters[0])
        _expect_two(len(summed), "one_cluster")
        test = sign_flips(summed, tested, permutations, seed)
        difference, error, freedom = _paired_error(summed, sizes)
    else:
        sides = [_by_cluster(v, c) for v, c in zip((shares.first, shares.second), shares.clusters, strict=True)]
        first, second = (summed / sizes[:, None, None] for summed, sizes in sides)
        _expect_two(min(len(first), len(second)), "one_cluster_each")
        test = label_permutations(np.concatenate([first, second]), len(first), tested, permutations, seed)
        difference, error, freedom = _welch_error(first, second)
    units = len(summed) if shares.paired else len(first) + len(second)
    q = np.ones(tested.shape)
    q[tested] = benjamini_hochberg(test.p[tested])
    selected, number = int(np.count_nonzero(q < RATE)), int(tested.sum())
    level = fcr_level(selected, number, RATE)
    reach = np.vectorize(lambda nu: t_quantile(level, int(nu)), otypes=[float])(freedom) * error
    floors = tuple(
        group_divergence(h[:, 0], h[:, 1], True, seed=seed).values if len(h) >= 2 else None for h in shares.halves
    )
    return Contrast(
        shares,
        test,
        units,
        tested,
        difference,
        np.maximum(difference - reach, -1),
        np.minimum(difference + reach, 1),
        level,
        q,
        holm(test.p_layer),
        group_divergence(*shares.counts, shares.paired, shares.clusters, seed),
        (floors[0], floors[1]),
        fewest_visible(test.smallest_p, number, RATE),
    )


def enough_selections(shares: Shares, min_count: int = MIN_COUNT) -> np.ndarray:
    """(L, E) bool: experts that are selected often enough for the test to hold.

    Of S and S' slots on the two sides, the difference of two Poisson shares p has skewness² (1 − r)² / ((1 + r) p S)
    with r = S / S' ≤ 1: none at equal lengths, most where a short side meets a long one, and then a rare expert that a
    few short answers happen to miss would look certain. So p S, the selections expected on the shorter side, must be
    at least ``min_count`` and ``SKEWED_COUNT`` (1 − r)² / (1 + r). Slots are those that a control left; p is pooled
    over both sides, so that the choice does not depend on which side is which.
    """
    first, second = (side.sum(axis=0, dtype=np.int64) for side in shares.counts)
    slots = [side.sum(axis=1, keepdims=True) for side in (first, second)]
    rate = (first + second) / np.maximum(slots[0] + slots[1], 1)
    used = [s * kept for s, kept in zip(slots, shares.coverage or (1.0, 1.0), strict=True)]
    shorter = np.minimum(*used)
    ratio = shorter / np.maximum(np.maximum(*used), 1)
    needed = np.maximum(min_count, SKEWED_COUNT * (1 - ratio) ** 2 / (1 + ratio))
    return (rate * shorter >= needed) & ~absent_experts(shares.spec)


def mean_load(shares: Shares, side: int, phase: str = "generated") -> Statistic:
    """The share of slots of each expert on one side (0 or 1), the mean over its prompts. Axes layer, expert.

    In [0, 1], sums to 1 over the experts of a layer; chance 1 / E of the layer; n counts prompts. NaN for experts that
    a layer does not have. Unlike ``metrics.expert_load``, a long answer weighs no more than a short one.
    """
    values = (shares.first, shares.second)[side]
    absent = absent_experts(shares.spec)
    return Statistic(
        "mean load",
        np.where(absent, np.nan, values.mean(axis=0)),
        ("layer", "expert"),
        {"layer": shares.spec.layer_numbers},
        unit="share of slots",
        chance=1 / (~absent).sum(axis=1, keepdims=True),
        n=len(values),
        n_unit="prompts",
        phase=phase,
    )


def _by_cluster(values: np.ndarray, clusters: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(C, L, E) sums over each cluster and (C,) its prompts; every prompt its own where there are no clusters."""
    if not any(clusters):
        return values, np.ones(len(values))
    known, of = np.unique(clusters, return_inverse=True)
    summed = np.zeros((len(known), *values.shape[1:]))
    np.add.at(summed, of, values)
    return summed, np.bincount(of).astype(np.float64)


def _paired_error(summed: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over prompts, its (cluster-robust) standard error and degrees of freedom, each (L, E)."""
    n, clusters = sizes.sum(), len(summed)
    mean = summed.sum(axis=0) / n
    squares = ((summed - sizes[:, None, None] * mean) ** 2).sum(axis=0)
    error = np.sqrt(squares * clusters / (clusters - 1)) / n
    return mean, error, np.full(mean.shape, clusters - 1)


def _welch_error(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference of means, Welch's standard error and degrees of freedom (rounded down), each (L, E)."""
    a, b = (side.var(axis=0, ddof=1) / len(side) for side in (first, second))
    below = a**2 / (len(first) - 1) + b**2 / (len(second) - 1)
    least = min(len(first), len(second)) - 1
    freedom = np.divide((a + b) ** 2, below, out=np.full(a.shape, float(least)), where=below > 0)
    return first.mean(axis=0) - second.mean(axis=0), np.sqrt(a + b), np.floor(np.maximum(freedom, least))


def _expect_two(number: int, otherwise: str) -> None:
    if number < 2:
        raise NoComparison.said(otherwise, n=number)
