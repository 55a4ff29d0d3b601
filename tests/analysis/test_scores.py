"""Committees and near misses by sorting each token's scores, and random scores at their chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.scores import near_misses, sortable, standing_committee
from tests.analysis.routing import sets_of, small_traces
from tests.make_traces import make_trace


@given(small_traces(), st.integers(0, 99))
def test_ranks_are_those_of_sorting(trace, seed):
    shape = (trace.num_rows, trace.spec.num_moe_layers, trace.spec.num_experts)
    scores = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float16) / 8  # with ties
    trace = replace(trace, router_scores=scores)
    committee, missed = standing_committee([trace, trace], "answer"), near_misses([trace, trace], "answer")
    mask = trace.rows_in("answer")
    for layer, spec in enumerate(trace.spec.layers):
        rows = scores[mask, layer, : spec.num_experts].tolist()
        used = sets_of(trace, layer, "answer")
        order = [sorted(range(spec.num_experts), key=lambda e, row=row: (-row[e], e)) for row in rows]
        left = [[e for e in line if e not in row] for line, row in zip(order, used, strict=True)]
        first = [line[0] for line in left if line]
        for expert in range(trace.spec.num_experts):
            found = [getattr(committee, name).values[layer, expert] for name in ("mean_rank", "rank_deviation")]
            if rows and expert < spec.num_experts:
                ranks = [line.index(expert) + 1 for line in order]
                assert found == pytest.approx([np.mean(ranks), np.std(ranks)], abs=1e-6)
                presence = sum(expert in row for row in used) / len(used)
                assert committee.presence.values[layer, expert] == pytest.approx(presence)
                member = presence >= 0.8 and found[0] <= spec.top_k and found[1] <= spec.top_k
                assert committee.members[layer, expert] == member
            else:
                assert np.isnan(found).all() and not committee.members[layer, expert]
            if first and expert < spec.num_experts:
                assert missed.values[layer, expert] == pytest.approx(first.count(expert) / len(first))
            else:
                assert np.isnan(missed.values[layer, expert])
    assert missed.n == committee.presence.n == 2 * mask.sum()


def test_a_committee_of_one():
    trace = make_trace(rows=200, layers=1, experts=16, top_k=2, skew=0)
    scores = trace.router_scores.copy()
    scores[:, 0, 5] = 1
    ids = np.argsort(-scores.astype(float), axis=-1, kind="stable")[..., :2].astype(np.uint8)
    committee = standing_committee(replace(trace, router_scores=scores, expert_ids=ids))
    assert np.flatnonzero(committee.members[0]).tolist() == [5]
    assert committee.mean_rank.values[0, 5] == 1 and committee.rank_deviation.values[0, 5] == 0
    assert committee.presence.values[0, 5] == 1


def test_random_scores_lie_at_chance_and_have_no_committee():
    trace = make_trace(rows=4000, layers=2, experts=16, top_k=4, skew=0)
    committee, missed = standing_committee(trace), near_misses(trace)
    assert not committee.members.any()
    for statistic, spread in ((committee.mean_rank, 0.4), (committee.rank_deviation, 0.2), (committee.presence, 0.05)):
        assert np.abs(statistic.values - statistic.chance).max() < spread
    assert np.abs(missed.values - 1 / 16).max() < 0.02


def test_order_is_kept_as_whole_numbers():
    values = np.array([-np.inf, -3, -1e-7, -0.0, 0.0, 1e-7, 0.5, 1, np.inf], np.float16)
    assert (np.diff(sortable(values).astype(int)) > 0).all()


def test_what_is_absent():
    assert standing_committee(make_trace(scores=False)) is None and near_misses(make_trace(scores=False)) is None
    quiet = make_trace(thinking=False)
    committee = standing_committee(quiet, "thinking")
    assert np.isnan(committee.mean_rank.values).all() and not committee.members.any()
    assert np.isnan(near_misses(quiet, "thinking").values).all()
    assert np.isnan(near_misses(make_trace(experts=4, top_k=4)).values).all()
    assert near_misses(make_trace(layers=0)).values.shape == (0, 0)
    assert standing_committee(make_trace(layers=0)).members.shape == (0, 0)
