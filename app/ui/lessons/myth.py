"""Myth or effect: what is left of the "thinking experts" when the same tokens are compared."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.figures.control import myth_or_effect
from analysis.figures.style import theme_of
from analysis.words import Words
from app.engine.base import MODES
from app.ui import tabs_common as common
from app.ui.arms import Stops
from app.ui.chat import status_html
from app.ui.compare_run import Options
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs
from app.ui.prompt_set import run_set
from app.ui.quiet import DRAWING, QUIET
from app.ui.set_tab import finding_html, ready_prompts

NAME = "myth"


@dataclass(frozen=True)
class Lesson:
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    run_id: gr.State
    set_id: gr.State
    shown: gr.Column
    figure: gr.Plot
    finding: gr.HTML


def build(services: Services, words: Words) -> Lesson:
    able = set(services.engine.capabilities.modes) == set(MODES) and bool(services.engine.spec.layers)
    paragraphs(words("learn.myth.text"), words("learn.myth.do"))
    run_id, set_id = gr.State(""), gr.State("")
    with gr.Row():
        run = gr.Button(
            words("tabs.set.run"), variant="primary", interactive=able, min_width=160, elem_id="lesson-myth-run"
        )
        stop = gr.Button(words("tabs.set.stop"), interactive=False, min_width=80, elem_id="lesson-myth-stop")
    status = gr.HTML(status_html(), elem_id="lesson-myth-status", js_on_load=None)
    with gr.Column(visible=False) as shown:
        finding = gr.HTML(elem_id="lesson-myth-finding", js_on_load=None)
        figure = common.plot(words, elem_id="lesson-myth-figure")
    return Lesson(run, stop, status, run_id, set_id, shown, figure, finding)


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""
    stops = Stops()

    def on_run(language: Any) -> Generator[tuple[Any, ...], None, None]:
        run_id, words = secrets.token_urlsafe(16), Words(language)
        try:
            for view in run_set(services, Options(ready_prompts(words.language)), stops.open(run_id), words):
                yield (
                    run_id if view.running else "",
                    status_html(view.status, view.problem, over=not view.running),
                    gr.update(interactive=not view.running),
                    gr.update(interactive=view.running),
                    view.set_id or gr.skip(),
                )
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    def draw(words: Words, set_id: Any, theme: Any) -> tuple[Any, ...]:
        if not set_id:
            return gr.skip(), gr.update(visible=False), common.shown(None), ""
        found = services.sets.get(set_id).compare(control="token")
        figure = myth_or_effect(found, words, theme_of(theme))
        return gr.skip(), gr.update(visible=True), common.shown(figure), finding_html(found, words)

    lesson.run.click(
        on_run,
        shared.language,
        [lesson.run_id, lesson.status, lesson.run, lesson.stop, lesson.set_id],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    lesson.stop.click(on_stop, lesson.run_id, None, queue=False, **QUIET)
    inputs = [shared.open_tab, shared.language, lesson.set_id, shared.theme]
    changes = [lesson.set_id.change, shared.open_tab.change, shared.theme.change]
    outputs = [lesson.status, lesson.shown, lesson.figure, lesson.finding]
    gr.on(changes, common.guarded("learn", len(outputs))(draw), inputs, outputs, **DRAWING)
