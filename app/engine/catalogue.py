"""Models the product speaks of by name: what the page says about them and what to ask them.

Knows names and words. Does not load anything; figures about a model always come from its own config.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.recordings import INDEX, read_index
from app.engine.base import ModelCard

ASSETS = Path(__file__).resolve().parents[2] / "assets"
BUNDLED = ASSETS / "mini-qwen3-moe"
TRACES = ASSETS / "traces"
EXAMPLE = TRACES / "example.safetensors"
"""A recording of the bundled model: its answer to the first of its suggestions."""

SUGGESTIONS = (
    "What is 538 + 274?",
    "Sort these numbers: 42, 7, 19, 88, 3",
    "What is 47 × 36?",
    "Spell butterfly backwards",
    "What is the capital of Japan?",
    "Who are you?",
)

BUNDLED_CARD = ModelCard(
    name=str(BUNDLED),
    title="mini-qwen3-moe",
    about="A small teaching model with Qwen3's architecture, trained by this project; it is not Qwen. It "
    "calculates, sorts, spells, reads dates and programs.",
    suggestions=SUGGESTIONS,
    translated={
        "ja": ("538 + 274 は?", "次の数を並べ替えて: 42, 7, 19, 88, 3", "47 × 36 は?", "日本の首都は?"),
        "zh": ("538 + 274 等于多少?", "把这些数排序: 42, 7, 19, 88, 3", "47 × 36 等于多少?", "日本的首都是哪里?"),
    },
)

_LARGE_SUGGESTIONS = (
    "What is 538 + 274?",
    "How many r's are in strawberry?",
    "Explain in two sentences why the sky is blue.",
    "Write a Python function that reverses a string.",
)


@dataclass(frozen=True)
class Shipped:
    """A recording that comes along, as the index of its folder describes it.

    Attributes:
        id: under which the page knows it; letters, digits, "-" and "_" only.
        link: what stands for it in an address, such as ``gallery/00000-thinking-0``.
        path: its file.
        group: the folder's name: "gallery", or the stage of the bundled model's training that routed it.
        prompt, mode, answer: as recorded; ``mode`` is "forced" for a text that was routed as it stood.
        thinking_tokens, answer_tokens: markers not counted; None where the index does not say.
        labels: everything else that the index says, such as ``language`` and ``topic``.
    """

    id: str
    link: str
    path: Path
    group: str
    prompt: str
    mode: str
    answer: str = ""
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage of training that routed it; "" for a recording that is no stage's."""
        return self.group if self.link.startswith("stages/") else ""


def shipped(folder: Path = TRACES) -> tuple[Shipped, ...]:
    """Recordings that come along: the gallery of conversations and the texts that every stage of the bundled model's
    training routed. ``folder`` holds recorded sets, each a folder with an index; no trace is opened."""
    found = []
    for index in sorted(folder.rglob(INDEX)):
        place = index.parent.relative_to(folder).as_posix()
        for line in read_index(index.parent, needed=("prompt", "mode")):
            rest = dict(line)
            file, prompt, mode, answer = (str(rest.pop(key, "")) for key in ("file", "prompt", "mode", "answer"))
            thinking_tokens, answer_tokens = rest.pop("thinking_tokens", None), rest.pop("answer_tokens", None)
            rest.pop("thinking", None)
            link = f"{place}/{Path(file).stem}".removeprefix("./")
            found.append(
                Shipped(
                    id=re.sub(r"[^A-Za-z0-9_-]", "-", link)[:64],
                    link=link,
                    path=index.parent / file,
                    group=index.parent.name,
                    prompt=str(rest.get("text") or prompt),
                    mode=mode,
                    answer=answer or (prompt if "text" in rest else ""),
                    thinking_tokens=thinking_tokens,
                    answer_tokens=answer_tokens,
                    labels=rest,
                )
            )
    return tuple(found)


OFFERS = {"Qwen/Qwen3-30B-A3B": 64.0, "Qwen/Qwen3-235B-A22B": 480.0}
"""Hub models, and the GPU memory in GiB that the bfloat16 weights and a long conversation need."""


def offers(gpu_gib: float) -> list[str]:
    """Names of the hub models that fit into ``gpu_gib`` of GPU memory."""
    return [name for name, needed in OFFERS.items() if needed <= gpu_gib]


def card_for(name: str) -> ModelCard:
    """The card of ``name``; for a model not known here its name, and prompts that suit any model."""
    if not name or Path(name).expanduser().resolve() == BUNDLED:
        return BUNDLED_CARD
    return ModelCard(name=name, title=name.rstrip("/").split("/")[-1] or name, suggestions=_LARGE_SUGGESTIONS)
