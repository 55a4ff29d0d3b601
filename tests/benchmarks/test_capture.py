"""The benchmark of capture runs, and all who take part decode the same tokens and see the same routing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import capture
from benchmarks.capture import contender_names, main, measure, memory_rows
from benchmarks.contenders import CONTENDERS, share_weights
from tests.tiny_models import tiny_moe

EAGER = ["no_capture", "capture", "capture_scores", "naive_hooks", "router_logits", "nnsight", "transformer_lens"]
PEERS = EAGER[-2:]


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        for peer in PEERS:  # as where they are not installed
            patch.setitem(__import__("sys").modules, peer, None)
        return measure(tiny_moe(mlp_only_layers=[]), EAGER, pairs=2, tokens=6, prompt=12)


def test_every_contender_has_its_rows(measured):
    rows, _ = measured
    assert [row["name"] for row in rows] == EAGER + [f"prefill_{name}" for name in EAGER]
    for row in rows:
        assert row["unit"] == "tokens/s"
        if row["name"].removeprefix("prefill_") in PEERS:
            assert row["value"] is None and row["note"].startswith("not installed") and "ratio" not in row
        else:
            assert row["value"] > 0 and row["ratio"] > 0 and len(row["ratio_iqr"]) == 2 and "note" not in row
    assert rows[0]["ratio"] == 1 and [row["ids_match"] for row in rows[1:4]] == [1, 1, 1]


def test_all_decode_the_same_tokens(measured):
    _, running = measured
    assert list(running) == EAGER[:-2]
    tokens = running["no_capture"].told
    assert len(tokens) == 7
    assert {name: contender.told for name, contender in running.items()} == dict.fromkeys(running, tokens)


def test_ours_and_the_hooks_see_the_same_experts(measured):
    _, running = measured
    ids = running["naive_hooks"].expert_ids()
    assert ids.shape == (12 + 6, 4, 4)
    for name in ("capture", "capture_scores"):
        assert np.array_equal(running[name].expert_ids(), ids)
    assert running["no_capture"].expert_ids() is None


def test_contenders_share_weights_and_nothing_else():
    model = tiny_moe()
    other = share_weights(model)
    assert other.lm_head.weight is model.lm_head.weight and other.config is not model.config
    other.model.layers[0].mlp.gate.register_forward_hook(lambda *_: None)
    assert not model.model.layers[0].mlp.gate._forward_hooks


def test_recording_takes_little_more_than_the_trace_and_what_it_is_joined_from():
    size, peak, a_token = memory_rows(tokens=2000)
    assert [row["name"] for row in (size, peak, a_token)] == ["memory_32k", "memory_32k_peak", "memory_32k_per_token"]
    assert peak["ratio"] < 2.5 and 1700 < a_token["value"] < 2200


def test_the_names_of_the_contract(monkeypatch, capsys):
    import torch

    cpu = contender_names(torch.device("cpu"))
    assert cpu == EAGER + [f"compiled_{name}" for name in EAGER] and list(CONTENDERS) == EAGER
    assert contender_names(torch.device("cuda"))[-2:] == ["graph_no_capture", "graph_capture"]
    monkeypatch.setattr(capture, "memory_rows", lambda: memory_rows(tokens=10))
    command = ["--pairs", "1", "--tokens", "2", "--prompt", "4", "--only", "no_capture,capture", "--threads", "1"]
    main([*command, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["benchmark"] == "capture" and "torch" in said["machine"]
    assert [row["name"] for row in said["rows"]][:2] == ["no_capture", "capture"]
    main(command)
    assert "the bundled model" in (table := capsys.readouterr().out) and "prefill_capture" in table


@pytest.mark.parametrize("wrong", [["--pairs", "0"], ["--only", "nobody"], ["--model", "/nowhere/at/all"]])
def test_a_mistake_is_one_line(wrong, capsys):
    with pytest.raises(SystemExit) as left:
        main(wrong)
    assert left.value.code == 2 and wrong[1] in capsys.readouterr().err
