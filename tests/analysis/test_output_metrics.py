"""Saliency and super experts by loops over every used expert."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.output_metrics import are_super, saliency, super_experts
from analysis.statistic import Statistic
from tests.analysis.routing import random_trace, small_traces, trace_of
from tests.make_traces import make_trace


@given(small_traces(), st.integers(0, 99))
def test_outputs_are_those_of_a_loop(trace, seed):
    random = np.random.default_rng(seed)
    shape = trace.expert_ids.shape
    measured = {name: random.random(shape).astype(np.float32) for name in ("contribution", "output_max")}
    trace = replace(trace, **measured)
    mean, largest = saliency([trace, trace], "answer"), super_experts([trace, trace], "answer")
    for layer in range(shape[1]):
        for expert in range(trace.spec.num_experts):
            where = (trace.expert_ids[:, layer] == expert) & trace.rows_in("answer")[:, None]
            if where.any():
                assert mean.values[layer, expert] == pytest.approx(measured["contribution"][:, layer][where].mean())
                assert largest.values[layer, expert] == pytest.approx(measured["output_max"][:, layer][where].max())
            else:
                assert np.isnan(mean.values[layer, expert]) and np.isnan(largest.values[layer, expert])
    assert mean.n == largest.n == 2 * trace.rows_in("answer").sum()


def test_by_hand():
    outputs = np.array([[[1.0, 3.0]], [[5.0, 0.5]]], np.float32)
    trace = trace_of([[[0, 1]], [[1, 2]]], 4, contribution=outputs, output_max=outputs)
    assert saliency(trace).values[0, :3].tolist() == [1, 4, 0.5]
    assert super_experts(trace).values[0, :3].tolist() == [1, 5, 0.5]
    assert np.isnan(saliency(trace).values[0, 3])


def test_super_experts_are_far_above_the_others():
    maxima = np.ones((10, 128))
    maxima[1, 68] = maxima[2, 92] = maxima[3, 82] = 100
    maxima[4, 5] = 5  # above the percentile, below a tenth of the largest
    maxima[9, 100:] = np.nan
    found = are_super(Statistic("largest expert output", maxima, ("layer", "expert")))
    assert np.argwhere(found).tolist() == [[1, 68], [2, 92], [3, 82]]
    assert not are_super(Statistic("largest expert output", np.full((1, 2), np.nan), ("layer", "expert"))).any()


def test_equal_outputs_under_random_routing_make_no_expert_special():
    trace = random_trace(500, 3, 16, 4)
    ones = np.ones(trace.expert_ids.shape, np.float32)
    trace = replace(trace, contribution=ones, output_max=ones)
    assert (saliency(trace).values == 1).all() and not are_super(super_experts(trace)).any()


def test_what_is_absent():
    bare = make_trace()
    measured = replace(bare, contribution=np.ones(bare.expert_ids.shape, np.float32))
    assert saliency(bare) is None and saliency([measured, bare]) is None and super_experts(measured) is None
    quiet = make_trace(thinking=False)
    quiet = replace(quiet, contribution=np.ones(quiet.expert_ids.shape, np.float32))
    assert saliency(quiet, "thinking").n == 0 and np.isnan(saliency(quiet, "thinking").values).all()
