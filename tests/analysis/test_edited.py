"""What an edit changed on one text: against slow, plain computations, and the cases where nothing can be said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis import edited
from analysis.compare import js_divergence
from analysis.errors import BadValue
from analysis.trace import Origin, Phase, RoutingTrace
from tests.make_traces import make_spec, make_trace

BASE = make_trace(rows=60, layers=3, experts=16, top_k=4, seed=1, first_layer=5)


def rerouted(seed: int = 2) -> RoutingTrace:
    """The tokens of BASE with other experts, the first layer as it was."""
    other = make_trace(rows=60, layers=3, experts=16, top_k=4, seed=seed, first_layer=5)
    ids = other.expert_ids.copy()
    ids[:, 0] = BASE.expert_ids[:, 0, ::-1]
    return replace(BASE, expert_ids=ids)


def test_sets_changed_counts_tokens_and_not_the_order_of_their_experts():
    other = rerouted()
    found = edited.sets_changed(BASE, other, "generated")
    rows = np.flatnonzero(BASE.rows_in("generated"))
    slow = [
        np.mean([set(BASE.expert_ids[r, p].tolist()) != set(other.expert_ids[r, p].tolist()) for r in rows])
        for p in range(3)
    ]
    np.testing.assert_allclose(found.values, slow)
    assert found.values[0] == 0 and found.n == len(rows) and found.along("layer") == [5, 6, 7]
    assert edited.sets_changed(other, BASE, "generated").values.tolist() == found.values.tolist()


def test_a_changed_k_is_another_set_whatever_the_width():
    wide = replace(
        BASE, spec=make_spec(3, 16, 6, 5), expert_ids=np.full((60, 3, 6), 255, np.uint8), expert_weights=None
    )
    wide.expert_ids[..., :4] = BASE.expert_ids
    assert (edited.sets_changed(BASE, wide, "all").values == 0).all()
    wide.expert_ids[..., 4] = [[next(e for e in range(16) if e not in row) for row in rows] for rows in BASE.expert_ids]
    assert (edited.sets_changed(BASE, wide, "all").values == 1).all()


def test_rows_that_only_one_reading_has_do_not_count():
    again = {name: np.concatenate([getattr(BASE, name), getattr(BASE, name)[-1:]]) for name in ("step", "expert_ids")}
    absent = dict.fromkeys(("expert_weights", "router_scores", "entropy", "margin", "top_k_mass"))
    longer = replace(BASE, **again, **absent)
    for found in (edited.sets_changed(BASE, longer, "all"), edited.load_moved(longer, BASE, "all")):
        assert found.n == 60 and (found.values == 0).all()


def test_load_moved_is_the_divergence_of_the_two_loads():
    other = rerouted()
    found = edited.load_moved(BASE, other, "answer")
    rows = BASE.rows_in("answer")
    counts = [
        np.array([[np.sum(t.expert_ids[rows, p] == e) for e in range(16)] for p in range(3)]) for t in (BASE, other)
    ]
    np.testing.assert_allclose(found.values, js_divergence(*counts))
    assert found.values[0] == 0 and found.unit == "bits" and found.n == int(rows.sum())


def test_touched_load_before_and_after():
    other = rerouted()
    found = edited.touched_load(BASE, other, [(6, 3), (7, 15)], "all")
    for line, (position, expert) in enumerate(((1, 3), (2, 15))):
        for column, trace in enumerate((BASE, other)):
            assert found.values[line, column] == pytest.approx(np.mean(trace.expert_ids[:, position] == expert))
    assert found.chance.tolist() == [[1 / 16], [1 / 16]] and found.along("reading") == ["before", "after"]


def test_log_prob_change_counts_only_what_the_model_drew():
    n = BASE.num_tokens
    before, after = [None, *[-1.0] * (n - 1)], [None, *[-1.0] * (n - 1)]
    drawn = np.flatnonzero((BASE.origin == Origin.SAMPLED) & np.isin(BASE.phase, (Phase.THINKING, Phase.ANSWER)))
    after[drawn[0]] = -3.0
    after[1] = -50.0  # of the prompt
    found = edited.log_prob_change(BASE, before, after, "generated")
    assert float(found.values) == pytest.approx(-2 / len(drawn)) and found.n == len(drawn) and found.chance == 0
    nothing = edited.log_prob_change(BASE, before, after, "prompt")
    assert nothing.n == 0 and np.isnan(nothing.values)


def test_busiest_experts_are_ranked_against_their_layers_uniform_share():
    ids = np.zeros((60, 3, 4), np.uint8)
    ids[:, 0], ids[:, 1], ids[:, 2] = (1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12)
    ids[:30, 1, 0] = 15
    trace = replace(BASE, expert_ids=ids)
    assert edited.busiest_experts(trace, "all", 2) == [(5, 1), (5, 2)]
    assert edited.busiest_experts(trace, "all", 9, layer=6) == [(6, 6), (6, 7), (6, 8), (6, 5), (6, 15)]


def test_without_a_token_of_the_phase_nothing_is_made_up():
    plain = make_trace(rows=30, thinking=False)
    for statistic in (edited.sets_changed(plain, plain, "thinking"), edited.load_moved(plain, plain, "thinking")):
        assert statistic.n == 0 and np.isnan(statistic.values).all()
    assert np.isnan(edited.touched_load(plain, plain, [(0, 1)], "thinking").values).all()
    assert edited.busiest_experts(plain, "thinking", 3) == []


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (make_trace(rows=60, layers=3, experts=8, top_k=4, seed=1, first_layer=5), "different routers"),
        (make_trace(rows=60, layers=3, experts=16, top_k=4, seed=9, first_layer=5), "different texts"),
    ],
)
def test_other_texts_and_routers_are_refused(other: RoutingTrace, says: str):
    for measure in (edited.sets_changed, edited.load_moved):
        with pytest.raises(BadValue, match=says):
            measure(BASE, other)


def test_bad_values_are_one_sentence():
    with pytest.raises(BadValue, match="Unknown phase"):
        edited.sets_changed(BASE, BASE, "<b>")
    with pytest.raises(BadValue, match="probabilities for 61 tokens"):
        edited.log_prob_change(BASE, [None], [None])
