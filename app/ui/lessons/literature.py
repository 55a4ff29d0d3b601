"""Reading the literature: what is often said of Qwen3, and what its report, its configs and its code say."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from analysis.words import Words
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs, table

NAME = "literature"
CLAIMS = ("experts", "output", "heads", "distilled", "stages", "budget", "attention", "next", "context", "balance")
"""Keys of ``learn.literature.claims``: each has ``said`` and ``fact``."""


@dataclass(frozen=True)
class Lesson:
    facts: gr.HTML


def build(services: Services, words: Words) -> Lesson:
    paragraphs(words("learn.literature.text"))
    rows = [[words(f"learn.literature.claims.{key}.{side}") for side in ("said", "fact")] for key in CLAIMS]
    header = [words(f"learn.literature.columns.{side}") for side in ("said", "fact")]
    facts = gr.HTML(table(header, rows), js_on_load=None, elem_id="lesson-literature-facts")
    paragraphs(words("learn.literature.sources"))
    return Lesson(facts)


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """There is nothing to listen to."""
