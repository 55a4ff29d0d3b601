"""Edits of the routing that the chat's next answers are made under: chips beside the composer, and the way they come.

Knows the chips and their listeners. Which edits there are and whether they fit the model is in ``experiment_edits``;
they stay in the visitor's session on the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.words import Words
from app.ui.experiment_edits import History
from app.ui.experiment_view import chips_html, chips_script
from app.ui.quiet import HEARING, QUIET


@dataclass(frozen=True)
class ChatEdits:
    """Components beside the composer.

    Attributes:
        history: state, a ``History``.
        row: hidden until edits were taken over.
    """

    history: gr.State
    row: gr.Row
    chips: gr.HTML
    undo: gr.Button


def build(words: Words) -> ChatEdits:
    history = gr.State(History())
    with gr.Row(visible=False, elem_id="chat-edits") as row:
        chips = gr.HTML(
            "", elem_id="chat-edits-chips", elem_classes="edit-chips", js_on_load=chips_script("chat-edits-undo")
        )
        undo = gr.Button(words("tabs.experiment.undo"), size="sm", min_width=80, scale=0, elem_id="chat-edits-undo")
    return ChatEdits(history, row, chips, undo)


def shown(history: History, words: Words) -> tuple[Any, ...]:
    """History, row, chips and the button that undoes, as updates."""
    line = words("tabs.experiment.chat_on" if history.edits else "tabs.experiment.chat_off")
    chips = f"<p class='hint'>{line}</p>" + (chips_html(history.edits, words) if history.edits else "")
    there = bool(history.edits or history.past)
    return history, gr.update(visible=there), chips, gr.update(interactive=bool(history.past))


def wire(chat: ChatEdits, use: gr.Button, trial: gr.State, words: Words) -> None:
    """``use`` takes over the edits of ``trial`` (state, a ``History``) from the tab Experiment."""
    outputs = [chat.history, chat.row, chat.chips, chat.undo]

    def on_use(history: Any, tried: Any) -> tuple[Any, ...]:
        edits = tried.edits if isinstance(tried, History) else ()
        if not edits:
            return (gr.skip(),) * len(outputs)
        gr.Info(words("tabs.experiment.chat_on"), duration=4)
        return shown(_known(history).changed(edits), words)

    def on_remove(event: gr.EventData, history: Any) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        return shown(_known(history).without(data.get("i")), words)

    def on_undo(history: Any) -> tuple[Any, ...]:
        return shown(_known(history).undone(), words)

    use.click(on_use, [chat.history, trial], outputs, **QUIET)
    chat.chips.remove(on_remove, chat.history, outputs, **QUIET)  # type: ignore[attr-defined]
    chat.undo.click(on_undo, chat.history, outputs, **HEARING)


def _known(history: Any) -> History:
    return history if isinstance(history, History) else History()
