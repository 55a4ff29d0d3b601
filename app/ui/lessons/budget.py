"""Thinking and the budget: the same prompt with ever more thinking tokens allowed, same seed."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.trace import Origin, Phase, RoutingTrace
from analysis.words import Words
from app.server import limits
from app.ui.arms import Look, Stops, answer, shown_as
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs, table
from app.ui.quiet import QUIET

NAME = "budget"
BUDGETS: tuple[int | None, ...] = (0, 8, 16, 32, 64, 128, None)
log = logging.getLogger("expertscope")


@dataclass(frozen=True)
class Lesson:
    prompt: gr.Textbox
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    run_id: gr.State
    answers: gr.HTML


@dataclass(frozen=True)
class Tried:
    """One budget's answer; ``forced`` says that the thinking was cut off there."""

    budget: int | None
    thinking_tokens: int
    forced: bool
    answer: str


def build(services: Services, words: Words) -> Lesson:
    card, able = services.engine.card, "thinking" in services.engine.capabilities.modes
    suggestions = card.translated.get(words.language, card.suggestions)
    paragraphs(words("learn.budget.text"), words("learn.budget.do"))
    run_id = gr.State("")
    prompt = gr.Textbox(
        suggestions[0] if suggestions else "",
        label=words("tabs.compare.prompt"),
        lines=1,
        max_lines=4,
        interactive=able,
        elem_id="lesson-budget-prompt",
    )
    with gr.Row():
        run = gr.Button(
            words("learn.budget.run"), variant="primary", interactive=able, min_width=160, elem_id="lesson-budget-run"
        )
        stop = gr.Button(words("tabs.compare.stop"), interactive=False, min_width=80, elem_id="lesson-budget-stop")
    status = gr.HTML(
        status_html("" if able else words("learn.budget.never")), elem_id="lesson-budget-status", js_on_load=None
    )
    answers = gr.HTML(elem_id="lesson-budget-answers", js_on_load=None)
    return Lesson(prompt, run, stop, status, run_id, answers)


def try_budgets(
    services: Services, prompt: Any, stopped: threading.Event, words: Words
) -> Generator[tuple[list[Tried], str, bool], None, None]:
    """(what was tried so far, a line on what is under way, whether more is to come), budget by budget.

    Raises:
        UserError: no prompt, or one that cannot be sent.
    """
    request = limits.chat_request(
        (limits.user_message(prompt, services.settings),),
        settings=services.settings,
        capabilities=services.engine.capabilities,
        mode="thinking",
        thinking_budget=None,
        sampling_params=None,
        seed=0,
        router_scores=False,
    )
    tried: list[Tried] = []
    line = ""

    def under_way(_: Look) -> tuple[list[Tried], str, bool]:
        return tried, line, True

    for budget in BUDGETS:
        line = words("learn.budget.running", budget=_name(budget, words))
        one = answer(services, replace(request, thinking_budget=budget), stopped)
        trace = yield from shown_as(under_way, one)
        if stopped.is_set() or trace is None:
            break
        tried.append(Tried(budget, own_thinking(trace), was_cut(trace), trace.text_of("answer")))
    yield tried, words("tabs.compare.stopped" if stopped.is_set() else "tabs.compare.done"), False


def own_thinking(trace: RoutingTrace) -> int:
    """Thinking tokens that the model wrote itself, without the early-stop sentence."""
    return int(((trace.origin == Origin.SAMPLED) & (trace.phase == Phase.THINKING)).sum())


def was_cut(trace: RoutingTrace) -> bool:
    """The thinking ended at its budget: the early-stop sentence was forced."""
    return bool(((trace.origin == Origin.FORCED) & (trace.phase == Phase.THINKING)).any())


def answers_html(tried: list[Tried], words: Words) -> str:
    if not tried:
        return ""
    rows = [
        (
            _name(t.budget, words),
            str(t.thinking_tokens),
            words("learn.budget.cut" if t.forced else "learn.budget.free"),
            t.answer.strip(),
        )
        for t in tried
    ]
    header = [words(f"learn.budget.columns.{name}") for name in ("budget", "thinking", "ended", "answer")]
    return table(header, rows)


def _name(budget: int | None, words: Words) -> str:
    return words("learn.budget.none") if budget is None else str(budget)


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""
    stops = Stops()

    def on_run(prompt: Any, language: Any) -> Generator[tuple[Any, ...], None, None]:
        run_id, words, shown = secrets.token_urlsafe(16), Words(language), ""
        try:
            for tried, line, more in try_budgets(services, prompt, stops.open(run_id), words):
                shown = answers_html(tried, words)
                yield _updates(run_id if more else "", line, shown)
        except UserError as error:
            yield _updates("", error.in_words(words), shown, problem=True)
        except Exception:
            log.exception("The lesson on budgets failed.")
            yield _updates("", words("tabs.fault"), shown, problem=True)
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    gr.on(
        [lesson.run.click, lesson.prompt.submit],
        on_run,
        [lesson.prompt, shared.language],
        [lesson.run_id, lesson.status, lesson.run, lesson.stop, lesson.answers],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    lesson.stop.click(on_stop, lesson.run_id, None, queue=False, **QUIET)


def _updates(run_id: str, line: str, shown: str, problem: bool = False) -> tuple[Any, ...]:
    running = bool(run_id)
    return (
        run_id,
        status_html(line, problem, over=not running),
        gr.update(interactive=not running),
        gr.update(interactive=running),
        shown,
    )
