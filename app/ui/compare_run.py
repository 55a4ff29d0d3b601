"""The same prompt in both modes at once, as a generator of values: waiting, streaming, done or stopped.

Knows requests, the queue and runs. Does not know Gradio: ``compare_tab`` turns every ``PairView`` into updates. Both
answers stream in turns, token by token, in one place of the queue.
"""

from __future__ import annotations

import functools
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
from app.ui.arms import Look, follow_arms
from app.ui.context import Services

log = logging.getLogger("expertscope")

TOP_K = 20
REASONS = ("stop", "length", "interrupted", "stopped", "error")


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
        reason: why it ended, one of ``REASONS``; "" while it is under way or not begun.
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
    """Answer the prompt in both modes at once and yield what to show. Never raises, but for the ``GeneratorExit`` of a
    visitor who left. After ``stopped`` is set both end, and what had arrived is kept; so it is where one fails."""
    view = PairView()
    try:
        engine, requests = services.engine, build_requests(services, options, words)
        names = [words(f"tabs.compare.{letter}") for letter in "ab"]
        streams = [functools.partial(engine.stream, request) for request in requests]
        recorders = [TraceRecorder(engine.spec, engine.provenance(request)) for request in requests]
        problems: list[str] = []
        for looks in follow_arms(services, streams, recorders, stopped):
            arms = tuple(_seen(arm, look, services) for arm, look in zip(view.arms, looks, strict=True))
            problems += [
                _problem(name, look.error, words) for name, look in zip(names, looks, strict=True) if look.error
            ]
            if looks[0].waiting:
                line = words("tabs.compare.waiting", n=looks[0].waiting)
            else:
                line = " | ".join(_progress(name, arm, words) for name, arm in zip(names, arms, strict=True))
            view = replace(view, arms=(arms[0], arms[1]), status=line)
            yield view
        if problems:
            yield replace(view, status=" ".join(dict.fromkeys(problems)), problem=True, running=False)
        else:
            over = "stopped" if stopped.is_set() else "done"
            yield replace(view, status=words(f"tabs.compare.{over}"), running=False)
    except UserError as error:
        yield replace(view, status=error.in_words(words), problem=True, running=False)
    except Exception:
        log.exception("A comparison failed.")
        yield replace(view, status=words("tabs.fault"), problem=True, running=False)


def _seen(arm: ArmView, look: Look, services: Services) -> ArmView:
    """The arm after a look; once it has ended, with its reason and, where tokens came, the id of its trace."""
    arm = arm.add(look.events)
    if not look.reason:
        return arm
    kept = services.store.put(look.trace) if look.trace is not None and look.trace.num_tokens else ""
    return replace(arm, reason=look.reason, trace_id=kept)


def _problem(name: str, error: Exception, words: Words) -> str:
    """A sentence about an arm that failed. What the engine refuses, it refuses both."""
    if isinstance(error, UserError):
        return error.in_words(words)
    log.error("An answer of a comparison failed.", exc_info=error)
    return words("tabs.compare.failed", arm=name)


def _progress(name: str, arm: ArmView, words: Words) -> str:
    counts = {"thinking": arm.thinking_tokens, "answer": arm.answer_tokens}
    if arm.reason:
        reason = arm.reason if arm.reason in REASONS else "stopped"
        return f"{name}: {words('tabs.compare.counts', **counts, reason=words(f'tabs.compare.reason.{reason}'))}"
    if not any(counts.values()):
        return words("tabs.compare.reading", arm=name)
    return words("tabs.compare.running", arm=name, **counts)
