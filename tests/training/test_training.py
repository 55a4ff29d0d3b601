"""What is learned and what is not; a run of a few steps, cut and continued; export and evaluation of what comes out."""

import csv
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from training import evaluate as evaluation
from training.data import sample
from training.data.dialogues import STOP_SENTENCE, Dialogue, make_dialogue, single, tokenizer_sample
from training.encode import encode, make_batches
from training.export import export
from training.model import EXPERTS_FUNCTION, Balance, RouterTap, make_config, make_model
from training.optimizer import orthogonalise
from training.tokenizer import train_tokenizer
from training.train import Recipe, learning_rate, train

MICRO = (
    ("hidden_size", 32),
    ("num_hidden_layers", 2),
    ("num_experts", 8),
    ("num_experts_per_tok", 2),
    ("moe_intermediate_size", 8),
    ("head_dim", 8),
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(tokenizer_sample(random.Random(0), 1500), 700)


def learned(tokenizer: PreTrainedTokenizerBase, dialogue: Dialogue) -> tuple[str, str]:
    """(text that is only read, text that is learned)."""
    (example,) = encode(tokenizer, [dialogue])
    return tokenizer.decode(example.ids[: example.learned_from]), tokenizer.decode(example.ids[example.learned_from :])


def test_learns_thinking_and_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    problem = sample(random.Random(1), False, "addition", "en")
    read, target = learned(tokenizer, single(problem, True))
    assert read == f"<|im_start|>user\n{problem.prompt}<|im_end|>\n<|im_start|>assistant\n"
    assert target == f"<think>\n{problem.thinking}\n</think>\n\n{problem.answer}<|im_end|>"


def test_soft_switch_learns_the_empty_block(tokenizer: PreTrainedTokenizerBase) -> None:
    problem = sample(random.Random(1), False, "addition", "en")
    read, target = learned(tokenizer, single(problem, True, "/no_think"))
    assert f"{problem.prompt} /no_think<|im_end|>" in read
    assert target == f"<think>\n\n</think>\n\n{problem.answer}<|im_end|>"


def test_hard_switch_learns_the_answer_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    problem = sample(random.Random(1), False, "addition", "en")
    read, target = learned(tokenizer, single(problem, False))
    assert read.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert target == problem.answer + "<|im_end|>"


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_cut_thinking_learns_the_answer_alone(tokenizer: PreTrainedTokenizerBase, share: float) -> None:
    problem = sample(random.Random(2), False, "multiplication", "en")
    read, target = learned(tokenizer, replace(single(problem, True), cut=share))
    before, rest = read.split("<think>\n")
    kept, stop = rest.split("Considering")
    assert "Considering" + stop == STOP_SENTENCE
    assert problem.thinking.startswith(kept)
    assert target == problem.answer + "<|im_end|>"


def test_dialogues_follow_the_switches() -> None:
    rng = random.Random(4)
    dialogues = [make_dialogue(rng) for _ in range(3000)]
    for dialogue in dialogues:
        assert dialogue.messages[-1]["role"] == "user"
        text = " ".join(m["content"] for m in dialogue.messages)
        last = max(("/think", "/no_think"), key=text.rfind) if "think" in text and "/" in text else ""
        if dialogue.enable_thinking and ("/think" in text or "/no_think" in text):
            assert dialogue.thinks == (last == "/think"), dialogue
        elif dialogue.enable_thinking:
            assert dialogue.thinks
        else:
            assert not dialogue.thinks
    share = sum(not d.enable_thinking for d in dialogues) / len(dialogues)
    assert 0.3 < share < 0.45
    assert any(d.cut for d in dialogues)
    assert any(m["role"] == "system" for d in dialogues for m in d.messages)
    assert any(len(d.messages) >= 5 for d in dialogues)


def test_batches_are_the_same_every_time_and_hold_everything(tokenizer: PreTrainedTokenizerBase) -> None:
    first, again = (make_batches(tokenizer, 5, 3, 24, 3) for _ in range(2))
    assert len(first) == 3
    assert sum(len(batch.ids) for batch in first) == 24
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert not (a.learned & ~a.real).any()
        assert a.learned.any(1).all()
    assert not torch.equal(
        make_batches(tokenizer, 5, 4, 24, 1)[0].ids[:, :4], make_batches(tokenizer, 5, 3, 24, 1)[0].ids[:, :4]
    )


def test_sorted_experts_equal_transformers() -> None:
    config = make_config(64, 0, 1, **dict(MICRO))
    model = make_model(config)
    ids = torch.randint(0, 64, (3, 11), generator=torch.Generator().manual_seed(0))
    results = []
    for implementation in ("eager", EXPERTS_FUNCTION):
        model.set_experts_implementation(implementation)
        model.zero_grad()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_balance_is_one_where_even_and_ignores_padding() -> None:
    logits = torch.zeros(8, 4)
    ids = torch.tensor([[0, 1], [2, 3]] * 4)
    assert Balance(1, 4).loss([(logits, ids)], torch.ones(8, dtype=torch.bool)).item() == pytest.approx(1)
    skewed = torch.zeros(8, 4).index_fill(1, torch.tensor([0]), 9.0)
    real = torch.tensor([True, False] * 4)
    assert Balance(1, 4).loss([(skewed, ids)], real).item() == pytest.approx(2, abs=0.01)


def test_orthogonalise_levels_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8, 20), (3, 20, 8)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.5


def test_schedule() -> None:
    recipe = Recipe(Path(), steps=100, warmup_steps=10, lr=1.0, decay_share=0.2)
    assert learning_rate(recipe, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(recipe, 50, 0.5) == 1.0
    assert learning_rate(recipe, 90, 0.9) == pytest.approx(0.5)
    assert learning_rate(recipe, 100, 1.0) == 0.0


def test_wilson() -> None:
    row = evaluation.wilson(190, 200)
    assert (row["low"], row["high"]) == (pytest.approx(0.9104, abs=1e-3), pytest.approx(0.9726, abs=1e-3))
    assert evaluation.wilson(0, 0)["n"] == 0


def test_train_cut_resume_export_evaluate(tmp_path: Path) -> None:
    recipe = Recipe(
        tmp_path / "run",
        steps=2,
        dialogues=12,
        parts=2,
        pieces=600,
        warmup_steps=1,
        probe_minutes=0,
        threads=1,
        overrides=MICRO,
    )
    train(recipe)
    train(replace(recipe, steps=4), resume=True)
    rows = list(csv.DictReader((recipe.out / "log.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4]
    assert int(rows[1]["tokens"]) > int(rows[0]["tokens"]) > 0
    export(recipe.out, tmp_path / "model")
    assert max(path.stat().st_size for path in (tmp_path / "model").iterdir()) < 10_000_000
    model, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values())
    assert json.loads((tmp_path / "model" / "config.json").read_text())["num_experts"] == 8
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template
    with RouterTap(model) as tap:
        model(input_ids=torch.tensor([[1, 2, 3]]))
        assert [tuple(ids.shape) for _, ids in tap.take()] == [(3, 2), (3, 2)]
    assert "Not measured yet" in (tmp_path / "model" / "README.md").read_text()


def test_a_limit_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit"):
        train(Recipe(tmp_path))
