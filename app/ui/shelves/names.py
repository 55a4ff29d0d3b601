"""Names of recordings in a list to choose from: those that come along, and a session's own.

Knows indexes, the shelf, the store and words; opens no recording that comes along.
"""

from __future__ import annotations

from collections.abc import Iterable

from analysis.errors import UserError
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import Shipped
from app.ui.context import Services
from app.ui.shelves.cards import BESIDE, WAY, cut, mode_of, model_of, stage_name, stage_place, text_name, title_of
from app.ui.shelves.shelf import Shelf

PROMPT_CHARS = 64


def shipped_name(recording: Shipped, words: Words) -> str:
    """Such as "What is 538 + 274? · Thinking · mini-qwen3-moe", or "Pretraining · Sorting · English"."""
    prompt = _line(recording.prompt) or words("library.untitled")
    if recording.stage:
        return f"{stage_name(recording.stage, words)} · {text_name(prompt, words)}"
    key = f"library.mode.{recording.mode}"
    mode = words(key) if key in words else recording.mode
    return " · ".join(filter(None, (prompt, mode, str(recording.labels.get("model_name", "")))))


def trace_name(trace: RoutingTrace, words: Words) -> str:
    """Such as "What is 538 + 274? · Thinking · mini-qwen3-moe", of a recording that is there."""
    prompt = _line(title_of(trace)) or words("library.untitled")
    return " · ".join(filter(None, (prompt, words(f"library.mode.{mode_of(trace)}"), model_of(trace))))


def choices(services: Services, shelf: Shelf, others: Iterable[str], words: Words) -> list[tuple[str, str]]:
    """(name, id) of every recording that can be looked at: the session's, newest first, then those that come along.

    Args:
        others: ids of recordings of the session that do not stand on its shelf, such as compared answers.
    """
    found = []
    for item in shelf:
        if item.deleted is None:
            sign = " · ".join(filter(None, (words("library.page.number", n=item.number), item.name)))
            found.append((sign, item.id))
    known = {item.id for item in shelf}
    found += [(words("tabs.pair.compared"), one) for one in others if one not in known]
    own = []
    for sign, one in reversed(found):
        try:
            own.append((f"{sign} · {trace_name(services.store.peek(one), words)}", one))
        except UserError:
            continue  # it had to make room
    come_along = sorted(services.recordings, key=lambda r: (bool(r.stage), stage_place(r.stage)))
    return own + [(shipped_name(recording, words), recording.id) for recording in come_along]


def partner(chosen: str, services: Services) -> str:
    """The recording that goes with one that comes along: the same prompt in the other mode, the same text in the next
    stage of training (of the last one in the stage before; of one beside the way in the stage that goes with it); ""
    where there is none."""
    here = next((r for r in services.recordings if r.id == chosen), None)
    if here is None:
        return ""
    if not here.stage:
        same = (r.id for r in services.recordings if not r.stage and r.id != chosen and _asked(r) == _asked(here))
        return next(same, "")
    same_text = {r.stage: r.id for r in services.recordings if r.stage and text_of(r) == text_of(here)}
    same_text[here.stage] = chosen
    if here.stage not in WAY:
        return same_text.get(BESIDE.get(here.stage, ""), "")
    line = [same_text[stage] for stage in WAY if stage in same_text]
    at = line.index(chosen)
    near = line[at + 1 : at + 2] or line[at - 1 : at]
    return near[0] if near else ""


def example_pair(recordings: Iterable[Shipped]) -> tuple[str, str]:
    """Two that come along and say something beside each other: one text in the first and in the last stage of training,
    else one prompt in two modes; ("", "") where there is neither."""
    alike: dict[tuple[str, str], list[Shipped]] = {}
    on_the_way = (one for one in recordings if not one.stage or one.stage in WAY)
    for one in sorted(on_the_way, key=lambda r: (not r.stage, stage_place(r.stage))):
        alike.setdefault(text_of(one) if one.stage else _asked(one), []).append(one)
    return next(((line[0].id, line[-1].id) for line in alike.values() if len(line) > 1), ("", ""))


def text_of(recording: Shipped) -> tuple[str, str]:
    """What two stages have in common that routed one text: its name and its digest."""
    return recording.prompt, str(recording.labels.get("digest", ""))


def _line(text: str) -> str:
    return cut(" ".join(text.split()), PROMPT_CHARS)


def _asked(recording: Shipped) -> tuple[str, str]:
    return recording.group, str(recording.labels.get("digest") or recording.prompt)
