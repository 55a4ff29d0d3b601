"""Addresses of recordings that come along: ``?trace=gallery/00000-thinking-0&token=12``. Pure functions.

Only those have an address: what a visitor recorded is shared as a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from analysis.words import Words
from app.engine.catalogue import Shipped

MOST = 300  # characters of an address that are read


@dataclass(frozen=True)
class Target:
    """What an address asks for.

    Attributes:
        id: of the recording in the store; "" for none.
        token: index of a token; None for none.
        problem: a sentence where it cannot be had, or not wholly.
    """

    id: str = ""
    token: int | None = None
    problem: str = ""


def target(query: Any, recordings: Sequence[Shipped], words: Words) -> Target | None:
    """What the part of an address after "?" asks for; None where it names no recording. Comes from outside."""
    text = query.lstrip("?") if isinstance(query, str) else ""
    try:
        fields = parse_qs(text[:MOST], max_num_fields=20)
    except ValueError:
        return None
    if "trace" not in fields:
        return None
    name = fields["trace"][0]
    found = next((recording for recording in recordings if recording.link == name), None)
    if found is None:
        return Target(problem=words("library.no_such_link", name=name[:80]))
    token = fields.get("token", [""])[0]
    if not token:
        return Target(found.id)
    if not (token.isascii() and token.isdigit() and len(token) < 8):
        return Target(found.id, problem=words("library.bad_token", token=token[:40]))
    return Target(found.id, int(token))
