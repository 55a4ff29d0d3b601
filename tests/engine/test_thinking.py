"""Switches, recommended sampling, and prompts as the chat template makes them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.trace import Origin, Phase, display_texts
from app.engine.base import MODES, ChatRequest, Message, SamplingParams
from app.engine.thinking import effective_mode, recommended_sampling
from app.engine.tokens import TokenText
from tests.tiny_models import tokenizer


def user(*texts):
    return [Message("user", t) for t in texts]


@pytest.mark.parametrize(
    ("messages", "mode", "effective"),
    [
        (user("hi"), "thinking", "thinking"),
        (user("hi /no_think"), "thinking", "non-thinking"),
        (user("hi /no_think", "and /think"), "thinking", "thinking"),
        (user("/think first, then /no_think"), "thinking", "non-thinking"),
        ([Message("system", "/no_think"), *user("hi")], "thinking", "non-thinking"),
        ([*user("hi"), Message("assistant", "/no_think"), *user("ok")], "thinking", "thinking"),
        (user("see http://x/think and a/no_thinking"), "thinking", "thinking"),
        (user("hi /think"), "non-thinking", "non-thinking"),
    ],
)
def test_the_last_soft_switch_decides_under_the_hard_switch(messages, mode, effective):
    assert effective_mode(messages, mode) == effective


def test_a_model_without_soft_switch_ignores_it():
    assert effective_mode(user("hi /no_think"), "thinking", soft_switch=False) == "thinking"


def test_recommended_sampling_is_the_model_cards():
    thinking, direct = (recommended_sampling(mode) for mode in MODES)
    assert (thinking.temperature, thinking.top_p, thinking.top_k) == (0.6, 0.95, 20)
    assert (direct.temperature, direct.top_p, direct.top_k) == (0.7, 0.8, 20)
    assert recommended_sampling("thinking", "qwen3_5_moe").temperature == 1.0


@pytest.mark.parametrize("enable_thinking", [True, False])
def test_prompts_are_exactly_what_the_chat_template_gives(enable_thinking):
    said = [*user("Hi  there\n"), Message("assistant", "Hello!"), *user("538 + 274?")]
    messages = [Message("system", "Be brief."), *said]
    rendered = TokenText(tokenizer()).render(messages, enable_thinking=enable_thinking)
    chat = [{"role": m.role, "content": m.content} for m in messages]
    expected = tokenizer().apply_chat_template(
        chat, add_generation_prompt=True, enable_thinking=enable_thinking, return_dict=False
    )
    assert [t.token_id for t in rendered] == list(expected)
    assert {t.phase for t in rendered if t.origin == Origin.TEMPLATE} == {Phase.MARKER}


HOSTILE = ["<|im_end|>", "<|im_start|>", "<think>", "</think>", "user", "\n", "é", "{{x}}", "\ud800", "\x00"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), min_size=1).map("".join))
def test_a_message_cannot_smuggle_in_special_tokens(words):
    text = TokenText(tokenizer())
    rendered = text.render(user("a" + words), enable_thinking=True)
    special = {text.id_of(s) for s in ("<|im_start|>", "<|im_end|>", "<think>", "</think>")}
    assert not [t for t in rendered if t.token_id in special and t.origin != Origin.TEMPLATE]
    said = b"".join(text.piece(t.token_id) for t in rendered if t.origin == Origin.USER).decode("utf-8", "replace")
    assert said.strip() == ("a" + words).strip().replace("\ud800", "?")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_pieces_are_the_bytes_of_the_text(text):
    tokens = TokenText(tokenizer())
    written = text.encode("utf-8", "replace").decode()
    ids = tokens.encode_plain(text)
    assert b"".join(tokens.piece(i) for i in ids).decode("utf-8", "replace") == unicodedata.normalize("NFC", written)


def test_incomplete_characters_show_their_bytes():
    assert display_texts([b"a", b"\xe6\x97", b"\xa5"]) == ["a", "‹e697›", "日"]


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": float("nan")},
        {"temperature": -0.1},
        {"top_p": 0},
        {"top_p": "0.9"},
        {"top_k": 2.5},
        {"top_k": float("inf")},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"repetition_penalty": 0},
        {"min_p": 1.5},
    ],
)
def test_absurd_sampling_is_named(bad):
    with pytest.raises(BadValue, match=next(iter(bad))):
        SamplingParams(**bad)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"messages": ()}, "end with a message of the user"),
        ({"messages": (Message("assistant", "x"),)}, "end with a message of the user"),
        ({"messages": tuple(user("  \n"))}, "empty"),
        ({"messages": (*user("x"), Message("system", "y"), *user("z"))}, "only stand first"),
        ({"messages": tuple(user("x")), "mode": "dreaming"}, "Unknown mode"),
        ({"messages": tuple(user("x")), "thinking_budget": -1}, "thinking_budget"),
        ({"messages": tuple(user("x")), "seed": 2**64}, "seed"),
    ],
)
def test_absurd_requests_are_refused(arguments, complaint):
    with pytest.raises(BadValue, match=complaint):
        ChatRequest(**arguments)


def test_invented_roles_are_refused():
    with pytest.raises(BadValue, match="Unknown role 'root'"):
        Message("root", "x")
