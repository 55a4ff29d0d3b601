"""Load, balance and gate weights against definitions written out by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from analysis import balance, metrics
from analysis.errors import BadValue
from analysis.trace import PHASE_GROUPS, LayerSpec, RouterSpec, RoutingTrace
from tests.make_traces import make_spec, make_trace


def uneven() -> RoutingTrace:
    """Layer 1 has 4 experts and uses 1; layer 2 has 8 and uses 2."""
    trace = make_trace(rows=20, layers=2, experts=4, top_k=2, scores=False)
    spec = RouterSpec((LayerSpec(1, 4, 1), LayerSpec(2, 8, 2)))
    ids, weights = trace.expert_ids.copy(), trace.expert_weights.copy()
    ids[:, 0, 1], weights[:, 0, 1], weights[:, 0, 0] = spec.no_expert, 0, 1
    return replace(trace, spec=spec, expert_ids=ids, expert_weights=weights)


@pytest.mark.parametrize("phase", PHASE_GROUPS)
def test_load_counts_slots_of_the_phase(phase):
    trace = make_trace(rows=60, layers=4, experts=8, top_k=3)
    load = metrics.expert_load(trace, phase)
    wanted = [p in PHASE_GROUPS[phase] for p in trace.phase[:60]]
    for layer in range(4):
        for expert in range(8):
            count = sum(w and expert in row[layer] for w, row in zip(wanted, trace.expert_ids.tolist(), strict=True))
            assert load.values[layer, expert] == pytest.approx(count / (3 * sum(wanted)))
    assert load.n == sum(wanted) and load.phase == phase
    np.testing.assert_allclose(load.values.sum(1), 1)
    np.testing.assert_allclose(load.chance, 1 / 8)


def test_load_where_layers_differ():
    trace = uneven()
    load = metrics.expert_load(trace)
    assert load.along("layer") == [1, 2]
    assert np.isnan(load.values[0, 4:]).all() and not np.isnan(load.values[0, :4]).any()
    np.testing.assert_allclose(np.nansum(load.values, axis=1), 1)
    assert load.chance[:, 0].tolist() == [1 / 4, 1 / 8]
    assert metrics.expert_counts(trace).sum(1).tolist() == [20, 40]


def test_several_traces_are_one_sample():
    a, b = make_trace(rows=20, seed=1), make_trace(rows=60, seed=2)
    load = metrics.expert_load([a, b], "answer")
    wanted = sum(metrics.expert_counts(trace, trace.rows_in("answer")) for trace in (a, b))
    np.testing.assert_allclose(load.values, wanted / wanted.sum(1, keepdims=True))
    assert load.n == sum(int(trace.rows_in("answer").sum()) for trace in (a, b))
    assert metrics.max_violation([a, a]).values.tolist() == pytest.approx(metrics.max_violation(a).values.tolist())
    with pytest.raises(BadValue, match="different routers"):
        metrics.expert_load([a, make_trace(experts=16)])
    with pytest.raises(BadValue, match="no recordings"):
        metrics.expert_load([])


def test_no_rows_give_no_numbers():
    trace = make_trace(rows=20, thinking=False)
    for statistic in (
        metrics.expert_load(trace, "thinking"),
        metrics.max_violation(trace, "thinking"),
        metrics.load_entropy(trace, "thinking"),
        metrics.gini(trace, "thinking"),
        metrics.gate_weights_by_rank(trace, "thinking"),
    ):
        assert statistic.n == 0 and np.isnan(statistic.values).all(), statistic.name


def test_dense_models_have_no_layers():
    trace = make_trace(layers=0)
    assert metrics.expert_load(trace).values.shape == (0, 0)
    assert metrics.max_violation(trace).values.shape == (0,)


def test_unknown_phase_is_named():
    with pytest.raises(BadValue, match="'dreaming'"):
        metrics.expert_load(make_trace(), "dreaming")


def test_balance_measures_at_their_ends():
    even, one = np.full(8, 1 / 8), np.eye(8)[3]
    assert balance.max_violation(even) == pytest.approx(0) and balance.max_violation(one) == pytest.approx(7)
    assert balance.entropy(even) == pytest.approx(math.log(8)) and balance.entropy(one) == pytest.approx(0)
    assert balance.gini(even) == pytest.approx(0) and balance.gini(one) == pytest.approx(7 / 8)
    load = np.array([0.5, 0.3, 0.2, 0.0])
    pairs = np.abs(load[:, None] - load[None]).mean() / (2 * load.mean())
    assert balance.gini(load) == pytest.approx(pairs)
    assert all(math.isnan(measure(np.zeros(4))) for measure in (balance.max_violation, balance.entropy, balance.gini))


def test_uniform_routing_lies_at_its_chance_level():
    trace = make_trace(rows=400, layers=40, experts=16, top_k=4, skew=0, scores=False)
    for metric in (metrics.max_violation, metrics.load_entropy, metrics.gini):
        statistic = metric(trace)
        spread = statistic.values.std() / math.sqrt(40)
        assert abs(statistic.values.mean() - statistic.chance[0]) < 5 * spread + 1e-3, statistic.name
    preferring = make_trace(rows=400, layers=4, experts=16, top_k=4, skew=1)
    assert (metrics.max_violation(preferring).values > metrics.max_violation(preferring).chance).all()


@pytest.mark.parametrize("measure", [balance.max_violation, balance.entropy, balance.gini])
def test_large_sample_chance_continues_the_exact_one(measure):
    edge = balance._EXACT_CELLS // 512
    exact, drawn = balance.by_chance(measure, edge, 512, 10), balance.by_chance(measure, edge + 1, 512, 10)
    assert exact == pytest.approx(drawn, rel=0.05)
    assert balance.by_chance(measure, 10, 4, 4) == pytest.approx(measure(np.full(4, 0.25)))


def test_gate_weights_by_rank_sort_within_the_token():
    trace = make_trace(rows=50, layers=2, experts=8, top_k=3)
    shuffled = replace(trace, expert_weights=trace.expert_weights[..., ::-1], expert_ids=trace.expert_ids[..., ::-1])
    statistic, again = metrics.gate_weights_by_rank(trace, "answer"), metrics.gate_weights_by_rank(shuffled, "answer")
    np.testing.assert_array_equal(statistic.values, again.values)
    rows = trace.expert_weights[trace.rows_in("answer")].astype(float)
    np.testing.assert_allclose(statistic.values[1, 0, 2], np.median(rows[:, 1].max(-1)), rtol=1e-3)
    np.testing.assert_allclose(statistic.values[1, 2, 4], np.quantile(rows[:, 1].min(-1), 0.95), rtol=1e-3)
    assert statistic.along("rank") == [1, 2, 3]
    np.testing.assert_allclose(statistic.chance, 1 / 3)


def test_gate_weights_of_unused_ranks_are_absent():
    statistic = metrics.gate_weights_by_rank(uneven())
    assert np.isnan(statistic.values[0, 1]).all() and (statistic.values[0, 0] == 1).all()
    assert statistic.chance[:, 0, 0].tolist() == [1.0, 0.5]


def test_gate_weights_of_one_layer_are_those_of_all():
    trace = make_trace(rows=50, layers=3, experts=8, top_k=3, first_layer=4)
    every, one = metrics.gate_weights_by_rank(trace, "answer"), metrics.gate_weights_by_rank(trace, "answer", 5)
    assert one.along("layer") == [5]
    np.testing.assert_array_equal(one.values[0], every.values[1])
    with pytest.raises(BadValue, match="Layer 9"):
        metrics.gate_weights_by_rank(trace, "answer", 9)


def test_absent_weights_are_not_invented():
    assert metrics.gate_weights_by_rank(make_trace(weights=False)) is None


@pytest.mark.parametrize(
    ("layer", "gate"),
    [
        (LayerSpec(0, 64, 8), 1 / 8),
        (LayerSpec(0, 64, 8, "sigmoid", True, 2.5), 2.5 / 8),
        (LayerSpec(0, 64, 8, "topk_softmax", False), 1 / 8),
        (LayerSpec(0, 64, 8, "softmax", False), 1 / 64),
    ],
)
def test_even_gate_follows_the_router(layer, gate):
    assert metrics.even_gate(layer) == pytest.approx(gate)


def test_even_gate_of_plain_sigmoid_is_unknown():
    assert math.isnan(metrics.even_gate(LayerSpec(0, 64, 8, "sigmoid", False)))


def test_long_traces_are_counted_quickly():
    spec, rows = make_spec(48, 128, 8), 32_768
    random = np.random.default_rng(0)
    ids = random.integers(0, 16, (rows, 48, 8), dtype=np.uint8) + np.arange(0, 128, 16, dtype=np.uint8)
    trace = RoutingTrace(
        spec=spec,
        token_ids=np.zeros(rows, np.int32),
        phase=np.full(rows, 2, np.uint8),
        origin=np.full(rows, 2, np.uint8),
        turn=np.zeros(rows, np.uint16),
        pieces=(b"x",) * rows,
        row_start=0,
        step=np.ones(rows, np.uint8),
        expert_ids=ids,
        expert_weights=random.random((rows, 48, 8), dtype=np.float32).astype(np.float16),
    )
    start = time.process_time()
    load = metrics.expert_load(trace)
    metrics.gate_weights_by_rank(trace)
    assert time.process_time() - start < 5
    assert load.n == rows
    assert load.values[47, 5] == np.count_nonzero(ids[:, 47] == 5) / (rows * 8)
