"""Many tests at once: false discovery rates, family-wise steps, and intervals honest about having been selected.

Knows arrays of p values, means and errors. Does not know how they came about.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_GRID = 400_001


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """(M,) q: the least false discovery rate at which each of the (M,) tests would be reported.

    Benjamini & Hochberg, "Controlling the false discovery rate" (1995); holds for independent and for positively
    dependent tests.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


def holm(p: np.ndarray) -> np.ndarray:
    """(M,) p values corrected family-wise, whatever their dependence. Holm (1979)."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected


def fcr_level(selected: int, tested: int, rate: float = 0.05) -> float:
    """The level of intervals that keep the false coverage rate of the ``selected`` of ``tested`` at ``rate``:
    1 − rate · selected / tested (with one for none). Benjamini & Yekutieli, "False discovery rate-adjusted multiple
    confidence intervals for selected parameters" (2005)."""
    return 1 - rate * max(selected, 1) / max(tested, 1)


def fewest_visible(smallest_p: float, tested: int, rate: float = 0.05) -> int:
    """How many experts must reach the smallest attainable p together before any is reported at this rate; more than
    ``tested`` where none ever can be."""
    return int(np.floor(smallest_p * tested / rate + 1e-9)) + 1


@lru_cache(maxsize=1024)
def t_quantile(level: float, freedom: int) -> float:
    """The t beyond which, on both sides together, lies 1 − ``level`` of Student's distribution (``freedom`` degrees).

    With t = √ν tan θ the density of θ is proportional to cos^(ν−1) θ; integrated from the tail, with errors below 0.1%
    of t for levels up to 1 − 10⁻⁶ and ν ≥ 2.
    """
    theta = np.linspace(0, np.pi / 2, _GRID)
    density = np.cos(theta) ** (freedom - 1)
    tail = np.concatenate([np.cumsum(((density[1:] + density[:-1]) / 2)[::-1])[::-1], [0.0]])
    tail /= tail[0]
    wanted = np.interp(1 - level, tail[::-1], theta[::-1])
    return float(np.sqrt(freedom) * np.tan(wanted))
