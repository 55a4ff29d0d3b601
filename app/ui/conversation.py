"""A conversation as a value, what the chatbot shows of it, and what the model is sent of it. Pure functions.

Text of models and users is shown as text: HTML and pictures in it are escaped (Markdown and formulas stay). The
conversation itself is kept on the server, so that nothing the browser sends back is taken for the model's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.errors import BadValue
from app.engine.base import Message


@dataclass(frozen=True)
class Turn:
    """One exchange.

    Attributes:
        user: the user's message as sent.
        thinking, answer: what came so far, markers left out.
        thinking_tokens, answer_tokens: how many tokens those are.
        thinking_seconds, seconds: time from the first generated token to the end of each.
        done: nothing more will come.
        finish_reason: "stop", "length", "stopped", "interrupted" or "error"; "" while it is under way.
        trace_id: id of its trace in the store, "" before there is one.
        mode: the mode that was asked for.
    """

    user: str
    thinking: str = ""
    answer: str = ""
    thinking_tokens: int = 0
    answer_tokens: int = 0
    thinking_seconds: float = 0.0
    seconds: float = 0.0
    done: bool = False
    finish_reason: str = ""
    trace_id: str = ""
    mode: str = "thinking"

    @property
    def tokens_per_second(self) -> float:
        tokens = self.thinking_tokens + self.answer_tokens
        return tokens / self.seconds if self.seconds > 0.05 and tokens > 1 else 0.0


Conversation = tuple[Turn, ...]
Say = Callable[..., str]
"""``say("thinking_done", n=64, seconds=1.2)``: a text of the page in the visitor's language."""


def chat_messages(conversation: Conversation, say: Say) -> list[dict[str, Any]]:
    """The conversation in the chatbot's form; each turn gives its user's message, its thinking and its answer."""
    return [message for turn in conversation for message in _turn_messages(turn, say)]


def turn_at(conversation: Conversation, index: Any, say: Say) -> int:
    """The turn that the chatbot's message ``index`` belongs to.

    Raises:
        BadValue: there is no such message.
    """
    if isinstance(index, list | tuple) and index:
        index = index[0]
    owners = [number for number, turn in enumerate(conversation) for _ in _turn_messages(turn, say)]
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(owners):
        raise BadValue("This message is no longer part of the conversation.")
    return owners[index]


def request_messages(conversation: Conversation, text: str, system: str = "") -> tuple[Message, ...]:
    """What the model is sent: earlier turns (those with an answer) without their thinking, and ``text``."""
    messages = [Message("system", system)] if system.strip() else []
    for turn in conversation:
        if turn.answer.strip():
            messages += [Message("user", turn.user), Message("assistant", turn.answer)]
    return (*messages, Message("user", text))


def _turn_messages(turn: Turn, say: Say) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": _text(turn.user)}]
    if turn.thinking:
        pending = not turn.done and not turn.answer
        title = say("thinking_now" if pending else "thinking_done", n=turn.thinking_tokens)
        metadata: dict[str, Any] = {"title": title, "status": "pending" if pending else "done"}
        if not pending:
            metadata["duration"] = round(turn.thinking_seconds, 1)
        messages.append({"role": "assistant", "content": _text(turn.thinking), "metadata": metadata})
    if turn.answer:
        messages.append({"role": "assistant", "content": _text(turn.answer)})
    elif turn.done:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": say("no_answer")}]})
    return messages


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": escape(text.strip("\n"))}]


_FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.M | re.S)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"&(?=#|\w)"), "&amp;"),
    (re.compile(r"<"), "&lt;"),
    (re.compile(r"!\["), "&#33;&#91;"),
    (re.compile(r"(?<=\w)\*(?=\w)"), "&#42;"),
)
_ENTITIES: Mapping[str, str] = {"&amp;": "&", "&lt;": "<", "&#33;": "!", "&#91;": "[", "&#42;": "*"}


def escape(text: str) -> str:
    """``text`` as Markdown in which no HTML and no picture is left and ``2*3*4`` keeps its stars. Code, which Markdown
    shows as it stands, is not touched."""
    return _outside_code(text, _escape_plain)


def unescape(text: str) -> str:
    """What ``escape`` was given; an edited message comes back from the browser escaped."""
    return _outside_code(text, lambda part: re.sub("|".join(_ENTITIES), lambda m: _ENTITIES[m[0]], part))


def _escape_plain(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    def spans(part: str) -> str:
        return _between(_SPAN, part, change)

    return _between(_FENCE, text, spans)


def _between(pattern: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """``change`` applied to everything between the matches of ``pattern``."""
    parts, position = [], 0
    for match in pattern.finditer(text):
        parts += [change(text[position : match.start()]), match[0]]
        position = match.end()
    return "".join([*parts, change(text[position:])])
