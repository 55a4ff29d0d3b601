"""One engine stream, or several that take turns, in a thread of its own, so that the page can be redrawn, stopped and
timed whatever the model does.

Knows streams, tickets and time. Does not know what the events mean, who watches or what is drawn.

A stream is created, stepped and closed in one and the same thread, and the place in the queue is given back only when
that thread has let go of the model.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Generic, TypeVar

from app.engine.base import TokenEvent
from app.engine.scheduler import Ticket

log = logging.getLogger("expertscope")

Event = TypeVar("Event")
Turn = tuple[int, TokenEvent | Exception | None]
"""What came of which of several streams: an event, what it raised, or None at its end."""


def in_turns(streams: Sequence[Callable[[], Generator[TokenEvent, None, None]]]) -> Generator[Turn, None, None]:
    """One event of each stream after the other until all have ended. One that fails does not end the others."""
    going = {number: stream() for number, stream in enumerate(streams)}
    try:
        while going:
            for number, stream in list(going.items()):
                came: TokenEvent | Exception | None
                try:
                    came = next(stream, None)
                except Exception as error:
                    came = error
                if not isinstance(came, TokenEvent):
                    del going[number]
                yield number, came
    finally:
        for stream in going.values():
            stream.close()


class Run(Generic[Event]):
    """Usage, once ``ticket`` has its turn::

        run = Run(lambda: engine.stream(request), ticket, seconds=300)
        try:
            while not run.finished:
                for event in run.take(timeout=1 / 12):
                    ...
            if run.error:
                raise run.error
        finally:
            run.stop()

    Attributes:
        ended: why it ended early: "stopped" or "interrupted" (out of time); "" otherwise.
        error: what the stream raised, or None.
    """

    def __init__(self, stream: Callable[[], Generator[Event, None, None]], ticket: Ticket, seconds: float) -> None:
        self._stream, self._ticket = stream, ticket
        self._deadline = time.monotonic() + seconds
        self._changed = threading.Condition()
        self._events: list[tuple[Event, float]] = []
        self._done = False
        self.ended = ""
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="expertscope-run", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Nothing more will come: the stream has ended (or was given up) and every event was taken; see ``error``."""
        with self._changed:
            return not self._events and (self._done or bool(self.ended))

    def take(self, timeout: float) -> list[Event]:
        """The events since the last call, ``timeout`` seconds from now; earlier only when it is over."""
        return [event for event, _ in self.take_timed(timeout)]

    def take_timed(self, timeout: float) -> list[tuple[Event, float]]:
        """As ``take``, each with the moment it came, in seconds of the monotonic clock."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or bool(self.ended), timeout)
            if not self._done and not self.ended and time.monotonic() > self._deadline:
                self.ended = "interrupted"
            events, self._events = self._events, []
            return events

    def stop(self, reason: str = "stopped") -> None:
        """End at the next token; harmless when it is over."""
        with self._changed:
            if not self._done and not self.ended:
                self.ended = reason
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            with closing(self._stream()) as events:
                for event in events:
                    with self._changed:
                        if self.ended:
                            break
                        self._events.append((event, time.monotonic()))
        except Exception as error:
            if self.ended:
                log.exception("A stream that had been given up failed.")
            traceback.clear_frames(error.__traceback__)  # they hold the model's cache, which may be all the memory
            self.error = error
        finally:
            self._ticket.leave()
            with self._changed:
                self._done = True
                self._changed.notify_all()
