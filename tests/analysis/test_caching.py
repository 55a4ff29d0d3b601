"""Caches against a cache played out step by step, and the best one against every choice there is."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.caching import belady_hit_rate, lru_hit_rate
from analysis.errors import BadValue
from analysis.trace import Phase
from tests.analysis.routing import random_trace, small_traces, trace_of
from tests.make_traces import make_trace


def played_lru(rows: list[list[int]], slots: int) -> list[int]:
    """Hits of each row; the most recently used stand first."""
    kept: list[int] = []
    hits = []
    for row in rows:
        hits.append(sum(expert in kept[:slots] for expert in row))
        kept = row + [expert for expert in kept if expert not in row]
        kept = kept[:slots]
    return hits


def best_of_all(rows: list[list[int]], slots: int) -> int:
    """The most hits that any choice of what to drop can reach."""

    @cache
    def best(row: int, kept: frozenset[int]) -> int:
        if row == len(rows):
            return 0
        now = frozenset(rows[row])
        others = kept - now
        room = min(slots - len(now), len(others))
        after = max(best(row + 1, now | frozenset(stay)) for stay in combinations(sorted(others), room))
        return len(now & kept) + after

    return best(0, frozenset())


@given(small_traces(), st.integers(1, 7))
def test_caches_are_those_played_out(trace, slots):
    lru, belady = lru_hit_rate(trace, "answer", [slots]), belady_hit_rate(trace, "all", [slots])
    mask = trace.rows_in("answer")
    for layer, spec in enumerate(trace.spec.layers):
        rows = [[e for e in row if e != trace.spec.no_expert] for row in trace.expert_ids[:, layer].tolist()]
        here = sum(len(row) for row, wanted in zip(rows, mask, strict=True) if wanted)
        if slots < spec.top_k:
            assert np.isnan(lru.values[layer, 0]) and np.isnan(belady.values[layer, 0])
            continue
        if here:
            hits = sum(h for h, wanted in zip(played_lru(rows, slots), mask, strict=True) if wanted)
            assert lru.values[layer, 0] == pytest.approx(hits / here)
        else:
            assert np.isnan(lru.values[layer, 0])
        if sum(map(len, rows)):
            assert belady.values[layer, 0] == pytest.approx(best_of_all(rows, slots) / sum(map(len, rows)))


def test_by_hand():
    trace = trace_of([[[0]], [[1]], [[2]], [[0]], [[1]]], 3)
    assert lru_hit_rate(trace, slots=[1, 2, 3]).values.tolist() == [[0, 0, 0.4]]
    assert belady_hit_rate(trace, slots=[1, 2, 3]).values.tolist() == [[0, 0.2, 0.4]]
    assert lru_hit_rate(trace).along("slots") == [1, 2, 3]
    with pytest.raises(BadValue, match="not 0"):
        lru_hit_rate(trace, slots=[0])


def test_every_trace_starts_empty_and_a_phase_is_reached_warm():
    trace = trace_of([[[0]], [[0]]], 2, phase=[Phase.THINKING, Phase.ANSWER])
    assert lru_hit_rate([trace, trace], slots=[1]).values.item() == 0.5
    for rate in (lru_hit_rate, belady_hit_rate):
        assert rate(trace, "answer", [1]).values.item() == 1 and rate(trace, "thinking", [1]).values.item() == 0


def test_random_routing_lies_at_chance_and_no_cache_beats_belady():
    trace = random_trace(5000, 2, 16, 4)
    lru, belady = lru_hit_rate(trace), belady_hit_rate(trace)
    assert lru.along("slots") == [4, 8, 16] and lru.chance[0].tolist() == [0.25, 0.5, 1]
    np.testing.assert_allclose(lru.values, lru.chance, atol=0.01)
    np.testing.assert_allclose(belady.values, belady.chance, atol=0.02)
    assert (belady.values >= lru.values).all() and belady.values[0, 1] > lru.values[0, 1] + 0.1


def test_what_is_absent():
    for rate in (lru_hit_rate, belady_hit_rate):
        empty = rate(make_trace(thinking=False), "thinking")
        assert empty.n == 0 and np.isnan(empty.values).all()
        assert rate(make_trace(layers=0)).values.shape == (0, 0)
        assert rate(make_trace(rows=40), slots=[99]).values.max() < 1
