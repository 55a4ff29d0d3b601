"""Saturation and the same token in two contexts: by loops over sets, and at the exact chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BadValue
from analysis.overlap import (
    _contexts,
    _partners,
    jaccard_by_chance,
    saturation,
    token_controlled_overlap,
    token_overlap,
)
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace


@given(small_traces(), st.randoms(use_true_random=False))
def test_saturation_is_that_of_sets(trace, random):
    rows = list(range(trace.num_rows))
    random.shuffle(rows)
    earlier = replace(trace, expert_ids=trace.expert_ids[rows])
    found, mask = saturation([earlier, earlier], [trace, trace], "answer"), trace.rows_in("answer")
    for layer in range(trace.spec.num_moe_layers):
        before, after = sets_of(earlier, layer), sets_of(trace, layer)
        shares = [len(a & b) / len(b) for a, b, wanted in zip(before, after, mask, strict=True) if wanted and b]
        if shares:
            assert found.values[layer] == pytest.approx(np.mean(shares))
        else:
            assert np.isnan(found.values[layer])
    assert found.n == 2 * mask.sum()


def test_saturation_by_hand():
    early, late = trace_of([[[0, 1]], [[2, 3]]], 4), trace_of([[[1, 0]], [[3, 1]]], 4)
    assert saturation(early, late).values.tolist() == [0.75] and saturation(late, late).values.tolist() == [1]
    short = replace(early, row_start=1, expert_ids=early.expert_ids[1:], step=early.step[1:])
    assert saturation(short, late).values.tolist() == [0.5] and saturation(short, late).n == 1


def test_tokens_overlap_by_hand_and_their_mean_is_the_saturation():
    early, late = trace_of([[[0, 1]], [[2, 3]]], 4), trace_of([[[1, 0]], [[3, 1]]], 4)
    found = token_overlap(early, late)
    assert found.values.tolist() == [[1.0], [0.5]] and found.along("token") == [0, 1]
    assert found.n == 2 and found.chance == 0.5
    short = replace(early, row_start=1, expert_ids=early.expert_ids[1:], step=early.step[1:])
    assert token_overlap(short, late).along("token") == [1]
    a, b = random_trace(300, 3, 16, 4, 1), random_trace(300, 3, 16, 4, 2)
    b = replace(b, token_ids=a.token_ids)
    np.testing.assert_allclose(token_overlap(a, b).values.mean(axis=0), saturation(a, b).values)
    assert token_overlap(early, trace_of([[[0, 1]], [[2, 3]]], 4, tokens=[5, 6])) is None
    with pytest.raises(BadValue, match="different routers"):
        token_overlap(early, trace_of([[[0, 1]], [[2, 3]]], 5))


def test_saturation_takes_the_same_texts_of_one_model():
    trace, other = trace_of([[[0]], [[1]]], 4), trace_of([[[0]], [[1]]], 4, tokens=[5, 6])
    with pytest.raises(BadValue, match="pair 0"):
        saturation(trace, other)
    with pytest.raises(BadValue, match="1 and 2"):
        saturation(trace, [trace, trace])
    with pytest.raises(BadValue, match="different routers"):
        saturation(trace, trace_of([[[0]], [[1]]], 5))
    thinking = make_trace(thinking=False)
    assert np.isnan(saturation(thinking, thinking, "thinking").values).all()


def test_random_routing_is_saturated_by_chance():
    early, late = random_trace(4000, 3, 16, 4, 1), random_trace(4000, 3, 16, 4, 2)
    found = saturation(replace(early, token_ids=late.token_ids), late)
    assert np.abs(found.values - 0.25).max() < 0.01 and (found.chance == 0.25).all()
    same = token_controlled_overlap(late)
    assert np.abs(same.values - same.chance).max() < 0.02 and same.n > 3900


@given(small_traces())
def test_overlap_is_that_of_sets(trace):
    found = token_controlled_overlap(trace, "answer", seed=3)
    ids, tokens = _contexts((trace,), "answer")
    partners = _partners(tokens, np.random.default_rng(3))
    repeated = [t for t in tokens.tolist() if 1 < tokens.tolist().count(t) < len(tokens)]
    assert found.n == len(partners) == len(repeated)
    for one, same, other in partners:
        assert one != same and tokens[one] == tokens[same] != tokens[other]
    for layer in range(trace.spec.num_moe_layers):
        sets = sets_of(trace, layer, "answer")
        for kind in (0, 1):
            pairs = [(sets[row[0]], sets[row[1 + kind]]) for row in partners]
            shares = [len(a & b) / len(a | b) for a, b in pairs if a and b]
            if shares:
                assert found.values[kind, layer] == pytest.approx(np.mean(shares))
            else:
                assert np.isnan(found.values[kind, layer])


def test_routing_by_the_word_alone():
    words = np.random.default_rng(0).integers(0, 4, 100)
    trace = trace_of([[[2 * w, 2 * w + 1]] for w in words], 8, tokens=words)
    found = token_controlled_overlap(trace)
    assert found.values.tolist() == [[1], [0]] and found.along("pair") == ["same id", "different id"]


def test_the_same_context_is_not_a_second_one():
    trace = trace_of([[[0]], [[1]], [[2]]], 4, tokens=[7, 8, 9])
    assert token_controlled_overlap([trace, trace]).n == 0
    assert np.isnan(token_controlled_overlap([trace, trace]).values).all()
    other = trace_of([[[0]], [[3]], [[2]]], 4, tokens=[6, 8, 9])
    assert token_controlled_overlap([trace, other]).n == 4
    assert np.isnan(token_controlled_overlap(make_trace(thinking=False), "thinking").values).all()


def test_chance_of_two_sets():
    assert jaccard_by_chance(256, 8) == pytest.approx(0.017, abs=5e-4)
    assert jaccard_by_chance(4, 4) == 1 and jaccard_by_chance(4, 1) == 0.25
    assert jaccard_by_chance(3, 2) == pytest.approx(1 / 3 * 1 + 2 / 3 * 1 / 3)
