"""The tokenizer keeps every text and splits digits; the template follows Qwen3's thinking rules."""

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from training.data.dialogues import tokenizer_sample
from training.tokenizer import MARKERS, SPECIAL, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(tokenizer_sample(random.Random(0), 1500), 700).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text",
    [
        "What is 538 + 274?",
        "  two  spaces\n\n\ttab",
        "日本の首都は東京です。",
        "中国的首都是北京。",
        "🙂🤖 naïve café",
        "\x00\x7f",
        "don't r's 47×36",
    ],
)
def test_round_trip(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_normalises_to_nfc(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.encode("cafe\u0301") == tokenizer.encode("caf\u00e9")


def test_digits_stand_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("1234 + 56")]
    assert [p for p in pieces if any(c.isdigit() for c in p)] == list("123456")


def test_special_tokens_follow_the_pieces(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer.convert_tokens_to_ids([*SPECIAL, *MARKERS])
    assert ids == list(range(len(tokenizer) - len(ids), len(tokenizer)))
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|endoftext|>", None)


def test_think_marks_are_tokens_but_not_special(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer.encode("<|im_start|><think>\nhm\n</think><|im_end|>")
    assert tokenizer.convert_tokens_to_ids("<think>") in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>\nhm\n</think>"


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: object) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **{"add_generation_prompt": True, **options})


def test_modes(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [{"role": "system", "content": "Be brief. /no_think"}, {"role": "user", "content": "1 + 1? /think"}]
    expected = "<|im_start|>system\nBe brief. /no_think<|im_end|>\n<|im_start|>user\n1 + 1? /think<|im_end|>\n"
    expected += "<|im_start|>assistant\n"
    assert render(tokenizer, messages) == expected
    assert render(tokenizer, messages, enable_thinking=True) == expected
    assert render(tokenizer, messages, enable_thinking=False) == expected + "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("inline", [True, False])
def test_history_drops_thinking(tokenizer: PreTrainedTokenizerBase, inline: bool) -> None:
    said = {"content": "<think>\nsteps\n</think>\n\n2"} if inline else {"content": "2", "reasoning_content": "steps"}
    messages = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", **said},
        {"role": "user", "content": "and 2 + 2?"},
    ]
    assert "steps" not in render(tokenizer, messages)
    assert "<|im_start|>assistant\n2<|im_end|>\n" in render(tokenizer, messages)


@pytest.mark.parametrize("inline", [True, False])
def test_current_turn_keeps_thinking(tokenizer: PreTrainedTokenizerBase, inline: bool) -> None:
    said = {"content": "<think>\nsteps\n</think>\n\n2"} if inline else {"content": "2", "reasoning_content": "steps"}
    text = render(
        tokenizer, [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", **said}], add_generation_prompt=False
    )
    assert text.endswith("<|im_start|>assistant\n<think>\nsteps\n</think>\n\n2<|im_end|>\n")


def test_tool_messages_do_not_crash(tokenizer: PreTrainedTokenizerBase) -> None:
    text = render(
        tokenizer,
        [{"role": "user", "content": "hi"}, {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}],
    )
    assert (
        "<|im_start|>user\n<tool_response>\na\n</tool_response>\n<tool_response>\nb\n</tool_response><|im_end|>\n"
        in text
    )


def test_spaces_and_odd_content_survive(tokenizer: PreTrainedTokenizerBase) -> None:
    assert "<|im_start|>user\n  x \n<|im_end|>" in render(tokenizer, [{"role": "user", "content": "  x \n"}])
    assert "<|im_start|>user\n<|im_end|>" in render(tokenizer, [{"role": "user", "content": None}])  # type: ignore[dict-item]
