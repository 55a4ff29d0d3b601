"""Whatever arrives, a value inside the limits comes out or one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from app.engine.base import Capabilities, ChatRequest, Message, SamplingParams
from app.server import limits
from app.settings import Settings

SETTINGS = Settings(max_chars=500, max_new_tokens=64)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=4), st.just([1])
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


@given(st.text(alphabet=st.characters(), max_size=600))
def test_text_is_short_printable_and_encodable_or_refused(text: str) -> None:
    if len(text) > SETTINGS.max_chars:
        with pytest.raises(BadValue, match="at most 500"):
            limits.clean_text(text, SETTINGS.max_chars)
        return
    clean = limits.clean_text(text, SETTINGS.max_chars)
    clean.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in clean)
    assert len(clean) <= len(text)


@given(st.text(alphabet="abc 日本\n\t<&${}*", max_size=50))
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert limits.clean_text(text, 500) == text


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [("a\x00b", "ab"), ("a\r\nb\rc", "a\nb\nc"), ("\ud83d", "\ufffd"), ("x\x1b[31m", "x[31m"), ("a\x7f\x85b", "ab")],
)
def test_control_characters_and_lone_surrogates(dirty: str, clean: str) -> None:
    assert limits.clean_text(dirty, 500) == clean


def test_enormous_text_is_refused_at_once_and_not_repeated() -> None:
    with pytest.raises(BadValue) as raised:
        limits.clean_text("x" * 50_000_000, 20_000)
    assert "50,000,000" in str(raised.value) and len(str(raised.value)) < 120


@given(JSON)
def test_sampling_is_inside_its_ranges_or_refused(value: Any) -> None:
    for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "max_tokens"):
        values = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0, "presence_penalty": 0, "max_tokens": 10}
        try:
            made = limits.sampling(SETTINGS, **{**values, name: value})
        except BadValue as error:
            assert len(str(error)) < 200
            continue
        assert isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        assert made.max_tokens <= SETTINGS.max_new_tokens
        assert 0 <= made.temperature <= 5 and 0 < made.top_p <= 1 and 0 <= made.min_p <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.6", None, [0.6], 5.1, -0.1])
def test_a_temperature_that_cannot_be_meant_is_refused(value: Any) -> None:
    with pytest.raises(BadValue, match="Temperature must be"):
        limits.sampling(SETTINGS, value, 0.9, 20, 0, 0, 10)


def test_max_tokens_above_the_servers_limit_is_lowered_to_it() -> None:
    assert limits.sampling(SETTINGS, 0.6, 0.9, 20, 0, 0, 100_000).max_tokens == 64


@given(JSON)
def test_a_history_of_any_shape_gives_messages_or_a_sentence(value: Any) -> None:
    try:
        messages = limits.history(value, SETTINGS)
    except BadValue as error:
        assert 10 < len(str(error)) < 200
        return
    assert all(m.role in ("system", "user", "assistant") for m in messages)


def test_history_in_each_of_gradios_shapes_without_thinking() -> None:
    history = [
        {"role": "user", "content": "one", "metadata": None},
        {"role": "assistant", "content": "hm", "metadata": {"title": "Thinking"}},
        {"role": "assistant", "content": [{"type": "text", "text": "two"}], "metadata": {}},
        {"role": "user", "content": {"type": "text", "text": "three"}},
    ]
    expected = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    assert limits.history(history, SETTINGS) == expected


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ("hello", "must be a list"),
        ([["a", "b"]], "role and a content"),
        ([{"role": "developer", "content": "x"}], "Unknown role 'developer'"),
        ([{"role": "user", "content": {"path": "/etc/passwd"}}], "must be text"),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], "files and pictures"),
        ([{"role": "user", "content": "x" * 501}], "at most 500"),
        ([{"role": "user", "content": ""}] * 201, "at most 200"),
        ([{"role": "user", "content": "x" * 500}] * 11, "Clear it"),
    ],
)
def test_bad_histories_are_named(history: Any, sentence: str) -> None:
    with pytest.raises(BadValue, match=sentence):
        limits.history(history, SETTINGS)


def request(**changes: Any) -> ChatRequest:
    values = {
        "settings": SETTINGS,
        "capabilities": Capabilities(),
        "mode": "thinking",
        "thinking_budget": None,
        "sampling_params": SamplingParams(),
        "seed": None,
        "router_scores": False,
    }
    return limits.chat_request((Message("user", "hello"),), **{**values, **changes})


def test_a_request_takes_what_the_model_can_do() -> None:
    assert request(seed=7.0, thinking_budget=0).seed == 7
    assert request(router_scores=True).router_scores
    assert not request(router_scores=True, capabilities=Capabilities(router_scores=False)).router_scores
    with pytest.raises(BadValue, match="no thinking mode; it has non-thinking"):
        request(capabilities=Capabilities(modes=("non-thinking",)))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("", None),
        ("  ", None),
        (" 64 ", 64),
        ("0", 0),
        (None, None),
        (7, 7),
        ("six", "six"),
        ("-1", "-1"),
        ("1e3", "1e3"),
    ],
)
def test_a_number_typed_into_a_text_box(value: Any, meant: Any) -> None:
    assert limits.typed(value) == meant


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "dreaming"}, "Unknown mode 'dreaming'"),
        ({"mode": ["thinking"]}, "Unknown mode a list"),
        ({"seed": -1}, "Seed must be a number from 0"),
        ({"seed": 1.5}, "whole number"),
        ({"thinking_budget": "12"}, "Thinking budget must be a number"),
        ({"router_scores": "yes"}, "true or false"),
    ],
)
def test_bad_options_are_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadValue, match=sentence):
        request(**changes)
