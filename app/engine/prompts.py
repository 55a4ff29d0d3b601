"""Prompt files: ``.txt`` or ``.jsonl`` to prompts with their labels, each line checked.

Knows files and messages. Does not know engines or recordings.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.errors import BadValue
from app.engine.base import ChatRequest, Message

RESERVED = frozenset(
    ("file", "prompt", "messages", "mode", "hard_switch", "sample", "seed", "answer", "thinking", "thinking_tokens",
     "answer_tokens", "finish_reason", "digest")
)  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """A prompt of the set: its place in the file from 0, its messages, and its labels."""

    number: int
    messages: tuple[Message, ...]
    labels: dict[str, Any]

    @property
    def text(self) -> str:
        return self.messages[-1].content

    @property
    def digest(self) -> str:
        """Tells prompts apart: changes with any message or label."""
        said = [[asdict(m) for m in self.messages], self.labels]
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a ``.txt`` (one a line) or ``.jsonl`` file (``prompt`` or ``messages``; other keys are labels).

    Raises:
        BadValue: naming the file, the line and what was expected.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise BadValue(f"{path} must end in .txt or .jsonl.")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise BadValue(f"There is no file {path}.") from None
    except UnicodeDecodeError:
        raise BadValue(f"{path} is not a text file in UTF-8.") from None
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}.") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            prompts.append(Prompt(len(prompts), (Message("user", line.rstrip()),), {}))
        else:
            prompts.append(_parse_line(f"{path}, line {number}", line, len(prompts)))
    if not prompts:
        raise BadValue(f"{path} holds no prompt.")
    return prompts


def _parse_line(where: str, line: str, number: int) -> Prompt:
    try:
        data = json.loads(line, parse_constant=_finite, parse_float=_finite)
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadValue(f"{where} holds half a character (a lone surrogate).") from None
    except (ValueError, RecursionError):
        raise BadValue(f"{where} is not JSON.") from None
    if not isinstance(data, dict) or ("prompt" in data) == ("messages" in data):
        raise BadValue(f"{where} must be an object with either prompt or messages.")
    prompt, messages = data.pop("prompt", None), data.pop("messages", None)
    taken = RESERVED & set(data)
    if taken:
        raise BadValue(f"{where} has a label {min(taken)!r}, a name the index uses itself; rename it.")
    if messages is None:
        messages = [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadValue(f"{where}: messages must be a list of objects with role and content.")
    try:
        parsed = tuple(Message(m.get("role"), m.get("content")) for m in messages)
        ChatRequest(parsed)
    except BadValue as error:
        raise BadValue(f"{where}: {error}") from None
    return Prompt(number, parsed, data)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not JSON")
    return value
