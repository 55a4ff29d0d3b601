"""Controls where no prompt is on both sides: what words or positions explain is not found, what remains is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.controls import Standardised, Strata, match_tokens
from analysis.errors import BadValue
from analysis.recordings import plan, read_entries
from analysis.shares import measure
from tests.make_controls import Texts, control_rates, measured, write_texts
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_spec, make_trace

RUNS = 40
BOUND = 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("scene", [Texts(), Texts(prompts=(12, 12)), Texts(prompts=(60, 12))])
def test_words_alone_are_no_finding_under_the_token_control(scene):
    free, found = control_rates(scene, "none", 8), control_rates(scene, "token", RUNS)
    assert free["expert"] > 0.1 and free["reported"] > 0.01, "without the control they are"
    assert found["family"] <= BOUND and 0.03 < found["expert"] < 0.07 and found["reported"] < 0.01


def test_positions_alone_are_no_finding_under_the_position_control():
    scene = Texts(words=0, drift=1.5, rows=((100, 400), (20, 100)))
    assert control_rates(scene, "none", 4)["expert"] > 0.5
    found = control_rates(scene, "position", RUNS)
    assert found["family"] <= BOUND and found["expert"] < 0.08 and found["reported"] < 0.005


def test_what_differs_at_equal_tokens_is_still_found():
    found = control_rates(Texts(planted=2, effect=1.0), "token", 10)
    assert found["power"] > 0.9 and 0.5 < found["coverage"] < 1


def plain_shares(scene, seed):
    """The standardised shares by their definition, one token at a time."""
    made, texts, _ = write_texts(scene, seed)
    sides = [[texts[e.path] for u in made.units for e in u.sides[side]] for side in range(2)]
    has = [[set(t.token_ids.tolist()) for t in side] for side in sides]
    ids = [i for i in range(scene.vocabulary) if all(sum(i in h for h in side) >= 3 for side in has)]
    q = [[np.mean([(t.token_ids == i).mean() for t in side]) for i in ids] for side in sides]
    weight = np.minimum(*q) / np.minimum(*q).sum()
    out = []
    for side in sides:
        total = np.zeros((scene.layers, scene.experts))
        for w, i in zip(weight, ids, strict=True):
            above, below = np.zeros_like(total), 0.0
            for t in side:
                for expert_ids in t.expert_ids[t.token_ids == i]:
                    for layer, chosen in enumerate(expert_ids):
                        above[layer, chosen] += 1 / scene.top_k / len(t.token_ids)
                    below += 1 / len(t.token_ids)
            total += w * above / below
        out.append(total)
    return out, [np.mean([np.isin(t.token_ids, ids).sum() for t in side]) for side in sides], sides


def test_the_means_are_the_standardised_shares():
    scene = Texts(prompts=(8, 6), rows=((20, 60), (10, 40)), vocabulary=30)
    shares, _ = measured(scene, 3, "token")
    wanted, used, sides = plain_shares(scene, 3)
    np.testing.assert_allclose(shares.first.mean(axis=0), wanted[0], atol=1e-6)
    np.testing.assert_allclose(shares.second.mean(axis=0), wanted[1], atol=1e-6)
    rows = [np.mean([t.rows("all") for t in side]) for side in sides]
    np.testing.assert_allclose(shares.coverage, np.array(used) / rows)
    assert all(0 < e <= c for e, c in zip(shares.effective, shares.coverage, strict=True))


def test_equal_distributions_leave_the_difference_as_it_is():
    one = [Strata.of([np.array([0, 0, 1, 2])])] * 4
    common = Standardised((one, one), (list("abcd"), list("abcd")), 8)
    np.testing.assert_allclose(common.alpha, 1)
    assert common.coverage == (1, 1) and common.effective == common.used == (16, 16)


def test_a_cluster_counts_as_one_when_tokens_are_chosen():
    here = [Strata.of([np.array([0, 1])])] * 4
    alone, together = list("abcd"), ["x", "x", "y", "y"]
    assert Standardised((here, here), (alone, alone), 8).known.tolist() == [0, 1]
    assert Standardised((here, here), (together, together), 8).known.tolist() == []


def test_nothing_in_common_is_one_sentence():
    scene = Texts(prompts=(5, 5), vocabulary=4000, rows=((10, 20), (10, 20)), words=4.0)
    with pytest.raises(BadValue, match="next to nothing to compare: it needs what at least 3 prompts of both sides"):
        measured(scene, 0, "token")


def test_matched_rows_count_as_many_as_their_weights_are_worth():
    spec = make_spec(1, 4, 1)
    experts = np.zeros((101, 1, 1), np.int64)
    first, second = np.array([0] * 100 + [1]), np.array([0, 1])
    found = match_tokens([(first, experts)], [(second, experts[:2])], spec, 2)
    assert found.used == (101, 2) and found.effective[1] == pytest.approx(2)
    assert found.effective[0] == pytest.approx(4 / 1.01), "a hundred rows of one word and one of the other"


def test_other_texts_for_the_same_ids_are_refused(tmp_path):
    def trace(number, line):
        made = make_trace(rows=60, seed=number, thinking=line["mode"] == "thinking")
        other = line["mode"] == "thinking"
        pieces = tuple(piece + b"!" if other else piece for piece in made.pieces)
        return replace(made, pieces=pieces)

    made = plan(read_entries([write_recording(tmp_path / "rec", both_modes(3), trace)]))
    with pytest.raises(BadValue, match="needs one tokenizer"):
        measure(made, "token")
    assert measure(made, "position").coverage[1] <= 1
