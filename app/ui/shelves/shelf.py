"""What a visitor's session has recorded or opened, as a value: in order, with what was deleted and may come back.

Knows ids, not traces; those are in the store. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["turn", "text", "file"]


@dataclass(frozen=True)
class Item:
    """One recording of the session.

    Attributes:
        id: its id in the store.
        kind: a turn of the chat, a text that was pasted, or a file that was opened.
        seconds: how long the model generated, where that is known.
        name: the file's name.
        deleted: when it was deleted, in seconds of the monotonic clock; None where it was not.
        number: its number on the shelf, which it keeps whatever leaves; ``with_item`` gives it.
    """

    id: str
    kind: Kind
    seconds: float | None = None
    name: str = ""
    deleted: float | None = None
    number: int = 0


Shelf = tuple[Item, ...]


def with_item(shelf: Shelf, item: Item) -> Shelf:
    """``item`` at the end, under the next number; where it stands already, it stays there."""
    if find(shelf, item.id):
        return shelf
    return (*shelf, replace(item, number=1 + max((one.number for one in shelf), default=0)))


def find(shelf: Shelf, item_id: Any) -> Item | None:
    return next((item for item in shelf if item.id == item_id), None)


def with_deleted(shelf: Shelf, item_id: str, when: float | None) -> Shelf:
    """The item marked as deleted at ``when``, or (None) as there again."""
    return tuple(replace(item, deleted=when) if item.id == item_id else item for item in shelf)


def without_expired(shelf: Shelf, now: float, undo_seconds: float) -> Shelf:
    """Without what was deleted too long ago to be brought back."""
    return tuple(item for item in shelf if item.deleted is None or now - item.deleted < undo_seconds)
