"""Text to tokens and back: prompt rendering with the origin of every token, and the bytes of every token.

Knows tokenizers and chat templates. Does not know models.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from analysis.errors import BadValue, ModelError
from analysis.trace import Origin, Phase
from app.engine.base import Message

THINKING_TAGS = ("<think>", "</think>")


@dataclass(frozen=True)
class PromptToken:
    """A token of the prompt and where it comes from."""

    token_id: int
    phase: Phase
    origin: Origin
    turn: int


@dataclass(frozen=True)
class _Segment:
    """Part of a rendered prompt, ``text[start:end]``: the words of message number ``message``, or the template's."""

    start: int
    end: int
    message: int
    words: bool


class TokenText:
    """A tokenizer seen from the capture's side.

    Raises:
        ModelError: the tokenizer has no chat template and one is needed.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def piece(self, token_id: int) -> bytes:
        """The bytes that ``token_id`` stands for; possibly part of a character."""
        if token_id in self._added and (self._byte_level or token_id in self._controls):
            return self._added[token_id].encode()
        token = self.tokenizer.convert_ids_to_tokens(token_id)
        if token is None:
            return b""
        if self._byte_level:
            return bytes(self._byte_of[c] for c in token) if all(c in self._byte_of for c in token) else token.encode()
        if len(token) == 6 and token.startswith("<0x"):
            return bytes([int(token[3:5], 16)])
        return token.replace("▁", " ").encode()

    def is_marker(self, token_id: int) -> bool:
        """Whether ``token_id`` is a control token of the chat format or a tag of the thinking block."""
        return token_id in self._controls

    def id_of(self, token: str) -> int | None:
        """The id of a token that stands for exactly ``token``; None where the vocabulary has none."""
        found = self.tokenizer.convert_tokens_to_ids(token)
        return None if found is None or found == self.tokenizer.unk_token_id else int(found)

    def encode(self, text: str) -> list[int]:
        """Ids of ``text`` as it stands; special tokens in it are recognised."""
        return list(self.tokenizer.encode(_encodable(text), add_special_tokens=False))

    def encode_plain(self, text: str) -> list[int]:
        """Ids of ``text`` taken as words only: what looks like a special token is spelled out."""
        ids: list[int] = []
        for part in self._split_specials(_encodable(text)):
            ids += self.tokenizer.encode(part, add_special_tokens=False)
        return ids

    def render(self, messages: Sequence[Message], *, enable_thinking: bool) -> list[PromptToken]:
        """The prompt of ``messages``, by the tokenizer's chat template, ready for the answer.

        A message's own words are of origin user (sampled, for an earlier answer) and phase prompt; everything the
        template adds is a marker. A message cannot smuggle in special tokens: they are spelled out.

        Raises:
            BadValue: the template refuses the conversation, or changes its words.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise ModelError("This model has no chat template, so it cannot chat; forced text can still be routed.")
        contents = [_encodable(_answer(m.content) if m.role == "assistant" else m.content) for m in messages]
        text = self._template(messages, contents, enable_thinking)
        segments = self._segments(self._content_spans(messages, contents, text, enable_thinking), text)
        turns = _turns(messages)

        def token(token_id: int, segment: _Segment) -> PromptToken:
            if not segment.words:
                return PromptToken(token_id, Phase.MARKER, Origin.TEMPLATE, turns[segment.message])
            said = messages[segment.message].role == "assistant"
            return PromptToken(token_id, Phase.PROMPT, Origin.SAMPLED if said else Origin.USER, turns[segment.message])

        hostile = any(s in c for c in contents for s in self._controls.values())
        if not hostile and self.tokenizer.is_fast:
            coded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            starts = [segment.start for segment in segments]
            pairs = zip(coded["input_ids"], coded["offset_mapping"], strict=True)
            return [token(i, segments[bisect_right(starts, begin) - 1]) for i, (begin, _) in pairs]
        tokens: list[PromptToken] = []
        for segment in segments:
            part = text[segment.start : segment.end]
            ids = self.encode_plain(part) if segment.words else self.encode(part)
            tokens += [token(token_id, segment) for token_id in ids]
        return tokens

    def _segments(self, spans: list[tuple[int, int, int]], text: str) -> list[_Segment]:
        """``text`` cut into words and template. Of the template between two messages the first control token, which
        closes the earlier one, stays with it; the rest opens the later one."""
        segments: list[_Segment] = []
        cursor, owner = 0, spans[0][2] if spans else 0
        for start, end, message in spans:
            gap = text[cursor:start]
            found = [(gap.find(s), len(s)) for s in self._controls.values() if s in gap]
            first, size = min(found, default=(len(gap), 0))
            closed = len(gap) - len(gap[first + size :].lstrip())
            segments += [
                _Segment(cursor, cursor + closed, owner, False),
                _Segment(cursor + closed, start, message, False),
                _Segment(start, end, message, True),
            ]
            cursor, owner = end, message
        segments.append(_Segment(cursor, len(text), owner, False))
        return [segment for segment in segments if segment.end > segment.start]

    def _template(self, messages: Sequence[Message], contents: Sequence[str], enable_thinking: bool) -> str:
        chat = [{"role": m.role, "content": c} for m, c in zip(messages, contents, strict=True)]
        try:
            return self.tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, enable_thinking=enable_thinking
            )
        except Exception as error:  # a template is a program of the checkpoint's author and may raise anything
            raise BadValue(f"The model's chat template refuses this conversation: {error}.") from None

    def _content_spans(
        self, messages: Sequence[Message], contents: Sequence[str], text: str, enable_thinking: bool
    ) -> list[tuple[int, int, int]]:
        """(start, end, message) of each message's own words in ``text``.

        The template is rendered once more with place holders instead of words; what stands between them is the
        template's own.

        Raises:
            BadValue: that does not reproduce ``text``, so words and template cannot be told apart.
        """
        marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
        frame, spans = self._template(messages, marks, enable_thinking), []
        rebuilt, rest = "", frame
        for i, mark in enumerate(marks):
            before, found, rest = rest.partition(mark)
            if not found:
                rest = before
                continue
            rebuilt += before
            words = contents[i] if text.startswith(contents[i], len(rebuilt)) else contents[i].strip()
            spans.append((len(rebuilt), len(rebuilt) + len(words), i))
            rebuilt += words
        if rebuilt + rest != text:
            raise BadValue(
                "The model's chat template changes the words of this conversation, so its tokens cannot be told from "
                "the template's. Leave out tags and commands of the chat format."
            )
        return [span for span in spans if span[1] > span[0]]

    def _split_specials(self, text: str) -> list[str]:
        """``text`` in parts, none of which holds a whole control token."""
        parts, start = [], 0
        controls = sorted(self._controls.values(), key=len, reverse=True)
        position = 0
        while position < len(text):
            token = next((s for s in controls if text.startswith(s, position)), None)
            if token is None:
                position += 1
                continue
            parts.append(text[start : position + 1])
            start = position = position + 1
        parts.append(text[start:])
        return [part for part in parts if part]

    @cached_property
    def _added(self) -> dict[int, str]:
        return {int(i): str(t) for i, t in self.tokenizer.added_tokens_decoder.items()}

    @cached_property
    def _controls(self) -> dict[int, str]:
        """The added tokens that are no words: special ones, and tags that are not marked so, as Qwen3's. Tokenizers
        also add runs of spaces (GPT-NeoX's) and HTML (Gemma's), which are words."""
        template = str(getattr(self.tokenizer, "chat_template", None))

        def is_tag(text: str) -> bool:
            known = text in THINKING_TAGS or text in template or re.search("[|｜_]", text)
            return bool(known and re.fullmatch(r"<.+>|\[.+\]", text))

        added = self.tokenizer.added_tokens_decoder.items()
        return {int(i): str(t) for i, t in added if str(t) and (t.special or is_tag(str(t)))}

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        return {c: b for b, c in bytes_to_unicode().items()}

    @cached_property
    def _byte_level(self) -> bool:
        """Byte-level BPE writes a space as "Ġ"."""
        vocab = self.tokenizer.get_vocab()
        return any(t.startswith("Ġ") for t in vocab) and not any(t.startswith("▁") for t in vocab)


def _encodable(text: str) -> str:
    """Without lone surrogates, which no encoding has."""
    return text.encode("utf-8", "replace").decode()


def _answer(content: str) -> str:
    """An assistant's words without a thinking block; templates drop past thinking in the same way."""
    return content.split("</think>")[-1].lstrip("\n")


def _turns(messages: Sequence[Message]) -> list[int]:
    """The exchange each message belongs to: a user's message begins a new one."""
    turns, turn = [], -1
    for message in messages:
        turn += message.role == "user"
        turns.append(max(turn, 0))
    return turns
