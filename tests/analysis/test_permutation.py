"""Permutation tests against a slow, plain computation, and the corrections for many tests at known points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis import multiple
from analysis.permutation import label_permutations, sign_flips


def paired_t(d):
    with np.errstate(all="ignore"):
        return d.mean(axis=0) / (d.std(axis=0, ddof=1) / np.sqrt(len(d)))


def welch_t(a, b):
    return (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))


def plain(observed, permuted):
    """p, max-T p by counting, from t values (M,) and (B, M)."""
    enough = np.abs(permuted) >= np.abs(observed) * (1 - 1e-4)
    largest = np.abs(permuted).max(axis=1)
    return enough.mean(axis=0), (largest[:, None] >= np.abs(observed) * (1 - 1e-4)).mean(axis=0)


def test_exact_flips_are_those_of_a_plain_loop():
    d = np.random.default_rng(1).normal(0.3, 1, (8, 2, 5))
    test = sign_flips(d, np.ones((2, 5), bool), 1000)
    flat = d.reshape(8, -1)
    every = np.array([paired_t(flat * np.array(s)[:, None]) for s in itertools.product((1, -1), repeat=8)])
    p, family = plain(paired_t(flat), every)
    np.testing.assert_allclose(test.p.ravel(), p)
    np.testing.assert_allclose(test.p_family.ravel(), family)
    assert test.exact and test.permutations == 128 and test.smallest_p == 2 / 256
    t = paired_t(flat)
    np.testing.assert_allclose(test.rho.ravel(), t / np.sqrt(t**2 + 7))


def test_exact_labels_are_those_of_a_plain_loop():
    x = np.random.default_rng(2).normal(size=(9, 2, 4))
    x[:4] += 0.8
    test = label_permutations(x, 4, np.ones((2, 4), bool), 1000)
    flat = x.reshape(9, -1)
    every = []
    for chosen in itertools.combinations(range(9), 4):
        inside = np.isin(np.arange(9), chosen)
        every.append(welch_t(flat[inside], flat[~inside]))
    p, family = plain(welch_t(flat[:4], flat[4:]), np.array(every))
    np.testing.assert_allclose(test.p.ravel(), p)
    np.testing.assert_allclose(test.p_family.ravel(), family)
    assert test.exact and test.permutations == 126 and test.smallest_p == 1 / 126


def test_drawn_permutations_approach_the_exact_ones_and_repeat():
    d = np.random.default_rng(3).normal(0.2, 1, (15, 1, 6))
    ok = np.ones((1, 6), bool)
    exact, drawn = sign_flips(d, ok, 2**14), sign_flips(d, ok, 2**14 - 1, seed=4)
    assert exact.exact and not drawn.exact and drawn.smallest_p == 2.0**-14
    np.testing.assert_allclose(drawn.p, exact.p, atol=0.02)
    np.testing.assert_array_equal(drawn.p, sign_flips(d, ok, 2**14 - 1, seed=4).p)


def test_the_smallest_attainable_p():
    d = np.ones((5, 1, 3)) + np.random.default_rng(0).normal(0, 0.01, (5, 1, 3))
    test = sign_flips(d, np.ones((1, 3), bool), 100_000)
    assert test.smallest_p == 0.0625 and (test.p == 0.0625).all()
    assert multiple.fewest_visible(1 / 1001, 6144) == 123
    assert multiple.fewest_visible(2**-7, 384) == 61, "sixty would reach q = 0.05, which is not below it"
    assert multiple.fewest_visible(1 / 100_001, 6144) == 2
    assert multiple.fewest_visible(0.0625, 6144) > 6144, "five pairs can never show anything"


def test_what_is_not_tested_or_does_not_vary_is_never_small():
    d = np.random.default_rng(0).normal(2, 0.1, (12, 2, 3))
    d[:, 0, 0] = 0
    ok = np.ones((2, 3), bool)
    ok[1, 2] = False
    for test in (sign_flips(d, ok, 1000), label_permutations(d, 6, ok, 1000)):
        assert test.p[0, 0] == test.p[1, 2] == test.p_family[1, 2] == 1
    assert (sign_flips(d, ok, 10_000).p[0, 1:] < 0.001).all()


def test_benjamini_hochberg_and_holm_at_known_points():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(multiple.benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(multiple.holm(p), [0.03, 0.06, 0.06, 0.02])
    assert multiple.benjamini_hochberg(np.array([])).size == 0


@pytest.mark.parametrize(
    ("level", "freedom", "expected"),
    [(0.95, 1, 12.7062), (0.95, 10, 2.22814), (0.99, 2, 9.92484), (0.999, 30, 3.6460), (0.95, 1000, 1.96234)],
)
def test_t_quantiles_are_those_of_the_tables(level, freedom, expected):
    assert multiple.t_quantile(level, freedom) == pytest.approx(expected, rel=1e-4)


def test_intervals_of_the_selected_are_wider():
    assert multiple.fcr_level(10, 100) == pytest.approx(0.995)
    assert multiple.fcr_level(100, 100) == pytest.approx(0.95)
    assert multiple.fcr_level(0, 100) == multiple.fcr_level(1, 100)
