"""How fast a run is shown: at once, so many tokens a second, or one at a time; changed while it runs.

Knows token events and seconds. Does not know where events come from, who watches, or what is drawn. The model never
waits for this: it works at its own speed, and what it has done is held here until it is to be seen.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from analysis.trace import RoutingRows
from app.engine.base import TokenEvent
from app.server import limits

Timed = tuple[TokenEvent, float]
"""An event and when it came, in seconds of the monotonic clock."""
AT_ONCE, STEP = 0.0, -1.0
"""Paces that are no tokens a second: everything as it comes; one token whenever it is asked for."""
PACES = (AT_ONCE, 30.0, 10.0, 3.0, STEP)
MOST_STEPS = 16
"""Steps that may be asked for before the first of them is shown, by a key that is held down."""


def chosen_pace(value: Any) -> float:
    """A pace as the page sends it; None is ``AT_ONCE``.

    Raises:
        BadValue: no number, or one that is no pace.
    """
    pace = limits.number(AT_ONCE if value is None else value, "Pace", STEP, 1000)
    return STEP if pace < 0 else pace


class Pacer:
    """Events on their way from a run to the page. Prompt tokens are never held back. True while something is held.

    A token that is shown brings its own routing where the model is ahead, and else as soon as that is known: rows that
    came together are handed on one by one.

    Args:
        pace: one of ``PACES``, or any other number of tokens a second.
        patience: seconds without a step, while something is held, after which the rest is shown at once, so that
            nothing waits for ever.
    """

    def __init__(
        self, pace: float = AT_ONCE, patience: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock, self._clock, self._patience = threading.Lock(), clock, patience
        self._held: deque[Timed] = deque()
        self._rows: deque[RoutingRows] = deque()
        self.dropped = False
        self._pace, self._allowance, self._asked = pace, 0.0, clock()

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def stepping(self) -> bool:
        return self._pace == STEP

    def set(self, pace: float) -> None:
        """From now on; from any thread."""
        with self._lock:
            self._pace, self._allowance, self._asked = pace, 0.0, self._clock()

    def step(self) -> None:
        """Show one token more, where tokens are shown one at a time; from any thread."""
        with self._lock:
            if self.stepping:
                self._allowance, self._asked = min(self._allowance + 1, MOST_STEPS), self._clock()

    def add(self, events: list[Timed]) -> None:
        with self._lock:
            if not self._held:
                self._asked = self._clock()
            apart = self._pace != AT_ONCE or bool(self._held)
            for event, moment in events:
                if apart and event.rows is not None and event.generated:
                    self._rows.append(event.rows)
                    event = replace(event, rows=None)
                self._held.append((event, moment))

    def drop(self) -> None:
        """Stopped: what was not shown is not kept."""
        with self._lock:
            self.dropped = self.dropped or bool(self._held)
            self._held.clear()

    def release(self, seconds: float) -> list[Timed]:
        """What is shown ``seconds`` after the last call."""
        with self._lock:
            if self.stepping and self._held and self._clock() - self._asked > self._patience:
                self._pace = AT_ONCE
            if not self.stepping:
                self._allowance = min(self._allowance, 1.0) + self._pace * seconds
            shown: list[Timed] = []
            while self._held and (self._pace == AT_ONCE or not self._held[0][0].generated or self._allowance >= 1):
                event, moment = self._held.popleft()
                if event.generated:
                    self._allowance -= self._pace != AT_ONCE
                    event = self._with_rows(event)
                shown.append((event, moment))
            return shown

    def _with_rows(self, event: TokenEvent) -> TokenEvent:
        """``event`` with the rows, up to its own, that are known by now and were not handed on before."""
        end = event.index + 1
        if event.rows is not None or not self._rows or self._rows[0].start >= end:
            return event
        rows = self._rows.popleft()
        if rows.start + len(rows) > end:
            self._rows.appendleft(rows.between(end, rows.start + len(rows)))
        return replace(event, rows=rows.between(rows.start, end))
