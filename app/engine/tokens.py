"""Text to tokens and back: prompt rendering with the origin of every token, and the bytes of every token.

Knows tokenizers and chat templates. Does not know models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from analysis.errors import BadValue, ModelError
from analysis.trace import Origin, Phase
from app.engine.base import Message


@dataclass(frozen=True)
class PromptToken:
    """A token of the prompt and where it comes from."""

    token_id: int
    phase: Phase
    origin: Origin
    turn: int


class TokenText:
    """A tokenizer seen from the capture's side.

    Raises:
        ModelError: the tokenizer has no chat template and one is needed.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def piece(self, token_id: int) -> bytes:
        """The bytes that ``token_id`` stands for; possibly part of a character."""
        added = self._added.get(token_id)
        if added is not None:
            return added.encode()
        token = self.tokenizer.convert_ids_to_tokens(token_id)
        if token is None:
            return b""
        if self._byte_level:
            return bytes(self._byte_of[c] for c in token) if all(c in self._byte_of for c in token) else token.encode()
        if len(token) == 6 and token.startswith("<0x"):
            return bytes([int(token[3:5], 16)])
        return token.replace("▁", " ").encode()

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
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise ModelError("This model has no chat template, so it cannot chat; forced text can still be routed.")
        contents = [_encodable(m.content) for m in messages]
        text = self._template(messages, contents, enable_thinking)
        spans = self._content_spans(messages, contents, text, enable_thinking)
        turns = _turns(messages)
        tokens: list[PromptToken] = []

        def add(ids: Sequence[int], message: int | None, nearest: int) -> None:
            for token_id in ids:
                if message is None:
                    tokens.append(PromptToken(token_id, Phase.MARKER, Origin.TEMPLATE, turns[nearest]))
                else:
                    said = messages[message].role == "assistant"
                    origin = Origin.SAMPLED if said else Origin.USER
                    tokens.append(PromptToken(token_id, Phase.PROMPT, origin, turns[message]))

        hostile = any(s in c for c in contents for s in self._added.values() if s)
        if not hostile and self.tokenizer.is_fast:
            coded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            starts = [start for start, _, _ in spans]
            for token_id, (begin, _) in zip(coded["input_ids"], coded["offset_mapping"], strict=True):
                i = bisect_right(starts, begin) - 1
                inside = i >= 0 and begin < spans[i][1]
                add([token_id], spans[i][2] if inside else None, spans[max(i, 0)][2] if spans else 0)
            return tokens
        cursor, nearest = 0, 0
        for start, end, message in spans:
            add(self.encode(text[cursor:start]), None, nearest)
            add(self.encode_plain(text[start:end]), message, message)
            cursor, nearest = end, message
        add(self.encode(text[cursor:]), None, nearest)
        return tokens

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
        template's own. Where that does not reproduce ``text`` the words are searched for in order.
        """
        marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
        frame, spans, cursor = self._template(messages, marks, enable_thinking), [], 0
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
        if rebuilt + rest == text:
            return [span for span in spans if span[1] > span[0]]
        spans = []
        for i, content in enumerate(contents):
            words = content.strip()
            start = text.find(words, cursor) if words else -1
            if start >= 0:
                cursor = start + len(words)
                spans.append((start, cursor, i))
        return spans

    def _split_specials(self, text: str) -> list[str]:
        """``text`` in parts, none of which holds a whole added token."""
        parts, start = [], 0
        added = sorted((s for s in self._added.values() if s), key=len, reverse=True)
        position = 0
        while position < len(text):
            token = next((s for s in added if text.startswith(s, position)), None)
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


def _turns(messages: Sequence[Message]) -> list[int]:
    """The exchange each message belongs to: a user's message begins a new one."""
    turns, turn = [], -1
    for message in messages:
        turn += message.role == "user"
        turns.append(max(turn, 0))
    return turns
