"""The tab "Learn": short lessons on the live model, each one doing something.

Knows which lessons there are and their order; each lesson knows itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import gradio as gr

from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.context import Services, Shared
from app.ui.lessons import architecture, balance, budget, contexts, literature, myth, router, training

NAME = "learn"
LESSONS: tuple[ModuleType, ...] = (router, balance, contexts, budget, myth, training, architecture, literature)


@dataclass(frozen=True)
class LearnTab:
    """The lessons' own components, in order."""

    lessons: tuple[Any, ...]


def build(services: Services, words: Words) -> LearnTab:
    common.hint(words("learn.intro"))
    built = []
    for number, lesson in enumerate(LESSONS, 1):
        title = f"{number} · {words(f'learn.{lesson.NAME}.title')}"
        with gr.Accordion(title, open=number == 1, elem_id=f"lesson-{lesson.NAME}"):
            built.append(lesson.build(services, words))
    return LearnTab(tuple(built))


def wire(tab: LearnTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    for lesson, built in zip(LESSONS, tab.lessons, strict=True):
        lesson.wire(built, services, shared)
