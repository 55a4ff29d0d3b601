"""The router's certainty by phase: means of what was recorded, and nothing where it was not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.confidence import confidence_by_phase
from analysis.errors import BadValue
from analysis.trace import PHASE_GROUPS
from tests.make_traces import make_trace


@given(st.lists(st.tuples(st.integers(3, 30), st.booleans(), st.integers(0, 9)), min_size=1, max_size=3))
def test_means_are_those_of_a_loop(cases):
    traces = [make_trace(rows=rows, thinking=thinking, seed=seed) for rows, thinking, seed in cases]
    found = confidence_by_phase(traces)
    for field, statistic in found.items():
        for line, phase in enumerate(statistic.along("phase")):
            for layer in range(3):
                values = [
                    getattr(trace, field)[row, layer]
                    for trace in traces
                    for row in range(trace.num_rows)
                    if trace.phase[row] in PHASE_GROUPS[phase]
                ]
                wanted = float(np.mean(values, dtype=np.float64)) if values else np.nan
                assert statistic.values[line, layer] == pytest.approx(wanted, nan_ok=True, rel=1e-6)


def test_no_preference_lies_at_chance():
    even = make_trace(rows=60, experts=8, top_k=2)
    shape = even.entropy.shape
    arrays = {"entropy": np.log(8), "margin": 0, "top_k_mass": 0.25}
    even = replace(even, **{name: np.full(shape, value, np.float32) for name, value in arrays.items()})
    for statistic in confidence_by_phase(even).values():
        np.testing.assert_allclose(statistic.values, np.broadcast_to(statistic.chance, statistic.values.shape), 1e-6)
        assert statistic.n == min((even.row_phase == phase).sum() for phase in (0, 1, 2))


def test_what_is_absent():
    assert confidence_by_phase([make_trace(), make_trace(summaries=False)]) == {}
    quiet = confidence_by_phase(make_trace(thinking=False))["entropy"]
    assert np.isnan(quiet.values[1]).all() and not np.isnan(quiet.values[[0, 2]]).any() and quiet.n == 0
    assert quiet.phase == "prompt, thinking, answer"
    with pytest.raises(BadValue, match="'dreaming'"):
        confidence_by_phase(make_trace(), ["dreaming"])
