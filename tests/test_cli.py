"""The command line's contract, on the bundled model: keys, exit codes, resuming, and one line for a mistake."""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import storage
from tests.tiny_models import ASSETS

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="module")
def _opened_once():
    """A model is loaded and verified once for all tests: each would do it for itself, and none is about that."""
    from app.engine import opening

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_engine", functools.cache(opening.open_engine))
        yield


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    lines = [
        {"prompt": "What is 538 + 274?", "topic": "addition", "difficulty": {"digits": 3}},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def index(folder):
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]


def test_check_json(run):
    code, out, _ = run("check", ASSETS, "--json")
    result = json.loads(out)
    assert code == 0 and result["ok"] is True and result["problems"] == []
    assert result["model_type"] == "qwen3_moe" and result["moe_layers"] == [0, 1, 2, 3, 4, 5]
    assert result["num_layers"] == result["layers_captured"] == 6
    assert (result["num_experts"], result["top_k"], result["shared_experts"]) == (64, 8, 0)
    assert result["ids_match"] == 1.0 and abs(result["weight_sum"]["min"] - 1) < 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="bitsandbytes is installed on Linux only")
def test_check_of_a_quantized_model(run):
    code, out, _ = run("check", ASSETS, "--quantize", "4bit", "--json")
    assert code == 0 and json.loads(out)["layers_captured"] == 6


def test_record_both_modes_then_show(run, prompts, tmp_path):
    out = tmp_path / "rec"
    code, printed, _ = run("record", prompts, "--out", out, "--mode", "both", "--max-new-tokens", 40, "--json")
    assert code == 0 and json.loads(printed)["recorded"] == 4
    entries = index(out)
    assert [e["mode"] for e in entries] == ["thinking", "non-thinking"] * 2
    assert entries[0]["topic"] == "addition" and entries[0]["difficulty"] == {"digits": 3}
    assert entries[2]["prompt"] == "Who are you?"
    for entry in entries:
        trace = storage.load(out / entry["file"])
        assert (trace.phase == 1).sum() == entry["thinking_tokens"]
        assert (trace.phase == 2).sum() == entry["answer_tokens"]
        assert trace.provenance["mode"] == entry["mode"]
    assert all(e["thinking_tokens"] == 0 for e in entries[1::2])
    assert entries[0]["thinking_tokens"] > 0

    code, printed, _ = run("show", out / entries[0]["file"], "--json")
    shown = json.loads(printed)
    assert code == 0 and shown["rows"] == shown["tokens"] - 1 and sum(shown["phases"].values()) == shown["tokens"]
    assert np.allclose(np.sum(shown["load"], axis=1), 1) and np.shape(shown["load"]) == (6, 64)
    assert len(shown["max_violation"]) == len(shown["load_entropy"]) == 6
    assert (shown["moe_layers"], shown["num_experts"], shown["top_k"]) == ([0, 1, 2, 3, 4, 5], 64, 8)
    code, printed, _ = run("show", out / entries[1]["file"], "--phase", "thinking", "--json")
    assert code == 0 and json.loads(printed)["load"][0] == [None] * 64
    code, printed, _ = run("show", out / entries[0]["file"])
    assert code == 0 and "MaxVio" in printed


def test_record_resumes_where_it_stopped(run, prompts, tmp_path):
    out = tmp_path / "rec"
    options = ("--out", out, "--max-new-tokens", 8, "--json")
    run("record", prompts, *options)
    whole = (out / "index.jsonl").read_bytes()
    (out / "index.jsonl").write_bytes(whole[:-30])  # killed while writing the last line
    code, printed, _ = run("record", prompts, *options)
    assert code == 0 and json.loads(printed)["recorded"] == 1 and json.loads(printed)["skipped"] == 1
    assert (out / "index.jsonl").read_bytes() == whole
    code, printed, _ = run("record", prompts, *options)
    assert json.loads(printed) == {"out": str(out), "recorded": 0, "skipped": 2, "failed": []}


def test_record_does_not_mix_recordings(run, prompts, tmp_path):
    out = tmp_path / "rec"
    run("record", prompts, "--out", out, "--max-new-tokens", 8)
    code, _, err = run("record", prompts, "--out", out, "--max-new-tokens", 9)
    assert code == 2 and "max_new_tokens = 8" in err
    other = tmp_path / "other.txt"
    other.write_text("Hello\n")
    code, _, err = run("record", other, "--out", out, "--max-new-tokens", 8)
    assert code == 2 and "another prompt or label" in err
    relabelled = tmp_path / "relabelled.jsonl"
    relabelled.write_text(prompts.read_text().replace("addition", "sums"))
    code, _, err = run("record", relabelled, "--out", out, "--max-new-tokens", 8)
    assert code == 2 and "another prompt or label" in err
    code, printed, _ = run("record", prompts, "--out", out, "--max-new-tokens", 8, "--model", ASSETS, "--json")
    assert code == 0 and json.loads(printed)["skipped"] == 2  # the bundled model by its folder is the same model


def test_a_trace_that_was_deleted_is_recorded_again_and_named_once(run, prompts, tmp_path):
    out = tmp_path / "rec"
    run("record", prompts, "--out", out, "--max-new-tokens", 8)
    (out / index(out)[0]["file"]).unlink()
    code, printed, _ = run("record", prompts, "--out", out, "--max-new-tokens", 8, "--json")
    assert code == 0 and json.loads(printed)["recorded"] == 1
    assert sorted(e["file"] for e in index(out)) == ["00000-thinking-0.safetensors", "00001-thinking-0.safetensors"]


def test_an_index_that_is_not_a_recordings_is_left_alone(run, prompts, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "index.jsonl").write_text('{"a": 1}\nmy notes\n')
    code, _, err = run("record", prompts, "--out", out)
    assert code == 2 and "is not a recording's" in err
    assert (out / "index.jsonl").read_text() == '{"a": 1}\nmy notes\n'


def test_a_damaged_line_of_the_index_is_named_and_nothing_is_dropped(run, prompts, tmp_path):
    out = tmp_path / "rec"
    run("record", prompts, "--out", out, "--max-new-tokens", 8)
    lines = (out / "index.jsonl").read_text().splitlines(keepends=True)
    damaged = "x" + lines[0] + lines[1]
    (out / "index.jsonl").write_text(damaged)
    code, _, err = run("record", prompts, "--out", out, "--max-new-tokens", 8)
    assert code == 2 and "line 1 is damaged" in err and (out / "index.jsonl").read_text() == damaged


def test_a_soft_switch_decides_the_mode_that_is_recorded(run, tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("What is 5 + 3? /no_think\n")
    run("record", file, "--out", tmp_path / "rec", "--max-new-tokens", 20)
    entry = index(tmp_path / "rec")[0]
    assert (entry["mode"], entry["hard_switch"], entry["thinking_tokens"]) == ("non-thinking", "thinking", 0)
    sampling = storage.load(tmp_path / "rec" / entry["file"]).provenance["sampling"]
    assert (sampling["temperature"], sampling["top_p"]) == (0.7, 0.8)
    code, _, err = run("record", file, "--out", tmp_path / "both", "--mode", "both")
    assert code == 2 and "Prompt 1 holds /no_think" in err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"prompt": "half a \\ud83d character"}', "half a character"),
        ('{"prompt": "x", "topic": "\\ud83d"}', "half a character"),
        ('{"prompt": "x", "score": NaN}', "not JSON"),
        ('{"prompt": "x", "score": 1e999}', "not JSON"),
        ('{"prompt": "x", "digest": "mine"}', "'digest'"),
    ],
)
def test_lines_that_could_not_be_indexed_are_named(run, tmp_path, line, complaint):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "fine"}\n' + line + "\n")
    code, _, err = run("record", file, "--out", tmp_path / "rec")
    assert code == 2 and "line 2" in err and complaint in err


def test_a_byte_order_mark_is_not_part_of_the_first_prompt(run, tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffWho are you?\r\n    if x:\r\n".encode())
    run("record", file, "--out", tmp_path / "rec", "--forced")
    texts = [b"".join(storage.load(tmp_path / "rec" / e["file"]).pieces).decode() for e in index(tmp_path / "rec")]
    assert texts == ["Who are you?", "    if x:"]


def test_samples_seeds_and_shards(run, prompts, tmp_path):
    out = tmp_path / "rec"
    run("record", prompts, "--out", out, "--samples", 2, "--seed", 5, "--max-new-tokens", 4, "--shard", "2/2")
    entries = index(out)
    assert [(e["sample"], e["seed"]) for e in entries] == [(0, 5), (1, 6)]
    assert {e["prompt"] for e in entries} == {"Who are you?"}


def test_same_sampling_uses_one_setting_in_both_modes(run, prompts, tmp_path):
    for name, extra in (("own", ()), ("same", ("--same-sampling",))):
        run("record", prompts, "--out", tmp_path / name, "--mode", "both", "--max-new-tokens", 4, *extra)
    temperatures = {
        name: {
            storage.load(tmp_path / name / e["file"]).provenance["sampling"]["temperature"]
            for e in index(tmp_path / name)
        }
        for name in ("own", "same")
    }
    assert temperatures == {"own": {0.6, 0.7}, "same": {0.6}}


def test_thinking_budget_forces_the_answer(run, prompts, tmp_path):
    run("record", prompts, "--out", tmp_path / "rec", "--thinking-budget", 3, "--max-new-tokens", 120)
    entry = index(tmp_path / "rec")[0]
    trace = storage.load(tmp_path / "rec" / entry["file"])
    assert "Considering the limited time by the user" in entry["thinking"]
    assert ((trace.phase == 1) & (trace.origin == 2)).sum() == 3


def test_forced_text_is_routed_as_it_stands(run, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("The capital of France is Paris.\n日本語の文\n", encoding="utf-8")
    code, _, _ = run("record", file, "--out", tmp_path / "rec", "--forced", "--router-scores")
    assert code == 0
    for entry, text in zip(index(tmp_path / "rec"), file.read_text(encoding="utf-8").split("\n"), strict=False):
        trace = storage.load(tmp_path / "rec" / entry["file"])
        assert b"".join(trace.pieces).decode() == text and trace.num_rows == trace.num_tokens
        assert entry["mode"] == "forced" and entry["answer"] == "" and trace.router_scores is not None


def test_a_prompt_that_is_too_long_is_named_and_the_rest_is_recorded(run, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("Who are you?\n" + "long " * 9000 + "\nHello\n")
    code, out, err = run("record", file, "--out", tmp_path / "rec", "--max-new-tokens", 4, "--json")
    result = json.loads(out)
    assert code == 1 and result["recorded"] == 2 and "reads at most" in result["failed"][0]["problem"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no prompt"),
        ("{", "line 1 is not JSON"),
        ('{"prompt": "a"}\n[1]', "line 2 must be an object"),
        ('{"prompt": 5}', "must be text"),
        ('{"prompt": "a", "messages": []}', "either prompt or messages"),
        ('{"messages": [{"role": "root", "content": "a"}]}', "Unknown role 'root'"),
        ('{"messages": 3}', "must be a list"),
        ('{"prompt": "a", "mode": "x"}', "label 'mode'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_malformed_prompt_files(run, tmp_path, content, complaint):
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    code, _, err = run("record", file, "--out", tmp_path / "rec")
    assert code == 2 and complaint in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "/no/such/model"),
        ("check", ""),
        ("check", "x" * 5000),
        ("check", "~/no-such-model"),
        ("show", "/no/such/trace.safetensors"),
        ("show", __file__),
        ("record", "missing.txt", "--out", "x"),
        ("record", "prompts.csv", "--out", "x"),
        ("record", __file__, "--out", "x"),
        ("record", __file__, "--out", ""),
        ("show", ""),
        ("noise", "--text", "/no/such/text"),
        ("compare", "x" * 5000),
        ("report", "x" * 5000, "--out", "x"),
        ("pack", "x", "--out", "x" * 5000),
        ("import", "x" * 5000 + ".pt", "--from", "sglang", "--spec", ASSETS / "config.json", "--out", "x"),
        ("serve", "--port", "70000"),
        ("serve", "--quantize", "2bit"),
        ("serve", "--model", "/no/such/model"),
        ("frobnicate",),
        ("show",),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and "Traceback" not in err


def test_a_full_disk_is_one_line(run, monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    found = {"ok": True, "moe_layers": [], "model_type": "qwen3"}
    monkeypatch.setattr("app.engine.opening.verify_checkpoint", lambda *given: found)
    monkeypatch.setattr(sys, "stdout", Full())
    code, _, err = run("check", "model")
    assert code == 2 and err == "python -m app check: the disk is full\n"


def test_a_path_that_no_terminal_can_show_is_recorded_to(run, prompts, tmp_path):
    code, out, _ = run("record", prompts, "--out", tmp_path / "\udcff", "--max-new-tokens", 2)
    assert code == 0 and out.startswith("2 recorded") and "?" in out


@pytest.mark.parametrize(
    "options",
    [("--temperature", "nan"), ("--top-p", "0"), ("--max-new-tokens", "0"), ("--thinking-budget", "-1"),
     ("--shard", "3/2"), ("--shard", "x"), ("--samples", "0"), ("--samples", "9" * 12),
     ("--seed", "-1"), ("--seed", "9" * 400), ("--temperature", "1e999")],
)  # fmt: skip
def test_absurd_options_are_named_before_a_model_is_loaded(run, prompts, tmp_path, options, monkeypatch):
    monkeypatch.setattr("app.engine.opening.open_engine", lambda *_: pytest.fail("a model was loaded"))
    code, _, err = run("record", prompts, "--out", tmp_path / "rec", *options)
    assert code == 2 and err.strip().count("\n") == 0


def test_python_dash_m_app_runs_as_a_program(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "app", "show", str(tmp_path / "x.safetensors")], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_shards_pack_into_what_one_recording_gives(run, tmp_path):
    import pyarrow.parquet as pq

    from analysis.collection import Collection

    prompts = tmp_path / "p.txt"
    prompts.write_text("What is 5 + 8?\nWho are you?\nWhat is 3 + 4?\n")
    options = ("--mode", "both", "--max-new-tokens", 6)
    run("record", prompts, "--out", tmp_path / "whole", *options)
    for i in (1, 2):
        run("record", prompts, "--out", tmp_path / f"s{i}", "--shard", f"{i}/2", *options)
    code, printed, _ = run("pack", tmp_path / "whole", "--out", tmp_path / "a", "--json")
    assert code == 0 and json.loads(printed)["traces"] == 6 and json.loads(printed)["written"] is True
    code, printed, _ = run("pack", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "b")
    assert code == 0 and "6 traces" in printed
    for part in ("tokens", "counts", "traces.parquet"):
        a, b = (pq.read_table(tmp_path / name / part) for name in "ab")
        if part == "traces.parquet":  # when it was made, and the check of the model, are each recording's own
            a, b = (table.drop_columns(["provenance"]) for table in (a, b))
        assert a.equals(b)
    with Collection.open(tmp_path / "b") as collection:
        assert collection.load("thinking", mode="thinking").values.shape == (6, 64)
    code, printed, err = run("pack", tmp_path / "s1", "--out", tmp_path / "a")
    assert code == 2 and printed == "" and err.count("\n") == 1 and "holds something else" in err
    code, _, err = run("pack", tmp_path, "--out", tmp_path / "c")
    assert code == 2 and "is not a recording" in err


def test_import_then_show(run, tmp_path):
    trace = storage.load(ROOT / "assets" / "traces" / "example.safetensors")
    np.save(tmp_path / "ids.npy", trace.expert_ids)
    tokens = {"token_ids": trace.token_ids.tolist(), "pieces": trace.texts(), "prompt_tokens": 20}
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    spec, out = ("--spec", ASSETS / "config.json"), tmp_path / "t.safetensors"
    command = ("import", tmp_path / "ids.npy", "--from", "vllm", *spec, "--out", out)
    code, printed, _ = run(*command, "--tokens", tmp_path / "tokens.json", "--json")
    found = json.loads(printed)
    assert code == 0 and found["rows"] == trace.num_rows and found["gate_weights"] is False
    assert np.array_equal(storage.load(out).expert_ids, trace.expert_ids)
    code, printed, _ = run("show", out, "--json")
    assert code == 0 and json.loads(printed)["moe_layers"] == [0, 1, 2, 3, 4, 5]
    code, printed, _ = run(*command)
    assert code == 0 and "gate weights not available" in printed
    for bad in (
        ("import", tmp_path / "absent.npy", "--from", "npz", *spec, "--out", out),
        ("import", tmp_path / "absent.pt", "--from", "sglang", *spec, "--out", out),
        ("import", tmp_path / "ids.npy", "--from", "npz", "--spec", tmp_path / "tokens.json", "--out", out),
        ("import", tmp_path / "ids.npy", "--from", "tensorflow", *spec, "--out", out),
        ("import", tmp_path / "ids.npy", "--from", "npz", *spec, "--out", tmp_path / "no" / "folder"),
        ("import", tmp_path / "ids.npy", "--from", "npz", *spec, "--out", tmp_path / "tokens.json"),
    ):
        code, printed, err = run(*bad)
        assert code == 2 and printed == "" and err.count("\n") == 1
    assert "exists and is not a trace" in err and json.loads((tmp_path / "tokens.json").read_text()) == tokens
