"""What is learned and what is not, and the loop that learns it: cut and continued, in one process and in two."""

import csv
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from training import fusion
from training.data import sample
from training.data.dialogues import STOP_SENTENCE, Dialogue, make_dialogue, single, tokenizer_sample
from training.encode import batches_of, encode, encode_text
from training.intervals import mean, paired, wilson
from training.log import Log
from training.model import EXPERTS_FUNCTION, Balance, hidden_states, make_config, make_model, positions_of
from training.optimizer import orthogonalise
from training.tokenizer import train_tokenizer
from training.train import Recipe, learning_rate, train

ROOT = Path(__file__).resolve().parents[2]
MICRO = (
    ("hidden_size", 32),
    ("num_hidden_layers", 2),
    ("num_experts", 8),
    ("num_experts_per_tok", 2),
    ("moe_intermediate_size", 8),
    ("head_dim", 8),
)
EVEN = (*MICRO, ("router_aux_loss_coef", 0.0))


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


def test_batches_hold_every_example_once(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = encode(tokenizer, [make_dialogue(random.Random(i)) for i in range(24)])
    batches = batches_of(examples, 3)
    assert len(batches) == 3
    rows = []
    for batch in batches:
        parts = [part[0].split(batch.lengths) for part in (batch.ids, batch.learned, positions_of(batch.lengths))]
        for ids, targets, positions in zip(*parts, strict=True):
            rows.append((ids.tolist(), targets.tolist().index(True)))
            assert targets[rows[-1][1] :].all() and positions.tolist() == list(range(len(ids)))
    assert rows == [(example.ids, example.learned_from) for example in examples]


def test_examples_in_one_row_do_not_see_one_another(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = encode(tokenizer, [make_dialogue(random.Random(i)) for i in range(4)])
    model = make_model(make_config(len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, **dict(MICRO)))
    (batch,) = batches_of(examples, 1)
    together = hidden_states(model, batch.ids, batch.lengths)[0].split(batch.lengths)
    for example, got in zip(examples, together, strict=True):
        alone = model.model(input_ids=torch.tensor([example.ids]), use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(got, alone, rtol=1e-4, atol=1e-5)


def test_plain_text_is_learned_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    (example,) = encode_text(tokenizer, ["8+4+0=12"])
    assert example.ids[0] == example.ids[-1] == tokenizer.pad_token_id and example.learned_from == 1
    assert tokenizer.decode(example.ids[1:-1]) == "8+4+0=12"


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


def test_balance_is_one_where_even() -> None:
    logits = torch.zeros(8, 4)
    ids = torch.tensor([[0, 1], [2, 3]] * 4)
    assert Balance(1, 4).loss([(logits, ids)]).item() == pytest.approx(1)
    skewed = torch.zeros(8, 4).index_fill(1, torch.tensor([0]), 9.0)
    assert Balance(1, 4).loss([(skewed, ids[:1].expand(8, 2))]).item() == pytest.approx(2, abs=0.01)


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
    assert learning_rate(replace(recipe, decay_share=0.0), 100, 1.0) == 1.0


def test_a_limit_is_needed(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="limit"):
        train(Recipe(tmp_path), tokenizer, fusion.examples)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(
        tmp_path / "stage",
        steps=4,
        dialogues=8,
        parts=1,
        warmup_steps=1,
        decay_share=0.0,
        probe_minutes=0,
        workers=1,
        overrides=MICRO,
    )


def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
    return torch.load(recipe.out / "checkpoint.pt", weights_only=True)["model"]


def test_a_cut_run_continues_as_if_it_had_not_been(
    tmp_path: Path, recipe: Recipe, tokenizer: PreTrainedTokenizerBase
) -> None:
    cut = replace(recipe, out=tmp_path / "cut")
    assert not train(replace(cut, steps=5), tokenizer, fusion.examples, stop=asked_at(2))
    assert train(cut, tokenizer, fusion.examples)
    assert train(recipe, tokenizer, fusion.examples)
    for name, value in weights(recipe).items():
        torch.testing.assert_close(weights(cut)[name], value, rtol=0, atol=0)
    rows = list(csv.DictReader((cut.out / "log.csv").open()))
    assert int(rows[-1]["step"]) == 4 and (cut.out / "log.svg").read_text().startswith("<svg")


def asked_at(step: int) -> Callable[[], bool]:
    asked = iter([False] * step + [True])
    return lambda: next(asked)


@pytest.mark.timeout(300)
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """In an interpreter of its own: processes are forked before anything else has started threads. Without the
    balancing loss, whose counts are summed up at another moment."""
    code = f"""
import random
from pathlib import Path
from training import fusion
from training.data.dialogues import tokenizer_sample
from training.tokenizer import train_tokenizer
from training.train import Recipe, train
tokenizer = train_tokenizer(tokenizer_sample(random.Random(0), 300), 500)
for workers in (2, 1):
    train(Recipe(Path({str(tmp_path)!r}) / str(workers), steps=2, dialogues=8, parts=1, warmup_steps=1, probe_minutes=0,
                 workers=workers, overrides={EVEN!r}), tokenizer, fusion.examples)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert run.returncode == 0, run.stderr[-2000:]
    one, two = (weights(Recipe(tmp_path / name)) for name in "12")
    start = make_model(
        make_config(len(one["model.embed_tokens.weight"]), 0, 1, **dict(MICRO)), Recipe.seed
    ).state_dict()
    for name, value in one.items():
        apart, moved = (two[name] - value).abs().mean(), (value - start[name]).abs().mean()
        assert apart < 0.02 * moved, "only the order of sums may differ"


def test_a_log_is_continued_and_drawn(tmp_path: Path) -> None:
    Log(tmp_path / "log.csv", ("step", "loss")).add(1, 2.5)
    log = Log(tmp_path / "log.csv", ("step", "loss"))
    log.add(2, 0.5)
    log.draw("a & b", "step", ("loss",))
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss", "1,2.5", "2,0.5"]
    assert "polyline" in ElementTree.parse(tmp_path / "log.svg").getroot()[-2].tag


def test_intervals() -> None:
    row = wilson(190, 200)
    assert (row["low"], row["high"]) == (pytest.approx(0.9104, abs=1e-3), pytest.approx(0.9726, abs=1e-3))
    assert wilson(0, 0)["n"] == 0
    assert mean([0.2, 0.4])["share"] == pytest.approx(0.3)


def test_the_interval_of_a_paired_difference() -> None:
    """Airway hyper-responsiveness before and after stem cell transplantation, as Fagerland, Lydersen and Laake work it
    out (Statistics in Medicine 33, 2014, 2850–2875)."""
    before, after = [True] * 2 + [False] * 19, [True] + [False] + [True] * 7 + [False] * 12
    gap = paired(before, after)
    assert gap["share"] == pytest.approx(-6 / 21) and gap["n"] == 21
    assert (gap["low"], gap["high"]) == (pytest.approx(-0.507, abs=5e-4), pytest.approx(-0.026, abs=5e-4))
    turned = paired(after, before)
    assert (turned["low"], turned["high"]) == (pytest.approx(-gap["high"]), pytest.approx(-gap["low"]))
    same = paired([True, False] * 25, [True, False] * 25)
    assert same["low"] < same["share"] == 0 < same["high"]
