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


def difference(a: Share, b: Share) -> Share:
    """Share `a` minus share `b`, of different samples or of the same one (then the interval is wide); Newcombe."""
    gap = a["share"] - b["share"]
    low = gap - ((a["share"] - a["low"]) ** 2 + (b["high"] - b["share"]) ** 2) ** 0.5
    high = gap + ((a["high"] - a["share"]) ** 2 + (b["share"] - b["low"]) ** 2) ** 0.5
    return {"share": gap, "low": low, "high": high, "n": min(a["n"], b["n"])}


def mean(values: Sequence[float], seed: int = 0, draws: int = 2000) -> Share:
    """Mean over independent units (texts, prompts) with its bootstrap percentile interval."""
    array = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(array), size=(draws, len(array)))
    low, high = np.quantile(array[picks].mean(1), [0.025, 0.975])
    return {"share": float(array.mean()), "low": float(low), "high": float(high), "n": len(array)}
