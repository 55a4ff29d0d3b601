"""Permutation tests of many experts at once: sign flips for pairs, label permutations for two separate groups.

Knows arrays of units (prompts, or whole clusters of them) by layers by experts. Does not know traces, prompts or what
is done with a p value (``multiple``).

Every difference is studentised, then written as a number in [−1, 1] that grows with its t: ρ = t / √(t² + df). Units of
unequal length and experts of unequal load so become comparable, and the largest |ρ| can be compared over experts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 255  # permutations at a time; the largest uint8, in which they are counted
_TIE, _NEAR = 1e-5, 1e-6  # |ρ| this close, relatively or at all, count as equal: products of float32 are not exact


@dataclass(frozen=True)
class PermutationTest:
    """What a permutation test found.

    Attributes:
        p: (L, E) two-sided p of each expert by itself; 1 where an expert was not tested.
        p_family: (L, E) max-T p, corrected for all experts tested (Westfall & Young, 1993).
        p_layer: (L,) p of each layer as a whole: the sum of ρ² over its experts.
        rho: (L, E) the studentised differences in [−1, 1].
        smallest_p: the least p that these units and this many permutations can give.
        permutations: how many were used.
        exact: all there are were used, each once.
    """

    p: np.ndarray
    p_family: np.ndarray
    p_layer: np.ndarray
    rho: np.ndarray
    smallest_p: float
    permutations: int
    exact: bool


def sign_flips(differences: np.ndarray, tested: np.ndarray, permutations: int, seed: int = 0) -> PermutationTest:
    """Paired test: under the null a unit's difference is as likely to have the other sign.

    Flips leave Σd² alone, so t is a function of ρ = Σ±d / √(n Σd²) alone and a block of flips is one matrix product.
    Where n − 1 units allow no more than ``permutations`` flips, all are used, each once.

    Args:
        differences: (n, L, E) of each unit; a cluster's is the sum over its prompts, which makes ρ cluster-robust.
        tested: (L, E) bool, the experts to test; the choice must not depend on the sign of the differences.
        permutations: how many flips to draw.
    """
    n = len(differences)
    exact = 2 ** min(n - 1, 62) <= permutations
    flat = differences.reshape(n, -1).astype(np.float64)
    norm = np.sqrt((flat**2).sum(axis=0) * n)
    unit = np.divide(flat, norm, out=np.zeros_like(flat), where=(norm > 0) & tested.ravel())
    unit32 = unit.astype(np.float32)
    rho = unit.sum(axis=0).reshape(tested.shape)

    def blocks() -> Iterator[np.ndarray]:
        for signs in _signs(n, permutations, exact, np.random.default_rng(seed)):
            yield np.abs(signs @ unit32)

    # An exact test fixes the first sign: the other half mirrors it, and |ρ| is the same.
    return _count(blocks(), rho, tested, 2.0 ** (1 - n) if exact else 1 / (permutations + 1), exact)


def label_permutations(
    values: np.ndarray, first: int, tested: np.ndarray, permutations: int, seed: int = 0
) -> PermutationTest:
    """Unpaired test: under the null the labels are exchangeable. The difference of means over Welch's error; so
    studentised, the test also holds where the groups differ in variance (Janssen, 1997).

    Args:
        values: (n, L, E) of each unit, the ``first`` ones of group one, the rest of group two; each at least 2.
        tested: (L, E) bool, the experts to test; the choice must not depend on the labels.
        permutations: how many to draw; all, where there are no more.
    """
    n = len(values)
    choices = math.comb(n, first)
    exact = choices <= permutations
    flat = values.reshape(n, -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    scale = flat.std(axis=0)
    flat = np.divide(flat, scale, out=np.zeros_like(flat), where=(scale > 0) & tested.ravel())
    x, squares = flat.astype(np.float32), (flat**2).astype(np.float32)
    observed = np.zeros((1, n), np.float32)
    observed[0, :first] = 1
    rho = _welch_rho(observed, x, squares)[0].astype(np.float64).reshape(tested.shape)

    def blocks() -> Iterator[np.ndarray]:
        for chosen in _choices(n, first, permutations, exact, np.random.default_rng(seed)):
            yield np.abs(_welch_rho(chosen, x, squares))

    smallest = (2 if 2 * first == n else 1) / choices if exact else 1 / (permutations + 1)
    return _count(blocks(), rho, tested, smallest, exact)


def _count(
    blocks: Iterator[np.ndarray], rho: np.ndarray, tested: np.ndarray, smallest_p: float, exact: bool
) -> PermutationTest:
    """p values from blocks (B, L·E) of |ρ| under permutation. Drawn permutations are joined by the observed one
    (Phipson & Smyth, 2010); exact ones contain it."""
    layers, experts = rho.shape
    observed = np.abs(rho).ravel()
    threshold = (observed * (1 - _TIE) - _NEAR).astype(np.float32)
    layer_threshold = (rho**2).sum(axis=1) * (1 - _TIE)
    beyond, layer_beyond = np.zeros(rho.size, np.int64), np.zeros(layers, np.int64)
    largest: list[np.ndarray] = []
    for block in blocks:
        beyond += np.add.reduce((block >= threshold).view(np.uint8), axis=0, dtype=np.uint8)
        largest.append(block.max(axis=1, initial=0))
        cube = block.reshape(len(block), layers, experts)
        layer_beyond += (np.einsum("ble,ble->bl", cube, cube) >= layer_threshold).sum(axis=0)
    highest = np.sort(np.concatenate(largest))
    total, extra = len(highest), 0 if exact else 1
    family = total - np.searchsorted(highest, threshold, side="left")
    as_p = [(count + extra) / (total + extra) for count in (beyond, family, layer_beyond)]
    untested = ~tested
    p, p_family = (np.where(untested, 1.0, values.reshape(rho.shape)) for values in as_p[:2])
    return PermutationTest(p, p_family, as_p[2], rho, smallest_p, total, exact)


def _signs(n: int, permutations: int, exact: bool, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks (B, n) of ±1."""
    total = 2 ** (n - 1) if exact else permutations
    for start in range(0, total, _BLOCK):
        size = min(_BLOCK, total - start)
        if exact:
            bits = (np.arange(start, start + size)[:, None] >> np.arange(n)) & 1
        else:
            bits = np.unpackbits(random.integers(0, 256, (size, -(-n // 8)), np.uint8), axis=1)[:, :n].astype(np.int64)
        yield (1 - 2 * bits).astype(np.float32)


def _choices(n: int, first: int, permutations: int, exact: bool, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks (B, n) of 0 and 1 with ``first`` ones a row."""
    every = itertools.combinations(range(n), first) if exact else None
    left = math.comb(n, first) if exact else permutations
    while left:
        size = min(_BLOCK, left)
        left -= size
        if every is None:
            chosen = np.argsort(random.random((size, n)), axis=1)[:, :first]
        else:
            chosen = np.array(list(itertools.islice(every, size)))
        block = np.zeros((size, n), np.float32)
        np.put_along_axis(block, chosen, 1, axis=1)
        yield block


def _welch_rho(chosen: np.ndarray, x: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """(B, M) ρ of the differences of means between the chosen units and the others; 0 where nothing varies."""
    n = len(x)
    first = chosen[0].sum()
    second = n - first
    sum_a, square_a = chosen @ x, chosen @ squares
    mean_a, mean_b = sum_a / first, (x.sum(axis=0) - sum_a) / second
    error = (square_a / first - mean_a**2) / (first - 1)
    error += ((squares.sum(axis=0) - square_a) / second - mean_b**2) / (second - 1)
    difference = mean_a - mean_b
    below = np.sqrt(difference**2 + (n - 2) * np.maximum(error, 0))
    return np.divide(difference, below, out=np.zeros_like(difference), where=below > 0)
