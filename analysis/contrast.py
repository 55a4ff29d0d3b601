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
SKEWED_COUNT = 120  # the same where the other side is much longer; see ``selections``


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
    test = permute(shares, tested, permutations, seed)
    difference, error, freedom, units = estimate(shares)
    q = np.ones(tested.shape)
    q[tested] = benjamini_hochberg(test.p[tested])
    selected, number = int(np.count_nonzero(q < RATE)), int(tested.sum())
    level = fcr_level(selected, number, RATE)
    low, high = interval(difference, error, freedom, level)
    floors = tuple(
        group_divergence(h[:, 0], h[:, 1], True, seed=seed).values if len(h) >= 2 else None for h in shares.halves
    )
    return Contrast(
        shares,
        test,
        units,
        tested,
        difference,
        low,
        high,
        level,
        q,
        holm(test.p_layer),
        group_divergence(*shares.counts, shares.paired, shares.clusters, seed),
        (floors[0], floors[1]),
        fewest_visible(test.smallest_p, number, RATE),
    )


def permute(shares: Shares, tested: np.ndarray, permutations: int, seed: int = 0) -> PermutationTest:
    """Flip the signs of pairs, or permute the labels of prompts that are not paired; of whole clusters where there are
    any. ``tested`` is (L, E) bool.

    Raises:
        BadValue: there are fewer than 2 clusters, or on a side.
    """
    if shares.paired:
        differences, _ = _by_cluster(shares.first - shares.second, shares.clusters[0])
        _expect_two(len(differences), "one_cluster")
        return sign_flips(differences, tested, permutations, seed)
    first, second = _sides(shares)
    _expect_two(min(len(first[1]), len(second[1])), "one_cluster_each")
    return label_permutations(_scores(first, second), len(first[1]), tested, permutations, seed)


def estimate(shares: Shares) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(L, E) difference of the means over prompts, (L, E) its standard error, (L, E) degrees of freedom, and how many
    prompts or clusters were flipped or permuted."""
    if shares.paired:
        summed, sizes = _by_cluster(shares.first - shares.second, shares.clusters[0])
        difference, squared, freedom = _mean_of(summed, sizes)
        return difference, np.sqrt(squared), np.full(difference.shape, freedom), len(sizes)
    first, second = _sides(shares)
    (mean_a, a, nu_a), (mean_b, b, nu_b) = _mean_of(*first), _mean_of(*second)
    return mean_a - mean_b, np.sqrt(a + b), _welch_freedom(a, b, nu_a, nu_b), len(first[1]) + len(second[1])


def interval(
    difference: np.ndarray, error: np.ndarray, freedom: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of Student's interval of a difference of shares, within [−1, 1]."""
    quantiles = np.vectorize(lambda nu: t_quantile(level, int(nu)), otypes=[float])
    reach = quantiles(np.floor(freedom + 1e-9)) * error
    return np.maximum(difference - reach, -1), np.minimum(difference + reach, 1)


def enough_selections(shares: Shares, min_count: int = MIN_COUNT) -> np.ndarray:
    """(L, E) bool: experts that are selected often enough for the test to hold; ``selections`` says what that is."""
    expected, needed = selections(shares, min_count)
    return (expected >= needed) & ~absent_experts(shares.spec)


def selections(shares: Shares, min_count: int = MIN_COUNT) -> tuple[np.ndarray, np.ndarray]:
    """(L, E) selections expected of each expert on the side with fewer slots, (L, 1) how many the test needs there.

    Of S and S' slots on the two sides, the difference of two Poisson shares p has skewness² (1 − r)² / ((1 + r) p S)
    with r = S / S' ≤ 1: none at equal lengths, most where a short side meets a long one, and then a rare expert that a
    few short answers happen to miss would look certain. So p S, the selections expected on the shorter side, must be
    at least ``min_count`` and ``SKEWED_COUNT`` (1 − r)² / (1 + r). Under a control slots are as many as the matched
    rows are worth, and p is their share; p is pooled over both sides, so that the choice does not depend on which is
    which.
    """
    counted = [side.sum(axis=0, dtype=np.int64) for side in shares.counts]
    slots = [c.sum(axis=1, keepdims=True) * kept for c, kept in zip(counted, shares.effective, strict=True)]
    if shares.coverage is not None:
        means = [np.maximum(side.mean(axis=0), 0) for side in (shares.first, shares.second)]
        counted = [mean * s for mean, s in zip(means, slots, strict=True)]
    rate = (counted[0] + counted[1]) / np.maximum(slots[0] + slots[1], 1)
    shorter = np.minimum(*slots)
    ratio = shorter / np.maximum(np.maximum(*slots), 1)
    needed = np.maximum(min_count, SKEWED_COUNT * (1 - ratio) ** 2 / (1 + ratio))
    return rate * shorter, needed


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


def _sides(shares: Shares) -> list[tuple[np.ndarray, np.ndarray]]:
    return [_by_cluster(v, c) for v, c in zip((shares.first, shares.second), shares.clusters, strict=True)]


def _scores(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(C + C', L, E) what stands for each cluster of either side in the permutation: the sum over its prompts of the
    deviation from the mean of all prompts, so that a large cluster counts as many prompts. For prompts without
    clusters, their shares less a constant."""
    summed = np.concatenate([first[0], second[0]])
    sizes = np.concatenate([first[1], second[1]])[:, None, None]
    return summed - sizes * (summed.sum(axis=0) / sizes.sum())


def _mean_of(summed: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(L, E) mean over prompts, (L, E) its squared error and the degrees of freedom, from sums over clusters (C, L, E)
    and their prompts (C,).

    The error is the jackknife's over clusters, which clusters of unequal size do not make too small (MacKinnon, Nielsen
    & Webb, 2023): (C − 1)/C Σ (mean without c − mean)². The degrees are Satterthwaite's for prompts that are alike
    within their cluster, (Σ n²)² / Σ n⁴ − 1: C − 1 where all are of one size, fewer where a few hold most prompts.
    """
    n, clusters = sizes.sum(), len(summed)
    mean = summed.sum(axis=0) / n
    without = (summed - sizes[:, None, None] * mean) / (n - sizes)[:, None, None]
    squares = sizes**2
    freedom = squares.sum() ** 2 / (squares**2).sum() - 1
    return mean, (clusters - 1) / clusters * (without**2).sum(axis=0), max(1.0, float(freedom))


def _welch_freedom(a: np.ndarray, b: np.ndarray, nu_a: float, nu_b: float) -> np.ndarray:
    """(L, E) degrees of freedom of a difference whose sides have squared errors ``a`` and ``b``. Welch (1947)."""
    below = a**2 / nu_a + b**2 / nu_b
    least = min(nu_a, nu_b)
    return np.maximum(np.divide((a + b) ** 2, below, out=np.full(a.shape, least), where=below > 0), least)


def _expect_two(number: int, otherwise: str) -> None:
    if number < 2:
        raise NoComparison.said(otherwise, n=number)
