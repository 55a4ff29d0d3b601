"""Following one run from the queue to its trace: what a visitor is shown while it waits, streams and ends.

Knows the queue, the live view's feed and the store. Does not know whether the run is a chat turn or pasted text, nor
what the page looks like. ``ActiveRuns`` holds the runs under way, so that other requests can stop or read one.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from analysis.trace import Origin, Phase, RoutingTrace
from analysis.words import Words
from app.engine.base import TokenEvent
from app.engine.recorder import TraceRecorder
from app.server.running import Run, Timed
from app.ui.context import EXAMPLE, Services
from app.ui.live.wire import Chunk, LiveFeed, snapshot

Stream = Callable[[], Generator[TokenEvent, None, None]]

SO_FAR = "-now"
"""Behind a run's id: the id of what had arrived of it when a visitor last looked."""
EXAMPLE_PACE = 10.0
"""Tokens a second at which the example plays."""
QUEUE_GLANCE = 0.5
"""Seconds between looks at the place in the queue."""


@dataclass(frozen=True)
class Progress:
    """What changed since the last look.

    Attributes:
        waiting: how many runs are before this one; 0 once it has its turn.
        events: new tokens.
        times: when each of them came from the engine, in seconds of the monotonic clock.
        chunk: what the live view is sent, or None.
        finish_reason: "" until the last look.
        trace_id: id of the finished trace in the store, on the last look; "" where nothing came.
    """

    waiting: int = 0
    events: list[TokenEvent] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    chunk: Chunk | None = None
    finish_reason: str = ""
    trace_id: str = ""


class ActiveRun:
    """A run under way. ``trace`` may be asked for from any thread."""

    def __init__(self, feed: LiveFeed, recorder: TraceRecorder) -> None:
        self.feed = feed
        self._recorder = recorder
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._stop = threading.Event()
        self.discarded = False

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it is stopped."""
        self._stop.wait(seconds)

    def start(self, run: Run) -> None:
        self._run = run
        if self.stopped:
            run.stop()

    def stop(self) -> None:
        self._stop.set()
        if self._run is not None:
            self._run.stop()

    def discard(self) -> None:
        """Stop; the visitor has no use for what came."""
        self.discarded = True
        self.stop()

    def add(self, events: list[TokenEvent]) -> None:
        with self._lock:
            for event in events:
                self._recorder.add(event)
                self.feed.add(event)

    def trace(self, finish_reason: str = "") -> RoutingTrace:
        """What has arrived so far."""
        with self._lock:
            trace = self._recorder.trace()
        return trace.with_provenance(finish_reason=finish_reason) if finish_reason else trace


class ActiveRuns:
    """The runs under way by their ids, which cannot be guessed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, ActiveRun] = {}

    def add(self, run_id: str, run: ActiveRun) -> None:
        with self._lock:
            self._runs[run_id] = run

    def remove(self, run_id: str) -> None:
        with self._lock:
            self._runs.pop(run_id, None)

    def get(self, run_id: Any) -> ActiveRun | None:
        with self._lock:
            return self._runs.get(run_id) if isinstance(run_id, str) else None

    def __len__(self) -> int:
        return len(self._runs)


class Held:
    """Events that came and are not shown yet; prompt tokens are never held back. True while there are any."""

    def __init__(self, pace: float) -> None:
        self._pace, self._allowance = pace, 0.0
        self._held: deque[Timed] = deque()
        self.dropped = False

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, events: list[Timed]) -> None:
        self._held.extend(events)

    def drop(self) -> None:
        """Stopped: what was not shown is not kept."""
        self.dropped = self.dropped or bool(self._held)
        self._held.clear()

    def release(self, seconds: float) -> list[Timed]:
        """What is shown ``seconds`` after the last call."""
        shown: list[Timed] = []
        self._allowance = min(self._allowance, 1.0) + self._pace * seconds
        while self._held and (not self._pace or self._is_prompt(self._held[0][0]) or self._allowance >= 1):
            if not self._is_prompt(self._held[0][0]):
                self._allowance -= 1
            shown.append(self._held.popleft())
        return shown

    @staticmethod
    def _is_prompt(event: TokenEvent) -> bool:
        return event.phase == Phase.PROMPT or event.origin == Origin.TEMPLATE


def new_run_id() -> str:
    return secrets.token_urlsafe(16)


def follow(
    services: Services,
    runs: ActiveRuns,
    stream: Stream,
    provenance: dict[str, Any],
    run_id: str,
    language: str = "en",
    pace: float = 0.0,
) -> Generator[Progress, None, None]:
    """Wait for a turn in the queue, then stream; the trace is in the store under ``run_id`` when it ends, however it
    ends, unless the visitor has left: then the run is stopped and nothing is kept.

    Args:
        pace: the most generated tokens a second that are handed on, so that a fast model can be watched; 0 for all at
            once. The model does not wait for that: its place in the queue is free as soon as it is done.

    Raises:
        UserError: the queue is full or the engine refuses; where tokens had come, their trace is kept first.
        Exception: a fault of the engine, likewise.
    """
    engine, settings = services.engine, services.settings
    weights = engine.capabilities.gate_weights
    feed = LiveFeed(run_id, engine.spec, title=engine.card.title, gate_weights=weights, lang=language)
    active, run = ActiveRun(feed, TraceRecorder(engine.spec, provenance)), None
    came = False
    ticket = services.scheduler.enter()
    runs.add(run_id, active)
    try:
        while not ticket.wait(0.0):
            if active.stopped:
                yield Progress(finish_reason="stopped")
                return
            yield Progress(waiting=max(1, ticket.position))
            ticket.wait(QUEUE_GLANCE)
        run = Run(stream, ticket, settings.turn_seconds)
        active.start(run)
        yield Progress()
        held = Held(pace)
        tick = 1 / settings.updates_per_second
        while not run.finished or held:
            if run.finished:
                active.pause(tick)
            else:
                held.add(run.take_timed(tick))
            if active.stopped:
                held.drop()
            shown = held.release(tick)
            events = [event for event, _ in shown]
            came = came or bool(events)
            active.add(events)
            yield Progress(events=events, times=[moment for _, moment in shown], chunk=feed.chunk())
        if run.error is not None and not run.ended:
            if came:
                feed.finish("error")
                services.store.put(active.trace("error"), run_id)
                yield Progress(chunk=feed.chunk())
            raise run.error
        ended = run.ended or ("stopped" if held.dropped else "")
        feed.finish(ended or "stop")
        trace = active.trace(ended)
        reason = str(trace.provenance["finish_reason"])
        kept = came and not active.discarded
        yield Progress(
            chunk=feed.chunk(), finish_reason=reason, trace_id=services.store.put(trace, run_id) if kept else ""
        )
    finally:
        if run is None:
            ticket.leave()
        else:
            run.stop()
        runs.remove(run_id)
        services.store.drop(run_id + SO_FAR)


def pull(services: Services, runs: ActiveRuns, run_id: Any, language: str | None = None) -> Chunk:
    """Everything known of a run, for a live view that was mounted late or missed a chunk.

    Raises:
        BadValue: there is no such run.
    """
    active = runs.get(run_id)
    if active is not None:
        return active.feed.snapshot()
    pace = EXAMPLE_PACE if run_id == EXAMPLE else None
    trace = services.store.get(run_id)
    title = str(trace.provenance.get("model", ""))
    if trace.provenance.get("edits"):
        title = Words(language)("page.title_edited", title=title)
    return snapshot(trace, run_id, title=title, lang=language, autoplay=pace)
