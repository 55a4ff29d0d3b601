"""Safe HTML from values: whatever is not marked as markup is escaped. Knows tags and tables, not what they say."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset(("br", "hr", "input", "meta"))


class Html(str):
    """Markup that may stand in a page as it is."""


def text(value: Any) -> Html:
    """``value`` as text of a page; characters that HTML cannot hold are shown as ``�``."""
    return value if isinstance(value, Html) else Html(html.escape(_UNSHOWN.sub("�", str(value))))


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element. ``class_`` and ``aria_label`` become ``class`` and ``aria-label``; True is a bare attribute, None
    and False are none. Children that are not ``Html`` are escaped."""
    said = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            said.append(f" {key}")
        elif value is not None and value is not False:
            said.append(f' {key}="{text(str(value))}"')
    opening = f"<{name}{''.join(said)}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Html:
    """The parts one after the other, escaped where need be."""
    return Html(text(between).join(map(text, parts)))


def foreign(value: Any, most: int = 500) -> Html:
    """Text of a user or a model, at most ``most`` characters: its direction of writing stays its own."""
    said = str(value)
    return tag("bdi", said if len(said) <= most else said[: most - 1] + "…")


def items(lines: Sequence[Any], **attributes: Any) -> Html:
    """A list, one line an item."""
    return tag("ul", *(tag("li", line) for line in lines), **attributes)


def table(
    caption: str, head: Sequence[Any], rows: Iterable[Sequence[Any]], numbers: int = 1, **attributes: Any
) -> Html:
    """A table in a box that scrolls sideways by keyboard, too. The first cell of a row is its name; cells from column
    ``numbers`` on are set as numbers."""
    columns = [tag("th", cell, scope="col", class_="n" if i >= numbers else None) for i, cell in enumerate(head)]
    lines = []
    for row in rows:
        cells = [
            tag("td" if i else "th", cell, scope=None if i else "row", class_="n" if i >= numbers else None)
            for i, cell in enumerate(row)
        ]
        lines.append(tag("tr", *cells))
    made = tag("table", tag("caption", caption), tag("thead", tag("tr", *columns)), tag("tbody", *lines), **attributes)
    return tag("div", made, class_="scroll", role="region", tabindex="0", aria_label=caption)


def details(summary: Any, *children: Any) -> Html:
    """What opens on demand."""
    return tag("details", tag("summary", summary), *children)


def json_in_script(data: str) -> Html:
    """JSON as it can stand inside a script element: nothing in it can close the element or open a comment."""
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return Html(data)
