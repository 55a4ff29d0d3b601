"""The arms of a comparison, from their place in the queue to their traces: one alone, or several side by side.

Knows the queue, runs and traces. Does not know what is compared, nor the page. Arms that run side by side share one
place in the queue and take turns token by token; where there is a place for each, other visitors are served between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from analysis.trace import RoutingTrace
from app.engine.base import ChatRequest, TokenEvent
from app.engine.recorder import TraceRecorder
from app.server.running import Run, Turn, in_turns
from app.ui.context import Services

GLANCE = 0.2
"""Seconds between two looks at a run, and so between two updates of the page."""


Seen = TypeVar("Seen")
Shown = TypeVar("Shown")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Look:
    """What one look at an arm found.

    Attributes:
        waiting: how many runs are before it; 0 once it has its turn.
        events: new tokens.
        reason: why it ended ("stop", "length", "interrupted", "stopped"); "" while it goes on.
        trace: all that came, on the look that found its end; None where it was stopped before its turn.
        error: what it raised, on that look; ``reason`` is then "error", and ``trace`` holds what had come.
    """

    waiting: int = 0
    events: list[TokenEvent] = field(default_factory=list)
    reason: str = ""
    trace: RoutingTrace | None = None
    error: Exception | None = None


Stream = Callable[[], Generator[TokenEvent, None, None]]


def follow_arm(
    services: Services, stream: Stream, recorder: TraceRecorder, stopped: threading.Event
) -> Generator[Look, None, None]:
    """Wait for a turn in the queue, then record ``stream`` until it ends, is ``stopped`` or runs out of time.

    Raises:
        UserError: the queue is full or the engine refuses.
        Exception: a fault of the engine.
    """
    with closing(follow_arms(services, [stream], [recorder], stopped)) as looks:
        for (look,) in looks:
            if look.error is not None:
                raise look.error
            yield look


def follow_arms(
    services: Services, streams: Sequence[Stream], recorders: Sequence[TraceRecorder], stopped: threading.Event
) -> Generator[tuple[Look, ...], None, None]:
    """As ``follow_arm`` for several streams that take turns in one place of the queue: a look at each. One that ends or
    fails leaves the others going; ``stopped`` and the end of the time end all that go on.

    Raises:
        UserError: the queue is full.
    """
    every = range(len(streams))
    ticket, run = services.scheduler.enter(), None
    try:
        while not ticket.wait(GLANCE if ticket.position else 0.0):
            reason = "stopped" if stopped.is_set() else ""
            yield tuple(Look(waiting=max(1, ticket.position), reason=reason) for _ in every)
            if reason:
                return
        run = Run(lambda: in_turns(streams), ticket, services.settings.turn_seconds)
        yield tuple(Look() for _ in every)
        going = set(every)
        while not run.finished:
            if stopped.is_set():
                run.stop()
            turns = run.take(GLANCE)
            looks = tuple(_look(turns, number, recorders[number]) for number in every)
            if going:
                yield looks
            going -= {number for number in every if looks[number].reason}
        if run.error is not None and not run.ended:
            raise run.error
        if going:
            yield tuple(_given_up(recorders[number], run.ended) if number in going else Look() for number in every)
    finally:
        if run is None:
            ticket.leave()
        else:
            run.stop()


def _look(turns: list[Turn], number: int, recorder: TraceRecorder) -> Look:
    """What came of one stream; with its trace where it has ended."""
    events = []
    for of, came in turns:
        if of != number:
            continue
        if isinstance(came, TokenEvent):
            recorder.add(came)
            events.append(came)
        elif came is None:
            trace = recorder.trace()
            return Look(events=events, reason=str(trace.provenance["finish_reason"]), trace=trace)
        else:
            return Look(events=events, reason="error", trace=_given_up(recorder, "error").trace, error=came)
    return Look(events=events)


def _given_up(recorder: TraceRecorder, reason: str) -> Look:
    return Look(reason=reason, trace=recorder.trace().with_provenance(finish_reason=reason))


def answer(
    services: Services, request: ChatRequest, stopped: threading.Event
) -> Generator[Look, None, RoutingTrace | None]:
    """Answer ``request`` as an arm of its own; gives its trace, None where it was stopped before a token came."""
    engine, trace = services.engine, None
    recorder = TraceRecorder(engine.spec, engine.provenance(request))
    for look in follow_arm(services, lambda: engine.stream(request), recorder, stopped):
        trace = look.trace
        yield look
    return trace if trace is not None and trace.num_tokens else None


def shown_as(show: Callable[[Seen], Shown], working: Generator[Seen, None, Result]) -> Generator[Shown, None, Result]:
    """What ``show`` makes of everything that ``working`` yields; gives what that gives."""
    with closing(working):
        while True:
            try:
                seen = next(working)
            except StopIteration as over:
                return over.value
            yield show(seen)


class Stops:
    """The comparisons under way by ids that cannot be guessed, so that a button can end one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}

    def open(self, run_id: str) -> threading.Event:
        with self._lock:
            return self._events.setdefault(run_id, threading.Event())

    def close(self, run_id: str) -> None:
        with self._lock:
            self._events.pop(run_id, None)

    def stop(self, run_id: object) -> bool:
        """True where there was one to stop."""
        with self._lock:
            event = self._events.get(run_id) if isinstance(run_id, str) else None
        if event is not None:
            event.set()
        return event is not None
