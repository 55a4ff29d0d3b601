"""Conversations as values: what is shown of them, what the model is sent, and that hostile text stays text."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.words import Words
from app.engine.base import Message
from app.ui.conversation import (
    LATEX,
    Turn,
    _without_formulas,
    chat_messages,
    escape,
    request_messages,
    turn_at,
    unescape,
)


def say(key: str, **values: object) -> str:
    return Words("en")(f"page.{key}", **values)


DONE = Turn("538+274?", "8+4=12", "812", 6, 3, 1.2, 1.5, True, "stop", "a")
PLAIN = Turn("hi", "", "hello", 0, 1, 0, 0.1, True, "stop", "b")


def test_thinking_is_a_panel_with_its_tokens_and_duration() -> None:
    user, thinking, answer = chat_messages((DONE,), say)
    assert user["role"] == "user" and user["content"] == [{"type": "text", "text": "538+274?"}]
    assert thinking["metadata"] == {"title": "Thinking · 6 tokens", "status": "done", "duration": 1.2}
    assert "metadata" not in answer and answer["content"][0]["text"] == "812"


def test_a_panel_is_pending_until_the_answer_begins_or_the_turn_ends() -> None:
    def status(turn: Turn) -> str:
        return chat_messages((turn,), say)[1]["metadata"]["status"]

    assert status(Turn("q", "hm", "", 1)) == "pending"
    assert status(Turn("q", "hm", "a", 1, 1)) == "done"
    assert status(Turn("q", "hm", "", 1, done=True, finish_reason="stopped")) == "done"


def test_earlier_thinking_is_not_sent_again() -> None:
    assert request_messages((DONE, PLAIN), "next", "be brief") == (
        Message("system", "be brief"),
        Message("user", "538+274?"),
        Message("assistant", "812"),
        Message("user", "hi"),
        Message("assistant", "hello"),
        Message("user", "next"),
    )


def test_a_turn_without_an_answer_is_not_sent() -> None:
    stopped = Turn("q", "hm", "", done=True, finish_reason="stopped")
    assert request_messages((stopped,), "next") == (Message("user", "next"),)


def test_a_message_belongs_to_its_turn() -> None:
    turns = (DONE, PLAIN)
    assert [turn_at(turns, i, say) for i in range(5)] == [0, 0, 0, 1, 1]
    assert turn_at(turns, (4, 0), say) == 1


@pytest.mark.parametrize("index", [5, -1, None, "0", 1.0, True, [], [None]])
def test_an_invented_message_is_refused(index: object) -> None:
    with pytest.raises(BadValue):
        turn_at((DONE, PLAIN), index, say)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&#060;img src=x onerror=alert(1)>"),
        ("![a](http://x.test/p.png)", "&#033;&#091;a](http://x.test/p.png)"),
        ("2*3*4 = 24", "2&#042;3&#042;4 = 24"),
        ("&lt;b>", "&#038;lt;b>"),
        ("AT&T & co", "AT&#038;T & co"),
        ("a **bold** word", "a **bold** word"),
        ("$x_1 < 3$", "$x_1 &#060; 3$"),
        ("`a<b>` and <b>", "`a<b>` and &#060;b>"),
        ("```html\n<b>\n```\n<i>", "```html\n<b>\n```\n&#060;i>"),
        ("````\n```\n<b>\n````\n<i>", "````\n```\n<b>\n````\n&#060;i>"),
        ("$a`b$ < `c<d>`", "$a`b$ &#060; `c<d>`"),
    ],
)
def test_html_and_pictures_are_escaped_and_markdown_is_not(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "\\`<h1>\\` end",
        "``` a`b\n<h1>\n```",
        "  ```\nx\n```\n<h1>\n```",
        "- a\n  ```\n  x\n<h1>\n```",
        "~~~\nx\n```\n~~~\n<h1>\n```",
        "`a\n`<h1>`",
        "| `<h1> | x` |",
        "$`$<h1>`",
        "$$\n```\n$$\n<h1>\n```",
        "``<h1>`",
    ],
)
def test_what_only_looks_like_code_is_escaped(text: str) -> None:
    assert "<h1>" not in escape(text) and unescape(escape(text)) == text


def test_a_diagram_is_shown_as_text() -> None:
    assert escape("```Mermaid\nA-->B\n```") == "```text\nA-->B\n```"


@given(st.text(alphabet="<>&;!#*[]()`~$\\ \nabl42tm", max_size=80))
def test_an_edited_message_comes_back_as_it_was(text: str) -> None:
    assert unescape(escape(text)) == text


@given(st.text(alphabet="<>&;![](x)\n", max_size=60))
def test_without_code_no_tag_and_no_picture_is_left(text: str) -> None:
    shown = escape(text)
    assert "<" not in shown and "![" not in shown


@given(st.text(alphabet="$\\[]()a\n", max_size=30))
def test_a_formula_is_the_shortest_text_between_its_marks(text: str) -> None:
    found, formulas, wanted, counter = text, [], text, itertools.count()
    for pair in LATEX:
        found = _without_formulas(found, pair["left"], pair["right"], formulas)
        pattern = re.escape(pair["left"]) + r"[\s\S]+?" + re.escape(pair["right"])
        wanted = re.sub(pattern, lambda _: f"\0{next(counter)}\0", wanted)
    assert found == wanted and len(formulas) == next(counter)
