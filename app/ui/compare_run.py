"""The same prompt in both modes, one after the other, as a generator of values: waiting, streaming, done or stopped.

Knows requests, the queue and runs. Does not know Gradio: ``compare_tab`` turns every ``PairView`` into updates. Each
arm is a turn of its own with its own place in the queue, so that other visitors are served between the two.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.errors import BadValue, UserError
from analysis.trace import Phase, RoutingTrace
from analysis.words import Words
from app.engine.base import MODES, ChatRequest, Message, TokenEvent
from app.engine.recorder import TraceRecorder
from app.engine.thinking import effective_mode
from app.server import limits
from app.server.running import Run
from app.ui.context import Services

log = logging.getLogger("expertscope")

GLANCE = 0.2
"""Seconds between two looks at a run, and so between two updates of the page."""
TOP_K = 20


@dataclass(frozen=True)
class Options:
    """What the visitor has set, as it came from the browser: nothing is checked yet."""

    prompt: Any = ""
    temperature: Any = 0.6
    top_p: Any = 0.95
    max_tokens: Any = 1024
    seed: Any = 0


@dataclass(frozen=True)
class ArmView:
    """One answer so far.

    Attributes:
        reason: why it ended ("stop", "length", "interrupted", "stopped"); "" while it is under way or not begun.
        trace_id: id of its trace in the store, once it has ended and any token had come.
    """

    thinking: str = ""
    answer: str = ""
    thinking_tokens: int = 0
    answer_tokens: int = 0
    reason: str = ""
    trace_id: str = ""

    def add(self, events: list[TokenEvent]) -> ArmView:
        thinking = [e for e in events if e.phase == Phase.THINKING]
        answer = [e for e in events if e.phase == Phase.ANSWER]
        return replace(
            self,
            thinking=self.thinking + "".join(e.text for e in thinking),
            answer=self.answer + "".join(e.text for e in answer),
            thinking_tokens=self.thinking_tokens + len(thinking),
            answer_tokens=self.answer_tokens + len(answer),
        )


@dataclass(frozen=True)
class PairView:
    """What the page shows at one moment of a comparison.

    Attributes:
        arms: thinking (A) and non-thinking (B).
        status: a line of ours; ``problem`` marks it as an error.
        running: more is to come.
    """

    arms: tuple[ArmView, ArmView] = field(default_factory=lambda: (ArmView(), ArmView()))
    status: str = ""
    problem: bool = False
    running: bool = True


def build_requests(services: Services, options: Options, words: Words) -> tuple[ChatRequest, ChatRequest]:
    """Checked requests that differ in the mode alone: same prompt, same sampling, same seed.

    Raises:
        UserError: the model has one mode, or a value cannot be meant; one sentence.
    """
    text = limits.clean_text(options.prompt, services.settings.max_chars, "prompt").strip()
    return requests_for(services, text, options, words)


def requests_for(
    services: Services, text: str, options: Options, words: Words, after: int = 0
) -> tuple[ChatRequest, ChatRequest]:
    """As ``build_requests`` for a clean ``text``, with the seed that comes ``after`` so many others."""
    settings, capabilities = services.settings, services.engine.capabilities
    if set(capabilities.modes) != set(MODES):
        raise BadValue(words("tabs.compare.one_mode", mode=", ".join(capabilities.modes)))
    if not text:
        raise BadValue(words("tabs.compare.empty"))
    messages = (Message("user", text),)
    for mode in MODES:
        if effective_mode(messages, mode, soft_switch=capabilities.soft_switch) != mode:
            switch = "/no_think" if mode == "thinking" else "/think"
            raise BadValue(words("tabs.compare.switch", switch=switch))
    sampling = limits.sampling(settings, options.temperature, options.top_p, TOP_K, 0.0, 0.0, options.max_tokens)
    seed = limits.optional_whole(options.seed, "Seed", 2**53)
    thinking, direct = (
        limits.chat_request(
            messages,
            settings=settings,
            capabilities=capabilities,
            mode=mode,
            thinking_budget=None,
            sampling_params=sampling,
            seed=(seed or 0) + after,
            router_scores=False,
        )
        for mode in ("thinking", "non-thinking")
    )
    return thinking, direct


def run_pair(
    services: Services, options: Options, stopped: threading.Event, words: Words
) -> Generator[PairView, None, None]:
    """Answer the prompt in both modes and yield what to show. Never raises, but for the ``GeneratorExit`` of a visitor
    who left. After ``stopped`` is set the arm under way ends, and what had arrived is kept."""
    view = PairView()
    try:
        for arm, request in enumerate(build_requests(services, options, words)):
            name = words(f"tabs.compare.{'ab'[arm]}")
            for one, key, values in run_arm(services, request, stopped, services.store.put):
                arms = (one, view.arms[1]) if arm == 0 else (view.arms[0], one)
                view = replace(view, arms=arms, status=words(f"tabs.compare.{key}", arm=name, **values))
                yield view
            if stopped.is_set():
                yield replace(view, status=words("tabs.compare.stopped"), running=False)
                return
        yield replace(view, status=words("tabs.compare.done"), running=False)
    except UserError as error:
        yield replace(view, status=error.in_words(words), problem=True, running=False)
    except Exception:
        log.exception("A comparison failed.")
        yield replace(view, status=words("tabs.fault"), problem=True, running=False)


def run_arm(
    services: Services, request: ChatRequest, stopped: threading.Event, keep: Callable[[RoutingTrace], str]
) -> Generator[tuple[ArmView, str, dict[str, Any]], None, None]:
    """(the arm, key of the status line, its values); the last has ``reason`` and, where tokens came, the ``trace_id``
    that ``keep`` gave the trace."""
    engine, view, run = services.engine, ArmView(), None
    recorder = TraceRecorder(engine.spec, engine.provenance(request))
    ticket = services.scheduler.enter()
    try:
        while not ticket.wait(GLANCE if ticket.position else 0.0):
            if stopped.is_set():
                yield replace(view, reason="stopped"), "waiting", {"n": ticket.position}
                return
            yield view, "waiting", {"n": ticket.position}
        run = Run(lambda: engine.stream(request), ticket, services.settings.turn_seconds)
        yield view, "reading", {}
        while not run.finished:
            if stopped.is_set():
                run.stop()
            events = run.take(GLANCE)
            for event in events:
                recorder.add(event)
            view = view.add(events)
            yield view, *_progress(view)
        if run.error is not None and not run.ended:
            raise run.error
        trace = recorder.trace()
        if run.ended:
            trace = trace.with_provenance(finish_reason=run.ended)
        kept = keep(trace) if trace.num_tokens else ""
        view = replace(view, reason=str(trace.provenance["finish_reason"]), trace_id=kept)
        yield view, *_progress(view)
    finally:
        if run is None:
            ticket.leave()
        else:
            run.stop()


def _progress(view: ArmView) -> tuple[str, dict[str, Any]]:
    return "running", {"thinking": view.thinking_tokens, "answer": view.answer_tokens}


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

    def stop(self, run_id: Any) -> bool:
        """True where there was one to stop."""
        with self._lock:
            event = self._events.get(run_id) if isinstance(run_id, str) else None
        if event is not None:
            event.set()
        return event is not None
