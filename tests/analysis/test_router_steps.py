"""The steps of a router: probabilities to the weights that were executed, and what another k would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.errors import BadValue
from analysis.router_steps import router_steps
from analysis.trace import RouterSpec
from tests.make_traces import make_trace


def test_the_steps_lead_to_the_weights_that_were_executed():
    trace = make_trace(rows=20, layers=3, experts=16, top_k=4)
    steps = router_steps(trace, 7, 1)
    assert steps.k == 4 and steps.probability.sum() == pytest.approx(1, abs=1e-2)
    assert (np.diff(steps.probability) <= 0).all()
    assert steps.weights.sum() == pytest.approx(1)
    assert set(steps.experts[:4].tolist()) == set(steps.executed)
    for expert, weight in zip(steps.experts[:4].tolist(), steps.weights, strict=True):
        assert weight == pytest.approx(steps.executed[expert], abs=2e-3)


def test_another_k_takes_more_of_the_same_probabilities():
    trace = make_trace(rows=20, layers=3, experts=16, top_k=4)
    few, all_of_them = router_steps(trace, 7, 1, 2), router_steps(trace, 7, 1, 16)
    assert few.mass < router_steps(trace, 7, 1).mass < all_of_them.mass
    assert few.weights.sum() == pytest.approx(1) and len(few.weights) == 2
    assert all_of_them.mass == pytest.approx(1, abs=1e-2)


def test_without_renormalising_the_weights_are_the_probabilities():
    trace = make_trace(rows=20, layers=3, experts=16, top_k=4)
    plain = RouterSpec(tuple(replace(layer, renormalised=False, scale=2.0) for layer in trace.spec.layers))
    steps = router_steps(replace(trace, spec=plain), 7, 1)
    np.testing.assert_allclose(steps.weights, 2 * steps.probability[:4])


def test_what_was_not_recorded_is_not_made_up():
    trace = make_trace(rows=20)
    assert router_steps(make_trace(rows=20, scores=False), 7, 1) is None
    assert router_steps(trace, 20, 1) is None, "the last token has no row"
    sigmoid = RouterSpec(tuple(replace(layer, scoring="sigmoid") for layer in trace.spec.layers))
    assert router_steps(replace(trace, spec=sigmoid), 7, 1) is None
    with pytest.raises(BadValue, match="from 1 to 8"):
        router_steps(trace, 7, 1, 9)
