"""Devices against counting by hand, and random routing at its chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.placement import device_imbalance, device_load, devices_reached, in_blocks, in_turn
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_spec, make_trace


@given(small_traces(), st.integers(1, 4), st.sampled_from([in_blocks, in_turn]))
def test_devices_are_those_counted_by_hand(trace, devices, rule):
    placement = rule(trace.spec, devices)
    traces = [trace, trace]
    load, worst = device_load(traces, placement, "answer"), device_imbalance(traces, placement, "answer")
    reach = devices_reached(traces, placement, "answer")
    count = int(placement.max()) + 1
    for layer, spec in enumerate(trace.spec.layers):
        rows = [row for row in sets_of(trace, layer, "answer") if row]
        used = [int(placement[layer, expert]) for row in rows for expert in row]
        if not used:
            assert np.isnan(load.values[layer]).all() and np.isnan(worst.values[layer])
            assert np.isnan(reach.values[layer])
            continue
        shares = [used.count(device) / len(used) for device in range(count)]
        assert load.values[layer].tolist() == pytest.approx(shares)
        assert worst.values[layer] == pytest.approx(max(shares) * count)
        reached = [len({int(placement[layer, expert]) for expert in row}) for row in rows]
        assert reach.values[layer] == pytest.approx(np.mean(reached))
        held = placement[layer, : spec.num_experts].tolist()
        assert load.chance[layer].tolist() == pytest.approx([held.count(d) / len(held) for d in range(count)])


def test_placements():
    assert in_blocks(make_spec(1, 8, 2), 4).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert in_turn(make_spec(1, 8, 2), 3).tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]
    trace = trace_of([[[0, 1]], [[0, 3]]], 4)
    assert device_load(trace, in_blocks(trace.spec, 2)).values.tolist() == [[0.75, 0.25]]
    assert device_imbalance(trace, in_blocks(trace.spec, 2)).values.tolist() == [1.5]
    assert device_imbalance(trace, np.array([[0, 1, 0, 1]])).values.tolist() == [1.0]
    assert devices_reached(trace, in_blocks(trace.spec, 2)).values.tolist() == [1.5]


def test_a_placement_must_fit():
    trace = make_trace()
    with pytest.raises(BadValue, match=r"\[3, 8\]"):
        device_load(trace, np.zeros((2, 8)))
    with pytest.raises(BadValue, match="every expert"):
        device_load(trace, np.full((3, 8), -1))
    with pytest.raises(BadValue, match="not 0"):
        in_turn(trace.spec, 0)


def test_random_routing_lies_at_chance():
    trace = random_trace(3000, 20, 16, 4)
    placement = in_blocks(trace.spec, 4)
    reach, worst = devices_reached(trace, placement), device_imbalance(trace, placement)
    assert np.abs(reach.values - reach.chance).max() < 0.05
    assert worst.values.mean() == pytest.approx(worst.chance[0], abs=0.01) and worst.chance[0] > 1
    assert np.abs(device_load(trace, placement).values - 0.25).max() < 0.02


def test_what_is_absent():
    quiet, dense = make_trace(thinking=False), make_trace(layers=0)
    for metric in (device_load, device_imbalance, devices_reached):
        assert np.isnan(metric(quiet, in_blocks(quiet.spec, 2), "thinking").values).all()
        assert metric(dense, in_blocks(dense.spec, 2)).values.size == 0
