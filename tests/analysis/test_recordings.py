"""Which traces make the two sides: pairs by prompt, by text, by cluster, or none; and one line for a mistake."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import BadValue, TraceError
from analysis.recordings import plan, read_entries
from analysis.shares import measure
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace


def random_trace(number, line):
    return make_trace(rows=40, seed=number, thinking=line.get("mode") != "non-thinking")


@pytest.fixture
def folder(tmp_path):
    lines = both_modes(4) + [{"prompt": "alone", "mode": "thinking"}]
    for number, line in enumerate(lines):
        line["topic"] = "ab"[number // 2 % 2]
    return write_recording(tmp_path / "rec", lines, random_trace)


def test_modes_are_paired_by_prompt(folder):
    made = plan(read_entries([folder]))
    assert made.groups == ("thinking", "non-thinking") and made.paired and len(made.units) == 4
    assert made.unpaired_out == 1
    assert all([e.line["mode"] for side in u.sides for e in side] == list(made.groups) for u in made.units)
    shares = measure(made)
    assert shares.first.shape == (4, 3, 8) and shares.paired
    np.testing.assert_allclose(shares.first.sum(axis=2), 1)
    assert shares.counts[0][0].sum(axis=1).tolist() == [shares.counts[0][0][0].sum()] * 3
    assert list(map(str, shares.left_out)) == ["1 prompts on one side only"]


def test_labels_without_common_prompts_are_not_paired(folder):
    made = plan(read_entries([folder]), by="topic")
    assert not made.paired and made.groups == ("a", "b")
    assert sorted(len(side) for u in made.units for side in u.sides if side) == [1, 2, 2, 2, 2]
    shares = measure(made)
    assert len(shares.first) + len(shares.second) == 5
    with pytest.raises(BadValue, match="next to nothing to compare: it needs what at least 3 prompts of both sides"):
        measure(made, "token")


def test_labels_with_common_prompts_are_paired_by_text(tmp_path):
    lines = [
        {"prompt": f"prompt {p}", "style": style, "digest": f"{p}{style}"}
        for p in range(3)
        for style in ("long", "short")
    ]
    made = plan(read_entries([write_recording(tmp_path / "rec", lines, random_trace)]), by="style")
    assert made.paired and len(made.units) == 3


def test_labels_that_cross_clusters_are_paired_by_cluster(tmp_path):
    lines = [{"prompt": f"prompt {n}", "level": "xy"[n % 2], "topic": f"t{n // 4}"} for n in range(12)]
    entries = read_entries([write_recording(tmp_path / "rec", lines, random_trace)])
    assert not plan(entries, by="level").paired
    made = plan(entries, by="level", cluster="topic")
    assert measure(made).design == "clustered" and measure(plan(entries, by="level")).design == "unpaired"
    assert made.paired and len(made.units) == 3 and all(len(side) == 2 for u in made.units for side in u.sides)


def test_models_are_those_of_the_folders(tmp_path):
    folders = [write_recording(tmp_path / name, both_modes(3), random_trace) for name in ("small", "large")]
    made = plan(read_entries(folders), by="model")
    assert made.groups == ("small", "large") and made.paired and len(made.units) == 3
    assert all(len(side) == 2 for u in made.units for side in u.sides), "both modes of a prompt count together"


def test_damaged_settings_say_nothing(folder):
    (folder / "settings.json").write_text("[" * 100_000)
    assert read_entries([folder])[0].model == str(folder)


def test_phases_are_two_sides_of_one_trace(folder):
    made = plan(read_entries([folder]), by="phase")
    shares = measure(made)
    assert made.phases == ("thinking", "answer") and len(shares.first) == 5
    assert len([line for line in shares.left_out if "0 thinking tokens, fewer than 4" in str(line)]) == 4
    one = made.units[0].sides[0][0].path
    from analysis.metrics import expert_load
    from analysis.storage import load

    np.testing.assert_allclose(shares.first[0], expert_load(load(one), "thinking").values)


def test_samples_are_averaged_within_a_prompt_and_dealt_into_halves(tmp_path):
    lines = [line | {"sample": s} for line in both_modes(3) for s in range(2)]
    shares = measure(plan(read_entries([write_recording(tmp_path / "rec", lines, random_trace)])))
    assert len(shares.first) == 3 and shares.halves[0].shape == (3, 2, 3, 8)
    np.testing.assert_array_equal(shares.halves[0].sum(axis=1), shares.counts[0])


def test_answers_of_other_modes_or_prompts_are_no_floor(tmp_path):
    """Only what a seed alone makes different tells how far a side is from itself."""

    def by_mode(number, line):
        return make_trace(rows=40, seed=line["mode"] == "thinking", thinking=line["mode"] == "thinking", skew=4.0)

    lines = [line | {"topic": "ab"[n // 6]} for n, line in enumerate(both_modes(6))]
    shares = measure(plan(read_entries([write_recording(tmp_path / "one", lines, by_mode)]), by="topic"))
    assert len(shares.first) == 3 and [len(side) for side in shares.halves] == [0, 0]
    folders = [write_recording(tmp_path / name, both_modes(3), by_mode) for name in ("small", "large")]
    assert [len(side) for side in measure(plan(read_entries(folders), by="model")).halves] == [0, 0]
    twice = [line | {"sample": s} for line in lines for s in range(2)]
    shares = measure(plan(read_entries([write_recording(tmp_path / "two", twice, by_mode)]), by="topic"))
    np.testing.assert_array_equal(shares.halves[0][:, 0], shares.halves[0][:, 1])  # the same mode on either side


def test_a_few_common_prompts_do_not_drop_all_others(tmp_path):
    lines = [{"prompt": f"p{n}" if n > 3 else f"p{n % 2}", "topic": "ab"[n % 4 < 2]} for n in range(24)]
    made = plan(read_entries([write_recording(tmp_path / "rec", lines, random_trace)]), by="topic")
    assert not made.paired and made.unpaired_out == 0


def test_token_control_weighs_the_common_ids_alike(tmp_path):
    """Routing that depends on the token alone: different on the whole, the same within every token id."""

    def by_token(number, line):
        trace = make_trace(rows=400, layers=1, experts=32, top_k=1, seed=number, thinking=False)
        often = np.random.default_rng(number).choice(10, len(trace.token_ids), p=SKEWED[line["mode"]])
        ids = often.astype(np.int32)
        routed = ids[: trace.num_rows, None, None].astype(trace.expert_ids.dtype)
        pieces = tuple(b"%d" % i for i in ids)
        return type(trace)(**{**trace.__dict__, "token_ids": ids, "pieces": pieces, "expert_ids": routed})

    rising = np.arange(1, 11) / 55
    SKEWED = {"thinking": rising, "non-thinking": np.where(np.arange(10) == 9, 0, rising[::-1] / (1 - rising[0]))}
    made = plan(read_entries([write_recording(tmp_path / "rec", both_modes(4), by_token)]))
    free, matched = measure(made), measure(made, "token")
    assert np.abs(free.first - free.second).max() > 0.1
    np.testing.assert_allclose(matched.first, matched.second, atol=1e-12)
    np.testing.assert_allclose(matched.first.sum(axis=2), 1)
    assert matched.coverage[1] == 1 and 0.7 < matched.coverage[0] < 0.9, "id 9 is on one side only"


def test_position_control_uses_as_many_rows_on_both_sides(tmp_path):
    def longer(number, line):
        return make_trace(rows=40 if line["mode"] == "thinking" else 120, seed=number, thinking=False)

    made = plan(read_entries([write_recording(tmp_path / "rec", both_modes(3), longer)]))
    shares = measure(made, "position")
    assert shares.coverage[0] == 1 and shares.coverage[1] == pytest.approx(shares.rows[0] / shares.rows[1])


def mistakes(folder):
    entries = read_entries([folder])
    yield lambda: plan(entries, by="colour"), "No trace has a label 'colour'; there are phase, model, mode, topic"
    yield lambda: plan(entries[:1]), "Every trace has mode 'thinking'; a comparison needs two groups"
    yield lambda: plan(entries, by="topic", groups=("a", "z")), "No trace has topic 'z'; there are a, b"
    yield lambda: plan(entries, by="topic", groups=("a", "a")), "Two different groups"
    yield lambda: plan(entries, cluster="colour"), "has no label 'colour' to cluster by"
    yield (
        lambda: measure(plan(entries[:2])),
        "1 prompts have at least 4 tokens in phase generated in 'thinking'; a comparison",
    )
    yield lambda: measure(plan(entries), min_rows=1000), "0 prompts have at least 1000 tokens"
    yield lambda: read_entries([folder.parent]), "is not a recording: it has no readable index.jsonl"


def test_mistakes_are_named(folder):
    for call, message in mistakes(folder):
        with pytest.raises(BadValue, match=message):
            call()


def test_a_damaged_file_or_line_is_named(folder):
    entries = read_entries([folder])
    entries[2].path.write_bytes(b"nothing")
    with pytest.raises(TraceError, match="00002-thinking-0.safetensors"):
        measure(plan(entries))
    entries[2].path.unlink()
    with pytest.raises(TraceError, match="00002-thinking-0.safetensors"):
        measure(plan(entries))
    index = folder / "index.jsonl"
    whole = index.read_text()
    index.write_text(whole + '{"file": "half')
    assert len(read_entries([folder])) == 9, "a recording may end in half a line"
    for bad in ("{\n", '{"file": "../../secret", "prompt": ""}\n', "3\n"):
        index.write_text(bad + whole)
        with pytest.raises(BadValue, match=r"index.jsonl, line 1 is damaged"):
            read_entries([folder])


def test_more_than_two_values_need_a_choice(tmp_path):
    lines = [{"prompt": f"p{n}", "topic": "abc"[n % 3]} for n in range(9)]
    entries = read_entries([write_recording(tmp_path / "rec", lines, random_trace)])
    with pytest.raises(BadValue, match=r"topic has 3 values \(a, b, c\); choose two by --groups"):
        plan(entries, by="topic")
    assert plan(entries, by="topic", groups=("c", "a")).groups == ("c", "a")


def test_other_routers_are_refused(tmp_path):
    def trace(number, line):
        return make_trace(rows=40, experts=8 + 8 * (number == 3), seed=number, thinking=False)

    made = plan(read_entries([write_recording(tmp_path / "rec", both_modes(3), trace)]))
    with pytest.raises(BadValue, match="00003-non-thinking-0.safetensors comes from other routers"):
        measure(made)
