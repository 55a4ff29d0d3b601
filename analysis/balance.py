"""How evenly a load is spread: four measures, and what uniform random routing would give for as many tokens.

Knows one layer's load as an array of shares. Does not know traces.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_DRAWS = 64
_EXACT_CELLS = 131_072  # tokens × experts up to which routing is drawn token by token


def max_violation(load: np.ndarray) -> float:
    """(max − mean) / mean of (E,) shares; NaN where there is no load."""
    mean = load.mean()
    return float((load.max() - mean) / mean) if mean > 0 else float("nan")


def entropy(load: np.ndarray) -> float:
    """Shannon entropy in nats of (E,) shares that sum to 1; NaN where there is no load."""
    used = load[load > 0]
    return float(-(used * np.log(used)).sum()) if len(used) else float("nan")


def gini(load: np.ndarray) -> float:
    """Gini coefficient of (E,) shares; NaN where there is no load."""
    total, size = load.sum(), len(load)
    if not total > 0:
        return float("nan")
    ranks = np.arange(1, size + 1)
    return float(2 * (ranks * np.sort(load)).sum() / (size * total) - (size + 1) / size)


def variation(load: np.ndarray) -> float:
    """Coefficient of variation of (E,) shares, their standard deviation / mean; NaN where there is no load."""
    mean = load.mean()
    return float(load.std() / mean) if mean > 0 else float("nan")


@lru_cache(maxsize=4096)
def by_chance(measure: Callable[[np.ndarray], float], tokens: int, experts: int, top_k: int) -> float:
    """The mean of ``measure`` when each of ``tokens`` tokens uses ``top_k`` of ``experts`` at random; NaN for none.

    Seeded, so the same arguments give the same number. In large samples an expert's count is drawn from its own
    binomial distribution, and the counts of a draw are then shifted to the right sum.
    """
    if not tokens:
        return float("nan")
    return float(np.mean([measure(load) for load in uniform_loads(tokens, experts, top_k)]))


@lru_cache(maxsize=64)
def uniform_loads(tokens: int, experts: int, top_k: int) -> np.ndarray:
    """(draws, E) loads under uniform random routing."""
    random = np.random.default_rng([tokens, experts, top_k])
    slots = tokens * top_k
    if top_k == experts:
        return np.full((_DRAWS, experts), 1 / experts)
    if tokens * experts <= _EXACT_CELLS:
        counts = np.empty((_DRAWS, experts))
        for draw in range(_DRAWS):
            chosen = np.argpartition(random.random((tokens, experts)), top_k, axis=1)[:, :top_k]
            counts[draw] = np.bincount(chosen.ravel(), minlength=experts)
        return counts / slots
    share = top_k / experts
    noise = random.binomial(tokens, share, (_DRAWS, experts)) - tokens * share
    noise -= noise.mean(axis=1, keepdims=True)
    counts = np.maximum(tokens * share + noise * np.sqrt(experts / (experts - 1)), 0)
    return counts / counts.sum(axis=1, keepdims=True)


def sorted_by_chance(tokens: int, experts: int, top_k: int) -> np.ndarray:
    """(E,) mean loads, the largest first, when each of ``tokens`` tokens uses ``top_k`` of ``experts`` at random."""
    return np.sort(uniform_loads(tokens, experts, top_k), axis=1)[:, ::-1].mean(axis=0)
