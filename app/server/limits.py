"""From values that a browser or a client sent to values the engine may be given. Pure functions.

Nothing that arrives is trusted: a slider accepts NaN, a text box any length, a history any shape. What cannot be meant
is refused in one sentence; control characters and broken Unicode are mended; sizes above the server's own are
lowered to them. Does not know the page or the model.
"""

from __future__ import annotations

import re
from typing import Any

from analysis.errors import BadValue
from app.engine.base import MAX_SEED, MODES, ROLES, Capabilities, ChatRequest, Message, SamplingParams
from app.settings import Settings

MAX_MESSAGES = 200
MAX_CONVERSATION = 10
"""A conversation may be this many times as long as one message."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean_text(value: Any, max_chars: int, name: str = "message") -> str:
    """Text without control characters (newline and tab stay) and without lone surrogates (they become U+FFFD).

    Raises:
        BadValue: not text, or longer than ``max_chars``.
    """
    if not isinstance(value, str):
        raise BadValue(f"The {name} must be text, not {_kind(value)}.")
    if len(value) > max_chars:
        raise BadValue.said("too_long", name=name, n=f"{len(value):,}", most=f"{max_chars:,}")
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    return sendable(_CONTROL.sub("", value))


def sendable(text: str) -> str:
    """``text`` without lone surrogates, which no message to a browser can hold."""
    return _SURROGATE.sub("\ufffd", text)


def number(value: Any, name: str, low: float, high: float) -> float:
    """A finite number from ``low`` to ``high``.

    Raises:
        BadValue: text, a boolean, NaN, infinite or out of range.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # NaN is in no range
        raise BadValue.said("number", name=name, low=f"{low:,}", high=f"{high:,}", value=_shown(value))
    return float(value)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``; a float without a fraction counts as whole.

    Raises:
        BadValue: anything else.
    """
    checked = number(value, name, low, high)
    if checked != int(checked):
        raise BadValue.said("whole", name=name, value=f"{value:g}")
    return int(value)


def optional_whole(value: Any, name: str, high: int) -> int | None:
    """As ``whole`` from 0; None and empty text mean "not set"."""
    return None if value is None or value == "" else whole(value, name, 0, high)


def typed(value: Any) -> Any:
    """What was typed into a text box for a number that may be left empty: None, a whole number, or the text itself,
    which ``optional_whole`` then refuses by name."""
    text = value.strip() if isinstance(value, str) else value
    if text == "":
        return None
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,19}", text) else text


def flag(value: Any, name: str) -> bool:
    """A boolean; None means no.

    Raises:
        BadValue: anything else.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadValue(f"{name} must be true or false, not {_shown(value)}.")


def mode_of(value: Any, capabilities: Capabilities) -> Any:
    """A mode that the model has.

    Raises:
        BadValue: it has not, or there is no such mode.
    """
    if value not in MODES if isinstance(value, str) else True:
        raise BadValue(f"Unknown mode {_shown(value)}; expected one of {', '.join(MODES)}.")
    if value not in capabilities.modes:
        raise BadValue(f"This model has no {value} mode; it has {', '.join(capabilities.modes)}.")
    return value


def sampling(
    settings: Settings,
    temperature: Any,
    top_p: Any,
    top_k: Any,
    min_p: Any,
    presence_penalty: Any,
    max_tokens: Any,
) -> SamplingParams:
    """Checked sampling parameters; ``max_tokens`` is lowered to the server's limit.

    Raises:
        BadValue: a value is no number or out of its range.
    """
    return SamplingParams(
        temperature=number(temperature, "Temperature", 0, 5),
        top_p=number(top_p, "Top-p", 0, 1),
        top_k=whole(top_k, "Top-k", -1, 2**31 - 1),
        min_p=number(min_p, "Min-p", 0, 1),
        presence_penalty=number(presence_penalty, "Presence penalty", -2, 2),
        max_tokens=min(whole(max_tokens, "Max tokens", 1, 2**20), settings.max_new_tokens),
    )


def history(value: Any, settings: Settings) -> tuple[Message, ...]:
    """Messages of a client's history: a list of ``{"role", "content"}``. Content may be text or a list of
    ``{"type": "text", "text"}``; messages with a ``metadata.title`` are thinking and left out.

    Raises:
        BadValue: another shape, an unknown role, too many messages or too much text.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise BadValue(f"The history must be a list of messages, not {_kind(value)}.")
    if len(value) > MAX_MESSAGES:
        raise BadValue(f"The history has {len(value):,} messages; at most {MAX_MESSAGES} can be sent.")
    messages = []
    for item in value:
        if not isinstance(item, dict):
            raise BadValue(f"A message must have a role and a content; the history holds {_kind(item)}.")
        metadata = item.get("metadata")
        if isinstance(metadata, dict) and metadata.get("title"):
            continue
        role = item.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise BadValue(f"Unknown role {_shown(role)}; expected one of {', '.join(ROLES)}.")
        messages.append(Message(role, clean_text(_content(item.get("content")), settings.max_chars)))
    check_length(messages, settings)
    return tuple(messages)


def user_message(value: Any, settings: Settings) -> Message:
    """
    Raises:
        BadValue: not text, empty or too long.
    """
    text = clean_text(value, settings.max_chars)
    if not text.strip():
        raise BadValue.said("empty_message")
    return Message("user", text)


def check_length(messages: list[Message] | tuple[Message, ...], settings: Settings) -> None:
    """
    Raises:
        BadValue: the conversation is too long for this server.
    """
    total, most = sum(len(m.content) for m in messages), MAX_CONVERSATION * settings.max_chars
    if total > most:
        raise BadValue.said("conversation_too_long", n=f"{total:,}", most=f"{most:,}")


def chat_request(
    messages: tuple[Message, ...],
    *,
    settings: Settings,
    capabilities: Capabilities,
    mode: Any,
    thinking_budget: Any,
    sampling_params: SamplingParams | None,
    seed: Any,
    router_scores: Any,
) -> ChatRequest:
    """A request the engine may be given. ``messages`` are checked already (``history``, ``clean_text``).

    Raises:
        BadValue: a value is of the wrong kind or out of range.
    """
    check_length(messages, settings)
    return ChatRequest(
        messages=messages,
        mode=mode_of(mode, capabilities),
        thinking_budget=optional_whole(thinking_budget, "Thinking budget", 2**20),
        sampling=sampling_params,
        seed=optional_whole(seed, "Seed", MAX_SEED),
        router_scores=flag(router_scores, "Record router scores") and capabilities.router_scores,
    )


def _content(content: Any) -> Any:
    """The text of a message's content, whichever of Gradio's shapes it has."""
    if isinstance(content, dict) and content.get("type") == "text":
        return content.get("text")
    if isinstance(content, list):
        parts = [_content(part) for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise BadValue("A message's content must be text; files and pictures cannot be sent.")
        return "".join(parts)
    return content


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "nothing"),
    (bool, "a boolean"),
    ((int, float), "a number"),
    (str, "text"),
    (dict, "an object"),
    ((list, tuple), "a list"),
)


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "something else")


def _shown(value: Any) -> str:
    """A bad value short enough to be repeated in a sentence."""
    text = repr(value) if isinstance(value, str | int | float | bool) else _kind(value)
    text = sendable(text)
    return text if len(text) <= 60 else text[:57] + "…"
