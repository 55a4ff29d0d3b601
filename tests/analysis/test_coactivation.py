"""Pairs of experts against counting by hand, and random routing at its exact chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.coactivation import coactivation, coactivation_lift, pair_counts
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace


@given(small_traces(), st.integers(1, 3))
def test_pairs_are_those_counted_by_hand(trace, minimum):
    share, lift = coactivation([trace], "answer", minimum), coactivation_lift([trace], "answer", minimum)
    for layer, spec in enumerate(trace.spec.layers):
        rows = [row for row in sets_of(trace, layer, "answer") if row]
        for i in range(trace.spec.num_experts):
            for j in range(trace.spec.num_experts):
                one, other = sum(i in row for row in rows), sum(j in row for row in rows)
                both = sum(i in row and j in row for row in rows)
                here = i != j and max(i, j) < spec.num_experts
                if here and one >= minimum:
                    assert share.values[layer, i, j] == pytest.approx(both / one)
                else:
                    assert np.isnan(share.values[layer, i, j])
                if here and min(one, other) >= minimum:
                    assert lift.values[layer, i, j] == pytest.approx(both * len(rows) / (one * other))
                else:
                    assert np.isnan(lift.values[layer, i, j])


def test_every_pair_counts_not_only_neighbours():
    trace = trace_of([[[0, 1, 2]], [[2, 1, 0]], [[3, 0, 2]]], 4)
    assert pair_counts(trace)[0].tolist() == [[3, 2, 3, 1], [2, 2, 2, 0], [3, 2, 3, 1], [1, 0, 1, 1]]
    assert coactivation(trace).values[0, 0, 2] == 1 and coactivation(trace).values[0, 3, 1] == 0
    assert coactivation_lift(trace).values[0, 0, 3] == 1


def test_counts_of_parts_add_up():
    trace = make_trace(rows=50, experts=16, top_k=4)
    parts = pair_counts(trace, np.arange(50) < 20) + pair_counts(trace, np.arange(50) >= 20)
    np.testing.assert_array_equal(parts, pair_counts(trace))
    twice = coactivation([trace, trace])
    np.testing.assert_array_equal(twice.values, coactivation(trace).values)
    assert twice.n == 100


def test_random_pairs_lie_at_chance():
    trace = random_trace(5000, 3, 16, 4)
    share, lift = coactivation(trace), coactivation_lift(trace)
    assert share.chance[0, 0, 0] == pytest.approx(3 / 15) and lift.chance[0, 0, 0] == pytest.approx(0.8)
    off = ~np.eye(16, dtype=bool)
    assert np.abs(share.values[:, off] - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 1250)
    assert np.abs(lift.values[:, off] - 0.8).max() < 0.25
    assert lift.values[:, off].mean() == pytest.approx(0.8, abs=0.005)


def test_nothing_in_a_phase_and_nothing_to_pair():
    assert np.isnan(coactivation(make_trace(thinking=False), "thinking").values).all()
    assert coactivation_lift(make_trace(layers=0)).values.shape == (0, 0, 0)
    single = coactivation(random_trace(50, 1, 4, 1))
    assert single.chance[0, 0, 0] == 0 and np.nanmax(single.values) == 0
