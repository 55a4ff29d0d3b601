"""A bounded random sample of what routers' summaries were over many traces, for quantiles over tokens.

Knows arrays of rows. Memory holds ``MOST`` rows a phase, however many there are.
"""

from __future__ import annotations

import numpy as np

from analysis.statistic import Statistic
from analysis.token_metrics import SUMMARIES, quantiles_of
from analysis.trace import RouterSpec, RoutingTrace

MOST = 20_000  # rows


class SummarySample:
    """Entropy, margin and top-k mass of the rows of one phase; all rows up to ``MOST``, else as many drawn at random,
    each as likely. A summary that any trace lacks is left out.

    Attributes:
        seen: rows that were there.
    """

    def __init__(self, phase: str) -> None:
        self.phase, self.seen = phase, 0
        self._random = np.random.default_rng(0)
        self._keys = np.zeros(0)
        self._rows: dict[str, np.ndarray] = {}
        self._known = set(SUMMARIES)

    def add(self, trace: RoutingTrace) -> None:
        chosen = trace.rows_in(self.phase)
        number = int(np.count_nonzero(chosen))
        if not number:
            return
        self.seen += number
        self._known &= {name for name in SUMMARIES if getattr(trace, name) is not None}
        keys = np.concatenate([self._keys, self._random.random(number)])
        kept = np.sort(np.argpartition(keys, MOST)[:MOST]) if len(keys) > MOST else np.arange(len(keys))
        rows = {}
        for name in self._known:
            new = getattr(trace, name)[chosen]
            rows[name] = np.concatenate([self._rows.get(name, new[:0]), new])[kept]
        self._keys, self._rows = keys[kept], rows

    def quantiles(self, spec: RouterSpec) -> dict[str, Statistic]:
        """``token_metrics.uncertainty_quantiles`` of the sample; ``n`` counts all rows that were there."""
        return quantiles_of(self._rows, spec, self.seen, self.phase) if self.seen else {}
