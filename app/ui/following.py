"""Following one run from the queue to its trace: what a visitor is shown while it waits, streams and ends.

Knows the queue, the live view's feed and the store. Does not know whether the run is a chat turn or pasted text, nor
what the page looks like. ``ActiveRuns`` holds the runs under way, so that other requests can stop or read one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from analysis.trace import RouterSpec, RoutingTrace
from analysis.words import Words
from app.engine.base import TokenEvent
from app.engine.recorder import TraceRecorder
from app.server.running import Run
from app.ui.context import EXAMPLE, Services
from app.ui.live.wire import Chunk, LiveFeed, snapshot
from app.ui.pacing import Pacer

Stream = Callable[[], Generator[TokenEvent, None, None]]
Timed = tuple[TokenEvent, float]
"""An event and when it came, in seconds of the monotonic clock."""

SO_FAR = "-now"
"""Behind a run's id: the id of what had arrived of it when a visitor last looked."""
EXAMPLE_PACE = 10.0
"""Tokens a second at which the example plays."""
MOST_BEHIND = 1.0
"""Seconds of its pace that a run makes up for after its page was not served."""
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
    """A run under way. ``trace`` may be asked for from any thread; ``pacer`` may be told another pace, or a step."""

    def __init__(self, feed: LiveFeed, recorder: TraceRecorder, pacer: Pacer) -> None:
        self.feed, self.pacer = feed, pacer
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
    """The runs under way by their ids, which cannot be guessed; and who has one in the chat, so that nobody has two."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, ActiveRun] = {}
        self._claims: dict[str, object] = {}

    def claim(self, visitor: str) -> object | None:
        """The one place that ``visitor`` (a session's hash) has for a run, to be released; None where it is taken."""
        with self._lock:
            if visitor in self._claims:
                return None
            self._claims[visitor] = claim = object()
            return claim

    def release(self, visitor: str, claim: object) -> None:
        """Give the place back; nothing where it was given back before, whoever has it now."""
        with self._lock:
            if self._claims.get(visitor) is claim:
                del self._claims[visitor]

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
    spec: RouterSpec | None = None,
) -> Generator[Progress, None, None]:
    """Wait for a turn in the queue, then stream; the trace is in the store under ``run_id`` when it ends, however it
    ends, unless the visitor has left: then the run is stopped and nothing is kept.

    Args:
        pace: how fast generated tokens are handed on, see ``pacing``. The model does not wait for that: its place in
            the queue is free as soon as it is done.
        spec: of the trace, where edits of the routing make it another than the engine's.

    Raises:
        UserError: the queue is full or the engine refuses; where tokens had come, their trace is kept first.
        Exception: a fault of the engine, likewise.
    """
    engine, settings = services.engine, services.settings
    weights, spec = engine.capabilities.gate_weights, spec or engine.spec
    title = titled(engine.card.title, provenance, Words(language))
    feed = LiveFeed(run_id, spec, title=title, gate_weights=weights, lang=language)
    pacer = Pacer(pace, patience=settings.turn_seconds)
    active, run = ActiveRun(feed, TraceRecorder(spec, provenance), pacer), None
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
        tick, shown_at = 1 / settings.updates_per_second, time.monotonic()
        while not run.finished or pacer:
            if run.finished:
                active.pause(tick)
            else:
                pacer.add(run.take_timed(tick))
            if active.stopped:
                pacer.drop()
            since, shown_at = time.monotonic() - shown_at, time.monotonic()
            shown = pacer.release(min(since, MOST_BEHIND))
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
        ended = run.ended or ("stopped" if pacer.dropped else "")
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
    title = titled(str(trace.provenance.get("model", "")), trace.provenance, Words(language))
    return snapshot(trace, run_id, title=title, lang=language, autoplay=pace)


def titled(title: str, provenance: dict[str, Any], words: Words) -> str:
    """A model's name above a picture; where its routing was edited, with that said."""
    return words("page.title_edited", title=title) if provenance.get("edits") else title
