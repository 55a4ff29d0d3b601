"""The chat: its components, and every listener that sends, stops, repeats or takes back a turn.

Each action is one generator over ``turn.run_turn``; here its views become updates of components and nothing more.
"""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import BadValue
from analysis.trace import RouterSpec
from analysis.words import Words
from app.server import limits
from app.ui import chat_edits, chat_options, chat_pace
from app.ui.chat_edits import ChatEdits
from app.ui.chat_options import OptionFields
from app.ui.chat_pace import PaceFields
from app.ui.context import Services, Shared
from app.ui.conversation import LATEX, Conversation, Say, chat_messages, turn_at, unescape
from app.ui.following import ActiveRuns
from app.ui.live.wire import pointer
from app.ui.quiet import QUIET
from app.ui.turn import Options, TurnView, run_turn


@dataclass(frozen=True)
class Chat:
    """Components of the chat.

    Attributes:
        conversation: state, a ``Conversation``; the visitor's own.
        receipt: unseen; what the server took from the box or gives back to it, as JSON (see ``receipt``).
    """

    chatbot: gr.Chatbot
    box: gr.Textbox
    receipt: gr.Textbox
    send: gr.Button
    stop: gr.Button
    clear: gr.Button
    status: gr.HTML
    suggestions: list[gr.Button]
    options: OptionFields
    pace: PaceFields
    conversation: gr.State
    edits: ChatEdits


def build(services: Services, say: Say, language: str) -> Chat:
    """The chat's column."""
    card = services.engine.card
    conversation = gr.State(())
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
        placeholder=invitation(services.engine.spec, say),
        autoscroll=True,
    )
    with gr.Row(elem_id="suggestions"):
        suggestions = [
            gr.Button(text, size="sm", variant="secondary", elem_classes="suggestion", min_width=0)
            for text in card.translated.get(language, card.suggestions)[:4]
        ]
    status = gr.HTML(status_html(), elem_id="status", js_on_load=None)
    edits = chat_edits.build(Words(language))
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
        received = gr.Textbox(visible="hidden", show_label=False, container=False)
        send = gr.Button(say("send"), elem_id="send", variant="primary", scale=1, min_width=64)
        stop = gr.Button(say("stop"), elem_id="stop", scale=1, min_width=64, interactive=False)
    options, pace, clear = chat_options.build(services, say, edits.history)
    return Chat(chatbot, box, received, send, stop, clear, status, suggestions, options, pace, conversation, edits)


def invitation(spec: RouterSpec, say: Say) -> str:
    """What an empty chat says, as Markdown: what to do, and what an expert is where there are any."""
    routed = say("invite_routed", experts=spec.num_experts, top_k=spec.top_k) if spec.num_moe_layers else ""
    return f"## {html.escape(say('invite'))}\n\n{html.escape(routed)}"


def status_html(text: str = "", problem: bool = False, over: bool = True) -> str:
    """The status line. ``text`` may repeat a bad value of the user's, so it is escaped. Only what is ``over`` is
    announced to a screen reader, not each of twelve counts a second."""
    kind, role = ("problem", "alert") if problem else ("over", "status") if over else ("running", "none")
    return f'<p class="status {kind}" role="{role}">{html.escape(text[:400])}</p>'


def receipt(**what: str) -> str:
    """JSON that the browser acts on once: text ``taken`` from the box, which goes unless it was changed since, or given
    ``back``, before what was written since (``page.js``)."""
    return json.dumps({**what, "nonce": secrets.token_hex(4)})


def wire(chat: Chat, services: Services, runs: ActiveRuns, shared: Shared, say: Say, language: str) -> None:
    """Every listener of the chat."""
    words = Words(language)
    option_list = chat.options.in_order()
    outputs = [
        chat.conversation,
        chat.chatbot,
        shared.live,
        chat.status,
        chat.receipt,
        chat.send,
        chat.stop,
        chat.pace.drawn,
        shared.run_id,
        shared.trace_id,
        shared.token,
    ]
    common = [chat.conversation, shared.run_id, *option_list]
    limit = services.settings.followed
    turn_event = QUIET | {"outputs": outputs, "concurrency_limit": limit, "concurrency_id": "turns"}
    # An answer is on the page a moment before its event is over, and what is pressed in that moment counts.
    turn_event["trigger_mode"] = "multiple"
    turn_event["show_progress_on"] = chat.chatbot  # its dots, until the first words

    def start(
        visitor: gr.Request,
        conversation: Conversation,
        run_id: str,
        text: Any,
        values: tuple[Any, ...],
        *,
        sent: str | None = None,
        otherwise: Conversation | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        session = str(visitor.session_hash)
        running = runs.get(run_id) is not None
        claim = None if running else runs.claim(session)
        if claim is None:
            if running:  # else it was pressed twice
                gr.Info(say("still_running"))  # the status line is the run's own
            yield (gr.skip(),) * len(outputs)
            return
        try:
            views = run_turn(services, runs, conversation, text, Options(*values), say, language, otherwise)
            yield from as_updates(_released(views, lambda: runs.release(session, claim)), say, sent)
        finally:
            runs.release(session, claim)

    def on_send(
        visitor: gr.Request, text: Any, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        yield from start(visitor, conversation, run_id, text, values, sent=str(text))

    def on_suggestion(
        visitor: gr.Request, text: Any, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        yield from start(visitor, conversation, run_id, text, values)

    def on_retry(
        event: gr.RetryData, visitor: gr.Request, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        try:
            number = turn_at(conversation, event.index, say)
        except BadValue as error:
            yield _notice(error.in_words(words), len(outputs))
            return
        kept, text = conversation[:number], conversation[number].user
        yield from start(visitor, kept, run_id, text, values, otherwise=conversation)

    def on_edit(
        event: gr.EditData, visitor: gr.Request, conversation: Conversation, run_id: str, *values: Any
    ) -> Generator[Any, None, None]:
        try:
            number = turn_at(conversation, event.index, say)
            text = unescape(limits.clean_text(event.value, services.settings.max_chars))
        except BadValue as error:
            yield _notice(error.in_words(words), len(outputs))
            return
        yield from start(visitor, conversation[:number], run_id, text, values, otherwise=conversation)

    def on_undo(event: gr.UndoData, conversation: Conversation, run_id: str) -> tuple[Any, ...]:
        if runs.get(run_id) is not None:
            gr.Info(say("still_running"))
            return (gr.skip(),) * 7
        try:
            number = turn_at(conversation, event.index, say)
        except BadValue as error:
            return (*(gr.skip(),) * 2, status_html(error.in_words(words), True), *(gr.skip(),) * 4)
        kept, undone = conversation[:number], conversation[number]
        return *shown_of(kept, say), receipt(back=undone.user)

    def on_clear(conversation: Conversation, run_id: str) -> tuple[Any, ...]:
        if not conversation:
            return (gr.skip(),) * 6
        active = runs.get(run_id)
        if active is not None and not conversation[-1].done:  # it is an answer, not a text that is routed
            active.discard()  # its generator has the last word: nothing of it comes afterwards
            return (gr.skip(),) * 6
        return shown_of((), say)

    def on_stop(run_id: str) -> None:
        active = runs.get(run_id)
        if active is not None:
            active.stop()  # the run's own generator says the rest

    gr.on([chat.send.click, chat.box.submit], on_send, [chat.box, *common], **turn_event)
    for button in chat.suggestions:
        button.click(on_suggestion, [button, *common], **turn_event)
    chat.chatbot.retry(on_retry, common, **turn_event)
    chat.chatbot.edit(on_edit, common, **turn_event)
    chat.stop.click(on_stop, shared.run_id, None, queue=False, **QUIET)
    asked = [chat.conversation, shared.run_id]
    shown = [chat.conversation, chat.chatbot, chat.status, shared.live, shared.trace_id, shared.token]
    chat.chatbot.undo(on_undo, asked, [*shown, chat.receipt], **QUIET)
    chat.receipt.change(None, [chat.receipt, chat.box], chat.box, js="window.expertscope.boxAfter", **QUIET)
    gr.on([chat.clear.click, chat.chatbot.clear], on_clear, asked, shown, **QUIET)
    chat_options.wire(chat.options, services)
    chat_pace.wire(chat.pace, runs, shared)


def shown_of(conversation: Conversation, say: Say) -> tuple[Any, ...]:
    """What the page shows of a conversation that became shorter: its last turn, or nothing."""
    trace_id = next((turn.trace_id for turn in reversed(conversation) if turn.trace_id), None)
    live = pointer(trace_id) if trace_id else None
    return conversation, chat_messages(conversation, say), status_html(), live, trace_id, None


def as_updates(views: Iterator[TurnView], say: Say, sent: str | None = None) -> Iterator[tuple[Any, ...]]:
    """One tuple of updates per view, in the order of ``wire``'s outputs; every tuple carries every value.

    Args:
        sent: the text as it stood in the box, which it leaves once the turn has begun; None: it came from elsewhere.
    """
    begun, last = False, ""
    for view in views:
        drawn = chat_pace.drawn_html(view.newest, say)
        running = bool(view.run_id)
        received: Any = gr.skip()
        if sent is not None and not begun and not view.problem:
            received = receipt(taken=sent)
        elif sent is not None and begun and view.restore is not None:
            received = receipt(back=view.restore)
        live: Any = view.chunk if view.chunk is not None else gr.skip()
        yield (
            view.conversation,
            chat_messages(view.conversation, say),
            None if view.cleared else live,
            status_html(view.problem or view.status, bool(view.problem), over=not running),
            received,
            gr.update(interactive=not running),
            gr.update(interactive=running),
            drawn if not begun or drawn != last else gr.skip(),
            view.run_id,
            None if view.cleared else view.trace_id or gr.skip(),
            gr.skip() if begun else None,
        )
        begun, last = True, drawn


def _released(views: Iterator[TurnView], release: Callable[[], None]) -> Iterator[TurnView]:
    """``views``; before the last, after which the visitor may go on, ``release``."""
    for view in views:
        if not view.run_id:
            release()
        yield view


def _notice(sentence: str, width: int) -> tuple[Any, ...]:
    """Only the status line changes."""
    values: list[Any] = [gr.skip()] * width
    values[3] = status_html(sentence, True)
    return tuple(values)
