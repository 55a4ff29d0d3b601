"""What is said about one token: exactly what the trace holds, and nothing where it holds nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis import token_metrics as metrics
from analysis.errors import BadValue
from analysis.trace import RouterSpec
from tests.make_traces import make_trace

TRACE = make_trace(rows=30, layers=3, experts=8, top_k=3, first_layer=2)


def test_gates_are_those_of_the_tokens_own_row():
    later = replace(TRACE, row_start=1)
    for trace, token in ((TRACE, 7), (later, 8)):
        gates = metrics.token_gates(trace, token)
        assert gates.layers == [2, 3, 4] and gates.token == token
        for layer in range(3):
            pairs = dict(zip(TRACE.expert_ids[7, layer].tolist(), TRACE.expert_weights[7, layer].tolist(), strict=True))
            assert dict(zip(gates.ids[layer].tolist(), gates.weights.values[layer].tolist(), strict=True)) == pairs
            assert list(gates.weights.values[layer]) == sorted(pairs.values(), reverse=True)
    assert metrics.token_gates(later, 0) is None


def test_last_token_has_no_row_and_unknown_tokens_are_named():
    assert metrics.token_gates(TRACE, 30) is None
    assert metrics.token_scores(TRACE, 30, 2) is None
    assert metrics.uncertainty(TRACE, 30) == {}
    for token in (-1, 31):
        with pytest.raises(BadValue, match="tokens 0 to 30"):
            metrics.token_gates(TRACE, token)


def test_absent_values_stay_absent():
    bare = make_trace(weights=False, scores=False, summaries=False)
    assert metrics.token_gates(bare, 3).weights is None
    np.testing.assert_array_equal(metrics.token_gates(bare, 3).ids, bare.expert_ids[3])
    assert metrics.token_scores(bare, 3, 0) is None
    assert metrics.uncertainty(bare, 3) == {} == metrics.uncertainty_quantiles(bare)
    heat = metrics.layer_heatmap(bare, 1, 0, 5)
    assert heat.unit == "used" and set(np.unique(heat.values)) == {0.0, 1.0} and heat.chance is None


def test_scores_are_the_layers_own():
    scores = metrics.token_scores(TRACE, 5, 3)
    np.testing.assert_array_equal(scores.values, TRACE.router_scores[5, 1])
    assert scores.chance == 1 / 8
    with pytest.raises(BadValue, match=r"Layer 9 has no router; MoE layers are \[2, 3, 4\]"):
        metrics.token_scores(TRACE, 5, 9)


def test_scores_of_a_sigmoid_are_shares_with_the_same_chance():
    layers = tuple(replace(layer, scoring="sigmoid") for layer in TRACE.spec.layers)
    scores = metrics.token_scores(replace(TRACE, spec=RouterSpec(layers)), 5, 3)
    assert (scores.unit, scores.chance) == ("share of scores", 1 / 8)
    assert metrics.uncertainty(TRACE, 12)["margin"].unit == "score"


def test_heatmap_is_the_window_cut_to_the_tokens():
    heat = metrics.layer_heatmap(TRACE, 4, 25, 99)
    assert heat.along("token") == list(range(25, 31)) and heat.values.shape == (6, 8) and heat.n == 5
    for line, token in zip(heat.values[:5], range(25, 30), strict=True):
        dense = np.zeros(8)
        dense[TRACE.expert_ids[token, 2]] = TRACE.expert_weights[token, 2]
        np.testing.assert_array_equal(line, dense)
    assert np.isnan(heat.values[5]).all()
    assert metrics.layer_heatmap(TRACE, 4, 50, 60).values.shape == (0, 8)


def test_uncertainty_and_its_quantiles():
    one = metrics.uncertainty(TRACE, 12)
    assert set(one) == {"entropy", "margin", "top_k_mass"}
    np.testing.assert_allclose(one["entropy"].values, TRACE.entropy[12])
    np.testing.assert_allclose(one["entropy"].chance, np.log(8))
    np.testing.assert_allclose(one["top_k_mass"].chance, 3 / 8)
    many = metrics.uncertainty_quantiles(TRACE, "thinking")
    rows = TRACE.rows_in("thinking")
    assert many["margin"].values.shape == (3, 5) and many["margin"].n == rows.sum()
    np.testing.assert_allclose(many["margin"].values[:, 2], np.median(TRACE.margin[rows], axis=0), rtol=1e-5)
    assert metrics.uncertainty_quantiles(make_trace(thinking=False), "thinking") == {}
