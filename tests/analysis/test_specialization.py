"""Domains and vocabulary against counting by hand, and the chance level of few occurrences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.specialization import (
    chance_of_largest_share,
    domain_specialization,
    risk_difference,
    vocabulary_specialization,
)
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace


@given(small_traces())
def test_domain_shares_are_those_counted_by_hand(trace):
    special = domain_specialization({"code": [trace, trace], "prose": trace}, "answer")
    for layer, spec in enumerate(trace.spec.layers):
        rows = sets_of(trace, layer, "answer")
        for expert in range(spec.num_experts):
            if rows:
                share = sum(expert in row for row in rows) / len(rows)
                assert special.values[:, layer, expert].tolist() == pytest.approx([share, share])
            else:
                assert np.isnan(special.values[:, layer, expert]).all()
        assert np.isnan(special.values[:, layer, spec.num_experts :]).all()
        assert special.chance[0, layer, 0] == pytest.approx(spec.top_k / spec.num_experts)


def test_domains_of_random_routing_lie_at_chance():
    special = domain_specialization({"a": random_trace(4000, 2, 16, 4, 1), "b": random_trace(4000, 2, 16, 4, 2)})
    assert np.abs(special.values - special.chance).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_domains_need_traces_of_one_model():
    with pytest.raises(BadValue, match="at least one"):
        domain_specialization({"a": []})
    with pytest.raises(BadValue, match="different routers"):
        domain_specialization({"a": make_trace(experts=8), "b": make_trace(experts=16)})


@given(small_traces())
def test_risk_difference_is_that_of_two_shares(trace):
    found, back = (
        risk_difference(trace, trace, "thinking", "answer"),
        risk_difference(trace, trace, "answer", "thinking"),
    )
    for layer, spec in enumerate(trace.spec.layers):
        thinking, answer = sets_of(trace, layer, "thinking"), sets_of(trace, layer, "answer")
        for expert in range(spec.num_experts):
            if thinking and answer:
                shares = [sum(expert in row for row in rows) / len(rows) for rows in (thinking, answer)]
                assert found.values[layer, expert] == pytest.approx(shares[0] - shares[1])
                assert back.values[layer, expert] == pytest.approx(shares[1] - shares[0])
            else:
                assert np.isnan(found.values[layer, expert])
    assert found.n == min(trace.rows_in("thinking").sum(), trace.rows_in("answer").sum())


def test_random_routing_makes_no_difference():
    random = risk_difference(random_trace(4000, 2, 16, 4, 1), random_trace(4000, 2, 16, 4, 2))
    assert np.abs(random.values).max() < 0.05 and random.chance == 0 and random.phase == "all"


@given(small_traces(), st.integers(1, 4), st.booleans())
def test_vocabulary_shares_are_those_counted_by_hand(trace, minimum, first_only):
    special = vocabulary_specialization(trace, "answer", minimum, first_only)
    mask = trace.rows_in("answer")
    tokens = trace.token_ids[mask].tolist()
    assert special.share.along("token") == sorted({t for t in tokens if tokens.count(t) >= minimum})
    for line, token in enumerate(special.share.along("token")):
        rows = [row for row, t in zip(trace.expert_ids[mask].tolist(), tokens, strict=True) if t == token]
        assert special.occurrences[line] == len(rows)
        for layer, spec in enumerate(trace.spec.layers):
            used = [[e for e in row[layer] if e != trace.spec.no_expert] for row in rows]
            if first_only:  # without weights, what the router named first
                used = [[e for e in row[layer][:1] if e != trace.spec.no_expert] for row in rows]
            shares = [sum(e in row for row in used) / len(rows) for e in range(spec.num_experts)]
            if max(shares):
                assert special.share.values[line, layer] == pytest.approx(max(shares))
                assert special.expert[line, layer] == shares.index(max(shares))
            else:
                assert np.isnan(special.share.values[line, layer]) and special.expert[line, layer] == -1


def test_a_token_with_an_expert_of_its_own():
    trace = trace_of([[[0, 1]], [[0, 2]], [[3, 0]], [[1, 2]]], 4, tokens=[7, 7, 7, 9])
    special = vocabulary_specialization(trace, minimum=3)
    assert special.share.along("token") == [7] and special.share.values.tolist() == [[1.0]]
    assert special.expert.tolist() == [[0]] and special.share.n == 3
    assert vocabulary_specialization(trace, "prompt").share.values.shape == (0, 1)


def test_chance_by_count():
    assert chance_of_largest_share(2, 128, 1) == pytest.approx(0.5, abs=0.02)
    assert chance_of_largest_share(10, 128, 1) == pytest.approx(0.13, abs=0.01)
    assert chance_of_largest_share(1, 128, 8) == 1 == chance_of_largest_share(500, 8, 8)
    for experts, k in ((128, 8), (64, 1), (8, 2)):
        drawn, computed = chance_of_largest_share(64, experts, k), chance_of_largest_share(65, experts, k)
        assert drawn == pytest.approx(computed, rel=0.06)


def test_vocabulary_of_random_routing_lies_at_chance():
    special = vocabulary_specialization(random_trace(3000, 4, 32, 4, vocabulary=60)).share
    assert special.values.mean() == pytest.approx(special.chance.mean(), rel=0.02)
    assert special.values.min() > 4 / 32
