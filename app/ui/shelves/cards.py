"""The library's cards as values for the page: what is said of each recording, before any of them is opened.

A card has a prompt and its takes: one recording each. Knows indexes, shelves, the store and words. All text of models
and users is sent as text; the page's modules (``web/``) put it there by ``textContent``.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis import metrics
from analysis.errors import UserError
from analysis.figures.load import levels
from analysis.figures.style import LOAD_SPAN
from analysis.show import edits_of
from analysis.trace import Phase, RoutingTrace
from analysis.words import LANGUAGES, Words
from app.engine.catalogue import Shipped
from app.server.store import TraceStore
from app.ui.shelves.shelf import Item, Shelf

PROMPT_CHARS = 400
ANSWER_CHARS = 240
NO_EXPERT = 255
MAX_CELLS = 40_000  # layers × experts of a thumbnail; above, layers are left out evenly
TURNS = re.compile(r"<\|im_(?:start\|>\w+\n|end\|>)")  # in a text that was routed as it stood
MAX_ASKED = 64  # thumbnails in one request
STAGES = (
    "pretraining",
    "cold-start",
    "reasoning-rl",
    "fusion",
    "general-rl",
    "teacher",
    "distillation-off",
    "distillation-on",
)
"""The stages of the bundled model's training that have a name in words (``stages`` of the locales), in their order."""
BESIDE = {"teacher": "general-rl", "distillation-off": "distillation-on", "distillation-on": "distillation-off"}
"""Those that do not lie on the way from one stage to the next → the stage that goes with each."""
WAY = tuple(stage for stage in STAGES if stage not in BESIDE)


def shipped_groups(recordings: Sequence[Shipped], words: Words) -> list[dict[str, Any]]:
    """The recordings that come along, a group a language of the gallery or a stage of training; the visitor's language
    first. Both modes of a prompt stand on one card."""
    groups: OrderedDict[tuple[str, str, str], OrderedDict[str, dict[str, Any]]] = OrderedDict()
    for recording in recordings:
        spoken = str(recording.labels.get("language", ""))
        key = ("stages" if recording.stage else "", recording.group, spoken)
        cards = groups.setdefault(key, OrderedDict())
        card = cards.setdefault(str(recording.labels.get("digest") or recording.link), _shipped_card(recording, words))
        card["takes"].append(_shipped_take(recording))
    order = sorted(groups, key=lambda key: (key[0], key[1] != "gallery", key[2] != words.language, stage_place(key[1])))
    return [
        {
            "id": "-".join(filter(None, key)),
            "title": _group_title(*key, words),
            "language": key[2],
            "cards": sorted(groups[key].values(), key=_topic_order(list(groups[key].values()))),
        }
        for key in order
    ]


def _topic_order(cards: list[dict[str, Any]]) -> Any:
    """Cards of one topic stand together, topics in the order in which they first come."""
    topics = list(dict.fromkeys(card["topic"] for card in cards))
    return lambda card: topics.index(card["topic"])


def _group_title(of_stage: str, group: str, language: str, words: Words) -> str:
    if of_stage:
        return words("library.stage", stage=stage_name(group, words))
    name = words("library.own_gallery") if group == "gallery" else group
    return " · ".join(filter(None, (name, LANGUAGES.get(language, language))))


def stage_name(stage: str, words: Words) -> str:
    """A stage of the bundled model's training in words; one that is not known keeps its name."""
    key = f"stages.{stage}"
    return words(key) if key in words else stage


def stage_place(stage: str) -> tuple[int, str]:
    """Sorts stages in the order of training, others behind them by name."""
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage)


def text_name(text: str, words: Words) -> str:
    """The name of a text that every stage routed, such as "dates ja", in words; one that is not known stays so."""
    task, _, language = text.rpartition(" ")
    key = f"library.text.{task}"
    return f"{words(key)} · {LANGUAGES[language]}" if key in words and language in LANGUAGES else text


def _shipped_card(recording: Shipped, words: Words) -> dict[str, Any]:
    topic = str(recording.labels.get("topic", ""))
    key = f"library.topic.{topic}"
    return {
        "id": recording.id,
        "prompt": cut(text_name(recording.prompt, words) if recording.stage else recording.prompt, PROMPT_CHARS),
        "topic": topic,
        "topic_name": words(key) if key in words else topic,
        "model": stage_name(recording.stage, words) or str(recording.labels.get("model_name", "")),
        "takes": [],
    }


def _shipped_take(recording: Shipped) -> dict[str, Any]:
    return {
        "id": recording.id,
        "link": recording.link,
        "picture": True,
        "mode": recording.mode,
        "answer": cut(TURNS.sub("", recording.answer), ANSWER_CHARS),
        "thinking": recording.thinking_tokens,
        "answered": recording.answer_tokens,
        "finish": str(recording.labels.get("finish_reason") or "stop"),
    }


def own_cards(shelf: Shelf, store: TraceStore, words: Words) -> list[dict[str, Any]]:
    """The session's recordings, in order: one card each, with one take."""
    return [_own_card(item, store, words) for item in shelf]


def _own_card(item: Item, store: TraceStore, words: Words) -> dict[str, Any]:
    card: dict[str, Any] = {"id": item.id, "number": item.number, "kind": item.kind}
    card |= {"prompt": "", "model": "", "takes": []}
    if item.deleted is not None:
        return {**card, "deleted": True}
    try:
        trace = store.peek(item.id)
    except UserError as error:
        return {**card, "prompt": item.name, "gone": error.in_words(words)}
    counts, provenance = trace.phase_counts(), trace.provenance
    card |= {"prompt": cut(title_of(trace), PROMPT_CHARS), "model": model_of(trace), "file": item.name}
    card["takes"].append(
        {
            "id": item.id,
            "mode": mode_of(trace),
            "answer": cut(trace.text_of("answer"), ANSWER_CHARS),
            "thinking": counts["thinking"],
            "answered": counts["answer"],
            "read": counts["prompt"],
            "seconds": None if item.seconds is None else round(item.seconds, 1),
            "created": _text(provenance.get("created")),
            "edited": ", ".join(edits_of(trace.provenance)),
            "finish": _text(provenance.get("finish_reason")) or "stop",
            "shape": shape(trace, words),
            "picture": bool(trace.spec.layers and trace.num_rows),
        }
    )
    return card


def title_of(trace: RoutingTrace) -> str:
    """What the user asked, or the beginning of a text that was routed as it stood."""
    if trace.prompt:
        return trace.prompt
    wanted = trace.phase != Phase.MARKER
    pieces = [piece for piece, take in zip(trace.pieces, wanted, strict=True) if take]
    return b"".join(pieces[:PROMPT_CHARS]).decode("utf-8", "replace").strip()


def mode_of(trace: RoutingTrace) -> str:
    """ "thinking", "non-thinking", or "forced" for a text that was routed without generating."""
    mode = trace.provenance.get("mode")
    return mode if mode in ("thinking", "non-thinking") else "forced"


def model_of(trace: RoutingTrace) -> str:
    """The model's name for people: the last part of a path or hub name."""
    name = _text(trace.provenance.get("model_name")) or _text(trace.provenance.get("model"))
    return Path(name.replace("\\", "/")).name[:80]


def fact(name: str, value: str, words: Words) -> str:
    """The value of a provenance's key in words, where there are some for it."""
    places = {"mode": "library.mode", "finish_reason": "tabs.compare.reason", "revision": "stages"}
    key = f"{places.get(name, '')}.{value}"
    return words(key) if key in words else value


def shape(trace: RoutingTrace, words: Words) -> str:
    """Such as "6 layers × 64 experts, top-8"; ranges where layers differ."""
    layers = trace.spec.layers
    if not layers:
        return words("library.dense_shape")
    values = {}
    for name in ("num_experts", "top_k"):
        low, high = (pick(getattr(layer, name) for layer in layers) for pick in (min, max))
        values[name] = str(low) if low == high else f"{low}–{high}"
    return words("library.shape", layers=len(layers), experts=values["num_experts"], top_k=values["top_k"])


def thumbnail(trace: RoutingTrace) -> dict[str, Any]:
    """A picture of the load so small that it can be sent as it is: a byte an expert and layer, 0 for a quarter of
    chance or less, 127 for chance, 254 for four times chance or more, ``NO_EXPERT`` where a layer has no such expert.

    ``n`` is the number of tokens counted, all phases.
    """
    load = metrics.expert_load(trace)
    level = levels(load) if load.n and trace.spec.layers else np.zeros((0, 0))
    if level.size > MAX_CELLS:
        level = level[:: -(-level.size // MAX_CELLS)]
    scaled = np.rint((np.nan_to_num(level) + LOAD_SPAN) * (254 / (2 * LOAD_SPAN)))
    shades = np.where(np.isfinite(level), scaled, NO_EXPERT).astype(np.uint8)
    rows, columns = shades.shape
    return {"rows": rows, "columns": columns, "n": load.n, "levels": base64.b64encode(shades.tobytes()).decode("ascii")}


class Thumbnails:
    """Thumbnails by id: of recordings that come along made once and kept, of others made when they are asked for."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        self._kept: dict[str, dict[str, Any]] = {}

    def get(self, ids: Any) -> dict[str, dict[str, Any]]:
        """Id → thumbnail, of those that there are. ``ids`` comes from outside."""
        asked = list(dict.fromkeys(one for one in ids if isinstance(one, str))) if isinstance(ids, list) else []
        return {one: made for one in asked[:MAX_ASKED] if (made := self._one(one)) is not None}

    def _one(self, trace_id: str) -> dict[str, Any] | None:
        if trace_id in self._kept:
            return self._kept[trace_id]
        try:
            made = thumbnail(self._store.peek(trace_id))
        except UserError:
            return None
        if self._store.is_permanent(trace_id):
            self._kept[trace_id] = made
        return made


def cut(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters."""
    text = text.strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
