"""A conversation as a value, what the chatbot shows of it, and what the model is sent of it. Pure functions.

Text of models and users is shown as text: HTML and pictures in it are escaped (Markdown and formulas stay). The
conversation itself is kept on the server, so that nothing the browser sends back is taken for the model's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
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
        inserted: the sentence that the thinking budget put in; not the model's own words.
        thinking_tokens, answer_tokens: how many tokens those are.
        thinking_seconds, seconds: time from the first generated token to the end of each.
        done: nothing more will come.
        finish_reason: "stop", "length", "stopped", "interrupted" or "error"; "" while it is under way.
        trace_id: id of its trace in the store, "" before there is one.
        edits: under which edits of the routing it was answered, in words; "" for none.
        mode, effective: the mode that was asked for, and the one that a soft switch made of it.
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
    effective: str = "thinking"
    inserted: str = ""
    edits: str = ""

    @property
    def tokens_per_second(self) -> float:
        tokens = self.thinking_tokens + self.answer_tokens
        return tokens / self.seconds if self.seconds > 0.05 and tokens > 1 else 0.0


CUT = ("stopped", "length", "interrupted", "error")
"""Reasons for which an answer ended before the model was done with it."""
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
        raise BadValue.said("not_in_chat")
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
    if turn.edits:
        messages.append({"role": "assistant", "content": _text(say("answered_edited", edits=turn.edits))})
    if turn.thinking or turn.inserted:
        pending = not turn.done and not turn.answer
        title = say("thinking_now" if pending else "thinking_done", n=turn.thinking_tokens)
        metadata: dict[str, Any] = {"title": title, "status": "pending" if pending else "done"}
        if not pending:
            metadata["duration"] = round(turn.thinking_seconds, 1)
        words = turn.thinking + (f"\n\n{say('inserted')}\n{turn.inserted}" if turn.inserted else "")
        messages.append({"role": "assistant", "content": _text(words), "metadata": metadata})
    if turn.answer:
        messages.append({"role": "assistant", "content": _text(turn.answer)})
    if turn.done and turn.finish_reason in CUT:
        messages.append({"role": "assistant", "content": _text(say(f"cut_{turn.finish_reason}"))})
    elif turn.done and not turn.answer:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": say("no_answer")}]})
    return messages


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": escape(text.strip("\n"))}]


LATEX: list[dict[str, Any]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
"""What stands around formulas. Gradio takes the formulas out before it looks for Markdown, and so does ``escape``."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"&(?=#|\w)"), "&#038;"),
    (re.compile(r"<"), "&#060;"),
    (re.compile(r"!\["), "&#033;&#091;"),
    (re.compile(r"(?<=\w)\*(?=\w)"), "&#042;"),
)
"""Nobody writes these entities by hand, so ``unescape`` (and ``plain`` in page.js) may turn back every one of them."""

_FENCE_LINE = re.compile(r"(`{3,})([\w+#.-]*)[ \t]*")
_FENCE_LIKE = re.compile(r"[\s>*+\-\d.)]*(```|~~~)")
_CODE_SPAN = re.compile(r"`[^`|\\]+`")


def escape(text: str) -> str:
    """``text`` as Markdown in which no HTML and no picture is left and ``2*3*4`` keeps its stars.

    Code is shown as it stands and is left alone, but only where every reader of Markdown would call it code: fences
    at the beginning of a line, and single backticks that pair up within their line. A text with anything else that
    might be code is escaped throughout; then its code shows some entities, and nothing can slip through.
    """
    formulas: list[str] = []
    text = text.replace("\0", "")
    for pair in LATEX:
        text = _without_formulas(text, pair["left"], pair["right"], formulas)
    shown, fence, lines = [], "", text.split("\n")
    spans = all(_pairs_up(line) for line in lines if not _FENCE_LIKE.match(line))
    fences = all(_FENCE_LINE.fullmatch(line) for line in lines if _FENCE_LIKE.match(line))
    for line in lines:
        mark = _FENCE_LINE.fullmatch(line) if fences else None
        if mark and (not fence or (len(mark[1]) >= len(fence) and not mark[2])):
            fence = "" if fence else mark[1]
            drawn = "mermaid" in mark[2].lower()  # Gradio would draw it, with HTML in its labels
            shown.append(_put_back(mark[1] + "text" if drawn else line, formulas, _as_it_is))
        elif fence:
            shown.append(_put_back(line, formulas, _as_it_is))
        else:
            shown.append(_escape_line(line, spans, formulas))
    return "\n".join(shown)


def _without_formulas(text: str, left: str, right: str, formulas: list[str]) -> str:
    """``text`` with a mark in place of each formula between ``left`` and ``right``; they join ``formulas``.

    Looks at each character once, whatever it is given.
    """
    parts, at = [], 0
    while (start := text.find(left, at)) >= 0 and (end := text.find(right, start + len(left) + 1)) >= 0:
        parts += [text[at:start], f"\0{len(formulas)}\0"]
        at = end + len(right)
        formulas.append(text[start:at])
    return "".join([*parts, text[at:]])


def unescape(text: str) -> str:
    """What ``escape`` was given; an edited message may come back from the browser escaped."""
    return re.sub(r"&#(038|060|033|091|042);", lambda found: chr(int(found[1])), text)


def _pairs_up(line: str) -> bool:
    return line.count("`") % 2 == 0 and "``" not in line and "\\`" not in line


def _escape_line(line: str, spans: bool, formulas: list[str]) -> str:
    parts, position = [], 0
    for code in _CODE_SPAN.finditer(line) if spans else ():
        between = _escape_plain(line[position : code.start()])
        parts += [_put_back(between, formulas, _escape_plain), _put_back(code[0], formulas, _as_it_is)]
        position = code.end()
    return "".join([*parts, _put_back(_escape_plain(line[position:]), formulas, _escape_plain)])


def _put_back(text: str, formulas: list[str], change: Callable[[str], str]) -> str:
    """``text`` with its formulas, which may hold formulas themselves, back in place."""
    while "\0" in text:
        text = re.sub("\0(\\d+)\0", lambda found: change(formulas[int(found[1])]), text)
    return text


def _escape_plain(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _as_it_is(text: str) -> str:
    return text
