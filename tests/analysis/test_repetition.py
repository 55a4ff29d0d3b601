"""Repetition and reuse against loops written out, and against the chance of drawing at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.repetition import NEVER, any_shared_by_chance, consecutive_repetition, next_use, reuse
from analysis.trace import Phase
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace


@given(small_traces())
def test_repetition_is_that_of_a_loop(trace):
    found = consecutive_repetition([trace, trace], "answer")
    mask, none = trace.rows_in("answer"), trace.spec.no_expert
    for layer in range(trace.spec.num_moe_layers):
        rows, ids = sets_of(trace, layer), trace.expert_ids[:, layer].tolist()
        pairs = [t for t in range(len(rows) - 1) if mask[t] and mask[t + 1] and rows[t] and rows[t + 1]]
        if not pairs:
            assert np.isnan(found.values[layer]).all()
            continue
        first = sum(ids[t][0] == ids[t + 1][0] for t in pairs) / len(pairs)
        shared = sum(bool(rows[t] & rows[t + 1]) for t in pairs) / len(pairs)
        assert found.values[layer].tolist() == pytest.approx([first, shared])
    assert found.n == 2 * sum(mask[t] and mask[t + 1] for t in range(len(mask) - 1)) and none not in range(6)


@given(small_traces(), st.integers(1, 4))
def test_reuse_is_that_of_a_loop(trace, within):
    found, mask = reuse(trace, "answer", within), trace.rows_in("answer")
    for layer in range(trace.spec.num_moe_layers):
        rows, again, total = sets_of(trace, layer), 0, 0
        for t in range(len(rows) - within):
            if mask[t : t + within + 1].all():
                later = set().union(*rows[t + 1 : t + within + 1])
                again, total = again + len(rows[t] & later), total + len(rows[t])
        assert found.values[layer] == pytest.approx(again / total) if total else np.isnan(found.values[layer])


def test_by_hand():
    trace = trace_of([[[0, 1]], [[1, 0]], [[1, 2]], [[3, 0]]], 4)
    found = consecutive_repetition(trace)
    assert found.values[0].tolist() == pytest.approx([1 / 3, 2 / 3]) and found.n == 3
    assert reuse(trace).values[0] == pytest.approx(3 / 6) and reuse(trace, within=2).values[0] == 1
    assert next_use(trace)[:, 0].tolist() == [[1, 1], [1, 2], [NEVER] * 2, [NEVER] * 2]
    with pytest.raises(BadValue, match="not 0"):
        reuse(trace, within=0)


def test_the_first_choice_is_the_largest_weight():
    weights = np.array([[[0.4, 0.6]], [[0.9, 0.1]]], np.float16)
    trace = trace_of([[[0, 1]], [[1, 2]]], 4, expert_weights=weights)
    assert consecutive_repetition(trace).values[0].tolist() == [1, 1]


def test_pairs_do_not_cross_a_gap():
    phases = [Phase.ANSWER, Phase.MARKER, Phase.ANSWER]
    trace = trace_of([[[0]], [[1]], [[0]]], 2, phase=phases)
    found = consecutive_repetition(trace, "answer")
    assert found.n == 0 and np.isnan(found.values).all()
    assert np.isnan(reuse(trace, "answer").values).all()
    assert consecutive_repetition([trace_of([[[0]]], 2), trace_of([[[0]]], 2)]).n == 0


def test_chance_is_exact():
    for experts, k, top, shared in ((128, 8, 0.008, 0.41), (256, 8, 0.004, 0.23), (512, 10, 0.002, 0.18)):
        assert 1 / experts == pytest.approx(top, abs=5e-4)
        assert any_shared_by_chance(experts, k) == pytest.approx(shared, abs=5e-3)
    assert any_shared_by_chance(8, 2) == pytest.approx(0.46, abs=5e-3)  # "≈46%", Mixtral of Experts
    trace = random_trace(6000, 4, 16, 3)
    for statistic in (consecutive_repetition(trace), reuse(trace), reuse(trace, within=4)):
        assert np.abs(statistic.values - statistic.chance).max() < 5 * np.sqrt(0.25 / 6000)


def test_what_is_absent():
    empty = consecutive_repetition(make_trace(thinking=False), "thinking")
    assert empty.n == 0 and np.isnan(empty.values).all()
    assert consecutive_repetition(make_trace(layers=0)).values.shape == (0, 2)
