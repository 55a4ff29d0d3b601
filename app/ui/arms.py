"""One arm of a comparison, from its place in the queue to its trace.

Knows the queue, runs and traces. Does not know what is compared, nor the page. Each arm has a place of its own in the
queue, so that other visitors are served between two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from analysis.trace import RoutingTrace
from app.engine.base import ChatRequest, TokenEvent
from app.engine.recorder import TraceRecorder
from app.server.running import Run
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
        trace: all that came, on the last look; None where it was stopped before its turn.
    """

    waiting: int = 0
    events: list[TokenEvent] = field(default_factory=list)
    reason: str = ""
    trace: RoutingTrace | None = None


def follow_arm(
    services: Services,
    stream: Callable[[], Generator[TokenEvent, None, None]],
    recorder: TraceRecorder,
    stopped: threading.Event,
) -> Generator[Look, None, None]:
    """Wait for a turn in the queue, then record ``stream`` until it ends, is ``stopped`` or runs out of time.

    Raises:
        UserError: the queue is full or the engine refuses.
        Exception: a fault of the engine.
    """
    ticket, run = services.scheduler.enter(), None
    try:
        while not ticket.wait(GLANCE if ticket.position else 0.0):
            if stopped.is_set():
                yield Look(waiting=max(1, ticket.position), reason="stopped")
                return
            yield Look(waiting=max(1, ticket.position))
        run = Run(stream, ticket, services.settings.turn_seconds)
        yield Look()
        while not run.finished:
            if stopped.is_set():
                run.stop()
            events = run.take(GLANCE)
            for event in events:
                recorder.add(event)
            yield Look(events=events)
        if run.error is not None and not run.ended:
            raise run.error
        trace = recorder.trace()
        if run.ended:
            trace = trace.with_provenance(finish_reason=run.ended)
        yield Look(reason=str(trace.provenance["finish_reason"]), trace=trace)
    finally:
        if run is None:
            ticket.leave()
        else:
            run.stop()


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
