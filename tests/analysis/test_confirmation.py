"""Discovery on one half of the prompts, confirmation on the other: what is planted is confirmed, chance is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from analysis.confirmation import confirm, split
from analysis.contrast import permute
from analysis.errors import BadValue
from analysis.recordings import Plan, Unit
from analysis.shares import measure
from tests.make_controls import Texts, opener, write_texts

PAIRS = Texts(prompts=(40, 40), words=0, paired=True, planted=2, effect=1.0)


def confirmed(scene, seed, clusters=None):
    plan, texts, planted = write_texts(scene, seed)
    if clusters:
        plan = replace(plan, units=tuple(replace(u, cluster=c) for u, c in zip(plan.units, clusters, strict=True)))
    return confirm(plan, partial(measure, opened=opener(texts)), 1999, seed), planted


def test_what_is_planted_is_confirmed():
    for scene in (PAIRS, replace(PAIRS, paired=False), replace(PAIRS, paired=False, prompts=(40, 30))):
        power = []
        for seed in range(3):
            found, planted = confirmed(scene, seed)
            power.append(found.confirmed[planted].mean())
            assert not (found.confirmed & ~found.discovered).any()
            assert (np.sign(found.difference) == np.sign(found.discovery_difference))[found.confirmed].all()
            assert ((found.low <= found.difference) & (found.difference <= found.high)).all()
        assert np.mean(power) > 0.6


def test_of_chance_discoveries_hardly_any_is_confirmed():
    """Everything at all unlike is called a discovery; the second half, which had no part in it, is a fair test."""
    p = []
    for seed in range(30):
        plan, texts, _ = write_texts(replace(PAIRS, planted=0), seed)
        first, second = (measure(half, opened=opener(texts)) for half in split(plan, seed))
        ok = np.ones(first.first.shape[1:], bool)
        one, two = permute(first, ok, 499, seed), permute(second, ok, 499, seed)
        chosen = one.p < 0.1
        p += np.where(np.sign(one.rho) == np.sign(two.rho), two.p / 2, 1 - two.p / 2)[chosen].tolist()
    assert len(p) > 60 and np.mean(np.array(p) < 0.05) < 0.12 and np.mean(p) == pytest.approx(0.5, abs=0.12)


def test_the_one_sided_p_is_half_only_where_permutations_mirror_each_other():
    found, _ = confirmed(PAIRS, 0)
    again = permute(found.halves[1], found.tested_again, 1999, 0)
    here = found.tested_again & (np.sign(found.difference) == np.sign(found.discovery_difference))
    np.testing.assert_array_equal(found.p[here], again.p[here] / 2)
    assert found.smallest_p[1] == again.smallest_p / 2
    found, _ = confirmed(replace(PAIRS, paired=False, prompts=(40, 30)), 0)
    again = permute(found.halves[1], found.tested_again, 1999, 0)
    here = found.tested_again & (np.sign(found.difference) == np.sign(found.discovery_difference))
    assert here.any()
    np.testing.assert_array_equal(found.p[here], again.p[here])


def units(names, paired=True):
    side = ("entry",)
    return tuple(
        Unit(str(i), c, (side, side) if paired else ((side, ()) if i % 2 else ((), side))) for i, c in enumerate(names)
    )


def test_halves_are_disjoint_whole_and_seeded():
    plan = Plan(("a", "b"), ("all", "all"), units([""] * 21), True)
    first, second = split(plan, 3)
    assert len(first.units) == 11 and len(second.units) == 10
    assert {u.key for u in first.units + second.units} == {u.key for u in plan.units}
    assert split(plan, 3) == (first, second) != split(plan, 4)


def test_clusters_stay_together_and_each_side_is_halved():
    clustered = Plan(("a", "b"), ("all", "all"), units([str(i // 5) for i in range(30)]), True)
    first, second = split(clustered, 0)
    assert not {u.cluster for u in first.units} & {u.cluster for u in second.units} and len(first.units) == 15
    apart = Plan(("a", "b"), ("all", "all"), units([""] * 20, paired=False), False)
    for half in split(apart, 0):
        assert [sum(bool(u.sides[side]) for u in half.units) for side in range(2)] == [5, 5]


@pytest.mark.parametrize(
    ("names", "paired", "message"),
    [
        ([""] * 3, True, "--confirm needs at least 4 prompts, 2 for each half; there are 3"),
        (list("aabbcc"), True, "--confirm needs at least 4 clusters, 2 for each half; there are 3"),
        ([""] * 7, False, "--confirm needs at least 4 prompts on each side, 2 for each half; there are 3"),
    ],
)
def test_too_few_for_two_halves_is_one_sentence(names, paired, message):
    with pytest.raises(BadValue, match=message):
        split(Plan(("a", "b"), ("all", "all"), units(names, paired), paired), 0)


def test_a_half_that_cannot_be_measured_is_named():
    plan, texts, _ = write_texts(replace(PAIRS, prompts=(4, 4)), 0)
    short = dict(texts)
    for path in list(short)[:4]:
        short[path].token_ids, short[path].expert_ids = short[path].token_ids[:2], short[path].expert_ids[:2]
    with pytest.raises(BadValue, match=r"--confirm, discovery half: 0 prompts have at least 4 tokens"):
        confirm(plan, partial(measure, opened=opener(short)), 999)


def test_halves_too_small_to_show_anything_say_so():
    found, _ = confirmed(replace(PAIRS, prompts=(8, 8)), 0)
    assert found.smallest_p[0] == 2.0**-3 and not found.reachable[0] and not found.discovered.any()
