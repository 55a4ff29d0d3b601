"""Counts alone: the figures published for OLMoE, and that traces go the same way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from analysis import counts, metrics
from analysis.errors import BadValue
from tests.analysis.routing import random_trace, sets_of, small_traces

# Published with OLMoE (allenai/OLMoE, Apache-2.0); the file says so itself.
OLMOE = json.loads((Path(__file__).parents[1] / "data" / "olmoe_expert_counts.json").read_text(encoding="utf-8"))
DOMAINS = {domain: np.array(list(layers.values())) for domain, layers in OLMOE["counts"].items()}
LAYERS = [0, 7, 15]


def test_published_figures_of_olmoe():
    violation = {d: counts.max_violation(table, 8, LAYERS).values[0] for d, table in DOMAINS.items()}
    assert violation["arxiv"] == pytest.approx(6.81, abs=0.005)
    assert violation["c4"] == pytest.approx(2.02, abs=0.005)
    special = counts.domain_specialization(DOMAINS, 8, LAYERS)
    at = special.along("domain").index
    assert special.values[at("arxiv"), 0, 0] == pytest.approx(0.977, abs=0.0005)
    assert special.values[at("github"), 0, 21] == pytest.approx(0.626, abs=0.0005)
    assert special.along("layer") == LAYERS and (special.chance == 0.125).all() and special.n == 208_896
    np.testing.assert_allclose(special.values.sum(-1), 8)


def test_counts_at_known_points():
    table = np.array([[4, 0, 0, 0, np.nan], [1, 1, 1, 1, 0]])
    load = counts.load(table, 1, [3, 4])
    np.testing.assert_array_equal(load.values, [[1, 0, 0, 0, np.nan], [0.25] * 4 + [0]])
    assert load.n == 4 and load.chance[:, 0].tolist() == [0.25, 0.2] and load.along("layer") == [3, 4]
    assert counts.max_violation(table, 1).values.tolist() == pytest.approx([3, 0.25])
    assert counts.balance_of("coefficient of variation", table, 1).values[0] == pytest.approx(math.sqrt(3))
    assert counts.balance_of("load entropy", table, 1).values.tolist() == pytest.approx([0, math.log(4)])
    special = counts.domain_specialization({"a": table, "b": np.zeros((2, 5))}, 1)
    assert special.values[0, 1, 0] == 0.25 and np.isnan(special.values[1]).all() and special.n == 0
    fewer = counts.domain_specialization({"a": table}, 1, tokens=[8])
    assert fewer.values[0, 1, 0] == 0.125 and fewer.n == 8
    stacked = counts.domain_specialization(np.stack([table, table]), 1)
    assert stacked.values.shape == (2, 2, 5) and stacked.along("domain") == [0, 1]


def test_nothing_counted_gives_no_numbers():
    assert np.isnan(counts.load(np.zeros((2, 4)), 2).values).all()
    assert np.isnan(counts.max_violation(np.zeros((2, 4)), 2).values).all()
    assert counts.load(np.zeros((0, 0)), []).values.shape == (0, 0)


def test_what_is_no_count_is_refused():
    with pytest.raises(BadValue, match="not negative"):
        counts.load(np.array([[1, -1]]), 1)
    with pytest.raises(BadValue, match="layer, expert"):
        counts.load(np.ones(3), 1)
    with pytest.raises(BadValue, match="one shape"):
        counts.domain_specialization({"a": np.ones((1, 2)), "b": np.ones((1, 3))}, 1)
    with pytest.raises(BadValue, match="at least one domain"):
        counts.domain_specialization({}, 1)
    with pytest.raises(BadValue, match="1 domains but 2"):
        counts.domain_specialization({"a": np.ones((1, 2))}, 1, tokens=[1, 2])
    with pytest.raises(BadValue, match="choose from maximal violation"):
        counts.balance_of("fairness", np.ones((1, 2)), 1)


@given(small_traces())
def test_traces_go_the_same_way(trace):
    load, variation = metrics.expert_load(trace, "thinking"), metrics.load_variation(trace, "thinking")
    for layer, spec in enumerate(trace.spec.layers):
        used = [expert for row in sets_of(trace, layer, "thinking") for expert in row]
        plain = [used.count(expert) for expert in range(spec.num_experts)]
        if used:
            assert load.values[layer, : spec.num_experts].tolist() == pytest.approx([c / len(used) for c in plain])
            mean = sum(plain) / len(plain)
            spread = math.sqrt(sum((c - mean) ** 2 for c in plain) / len(plain))
            assert variation.values[layer] == pytest.approx(spread / mean)
        else:
            assert math.isnan(variation.values[layer])


def test_random_routing_varies_as_chance_says():
    variation = metrics.load_variation(random_trace(500, 20, 16, 4))
    assert variation.values.mean() == pytest.approx(variation.chance[0], rel=0.1)
