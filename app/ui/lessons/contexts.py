"""The same word in two contexts: two texts are routed as they stand, and one token that both have is compared."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import BadValue, UserError
from analysis.figures.overlap import same_word
from analysis.figures.style import theme_of
from analysis.token_metrics import token_gates
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.recorder import TraceRecorder
from app.server import limits
from app.ui import tabs_common as common
from app.ui.arms import follow_arm, shown_as
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs
from app.ui.quiet import DRAWING, QUIET

NAME = "contexts"
AROUND = 8
"""Tokens shown around the word."""
log = logging.getLogger("expertscope")


@dataclass(frozen=True)
class Lesson:
    """``pair``: state, ids of the two routed texts in the store."""

    texts: tuple[gr.Textbox, gr.Textbox]
    go: gr.Button
    status: gr.HTML
    pair: gr.State
    shown: gr.Column
    word: gr.Dropdown
    layer: gr.Dropdown
    figure: gr.Plot


def build(services: Services, words: Words) -> Lesson:
    able = services.engine.capabilities.forced_text and bool(services.engine.spec.layers)
    paragraphs(words("learn.contexts.text"), words("learn.contexts.do"))
    pair = gr.State(None)
    with gr.Row():
        texts = [
            gr.Textbox(
                words(f"learn.contexts.example_{letter}"),
                label=words(f"learn.contexts.{letter}"),
                lines=2,
                max_lines=6,
                min_width=260,
                interactive=able,
                elem_id=f"lesson-contexts-{letter}",
            )
            for letter in ("first", "second")
        ]
    go = gr.Button(words("learn.contexts.go"), variant="primary", interactive=able, elem_id="lesson-contexts-go")
    line = "" if able else words("learn.contexts.never")
    status = gr.HTML(status_html(line), elem_id="lesson-contexts-status", js_on_load=None)
    with gr.Column(visible=False) as shown:
        with gr.Row():
            word = gr.Dropdown(
                [], label=words("learn.contexts.word"), filterable=False, min_width=160, elem_id="lesson-contexts-word"
            )
            layer = gr.Dropdown(
                [(words("tabs.layer_name", layer=n), n) for n in services.engine.spec.layer_numbers],
                value=next(iter(services.engine.spec.layer_numbers), None),
                label=words("tabs.layer"),
                filterable=False,
                min_width=160,
                elem_id="lesson-contexts-layer",
            )
        figure = common.plot(words, elem_id="lesson-contexts-figure")
    return Lesson((texts[0], texts[1]), go, status, pair, shown, word, layer, figure)


def route(services: Services, text: Any) -> Generator[int, None, RoutingTrace]:
    """Route ``text`` as it stands; yields how many runs are before it.

    Raises:
        UserError: no text, or too much of it.
    """
    engine = services.engine
    text = limits.clean_text(text, services.settings.max_chars, "text")
    if not text.strip():
        raise BadValue.said("empty_text")
    recorder, trace = TraceRecorder(engine.spec, engine.provenance(None)), None
    for look in follow_arm(services, lambda: engine.score(text), recorder, threading.Event()):
        trace = look.trace
        yield look.waiting
    assert trace is not None  # the last look of what is not stopped
    return trace


def common_words(a: RoutingTrace, b: RoutingTrace) -> list[tuple[str, int, int]]:
    """(text, where in ``a``, where in ``b``) of every token id that both have, its last occurrence in either; letters
    and digits first."""
    places = [
        {int(token): at for at, token in enumerate(trace.token_ids) if token_gates(trace, at) is not None}
        for trace in (a, b)
    ]
    texts = a.texts()
    found = [(texts[at], at, places[1][token]) for token, at in places[0].items() if token in places[1]]
    return sorted(found, key=lambda one: (not any(c.isalnum() for c in one[0]), one[1]))


def context(trace: RoutingTrace, token: int) -> str:
    """The text around a token, which stands in brackets."""
    texts = trace.texts()
    before, after = texts[max(0, token - AROUND) : token], texts[token + 1 : token + 1 + AROUND]
    return f"{''.join(before)}[{texts[token]}]{''.join(after)}"


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""

    def on_go(first: Any, second: Any, language: Any) -> Generator[tuple[Any, ...], None, None]:
        words = Words(language)

        def waiting(before: int) -> tuple[Any, ...]:
            line = words("page.before_you", n=before) if before else words("learn.contexts.routing")
            return status_html(line, over=False), gr.skip(), gr.skip(), gr.skip()

        try:
            traces: list[RoutingTrace] = []
            for text in (first, second):
                traces.append((yield from shown_as(waiting, route(services, text))))
            both = common_words(*traces)
            if not both:
                raise BadValue(words("learn.contexts.nothing"))
            choices = [(f"{text.strip() or '␣'} ({a}, {b})", f"{a},{b}") for text, a, b in both]
            ids = tuple(services.store.put(trace) for trace in traces)
            chosen = gr.update(choices=choices, value=choices[0][1])
            yield status_html(words("learn.contexts.found", n=len(both))), ids, gr.update(visible=True), chosen
        except UserError as error:
            yield status_html(error.in_words(words), problem=True), None, gr.update(visible=False), gr.skip()
        except Exception:
            log.exception("The lesson on contexts failed.")
            yield status_html(words("tabs.fault"), problem=True), None, gr.update(visible=False), gr.skip()

    def draw(words: Words, pair: Any, word: Any, layer: Any, theme: Any) -> tuple[Any, ...]:
        if not pair or not isinstance(word, str):
            return gr.skip(), common.shown(None)
        traces = [services.store.get(trace_id) for trace_id in pair]
        known = {f"{a},{b}": (a, b) for _, a, b in common_words(*traces)}
        if word not in known:
            return gr.skip(), common.shown(None)
        places = known[word]
        gates = [token_gates(trace, at) for trace, at in zip(traces, places, strict=True)]
        around = [context(trace, at) for trace, at in zip(traces, places, strict=True)]
        router = traces[0].spec.layers[traces[0].spec.position(common.chosen_layer(traces[0], layer))]
        assert gates[0] is not None and gates[1] is not None  # ``common_words`` has only routed tokens
        figure = same_word((gates[0], gates[1]), (around[0], around[1]), router, words, theme_of(theme))
        return gr.skip(), common.shown(figure)

    lesson.go.click(
        on_go,
        [*lesson.texts, shared.language],
        [lesson.status, lesson.pair, lesson.shown, lesson.word],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    inputs = [shared.open_tab, shared.language, lesson.pair, lesson.word, lesson.layer, shared.theme]
    changes = [lesson.pair.change, lesson.word.change, lesson.layer.input]
    changes += [shared.open_tab.change, shared.theme.change]
    gr.on(changes, common.guarded("learn", 2)(draw), inputs, [lesson.status, lesson.figure], **DRAWING)
