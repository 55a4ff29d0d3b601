"""Shares and means with their 95% intervals, as plain dictionaries. Knows numbers only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Share = dict[str, Any]
Z = 1.959964


def wilson(right: int, n: int) -> Share:
    """Share with its Wilson interval, as `share`, `low`, `high` and `n`."""
    if not n:
        return {"share": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    p = right / n
    middle, half = p + Z * Z / (2 * n), Z * (p * (1 - p) / n + Z * Z / (4 * n * n)) ** 0.5
    scale = 1 + Z * Z / n
    return {"share": p, "low": max(0.0, (middle - half) / scale), "high": min(1.0, (middle + half) / scale), "n": n}


def paired(a: Sequence[bool], b: Sequence[bool]) -> Share:
    """Share of marks in `a` minus that in `b`, two answers to each of the same problems, in order.

    The interval is Newcombe's for paired shares (Statistics in Medicine 17, 1998, 2635–2650, method 10).
    """
    first, second = wilson(sum(a), len(a)), wilson(sum(b), len(b))
    both = sum(x and y for x, y in zip(a, b, strict=True))
    neither = sum(not x and not y for x, y in zip(a, b, strict=True))
    only_a, only_b, n = sum(a) - both, sum(b) - both, len(a)
    together = both * neither - only_a * only_b
    if together > 0:
        together = max(0.0, together - n / 2)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    like = together / margins**0.5 if margins else 0.0

    def half(x: float, y: float) -> float:
        return max(0.0, x * x - 2 * like * x * y + y * y) ** 0.5

    gap = first["share"] - second["share"]
    low = gap - half(first["share"] - first["low"], second["high"] - second["share"])
    high = gap + half(first["high"] - first["share"], second["share"] - second["low"])
    return {"share": gap, "low": low, "high": high, "n": n}


def mean(values: Sequence[float], seed: int = 0, draws: int = 2000) -> Share:
    """Mean over independent units (texts, prompts) with its bootstrap percentile interval."""
    array = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(array), size=(draws, len(array)))
    low, high = np.quantile(array[picks].mean(1), [0.025, 0.975])
    return {"share": float(array.mean()), "low": float(low), "high": float(high), "n": len(array)}
