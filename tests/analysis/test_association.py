"""Experts and markers, by the formula written out for single pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.association import CLOSING, OPENING, marker_npmi, thinking_npmi
from analysis.trace import RoutingTrace
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace


def npmi(marked: list[bool], used: list[bool]) -> float:
    n = len(marked)
    together = sum(m and u for m, u in zip(marked, used, strict=True)) / n
    if not any(marked) or not any(used):
        return math.nan
    if together in (0, 1):
        return 1.0 if together else -1.0
    return math.log(together / (sum(marked) / n * sum(used) / n)) / -math.log(together)


@given(small_traces(), st.data())
def test_npmi_is_that_of_the_formula(trace, data):
    kinds = st.sampled_from([OPENING, CLOSING, b"word"])
    pieces = tuple(data.draw(st.lists(kinds, min_size=trace.num_tokens, max_size=trace.num_tokens)))
    trace = replace(trace, pieces=pieces)
    found, difference = marker_npmi([trace, trace]), thinking_npmi([trace, trace])
    for layer in range(trace.spec.num_moe_layers):
        for expert in range(trace.spec.num_experts):
            used = [expert in row for row in sets_of(trace, layer)] * 2
            opening, closing = (npmi([piece == m for piece in pieces] * 2, used) for m in (OPENING, CLOSING))
            assert found.values[layer, expert] == pytest.approx(opening, nan_ok=True)
            assert difference.values[layer, expert] == pytest.approx(opening - closing, nan_ok=True)
    assert found.n == 2 * pieces.count(OPENING)
    assert np.nanmax(np.abs(found.values), initial=0) <= 1 + 1e-9


def test_by_hand():
    trace = trace_of([[[0]], [[1]], [[2]], [[0]]], 3, pieces=(b"<think>", b"a", b"</think>\n", b"<think>"))
    found = marker_npmi(trace)
    assert found.values.tolist() == [[1, -1, -1]] and found.n == 2 and found.n_unit == "markers"
    assert thinking_npmi(trace).values.tolist() == [[2, 0, -2]] and thinking_npmi(trace).n == 1


def test_random_routing_knows_no_markers():
    trace = random_trace(8000, 2, 8, 2)
    pieces = tuple(b"<think>" if i % 4 == 0 else b"x" for i in range(8000))
    found = marker_npmi(replace(trace, pieces=pieces))
    assert np.abs(found.values).max() < 0.05 and np.abs(found.chance).max() < 0.005
    few = [marker_npmi(random_with_markers(seed)) for seed in range(40)]
    values, chance = (np.mean([getattr(f, name) for f in few]) for name in ("values", "chance"))
    assert chance < -0.4 and values == pytest.approx(chance, abs=0.02)


def random_with_markers(seed: int) -> RoutingTrace:
    """Three markers among 100 tokens that are routed at random."""
    trace = random_trace(100, 10, 8, 1, seed)
    return replace(trace, pieces=(OPENING,) * 3 + (b"x",) * 97)


def test_chance_is_that_of_every_way_to_place_the_markers():
    trace = trace_of([[[e]] for e in (0, 0, 0, 1, 1, 2)], 3)
    ways = []
    for places in combinations(range(6), 2):
        pieces = tuple(OPENING if i in places else b"x" for i in range(6))
        ways.append(marker_npmi(replace(trace, pieces=pieces)))
    np.testing.assert_allclose(ways[0].chance, np.mean([way.values for way in ways], axis=0))


def test_without_markers_there_is_nothing():
    trace = make_trace(thinking=False)
    assert marker_npmi(trace).n == 0 and np.isnan(marker_npmi(trace).values).all()
    assert np.isnan(thinking_npmi(trace).values).all()
    assert marker_npmi(make_trace()).n == 1 and not np.isnan(thinking_npmi(make_trace()).values).all()
