"""An order in which things that are alike stand side by side. Knows similarities; does not know of what."""

from __future__ import annotations

import numpy as np


def leaf_order(similarity: np.ndarray) -> np.ndarray:
    """(M,) the leaves of a tree of average linkage, from an (M, M) symmetric similarity; the diagonal does not count.

    The two most similar groups join until one is left, each turned so that the ends that meet are the most alike.
    Average linkage: Sokal & Michener, "A statistical method for evaluating systematic relationships" (1958). M³ steps.
    """
    size = len(similarity)
    between = similarity.astype(np.float64).copy()
    np.fill_diagonal(between, -np.inf)
    groups: list[list[int]] = [[leaf] for leaf in range(size)]
    weights = np.ones(size)
    for _ in range(size - 1):
        first, second = divmod(int(between.argmax()), size)
        groups[first] = _joined(groups[first], groups[second], similarity)
        total = weights[first] + weights[second]
        mean = (weights[first] * between[first] + weights[second] * between[second]) / total
        mean[[first, second]] = -np.inf
        between[first], between[:, first] = mean, mean
        between[second], between[:, second] = -np.inf, -np.inf
        weights[first], groups[second] = total, []
    return np.array(next((group for group in groups if len(group) == size), []), np.intp)


def _joined(first: list[int], second: list[int], similarity: np.ndarray) -> list[int]:
    ways = [(a, b) for a in (first, first[::-1]) for b in (second, second[::-1])]
    a, b = max(ways, key=lambda way: similarity[way[0][-1], way[1][0]])
    return [*a, *b]
