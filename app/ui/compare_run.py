"""The same prompt in both modes, one after the other, as a generator of values: waiting, streaming, done or stopped.

Knows requests, the queue and runs. Does not know Gradio: ``compare_tab`` turns every ``PairView`` into updates. Each
arm is a turn of its own with its own place in the queue, so that other visitors are served between the two.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.errors import BadValue, UserError
from analysis.trace import Phase
from analysis.words import Words
from app.engine.base import MODES, ChatRequest, Message, TokenEvent
from app.engine.recorder import TraceRecorder
from app.engine.thinking import effective_mode
from app.server import limits
from app.ui.arms import follow_arm
from app.ui.context import Services

log = logging.getLogger("expertscope")

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
            for one, key, values in _run_arm(services, request, stopped):
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


def _run_arm(
    services: Services, request: ChatRequest, stopped: threading.Event
) -> Generator[tuple[ArmView, str, dict[str, Any]], None, None]:
    """(the arm, key of the status line, its values); the last has ``reason`` and, where tokens came, ``trace_id``."""
    engine, view = services.engine, ArmView()
    recorder = TraceRecorder(engine.spec, engine.provenance(request))
    for look in follow_arm(services, lambda: engine.stream(request), recorder, stopped):
        if look.waiting:
            yield replace(view, reason=look.reason), "waiting", {"n": look.waiting}
            continue
        view = view.add(look.events)
        if look.trace is not None:
            kept = services.store.put(look.trace) if look.trace.num_tokens else ""
            view = replace(view, reason=look.reason, trace_id=kept)
        begun = view.thinking_tokens or view.answer_tokens or view.reason
        yield (view, *_progress(view)) if begun else (view, "reading", {})


def _progress(view: ArmView) -> tuple[str, dict[str, Any]]:
    return "running", {"thinking": view.thinking_tokens, "answer": view.answer_tokens}
