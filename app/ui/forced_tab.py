"""The tab "Route text": any text is read by the model, which writes nothing, and its routing is shown.

One generator per click, over the same queue as the chat.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import BadValue, UserError
from analysis.words import Words
from app.server import limits
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.conversation import Say
from app.ui.following import ActiveRuns, Progress, follow, new_run_id
from app.ui.quiet import QUIET

log = logging.getLogger("expertscope")


@dataclass(frozen=True)
class ForcedTab:
    """Components of the tab."""

    text: gr.Textbox
    scores: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    status: gr.HTML
    examples: list[gr.Button]


def build(services: Services, say: Say) -> ForcedTab:
    can = services.engine.capabilities.forced_text
    scores = services.engine.capabilities.router_scores
    gr.HTML(f"<p class='hint'>{say('forced_intro' if can else 'forced_none')}</p>", js_on_load=None)
    text = gr.Textbox(
        label=say("forced_label"),
        placeholder=say("forced_placeholder"),
        lines=5,
        max_lines=14,
        elem_id="forced-text",
        interactive=can,
    )
    with gr.Row():
        examples = [
            gr.Button(say(f"forced_example_{n}"), size="sm", elem_classes="suggestion", min_width=0, visible=can)
            for n in (1, 2, 3)
        ]
    with gr.Row():
        go = gr.Button(say("forced_go"), variant="primary", elem_id="forced-go", interactive=can, min_width=120)
        stop = gr.Button(say("forced_stop"), elem_id="forced-stop", interactive=False, min_width=80)
        record = gr.Checkbox(
            value=scores, label=say("record_scores"), interactive=scores, container=False, min_width=220
        )
    status = gr.HTML(status_html(), elem_id="forced-status", js_on_load=None)
    return ForcedTab(text, record, go, stop, status, examples)


def route(
    services: Services, runs: ActiveRuns, text: Any, scores: Any, run_id: str, language: str = "en"
) -> Generator[Progress, None, None]:
    """Route ``text`` as it stands; see ``following.follow``.

    Raises:
        UserError: no text, too much of it, or an engine that cannot.
    """
    engine = services.engine
    if not engine.capabilities.forced_text:
        raise BadValue("This engine cannot route text without generating.")
    text = limits.clean_text(text, services.settings.max_chars, "text")
    if not text.strip():
        raise BadValue.said("empty_text")
    record = limits.flag(scores, "Record router scores") and engine.capabilities.router_scores
    provenance = engine.provenance(None)
    stream = lambda: engine.score(text, router_scores=record)  # noqa: E731
    yield from follow(services, runs, stream, provenance, run_id, language)


def wire(tab: ForcedTab, services: Services, runs: ActiveRuns, shared: Shared, say: Say, language: str) -> None:
    """Every listener of the tab."""

    def on_go(text: Any, scores: Any, running_id: str) -> Generator[tuple[Any, ...], None, None]:
        if runs.get(running_id) is not None:
            gr.Info(say("still_running"))
            yield (gr.skip(),) * 7
            return
        run_id, tokens, chunk, begun = new_run_id(), 0, None, False
        try:
            for progress in route(services, runs, text, scores, run_id, language):
                tokens += len(progress.events)
                chunk = progress.chunk or chunk
                running = not progress.finish_reason
                if progress.waiting:
                    line = say("before_you", n=progress.waiting)
                elif running:
                    line = say("forced_progress", n=tokens)
                else:
                    ended = progress.finish_reason in ("stopped", "interrupted")
                    line = say("forced_stopped" if ended else "forced_done", n=tokens)
                yield _update(run_id if running else "", line, chunk=chunk, trace_id=progress.trace_id, begun=begun)
                begun = True
        except UserError as error:
            yield _update("", error.in_words(Words(language)), problem=True, chunk=chunk)
        except Exception:
            log.exception("Routing a text failed.")
            yield _update("", say("fault"), problem=True, chunk=chunk)

    def on_stop(run_id: str) -> None:
        active = runs.get(run_id)
        if active is not None:
            active.stop()

    for button in tab.examples:
        button.click(lambda text: text, button, tab.text, **QUIET)
    tab.go.click(
        on_go,
        [tab.text, tab.scores, shared.run_id],
        [shared.run_id, tab.status, tab.go, tab.stop, shared.live, shared.trace_id, shared.token],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    tab.stop.click(on_stop, shared.run_id, None, queue=False, **QUIET)


def _update(
    run_id: str, line: str, *, problem: bool = False, chunk: Any = None, trace_id: str = "", begun: bool = True
) -> tuple[Any, ...]:
    return (
        run_id,
        status_html(line, problem, over=not run_id),
        gr.update(interactive=not run_id),
        gr.update(interactive=bool(run_id)),
        gr.skip() if chunk is None else chunk,
        trace_id or gr.skip(),
        gr.skip() if begun else None,
    )
