"""A set of prompts in both modes, as a generator of values: waiting, answering, testing, done or stopped.

Knows requests and the queue through ``compare_run``. Does not know Gradio: ``set_tab`` turns every ``SetView`` into
updates. Every answer is a turn of its own, so that other visitors are served between any two.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from analysis.errors import BadValue, UserError
from analysis.pairs import PairSet
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.base import ChatRequest
from app.server import limits
from app.ui.arms import Look, answer, shown_as
from app.ui.compare_run import Options, requests_for
from app.ui.context import Services

log = logging.getLogger("expertscope")
LEAST = 2
"""Pairs of answers below which nothing is tested."""


@dataclass(frozen=True)
class SetView:
    """What the page shows at one moment.

    Attributes:
        done, total: prompts answered in both modes, and all of them.
        rows: of each such prompt: text, answers (thinking, non-thinking), their numbers of tokens.
        set_id: the pairs in the store; "" until all (or those until a stop or a refusal) are there.
    """

    done: int = 0
    total: int = 0
    rows: tuple[tuple[str, str, str, int, int], ...] = ()
    status: str = ""
    problem: bool = False
    running: bool = True
    set_id: str = ""


def read_prompts(value: Any, most: int, max_chars: int, words: Words) -> list[str]:
    """One prompt a line; empty lines and repeated ones are left out.

    Raises:
        BadValue: fewer than 2, more than ``most``, or a line that is too long.
    """
    text = limits.clean_text(value, most * max_chars, "list of prompts")
    found = list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    if len(found) < LEAST:
        raise BadValue(words("tabs.set.too_few", least=LEAST))
    if len(found) > most:
        raise BadValue(words("tabs.set.too_many", n=len(found), most=most))
    return [limits.clean_text(line, max_chars, "prompt") for line in found]


def run_set(
    services: Services, options: Options, stopped: threading.Event, words: Words
) -> Generator[SetView, None, None]:
    """Answer every line of ``options.prompt`` in both modes and yield what to show. Never raises, but for the
    ``GeneratorExit`` of a visitor who left. After ``stopped`` is set, the pairs that are whole are kept and tested."""
    view = SetView()
    try:
        settings = services.settings
        prompts = read_prompts(options.prompt, settings.set_prompts, settings.max_chars, words)
        requests = [requests_for(services, text, options, words, n) for n, text in enumerate(prompts)]
        view, began = replace(view, total=len(prompts)), time.monotonic()
        pairs: list[tuple[RoutingTrace, RoutingTrace]] = []
        refused = ""
        for n, (text, both) in enumerate(zip(prompts, requests, strict=True)):
            left = (time.monotonic() - began) / n * (len(prompts) - n) if n else None
            kept: list[RoutingTrace] = []
            try:
                for request in both:
                    trace = yield from _answer(services, request, stopped, view, left, words)
                    if trace is not None:
                        kept.append(trace)
            except UserError as error:
                refused = error.in_words(words)
            if stopped.is_set() or refused:
                break
            if len(kept) == 2:
                pairs.append((kept[0], kept[1]))
                view = replace(view, done=n + 1, rows=(*view.rows, _row(text, *pairs[-1])))
        if len(pairs) < LEAST:
            line = refused or words("tabs.set.stopped_early", n=len(pairs))
            yield replace(view, status=line, problem=bool(refused), running=False)
            return
        yield replace(view, status=words("tabs.set.testing", n=len(pairs)))
        found = PairSet(pairs)
        found.compare()
        line = words("tabs.set.stopped" if stopped.is_set() or refused else "tabs.set.done", n=len(pairs))
        line = f"{refused} {line}".strip()
        set_id = services.sets.put(found)
        yield replace(view, status=line, problem=bool(refused), running=False, set_id=set_id)
    except UserError as error:
        yield replace(view, status=error.in_words(words), problem=True, running=False)
    except Exception:
        log.exception("A set of prompts failed.")
        yield replace(view, status=words("tabs.fault"), problem=True, running=False)


def _answer(
    services: Services, request: ChatRequest, stopped: threading.Event, view: SetView, left: float | None, words: Words
) -> Generator[SetView, None, RoutingTrace | None]:
    """One answer of a prompt: the view as it is while the model works; gives the trace."""

    def shown(look: Look) -> SetView:
        line = words("tabs.set.running", n=view.done + 1, total=view.total)
        if look.waiting:
            line += " " + words("tabs.set.waiting", n=look.waiting)
        elif left is not None:
            line += " " + words("tabs.set.left", seconds=max(1, round(left)))
        return replace(view, status=line)

    return (yield from shown_as(shown, answer(services, request, stopped)))


def _row(text: str, thinking: RoutingTrace, direct: RoutingTrace) -> tuple[str, str, str, int, int]:
    sizes = [sum(trace.phase_counts()[phase] for phase in ("thinking", "answer")) for trace in (thinking, direct)]
    return text, thinking.text_of("answer"), direct.text_of("answer"), sizes[0], sizes[1]
