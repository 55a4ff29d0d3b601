"""``compare`` from the command line: the contract's keys, the controls, and one line for a mistake."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace

KEYS = {"pairs", "groups", "js_divergence", "null_band", "smallest_p", "experts", "significant"}
COINS = np.random.default_rng(5).choice(["x", "y"], 20).tolist()  # a label of the prompts that means nothing
EXPERT_KEYS = {"layer", "expert", "difference", "ci_low", "ci_high", "p", "q"}


def trace(number, line):
    """Router preferences follow the mode; prompts differ in length."""
    thinking = line["mode"] == "thinking"
    random = np.random.default_rng(number)
    made = make_trace(
        rows=int(random.integers(60, 200)), layers=2, first_layer=1, seed=number, thinking=thinking, skew=0
    )
    ids = made.expert_ids.copy()
    often = (made.phase[: made.num_rows] == 2)[:, None] & (random.random((made.num_rows, 1)) < 0.5) & (not thinking)
    first = ids[:, 1, :1]
    ids[:, 1, :1] = np.where(often & (ids[:, 1, 1:2] != 5), 5, first)
    return type(made)(**{**made.__dict__, "expert_ids": ids})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lines = both_modes(20)
    for number, line in enumerate(lines):
        line |= {"topic": f"t{number // 8}", "half": "ab"[number // 2 % 2], "coin": COINS[number // 2]}
    return write_recording(tmp_path_factory.mktemp("compare") / "rec", lines, trace)


def test_json_has_the_keys_of_the_contract(run, folder):
    code, out, err = run("compare", folder, "--json")
    data = json.loads(out)
    assert code == 0 and err == "" and set(data) >= KEYS
    assert data["groups"] == ["thinking", "non-thinking"] and data["pairs"] == 20
    assert data["moe_layers"] == [1, 2] and len(data["js_divergence"]) == 2
    assert [len(band) for band in data["null_band"]] == [2, 2]
    assert len(data["experts"]) == data["tested"] == 16 and set(data["experts"][0]) >= EXPERT_KEYS
    assert data["significant"] == sum(e["q"] < 0.05 for e in data["experts"]) > 0
    top = data["experts"][0]
    assert (top["layer"], top["expert"]) == (2, 5) and top["ci_low"] < top["difference"] < top["ci_high"] < 0
    assert data["js_divergence"][1] > data["null_band"][1][1] and data["p_layer"][1] < 0.01 < data["p_layer"][0]
    assert data["smallest_p"] == pytest.approx(1 / 100_001) and data["permutations"] == 100_000
    assert set(data["sentences"]) == {"en", "ja", "zh"} and all(len(s) == 3 for s in data["sentences"].values())
    assert run("compare", folder, "--json")[1] == out, "the same seed gives the same numbers"


def test_labels_that_mean_nothing_give_nothing(run, folder):
    for label in ("half", "coin"):
        data = json.loads(run("compare", folder, "--by", label, "--permutations", 5000, "--json")[1])
        assert data["significant"] == 0 and data["significant_family"] == 0


@pytest.mark.parametrize("control", ["token", "position"])
def test_controls_say_what_they_keep(run, folder, control):
    data = json.loads(run("compare", folder, "--control", control, "--permutations", 2000, "--json")[1])
    assert data["control"] == control and all(0 < c <= 1 for c in data["coverage"])
    assert data["significant_without_control"] >= data["kept_under_control"] > 0
    left = f"{data['kept_under_control']} still differ"
    assert left in data["sentences"]["en"][0] and "Under the control" in data["sentences"]["en"][1]


def test_phases_clusters_and_languages(run, folder):
    data = json.loads(run("compare", folder, "--by", "phase", "--permutations", 2000, "--json")[1])
    assert data["groups"] == data["phases"] == ["thinking", "answer"] and data["pairs"] == 20
    data = json.loads(run("compare", folder, "--cluster", "topic", "--json")[1])
    assert data["units"] == 5 and data["pairs"] == 20 and data["smallest_p"] == 0.0625 and data["significant"] == 0
    assert "too few prompts" in data["sentences"]["en"][0]
    for language, word in (("en", "slots"), ("ja", "スロット"), ("zh", "槽位")):
        code, out, _ = run("compare", folder, "--language", language, "--permutations", 2000)
        assert code == 0 and word in out and "JSD" in out and "max-T" in out and "A/A' floor" in out


def test_confirmation_is_in_the_json_and_in_the_text(run, folder):
    data = json.loads(run("compare", folder, "--confirm", "--permutations", 2000, "--json")[1])
    found = data["confirmation"]
    assert found["prompts"] == [[10, 10], [10, 10]] and found["discovered"] == len(found["experts"]) > 0
    assert found["confirmed"] == sum(e["confirmed"] for e in found["experts"]) > 0
    top = found["experts"][0]
    assert (top["layer"], top["expert"]) == (2, 5) and top["difference"] < 0 and top["discovery_difference"] < 0
    assert len(data["sentences"]["en"]) == 4 and "confirmed" in data["sentences"]["en"][3]
    without = json.loads(run("compare", folder, "--permutations", 2000, "--json")[1])
    assert without["confirmation"] is None and without["experts"] == data["experts"]
    out = run("compare", folder, "--confirm", "--permutations", 2000)[1]
    assert "discovered on one half of the prompts and tested on the other (10 and 10 prompts)" in out


def test_hardly_anything_is_no_fault_and_other_sampling_is_said(run, tmp_path):
    def short(number, line):
        thinking = line["mode"] == "thinking"
        made = make_trace(rows=14, layers=2, experts=64, seed=number, thinking=thinking)
        return made.with_provenance(sampling={"temperature": 0.6 if thinking else 0.7})

    few = write_recording(tmp_path / "few", both_modes(2), short)
    data = json.loads(run("compare", few, "--json")[1])
    assert data["tested"] == data["significant"] == 0 and data["experts"] == []
    assert "Nothing could be tested" in data["sentences"]["en"][0]
    code, out, _ = run("compare", few)
    assert code == 0 and "caution: " in out and "--same-sampling" in out


def test_mistakes_are_one_line(run, folder, tmp_path):
    few = write_recording(tmp_path / "few", both_modes(1), trace)
    three = write_recording(tmp_path / "three", both_modes(3), trace)
    bad = write_recording(tmp_path / "bad", both_modes(3), trace)
    (bad / "00004-thinking-0.safetensors").write_bytes(b"{}")
    for arguments, message in (
        ([folder, "--by", "colour"], "No trace has a label 'colour'"),
        ([folder, "--by", "topic"], "topic has 5 values (t0, t1, t2, t3, t4); choose two by --groups A B"),
        ([folder, "--cluster", "colour"], "has no label 'colour' to cluster by"),
        ([folder, "--phase", "marker"], "invalid choice: 'marker'"),
        ([folder, "--control", "words"], "invalid choice: 'words'"),
        ([folder, "--permutations", 3], "--permutations must be from 100"),
        ([folder, "--seed", -1], "--seed must be 0 or more, not -1"),
        ([three, "--confirm"], "--confirm needs at least 4 prompts, 2 for each half; there are 3"),
        ([folder, "--phase", "thinking"], "0 prompts have at least 4 tokens in phase thinking in both 'thinking' and"),
        ([few], "a comparison needs at least 2"),
        ([bad], "00004-thinking-0.safetensors"),
        ([tmp_path], "is not a recording"),
        ([tmp_path / "none"], "is not a recording"),
        ([], "required: DIR"),
    ):
        code, out, err = run("compare", *arguments)
        assert code == 2 and out == "" and message in err and err.count("\n") == 1, (arguments, err)
