"""The order of leaves keeps what is alike together."""

from __future__ import annotations

import numpy as np

from analysis.clustering import leaf_order


def test_groups_that_were_mixed_up_stand_together_again():
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(np.arange(5), 8))
    noise = random.normal(0, 0.1, (40, 40))
    similarity = (groups[:, None] == groups) + noise + noise.T
    order = leaf_order(similarity)
    assert sorted(order) == list(range(40))
    assert np.count_nonzero(np.diff(groups[order])) == 4


def test_a_chain_is_put_back_into_its_order():
    places = np.random.default_rng(1).permutation(12)
    order = places[leaf_order(-np.abs(places[:, None] - places).astype(float))]
    assert (np.abs(np.diff(order)) <= 3).all()


def test_none_and_one():
    assert leaf_order(np.zeros((0, 0))).tolist() == [] and leaf_order(np.ones((1, 1))).tolist() == [0]
