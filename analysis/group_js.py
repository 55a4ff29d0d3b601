"""How far apart the loads of two groups of prompts are, by layer, at equal sample sizes, and what chance would give.

Knows counts. The divergence of two samples of the same routing is above 0, the more the shorter they are; so both sides
are rarefied to equal counts, and the null band is computed on exactly the same counts, labels permuted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.compare import js_divergence

DRAWS = 8  # rarefactions, over which the divergence is averaged
PERMUTATIONS = 125  # for each of them


@dataclass(frozen=True)
class GroupDivergence:
    """Attributes:
    values: (L,) Jensen–Shannon divergence in bits between the mean shares of the groups, in [0, 1].
    band: (L, 2) the middle 95% of the same with the labels permuted.
    """

    values: np.ndarray
    band: np.ndarray


def group_divergence(
    first: np.ndarray,
    second: np.ndarray,
    paired: bool,
    clusters: tuple[list[str], list[str]] | None = None,
    seed: int = 0,
) -> GroupDivergence:
    """The divergence of two groups of prompts, each prompt counting alike.

    Args:
        first, second: (P, L, E) counts of selections. Where ``paired``, row i of both is the same prompt, and either
            side is cut at random to the smaller one's number of slots; else all prompts are cut to the smallest
            that has any slot of the layer.
        clusters: the cluster of each prompt on either side; whole clusters change sides.
    """
    random = np.random.default_rng(seed)
    totals = first.sum(axis=2), second.sum(axis=2)
    if paired:
        least = np.minimum(*totals)
        sizes = least, least
    else:
        every = np.concatenate(totals).astype(np.float64)
        smallest = np.where(every > 0, every, np.inf).min(axis=0)
        sizes = np.minimum(totals[0], smallest).astype(np.int64), np.minimum(totals[1], smallest).astype(np.int64)
    drawn = [_rarefied(c, s, random) for c, s in zip((first, second), sizes, strict=True)]
    labels = clusters if clusters and any(clusters[0]) else None
    observed, null = [], []
    for draw in range(DRAWS):
        a, b = drawn[0][draw], drawn[1][draw]
        observed.append(js_divergence(a.mean(axis=0), b.mean(axis=0)))
        sums = _swapped(a, b, labels, random) if paired else _dealt(a, b, labels, random)
        null.append(js_divergence(*sums))
    band = np.quantile(np.concatenate(null), [0.025, 0.975], axis=0).T
    return GroupDivergence(np.mean(observed, axis=0), band)


def _rarefied(counts: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(DRAWS, P, L, E) float32 shares of ``sizes`` (P, L) slots drawn without replacement."""
    prompts, layers, experts = counts.shape
    out = np.zeros((DRAWS, prompts, layers, experts), np.float32)
    for p in range(prompts):
        for layer in range(layers):
            size, row = int(sizes[p, layer]), counts[p, layer]
            if size in (0, row.sum()):
                out[:, p, layer] = row / max(size, 1) if size else 0
            else:
                out[:, p, layer] = random.multivariate_hypergeometric(row, size, DRAWS, method="marginals") / size
    return out


def _swapped(
    a: np.ndarray, b: np.ndarray, labels: tuple[list[str], list[str]] | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(B, L, E) sums of either side, pairs (or clusters of pairs) changing sides at random."""
    of, n = _numbered(labels[0] if labels else None, len(a))
    signs = (1 - 2 * random.integers(0, 2, (PERMUTATIONS, n)))[:, of].astype(np.float32)
    total, moved = (a + b).sum(axis=0), np.tensordot(signs, a - b, 1)
    return np.maximum(total + moved, 0), np.maximum(total - moved, 0)


def _dealt(
    a: np.ndarray, b: np.ndarray, labels: tuple[list[str], list[str]] | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(B, L, E) sums of either side, labels dealt out again to prompts (or clusters)."""
    of_a, n_a = _numbered(labels[0] if labels else None, len(a))
    of_b, n_b = _numbered(labels[1] if labels else None, len(b))
    order = np.argsort(random.random((PERMUTATIONS, n_a + n_b)), axis=1)
    first = (order < n_a)[:, np.concatenate([of_a, of_b + n_a])].astype(np.float32)
    both = np.concatenate([a, b])
    chosen = np.tensordot(first, both, 1)
    return chosen, np.maximum(both.sum(axis=0) - chosen, 0)


def _numbered(labels: list[str] | None, size: int) -> tuple[np.ndarray, int]:
    """The cluster's number of each prompt, and how many there are; every prompt its own without labels."""
    if labels is None:
        return np.arange(size), size
    known, numbers = np.unique(labels, return_inverse=True)
    return numbers, len(known)
