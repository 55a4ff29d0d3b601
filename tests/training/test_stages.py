"""A smoke run of every stage with a micro model, in the recipe's order; then export, evaluation and traces."""

import csv
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeConfig

from analysis import storage
from app.engine.catalogue import shipped
from training import (
    cold_start,
    distillation,
    evaluate,
    fusion,
    general_rl,
    pretraining,
    reasoning_rl,
    rl,
    routing,
    stages,
    traces,
)
from training.__main__ import finish, main
from training.card import _share, model_card
from training.data import sample
from training.data.dialogues import single
from training.decode import Reply
from training.encode import target_text
from training.export import export
from training.keep import keep
from training.log import Log
from training.model import RouterTap, make_config
from training.train import tokenizer_in, train

pytestmark = pytest.mark.timeout(400)  # the first test that needs the run waits for all of it
MICRO = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "head_dim": 8,
}
ORDER = (
    "pretraining",
    "cold-start",
    "reasoning-rl",
    "fusion",
    "general-rl",
    "teacher",
    "distillation-off",
    "distillation-on",
)


def micro(recipe: Any) -> Any:
    """A recipe of two steps."""
    if isinstance(recipe, rl.RLRecipe):
        return replace(recipe, steps=2, minutes=0, prompts=8, prompts_a_step=2, generations=2, longest=12, save_steps=1)
    overrides = tuple({**MICRO, **dict(recipe.overrides)}.items())
    return replace(recipe, steps=2, minutes=0, dialogues=8, workers=1, probe_minutes=0, overrides=overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went through every stage."""
    folder: Path = tmp_path_factory.mktemp("run")
    tokenizer = tokenizer_in(folder, pieces=600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "_adjusted", lambda recipe, options: micro(recipe))
        patch.setattr(distillation, "LONGEST", 12)
        for name, stage in stages.STAGES.items():
            assert stage(folder, tokenizer, SimpleNamespace(seed=7, scale=1.0), lambda: False), name
    return folder


def test_the_stages_and_their_order() -> None:
    assert tuple(stages.STAGES) == ORDER
    minutes = [
        recipe(Path()).minutes
        for recipe in (
            pretraining.recipe,
            cold_start.recipe,
            reasoning_rl.recipe,
            fusion.recipe,
            general_rl.recipe,
            distillation.off_policy,
            distillation.on_policy,
        )
    ]
    assert max(minutes) <= 100
    assert sum(minutes[1:5]) == sum(minutes[5:]), "the distilled student computes as long as the four stages"


def test_every_stage_leaves_log_plot_and_checkpoint(run: Path) -> None:
    for name in ORDER:
        state = torch.load(run / name / "checkpoint.pt", weights_only=True)
        assert Qwen3MoeConfig(**state["config"]).num_experts == 8 and state["progress"]["step"] == 2
        assert all(value.isfinite().all() for value in state["model"].values())
        assert len(list(csv.DictReader((run / name / "log.csv").open()))) >= 1
        assert (run / name / "log.svg").read_text().startswith("<svg")


def test_a_finished_stage_is_passed_over(run: Path) -> None:
    before = (run / "reasoning-rl" / "checkpoint.pt").stat().st_mtime_ns
    options = SimpleNamespace(seed=7, scale=1.0)
    assert stages.STAGES["reasoning-rl"](run, tokenizer_in(run), options, lambda: False)
    assert (run / "reasoning-rl" / "checkpoint.pt").stat().st_mtime_ns == before


def test_a_stopped_reinforcement_continues(run: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_in(run)
    recipe = replace(micro(reasoning_rl.recipe(run)), out=tmp_path / "rl", steps=3)
    assert not rl.reinforce(recipe, tokenizer, reasoning_rl.dialogue, reasoning_rl.REWARDS, stop=lambda: True)
    assert rl.reinforce(recipe, tokenizer, reasoning_rl.dialogue, reasoning_rl.REWARDS)
    steps = [int(row["step"]) for row in csv.DictReader((recipe.out / "log.csv").open())]
    assert steps == [1, 2, 3]


def test_what_a_killed_run_did_after_its_checkpoint_is_forgotten(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.csv", ("step", "minutes"))
    for step in (1, 2, 3):
        log.add(step, f"{step / 2:.1f}")
    log.cut(3)
    log.cut(2)
    log.add(3, "1.7")
    assert log.rows() == [
        {"step": "1", "minutes": "0.5"},
        {"step": "2", "minutes": "1.0"},
        {"step": "3", "minutes": "1.7"},
    ]


def test_a_run_that_lost_a_stage_is_not_finished(run: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(run, begun)
    for name in ("checkpoint.pt", "measured.json", "routes.npz", "traces"):
        path = begun / "cold-start" / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="cold-start"):
        finish(begun, tmp_path / "model", 1)
    assert not (tmp_path / "model").exists()


def test_the_teacher_begins_as_good_as_the_student(run: Path) -> None:
    narrow = torch.load(run / "general-rl" / "checkpoint.pt", weights_only=True)
    student = evaluate.stage_model(run, "general-rl")
    wide = evaluate.stage_model(run, "teacher")
    assert student and wide
    assert wide.config.moe_intermediate_size == 2 * narrow["config"]["moe_intermediate_size"]
    student.load_state_dict(narrow["model"])
    wide.load_state_dict(torch.load(run / "teacher" / "start.pt", weights_only=True)["model"])
    ids = torch.randint(0, 500, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(wide(ids).logits, student(ids).logits, rtol=1e-4, atol=1e-5)


def replied(text: str) -> Reply:
    return Reply([], text, True)


def test_rewards() -> None:
    problem = sample(random.Random(1), False, "multiplication", "en")
    thinks, direct = single(problem, True), single(problem, False)
    good = replied(target_text(thinks).removesuffix("<|im_end|>"))
    assert [reward(thinks, good) for reward in general_rl.REWARDS.values()] == [1, 1, 1, 1]
    assert [reward(direct, replied(problem.answer)) for reward in general_rl.REWARDS.values()] == [1, 1, 1, 1]
    assert general_rl.obedient(direct, good) == 0 and general_rl.well_formed(direct, good) == 0
    assert general_rl.well_formed(thinks, replied(problem.answer)) == 0
    assert general_rl.brief(direct, replied(problem.answer * 9)) < 0.3
    assert reasoning_rl.right(thinks, replied("<think>\n\n</think>\n\n1")) == 0
    assert reasoning_rl.right(thinks, replace(good, ended=False)) == 0


def test_completions_are_read_up_to_their_end(run: Path) -> None:
    tokenizer = tokenizer_in(run)
    ids = tokenizer.encode("<think>\n7\n</think>\n\n7.", add_special_tokens=False)
    assert rl.reply_of(tokenizer, [*ids, tokenizer.eos_token_id], 20).answer == "7."
    assert not rl.reply_of(tokenizer, ids, len(ids)).ended


def test_export_loads_whole(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    export(run / "general-rl", folder)
    assert max(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values())
    assert json.loads((folder / "config.json").read_text())["num_experts"] == 8
    assert AutoTokenizer.from_pretrained(folder).chat_template
    with RouterTap(model) as tap:
        model(input_ids=torch.tensor([[1, 2, 3]]))
        assert [tuple(ids.shape) for _, ids in tap.take()] == [(3, 2), (3, 2)]
    assert "Not measured yet" in (folder / "README.md").read_text()


def test_every_figure_reaches_the_card(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "greedy", lambda model, tokenizer, prompts, **_: [replied("x")] * len(prompts))
    finish(run, tmp_path / "model", 1)
    figures = json.loads((run / "figures.json").read_text())
    assert {row["name"] for row in figures["tasks"]} > {"programs", "sorting", "translation"}
    assert [row["budget"] for row in figures["budget"]] == [*evaluate.BUDGETS, None]
    assert len(figures["obedience"]) == 2 + 3 * len(evaluate.SWITCHES)
    assert [row["control"] for row in figures["specialization"]] == ["none", "token ids matched"]
    assert [row["stage"] for row in figures["stages"]] == list(ORDER)
    by_stage = {row["stage"]: row for row in figures["stages"]}
    assert (
        by_stage["general-rl"]["saturation"]["share"] == 1 and 0 < by_stage["pretraining"]["saturation"]["share"] <= 1
    )
    assert "change" not in by_stage["pretraining"]
    assert {name: row["change"]["since"] for name, row in by_stage.items() if "change" in row} == {
        name: before for name, before in evaluate.BEGAN_FROM.items() if before
    }
    assert all(row["load"]["mean_max_violation"] >= 0 for row in figures["stages"])
    minutes = figures["distilled"]["minutes"]
    assert minutes["four stages"] == pytest.approx(sum(row["minutes"] for row in figures["stages"][:5]))
    monkeypatch.setattr(evaluate, "greedy", None)
    assert evaluate.of_run(run, 1)["stages"] == figures["stages"], "what was measured once is kept"
    card = (tmp_path / "model" / "README.md").read_text()
    for words in (
        "What each stage changes",
        "Distilled against trained",
        "distillation-on",
        "task and language",
        "addition ja",
        "thinking budget",
        "What it cannot do",
        "**not reached**",
    ):
        assert words in card


def test_changes_are_told_problem_by_problem() -> None:
    tasks = ["addition", "addition", "facts", "facts"]
    before = {"stage": "a", "marks": {"tasks": tasks, "thinking": "0010", "non_thinking": "0000", "obeyed": "01"}}
    after = {"stage": "b", "marks": {"tasks": tasks, "thinking": "1110", "non_thinking": "1000", "obeyed": "11"}}
    found = {name: (row["share"], row["n"]) for name, row in evaluate.changes(before, after).items()}
    assert found == {
        "reasoning, thinking": (1.0, 2),
        "reasoning, non-thinking": (0.5, 2),
        "knowledge, thinking": (0.0, 2),
        "obedience": (0.5, 2),
    }
    with pytest.raises(ValueError, match="different problems"):
        evaluate.changes(before, {"stage": "b", "marks": {**after["marks"], "tasks": tasks[::-1]}})


def test_held_out_problems_are_different_problems() -> None:
    for task in ("units", "spelling", "capitals"):
        keys = [problem.key for problem in evaluate.held_out(random.Random(0), 200, task)]
        assert len(keys) == len(set(keys)) > 40


def test_what_is_not_finished_is_not_bundled(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(run, begun, ignore=shutil.ignore_patterns("general-rl", "teacher"))
    path = begun / "distillation-on" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "progress": {**state["progress"], "done": False}}, path)
    with pytest.raises(SystemExit):
        main(["finish", "--out", str(begun), "--to", str(tmp_path / "model")])
    assert "neither general-rl nor distillation-on finished" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_no_other_folder_is_overwritten(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no model"):
        export(run / "general-rl", tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError, match="no training run"):
        keep(tmp_path / "nothing", tmp_path / "run")
    assert (tmp_path / "run").exists() and (tmp_path / "letter.txt").read_text() == "mine"


def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path) -> None:
    for step, whole in ((10, True), (9, True), (20, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    assert rl.last_whole(tmp_path) == (10, tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-20").exists()
    assert rl.last_whole(tmp_path / "none") == (0, None)


def test_the_card_tells_how_its_model_came_about(run: Path) -> None:
    config = {**make_config(100, 0, 1).to_dict(), "num_experts": 64}
    teacher = model_card("teacher", {**config, "moe_intermediate_size": 64}, 8_000_000, None, "A note.")
    assert (
        "expert width 64" in teacher and "8.0 million" in teacher and "distill" not in teacher and "A note." in teacher
    )
    assert "not led through (1) to (4)" in model_card("distillation-on", config, 1, None)
    assert _share({"share": 6331 / 6332, "low": 0.9, "high": 1.0}).startswith("99.9%")


def test_a_run_is_kept_small_and_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is kept while the fusion runs: everything measured before is still there, and the fusion continues."""
    begun, kept = tmp_path / "begun", tmp_path / "kept"
    shutil.copytree(run, begun, ignore=shutil.ignore_patterns("general-rl", "teacher", "distillation-*"))
    monkeypatch.setattr(evaluate, "greedy", lambda model, tokenizer, prompts, **_: [replied("x")] * len(prompts))
    before = evaluate.of_run(begun, 1)["stages"]
    keep(begun, kept)
    assert {path.parent.name for path in kept.rglob("checkpoint.pt")} == set(ORDER[:4]), "traces need the weights"
    traces.record_stages(begun, tmp_path / "shown")
    keep(begun, kept)
    assert {path.parent.name for path in kept.rglob("checkpoint.pt")} == {"pretraining", "fusion"}
    assert "trainer" not in {path.name for path in kept.rglob("*")}
    sizes = [(folder / "fusion" / "checkpoint.pt").stat().st_size for folder in (begun, kept)]
    assert sizes[1] < 0.4 * sizes[0]
    monkeypatch.setattr(evaluate, "greedy", None)
    assert evaluate.of_run(kept, 1)["stages"] == before
    with pytest.raises(FileNotFoundError, match="cold-start"):
        evaluate.measured(kept, "cold-start", 2)
    stale = kept / "cold-start" / "traces" / traces.TRAINED
    stale.write_text("1")
    traces.record_stages(kept, tmp_path / "shown again")
    assert stale.read_text() == "1", "there are no weights to record it anew"
    assert {path.parent.name for path in (tmp_path / "shown again").rglob("index.jsonl")} == set(ORDER[:4])
    recipe = replace(micro(fusion.recipe(kept)), steps=3)
    assert train(recipe, tokenizer_in(kept), fusion.examples)
    state = torch.load(kept / "fusion" / "checkpoint.pt", weights_only=True)
    assert state["progress"]["step"] == 3 and state["model"]["model.embed_tokens.weight"].dtype == torch.float32


def test_traces_of_the_stages(run: Path, tmp_path: Path) -> None:
    traces.record_stages(run, tmp_path / "stages")
    for stage in evaluate.STAGES:
        lines = [json.loads(line) for line in (tmp_path / "stages" / stage / "index.jsonl").read_text().splitlines()]
        assert len(lines) == len(traces.SHOWN) and not (tmp_path / "stages" / stage / traces.TRAINED).exists()
        trace = storage.load(tmp_path / "stages" / stage / lines[0]["file"])
        assert trace.num_rows == trace.num_tokens and trace.provenance["revision"] == stage
        assert (tmp_path / "stages" / stage / lines[0]["file"]).stat().st_size < 200_000
    trained = run / "fusion" / "traces" / traces.TRAINED
    assert int(trained.read_text()) == evaluate.progress_of(run, "fusion")["tokens"]
    trained.write_text("1")
    traces.record_stages(run, tmp_path / "stages")
    assert trained.read_text() != "1", "a stage that was trained on is recorded anew"
    named = {(recording.prompt, recording.group): recording.path for recording in shipped(tmp_path)}
    assert len(named) == len(traces.SHOWN) * len(evaluate.STAGES) and named["sorting en", "fusion"].is_file()


def test_an_unknown_stage_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fussion"])
    assert "no stage fussion" in capsys.readouterr().err


def routes(choices: list[list[int]]) -> routing.Routed:
    """A text of tokens 0, 1, … whose single layer chose these experts."""
    return routing.Routed(np.arange(len(choices)), np.array(choices)[:, None, :])


def test_load_and_saturation_by_hand() -> None:
    first, second = routes([[0, 1], [0, 2]]), routes([[0, 1], [3, 1]])
    load = routing.load([first], 4)
    assert load["smallest_share"] == 0 and load["mean_max_violation"] == pytest.approx(1)
    assert routing.saturation([first], [first])["share"] == 1
    assert routing.saturation([first], [second])["share"] == pytest.approx(0.5)


def test_specialists_are_found_only_where_there_are_any() -> None:
    random_ = np.random.default_rng(0)

    def text(base: int, tokens: np.ndarray) -> routing.Routed:
        """Experts `base` and one at random: `base` decides what is special about the text."""
        return routing.Routed(tokens, np.stack([np.full(20, base), random_.integers(4, 8, 20)], 1)[:, None, :])

    tokens = np.arange(20) % 5
    domains = ["a"] * 8 + ["b"] * 8
    special = [text(0, tokens) for _ in range(8)] + [text(1, tokens) for _ in range(8)]
    assert all(row["p"] < 0.01 for row in routing.specialization(special, domains, 8, 500))
    mixed = [text(i % 2, tokens) for i in range(16)]
    assert all(row["p"] > 0.2 for row in routing.specialization(mixed, domains, 8, 500))
    vocabulary = [
        routing.Routed(t.tokens, np.where(t.tokens[:, None, None] < 3, 2, 3) + np.array([0, 2])) for t in special
    ]
    plain, matched = routing.specialization(vocabulary, domains, 8, 500)
    assert matched["p"] > 0.2 and plain["coverage"] == 1


def test_tokens_that_one_domain_hardly_has_make_no_specialists() -> None:
    """Which experts are used is drawn by chance; what each domain seldom writes must not look like its own."""
    random_ = np.random.default_rng(1)

    def text(domain: int) -> routing.Routed:
        tokens = random_.integers(3 * domain, 3 * domain + 3, 30)
        elsewhere = random_.random(30) < 0.02
        tokens[elsewhere] = random_.integers(0, 24, elsewhere.sum())
        return routing.Routed(tokens, random_.integers(0, 8, (30, 1, 2)))

    domains = [domain for domain in range(8) for _ in range(8)]
    texts = [text(domain) for domain in domains]
    matched = routing.specialization(texts, [str(domain) for domain in domains], 8, 300)[1]
    assert matched["p"] > 0.2
