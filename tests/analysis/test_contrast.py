"""The contrast is calibrated: on null data it errs as often as it says, and what is planted is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.contrast import contrast, estimate
from analysis.errors import BadValue
from analysis.group_js import group_divergence
from tests.make_calibration import NULLS, Scene, rates, run_test, simulate

RUNS = 120
BOUND = 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)  # three standard errors of a binomial share above the stated rate


@pytest.mark.parametrize("name", NULLS)
def test_false_positives_are_as_rare_as_stated(name):
    found = rates(NULLS[name], RUNS, permutations=499)
    assert found["family"] <= BOUND and found["discovery"] <= BOUND, found
    assert 0.04 <= found["expert"] <= 0.06 and found["layer"] <= BOUND, found
    assert found["tested"] > 0.3


def test_ignoring_clusters_would_err_far_more_often():
    scene = NULLS["pairs in clusters"]
    assert rates(scene, 40, permutations=499, clusters=False)["family"] > 0.3


@pytest.mark.parametrize("paired", [True, False])
def test_six_thousand_experts_at_once(paired):
    """48 layers of 128 experts: over 8 runs of null data 49,000 tests, none significant but for the stated rate."""
    scene = Scene(prompts=40, layers=48, experts=128, top_k=8, rows=((60, 300), (40, 120)), paired=paired)
    family, small, reported = [], [], []
    for seed in range(8 if paired else 4):
        shares, *_ = simulate(scene, seed)
        test, enough = run_test(shares, 999, seed)
        assert enough.sum() > 3000
        family.append((test.p_family < 0.05).any())
        small.append((test.p[enough] < 0.05).mean())
        reported.append((test.p_family[enough] < 0.05).sum())
    assert sum(family) <= 2 and sum(reported) <= 3
    assert np.mean(small) == pytest.approx(0.05, abs=0.01)


def test_what_is_planted_is_found_and_lies_in_its_interval():
    scene = Scene(prompts=60, planted=2, effect=1.0)
    power, covered, wrong = [], [], []
    for seed in range(10):
        shares, planted, giver = simulate(scene, seed)
        found = contrast(shares, 5000, seed)
        power.append(found.significant[planted & found.tested].mean())
        wrong.append((found.significant & ~planted & ~giver).sum() / max(found.significant.sum(), 1))
        true = simulate(replace(scene, prompts=4000, rows=((400, 401), (400, 401))), seed)[0]
        truth = (true.first - true.second).mean(axis=0)
        inside = (found.low <= truth) & (truth <= found.high)
        covered.append(inside[found.significant].mean())
    assert np.mean(power) > 0.8 and np.mean(wrong) < 0.1 and np.mean(covered) > 0.9


def test_the_difference_changes_sign_with_the_order():
    shares, *_ = simulate(Scene(prompts=20, planted=2, effect=1.0), 0)
    swapped = replace(shares, first=shares.second, second=shares.first, counts=shares.counts[::-1])
    a, b = contrast(shares, 999), contrast(swapped, 999)
    np.testing.assert_allclose(a.difference, -b.difference)
    np.testing.assert_allclose(a.low, -b.high)
    np.testing.assert_array_equal(a.test.p, b.test.p)
    assert (a.low <= a.difference).all() and (a.difference <= a.high).all()


def test_equal_routing_lies_in_the_null_band_though_lengths_differ():
    for paired in (True, False):
        scene = Scene(prompts=30, layers=12, rows=((300, 600), (8, 20)), spread=1000, paired=paired)
        inside = []
        for seed in range(4):
            counts = simulate(scene, seed)[0].counts
            found = group_divergence(*counts, paired, seed=seed)
            inside.append(((found.band[:, 0] <= found.values) & (found.values <= found.band[:, 1])).mean())
        assert np.mean(inside) > 0.8
    planted = simulate(replace(scene, planted=4, effect=2.0, prompts=60), 0)[0]
    found = group_divergence(*planted.counts, False)
    assert (found.values > found.band[:, 1]).mean() > 0.8


def test_the_floor_is_the_divergence_of_a_condition_from_itself():
    scene = Scene(prompts=20, rows=((50, 60), (50, 60)))
    shares, *_ = simulate(scene, 1)
    again, *_ = simulate(scene, 1)
    halves = np.stack([shares.counts[0], again.counts[0]], axis=1)
    found = contrast(replace(shares, halves=(halves, halves[:1])), 999)
    np.testing.assert_allclose(found.floors[0], 0, atol=1e-6)
    assert found.floors[1] is None, "one prompt is no floor"


def test_unequal_clusters_weigh_prompts_alike_in_the_estimate_and_the_test():
    shares, *_ = simulate(Scene(prompts=30, uneven=True, paired=False), 0)
    found = contrast(shares, 999)
    np.testing.assert_allclose(found.difference, shares.first.mean(axis=0) - shares.second.mean(axis=0), atol=1e-12)
    assert found.units == 2 * len(set(shares.clusters[0])) == 16


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_with_clusters_of_unequal_size(paired):
    """A few clusters hold most prompts; counting clusters would make the interval of the mean too narrow."""
    found = rates(Scene(prompts=36, uneven=True, spread=40, paired=paired), 60, permutations=199)
    assert found["interval"] > 0.93 and found["family"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_the_error_is_the_jackknife_and_that_of_the_mean_without_clusters():
    random = np.random.default_rng(0)
    values = random.normal(size=(9, 1, 2))
    shares, *_ = simulate(Scene(prompts=9), 0)
    alone = replace(shares, first=values, second=np.zeros_like(values))
    difference, error, freedom, units = estimate(alone)
    np.testing.assert_allclose(difference, values.mean(axis=0))
    np.testing.assert_allclose(error, values.std(axis=0, ddof=1) / 3)
    assert (freedom == 8).all() and units == 9
    names = list("aaaabbccd")
    _, error, freedom, units = estimate(replace(alone, clusters=(names, names)))
    left = [values[[n != c for n in names]].mean(axis=0) for c in "abcd"]
    np.testing.assert_allclose(error**2, 3 / 4 * ((np.array(left) - values.mean(axis=0)) ** 2).sum(axis=0))
    assert (freedom == 25**2 / (256 + 16 + 16 + 1) - 1).all() and units == 4


def test_a_layer_without_selections_is_unknown_and_spoils_no_other():
    counts = simulate(Scene(prompts=6, paired=False), 0)[0].counts
    empty = counts[0].copy()
    empty[0, 0] = 0
    found = group_divergence(empty, counts[1], False)
    assert np.isfinite(found.values).all() and np.isfinite(found.band).all(), "one prompt without a layer"
    empty[:, 0] = 0
    found = group_divergence(empty, counts[1], False)
    assert np.isnan(found.values[0]) and np.isfinite(found.values[1])


def test_mistakes_are_named():
    shares, *_ = simulate(Scene(prompts=6), 0)
    for wrong in (0, 99, 10**9):
        with pytest.raises(BadValue, match="--permutations must be from 100"):
            contrast(shares, wrong)
    with pytest.raises(BadValue, match="There is 1 cluster"):
        contrast(replace(shares, clusters=(["same"] * 6, ["same"] * 6)), 999)
