"""What the tabs that draw a trace share: reading it, checking what was chosen, and turning a view into updates.

Knows traces, words and Gradio's updates. Does not know which figures a tab has.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis.errors import UserError
from analysis.trace import PHASE_GROUPS, RoutingTrace
from analysis.words import Words
from app.server.store import TraceStore
from app.ui.chat import status_html

log = logging.getLogger("expertscope")

LINKS = (Path(__file__).parent / "links.js").read_text(encoding="utf-8")

PHASE_CHOICES = ("generated", "thinking", "answer", "prompt", "all")


class Nothing(UserError):
    """There is nothing to draw; the message invites or explains."""


def trace_to_show(store: TraceStore, trace_id: Any, words: Words) -> RoutingTrace:
    """The trace under ``trace_id``.

    Raises:
        Nothing: there is none yet, or its model has no router.
        BadValue: it is no longer in memory.
    """
    if not trace_id:
        raise Nothing(words("tabs.empty"))
    trace = store.get(trace_id)
    if not trace.spec.layers or not trace.num_tokens:
        raise Nothing(words("tabs.dense" if trace.num_tokens else "tabs.empty"))
    return trace


def chosen_layer(trace: RoutingTrace, layer: Any) -> int:
    """``layer`` where the trace has it, else its first layer."""
    numbers = trace.spec.layer_numbers
    known = isinstance(layer, int | float) and not isinstance(layer, bool) and layer in numbers
    return int(layer) if known else numbers[0]


def chosen_phase(trace: RoutingTrace, phase: Any, *, insist: bool = False) -> str:
    """``phase`` where it is one; unless the visitor insists, the first of ``PHASE_CHOICES`` that has rows.

    Raises:
        BadValue: there is no such phase.
    """
    asked = phase if isinstance(phase, str) else str(phase)
    if trace.rows_in(asked).any() or insist:
        return asked
    return next((name for name in PHASE_CHOICES if trace.rows_in(name).any()), asked)


def layer_update(trace: RoutingTrace, layer: int, words: Words) -> dict[str, Any]:
    """For a dropdown of the trace's layers."""
    choices = [(words("tabs.layer_name", layer=number), number) for number in trace.spec.layer_numbers]
    return gr.update(choices=choices, value=layer, interactive=True)


def phase_dropdown(words: Words, choices: tuple[str, ...] = PHASE_CHOICES, **settings: Any) -> gr.Dropdown:
    assert set(choices) <= set(PHASE_GROUPS)
    pairs = [(words(f"figures.phase.{name}"), name) for name in choices]
    return gr.Dropdown(pairs, value=choices[0], label=words("tabs.phase"), filterable=False, min_width=150, **settings)


def layer_dropdown(words: Words, **settings: Any) -> gr.Dropdown:
    return gr.Dropdown([], label=words("tabs.layer"), filterable=False, interactive=False, min_width=150, **settings)


def plot(words: Words, **settings: Any) -> gr.Plot:
    return gr.Plot(label=words("tabs.figure"), show_label=False, container=False, visible=False, **settings)


def links(plot_id: str = "") -> str:
    """For ``js_on_load``: events ``expert`` and ``token`` of the buttons of a card, ``cell`` of the plot ``plot_id``,
    whose name is written into the script: a component that is first shown by an update has lost its own props."""
    return f"const PLOT = {json.dumps(plot_id)};\n{LINKS}"


def bridge(plot_id: str, **settings: Any) -> gr.HTML:
    """What hears clicks on the cells of the figure in the plot ``plot_id`` (``bridge.cell(handler)``; ``event_pair``
    gives row and column) and outlines the cell at its value's ``mark``."""
    return gr.HTML(None, html_template="<span></span>", js_on_load=links(plot_id), **settings)


def event_pair(event: gr.EventData) -> tuple[int, int]:
    """The two numbers of an event of ``links``; (−1, −1) where it has none. It comes from outside."""
    data = event._data if isinstance(event._data, dict) else {}
    at = data.get("at")
    return (whole(at[0]), whole(at[1])) if isinstance(at, list) and len(at) == 2 else (-1, -1)


def whole(value: Any) -> int:
    """``value`` where it is a whole number, else −1."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return int(value) if known and int(value) == value else -1


def shown(figure: go.Figure | None) -> dict[str, Any]:
    """For a plot: the figure, or hidden where there is none."""
    return gr.update(value=figure, visible=figure is not None)


def hint(text: str, **settings: Any) -> gr.HTML:
    """A line of the page's own words."""
    return gr.HTML(f"<p class='hint'>{text}</p>", js_on_load=None, **settings)


def guarded(
    name: str, count: int, containers: int = 1
) -> Callable[[Callable[..., tuple[Any, ...]]], Callable[..., tuple[Any, ...]]]:
    """For handlers with ``count`` outputs: a status line, then ``containers`` that hold what is drawn, then the rest.

    The handler is called with (words, *values*) from inputs (open tab, language, *values*), only while the tab
    ``name`` is open. A ``UserError`` or a fault becomes the status line, and the containers are hidden.
    """

    def decorate(handler: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        def run(open_tab: Any, language: Any, *values: Any) -> tuple[Any, ...]:
            if open_tab != name:
                return (gr.skip(),) * count
            words = Words(language)
            try:
                return handler(words, *values)
            except Nothing as nothing:
                line = status_html(str(nothing))
            except UserError as error:
                line = status_html(error.in_words(words), problem=True)
            except Exception:
                log.exception("The tab %s could not be drawn.", name)
                line = status_html(words("tabs.fault"), problem=True)
            hidden = [gr.update(visible=False)] * containers
            return (line, *hidden, *[gr.skip()] * (count - 1 - containers))

        return run

    return decorate
