"""Addresses of recordings that come along: ``?trace=gallery/00000-thinking-0&token=12``, and of two of them beside
each other: ``?compare=gallery/00000-thinking-0,gallery/00000-non-thinking-0``. Pure functions.

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


@dataclass(frozen=True)
class PairTarget:
    """The two recordings that an address asks for by their ids, or a sentence where they cannot be had."""

    ids: tuple[str, str] = ("", "")
    problem: str = ""


def target(query: Any, recordings: Sequence[Shipped], words: Words) -> Target | None:
    """What the part of an address after "?" asks for; None where it names no recording. Comes from outside."""
    fields = _fields(query)
    if "trace" not in fields:
        return None
    name = fields["trace"][0]
    found = _named(name, recordings)
    if found is None:
        return Target(problem=words("library.no_such_link", name=name[:80]))
    token = fields.get("token", [""])[0]
    if not token:
        return Target(found.id)
    if not (token.isascii() and token.isdigit() and len(token) < 8):
        return Target(found.id, problem=words("library.bad_token", token=token[:40]))
    return Target(found.id, int(token))


def pair_target(query: Any, recordings: Sequence[Shipped], words: Words) -> PairTarget | None:
    """The two recordings that the part of an address after "?" asks for; None where it asks for none. Comes from
    outside."""
    fields = _fields(query)
    if "compare" not in fields:
        return None
    names = fields["compare"][0].split(",")
    if len(names) != 2:
        return PairTarget(problem=words("tabs.pair.two_names"))
    found = [_named(name, recordings) for name in names]
    missing = next((name for name, one in zip(names, found, strict=True) if one is None), None)
    if missing is not None:
        return PairTarget(problem=words("library.no_such_link", name=missing[:80]))
    first, second = (one.id for one in found if one is not None)
    return PairTarget((first, second))


def pair_link(ids: Sequence[str], recordings: Sequence[Shipped]) -> str:
    """What stands for two recordings in an address; "" where one of them does not come along."""
    links = {recording.id: recording.link for recording in recordings}
    return ",".join(links[one] for one in ids) if all(one in links for one in ids) else ""


def _fields(query: Any) -> dict[str, list[str]]:
    text = query.lstrip("?") if isinstance(query, str) else ""
    try:
        return parse_qs(text[:MOST], max_num_fields=20)
    except ValueError:
        return {}


def _named(name: str, recordings: Sequence[Shipped]) -> Shipped | None:
    return next((recording for recording in recordings if recording.link == name), None)
