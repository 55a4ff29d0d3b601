"""Pairs of traces in memory → a tested comparison, as ``comparing`` makes of recorded folders.

Knows traces of the same prompts in two modes. Does not know who recorded them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from analysis.comparing import Comparison, compare_plan
from analysis.contrast import PERMUTATIONS
from analysis.recordings import Entry, Plan, Unit
from analysis.sources import TraceReading
from analysis.trace import RoutingTrace

GROUPS = ("thinking", "non-thinking")
Pair = tuple[RoutingTrace, RoutingTrace]


class PairSet:
    """Usage::

        pairs = PairSet([(thinking, direct), …])
        found = pairs.compare(phase="generated", control="token")

    Every comparison is worked out once and kept. Several threads may ask.
    """

    def __init__(self, pairs: Sequence[Pair], permutations: int = PERMUTATIONS, seed: int = 0) -> None:
        self.pairs = list(pairs)
        self._permutations, self._seed = permutations, seed
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Comparison] = {}

    def compare(self, phase: str = "generated", control: str = "none") -> Comparison:
        """
        Raises:
            BadValue: no such phase or control, or too few prompts have rows in the phase.
        """
        with self._lock:
            if (phase, control) not in self._found:
                self._found[phase, control] = compare_plan(
                    self._plan(phase), "mode", control, None, self._permutations, self._seed, opened=self._open
                )
            return self._found[phase, control]

    def _open(self, entry: Entry) -> TraceReading:
        return TraceReading(self.pairs[int(entry.digest)][GROUPS.index(entry.line["mode"])])

    def _plan(self, phase: str) -> Plan:
        units = []
        for n, pair in enumerate(self.pairs):
            first, second = (
                Entry(self._path(n, side), trace.prompt, str(n), "", {"mode": GROUPS[side]})
                for side, trace in enumerate(pair)
            )
            units.append(Unit(str(n), "", ((first,), (second,))))
        return Plan(GROUPS, (phase, phase), tuple(units), paired=True)

    @staticmethod
    def _path(number: int, side: int) -> Path:
        """A name for what has no file, for messages that name one."""
        return Path(f"{number + 1}-{GROUPS[side]}")
