"""Divergence: its range and symmetry, and that equal routing lies at the level chance gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import compare
from analysis.errors import BadValue
from tests.make_traces import make_trace

LOADS = st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda p: sum(p) > 1e-6)


@given(LOADS, LOADS)
def test_divergence_is_symmetric_and_in_range(p, q):
    value = compare.js_divergence(np.array(p), np.array(q))
    assert 0 <= value <= 1
    assert value == pytest.approx(compare.js_divergence(np.array(q), np.array(p)), abs=1e-12)
    assert compare.js_divergence(np.array(p), np.array(p)) == pytest.approx(0, abs=1e-12)


def test_divergence_at_known_points():
    assert compare.js_divergence(np.array([1, 0]), np.array([0, 1])) == 1
    # (0.5, 0.5) against (1, 0): H(0.75, 0.25) − 1/2 bit
    expected = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 0.5
    assert compare.js_divergence(np.array([2, 2]), np.array([3, 0])) == pytest.approx(expected)
    assert compare.js_divergence(np.array([0.5, 0.5, np.nan]), np.array([1, 0, np.nan])) == pytest.approx(expected)
    assert np.isnan(compare.js_divergence(np.zeros(2), np.array([1, 0])))


def test_the_same_routing_lies_within_its_band_though_lengths_differ():
    """Short against long: the plain divergence is inflated, and so must be its ruler."""
    a = make_trace(rows=40, layers=30, experts=64, top_k=4, skew=0, seed=1)
    b = make_trace(rows=800, layers=30, experts=64, top_k=4, skew=0, seed=2)
    pair = compare.pair_js(a, b, "answer")
    value, chance = pair.divergence.values, pair.divergence.chance
    assert pair.rows == (a.rows_in("answer").sum(), b.rows_in("answer").sum())
    assert pair.divergence.n == min(pair.rows)
    assert value.mean() > 0.1, "short samples of equal routing look far apart"
    assert abs(value.mean() - chance.mean()) < 0.1 * chance.mean()
    inside = (pair.band[:, 0] <= value) & (value <= pair.band[:, 1])
    assert inside.mean() >= 0.8


def test_different_routing_lies_above_its_band():
    a = make_trace(rows=300, layers=4, experts=16, top_k=4, seed=1)
    b = make_trace(rows=300, layers=4, experts=16, top_k=4, seed=2)
    pair = compare.pair_js(a, b)
    assert (pair.divergence.values > pair.band[:, 1]).all()
    np.testing.assert_allclose(pair.divergence.values, compare.pair_js(b, a).divergence.values, rtol=0.05)


def test_equal_lengths_are_compared_whole_and_seeds_repeat():
    a, b = (make_trace(rows=100, layers=2, experts=8, top_k=2, seed=seed) for seed in (1, 2))
    pair = compare.pair_js(a, b, "all")
    loads = [compare.expert_load(trace, "all").values for trace in (a, b)]
    np.testing.assert_allclose(pair.divergence.values, compare.js_divergence(*loads), rtol=1e-6)
    np.testing.assert_array_equal(pair.band, compare.pair_js(a, b, "all").band)


def test_a_phase_that_one_side_lacks_is_not_compared():
    a, b = make_trace(thinking=True), make_trace(thinking=False)
    assert compare.pair_js(a, b, "thinking") is None
    assert compare.load_difference(a, b, "thinking").n == 0


def test_load_difference_changes_sign():
    a, b = make_trace(seed=1), make_trace(seed=2)
    difference = compare.load_difference(a, b)
    np.testing.assert_allclose(difference.values, -compare.load_difference(b, a).values)
    np.testing.assert_allclose(difference.values.sum(axis=1), 0, atol=1e-12)


def test_other_routers_are_refused():
    for function in (compare.pair_js, compare.load_difference):
        with pytest.raises(BadValue, match="different routers"):
            function(make_trace(experts=8), make_trace(experts=16))


def test_tokens_lean_to_the_answer_that_uses_their_experts():
    """By hand, one layer and one expert a token: A uses 0, 0, 1; B uses 1, 1, 1."""
    a, b = (one_expert(ids) for ids in ([0, 0, 1], [1, 1, 1]))
    half = compare.SMOOTH
    here, there = (1 + half) / 2, half / 3  # expert 0 without the token itself: 1 of 2 slots; in B 0 of 3
    zero = (here - there) / (here + there)
    here, there = half / 2, (3 + half) / 3
    one = (here - there) / (here + there)
    lean = compare.token_lean(a, b, "all")
    np.testing.assert_allclose(lean.values, [zero, zero, one])
    assert lean.along("token") == [0, 1, 2] and lean.n == 3


def test_equal_routing_leans_nowhere_on_average():
    a, b = (make_trace(rows=600, layers=6, experts=32, top_k=4, skew=0, seed=seed) for seed in (1, 2))
    assert abs(compare.token_lean(a, b).values.mean()) < 0.02
    a, b = make_trace(rows=300, seed=1), make_trace(rows=300, seed=99)
    assert compare.token_lean(a, b).values.mean() > 0.1


def one_expert(ids):
    trace = make_trace(rows=3, layers=1, experts=4, top_k=1, weights=False, scores=False, summaries=False)
    return replace(trace, expert_ids=np.array(ids, np.uint8).reshape(3, 1, 1))
