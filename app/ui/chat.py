"""The chat: its components, and every listener that sends, stops, repeats or takes back a turn.

Each action is one generator over ``turn.run_turn``; here its views become updates of components and nothing more.
"""

from __future__ import annotations

import html
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import BadValue
from app.server import limits
from app.ui import chat_options
from app.ui.chat_options import OptionFields
from app.ui.context import Services, Shared
from app.ui.conversation import Conversation, Say, chat_messages, turn_at, unescape
from app.ui.following import ActiveRuns
from app.ui.turn import Options, TurnView, run_turn

LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]


@dataclass(frozen=True)
class Chat:
    """Components of the chat.

    Attributes:
        conversation: state, a ``Conversation``; the visitor's own.
        run_id: state, the id of the run under way; "" for none.
    """

    chatbot: gr.Chatbot
    box: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    status: gr.HTML
    suggestions: list[gr.Button]
    options: OptionFields
    conversation: gr.State
    run_id: gr.State


def build(services: Services, say: Say) -> Chat:
    """The chat's column."""
    card = services.engine.card
    conversation, run_id = gr.State(()), gr.State("")
    chatbot = gr.Chatbot(
        elem_id="chat",
        label=say("chat"),
        show_label=False,
        height=None,
        layout="bubble",
        editable="user",
        latex_delimiters=LATEX,
        buttons=["copy"],
        sanitize_html=True,
        allow_tags=False,
        feedback_options=None,
        placeholder=f"### {html.escape(say('invite'))}",
        autoscroll=True,
    )
    with gr.Row(elem_id="suggestions"):
        suggestions = [
            gr.Button(text, size="sm", variant="secondary", elem_classes="suggestion", min_width=0)
            for text in card.suggestions[:4]
        ]
    status = gr.HTML(status_html(), elem_id="status", js_on_load=None)
    with gr.Row(elem_id="ask", equal_height=True):
        box = gr.Textbox(
            elem_id="box",
            label=say("message"),
            show_label=False,
            placeholder=say("placeholder"),
            lines=1,
            max_lines=6,
            scale=6,
            min_width=120,
            container=False,
            autofocus=True,
        )
        send = gr.Button(say("send"), elem_id="send", variant="primary", scale=1, min_width=64)
        stop = gr.Button(say("stop"), elem_id="stop", scale=1, min_width=64, interactive=False)
    options, clear = chat_options.build(services, say)
    return Chat(chatbot, box, send, stop, clear, status, suggestions, options, conversation, run_id)


def status_html(text: str = "", problem: bool = False, over: bool = True) -> str:
    """The status line. ``text`` may repeat a bad value of the user's, so it is escaped. Only what is ``over`` is
    announced to a screen reader, not each of twelve counts a second."""
    kind, role = ("problem", "alert") if problem else ("over", "status") if over else ("running", "none")
    return f'<p class="status {kind}" role="{role}">{html.escape(text[:400])}</p>'


def wire(chat: Chat, services: Services, runs: ActiveRuns, shared: Shared, say: Say, language: str) -> None:
    """Every listener of the chat."""
    option_list = chat.options.in_order()
    outputs = [
        chat.conversation,
        chat.chatbot,
        shared.live,
        chat.status,
        chat.box,
        chat.send,
        chat.stop,
        chat.run_id,
        shared.trace_id,
        shared.token,
    ]
    common = [chat.conversation, chat.run_id, *option_list]
    limit = services.settings.max_waiting + 8
    turn_event: dict[str, Any] = {
        "outputs": outputs,
        "show_progress": "hidden",
        "concurrency_limit": limit,
        "concurrency_id": "turns",
        "api_visibility": "private",
    }
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def start(conversation: Conversation, run_id: str, text: Any, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if runs.get(run_id) is not None:
            yield _notice(say("still_running"), len(outputs))
            return
        options = Options(*values)
        yield from as_updates(run_turn(services, runs, conversation, text, options, say, language), say)

    def on_send(text: Any, conversation: Conversation, run_id: str, *values: Any) -> Generator[Any, None, None]:
        yield from start(conversation, run_id, text, values)

    def on_retry(
        event: gr.RetryData, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        try:
            number = turn_at(conversation, event.index, say)
        except BadValue as error:
            yield _notice(str(error), len(outputs))
            return
        yield from start(conversation[:number], run_id, conversation[number].user, values)

    def on_edit(
        event: gr.EditData, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        try:
            number = turn_at(conversation, event.index, say)
            text = unescape(limits.clean_text(event.value, services.settings.max_chars))
        except BadValue as error:
            yield _notice(str(error), len(outputs))
            return
        yield from start(conversation[:number], run_id, text, values)

    def on_undo(event: gr.UndoData, conversation: Conversation, run_id: str) -> tuple[Any, ...]:
        problem = say("still_running") if runs.get(run_id) is not None else ""
        try:
            number = turn_at(conversation, event.index, say)
        except BadValue as error:
            problem = str(error)
        if problem:
            return gr.skip(), gr.skip(), status_html(problem, True), gr.skip()
        kept = conversation[:number]
        return kept, chat_messages(kept, say), status_html(), conversation[number].user

    def on_clear(run_id: str) -> tuple[Any, ...]:
        active = runs.get(run_id)
        if active is not None:
            active.discard()  # its generator has the last word, so that nothing of it comes after the clearing
            return (gr.skip(),) * 4
        return (), [], status_html(), None

    def on_stop(run_id: str) -> None:
        active = runs.get(run_id)
        if active is not None:
            active.stop()  # the run's own generator says the rest

    gr.on([chat.send.click, chat.box.submit], on_send, [chat.box, *common], **turn_event)
    for button in chat.suggestions:
        button.click(on_send, [button, *common], **turn_event)
    chat.chatbot.retry(on_retry, common, **turn_event)
    chat.chatbot.edit(on_edit, common, **turn_event)
    chat.stop.click(on_stop, chat.run_id, None, queue=False, **quick)
    shown = [chat.conversation, chat.chatbot, chat.status]
    chat.chatbot.undo(on_undo, [chat.conversation, chat.run_id], [*shown, chat.box], **quick)
    gr.on([chat.clear.click, chat.chatbot.clear], on_clear, chat.run_id, [*shown, shared.token], **quick)
    chat_options.wire(chat.options, services)


def as_updates(views: Iterator[TurnView], say: Say) -> Iterator[tuple[Any, ...]]:
    """One tuple of updates per view, in the order of ``wire``'s outputs; every tuple carries every value."""
    first = True
    for view in views:
        running = bool(view.run_id)
        box: Any = "" if first else gr.skip()
        if view.restore is not None:
            box = view.restore
        yield (
            view.conversation,
            chat_messages(view.conversation, say),
            view.chunk if view.chunk is not None else gr.skip(),
            status_html(view.problem or view.status, bool(view.problem), over=not running),
            box,
            gr.update(interactive=not running),
            gr.update(interactive=running),
            view.run_id,
            view.trace_id or gr.skip(),
            None if first else gr.skip(),
        )
        first = False


def _notice(sentence: str, width: int) -> tuple[Any, ...]:
    """Only the status line changes."""
    values: list[Any] = [gr.skip()] * width
    values[3] = status_html(sentence, True)
    return tuple(values)
