"""Models the product speaks of by name: what the page says about them and what to ask them.

Knows names and words. Does not load anything; figures about a model always come from its own config.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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
    about="A small teaching model with Qwen3's mixture-of-experts architecture, trained by this project; "
    "it is not Qwen. It can add, multiply, sort, spell, and name capitals.",
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


def recordings(folder: Path = TRACES) -> dict[str, Path]:
    """Recordings that come along, by what they are called: the gallery of conversations and the texts that every stage
    of the bundled model's training routed. ``folder`` holds recorded sets, each a folder with an index."""
    found = {}
    for index in sorted(folder.rglob("index.jsonl")):
        for line in index.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            said = entry.get("text") or entry["prompt"].splitlines()[0]
            kind = index.parent.name if entry["mode"] == "forced" else entry["mode"]
            found[f"{said} · {kind}"] = index.parent / entry["file"]
    return found


@dataclass(frozen=True)
class Offer:
    """A hub model and the GPU memory, in GiB, that its bfloat16 weights and a long conversation need."""

    name: str
    gpu_gib: float


OFFERS = (Offer("Qwen/Qwen3-30B-A3B", 64.0), Offer("Qwen/Qwen3-235B-A22B", 480.0))


def offers(gpu_gib: float) -> list[str]:
    """Names of the hub models that fit into ``gpu_gib`` of GPU memory."""
    return [offer.name for offer in OFFERS if offer.gpu_gib <= gpu_gib]


def card_for(name: str) -> ModelCard:
    """The card of ``name``; for a model not known here its name, and prompts that suit any model."""
    if not name or Path(name).expanduser().resolve() == BUNDLED:
        return BUNDLED_CARD
    return ModelCard(name=name, title=name.rstrip("/").split("/")[-1] or name, suggestions=_LARGE_SUGGESTIONS)
