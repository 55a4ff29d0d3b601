"""Random counterparts of an edit: as many other experts of the same layers, of about the same load, by a seed."""

from __future__ import annotations

import numpy as np
import pytest

from app.engine.base import RouterEdit
from app.engine.edit_controls import LEAST_COMPARABLE, random_controls
from app.engine.edit_rules import check_edits, touched_experts
from tests.make_traces import make_spec

SPEC = make_spec(layers=3, experts=32, top_k=4, first_layer=2)
LOAD = np.tile(np.linspace(0.1, 0.0, 32), (3, 1)) / np.linspace(0.1, 0.0, 32).sum()


def controls(*edits: RouterEdit, n: int = 3, seed: int = 0):
    return random_controls(edits, SPEC, LOAD, n, seed)


def test_touched_experts_are_those_that_any_edit_names():
    edits = (RouterEdit("mask", (3, 1), layer=2), RouterEdit("boost", (1, 9), amount=2), RouterEdit("top_k", amount=2))
    assert touched_experts(edits, SPEC) == {2: (1, 3, 9), 3: (1, 9), 4: (1, 9)}


def test_the_same_is_done_to_as_many_other_experts_of_the_same_layer():
    edits = (RouterEdit("mask", (3, 17), layer=3), RouterEdit("boost", (5,), layer=4, amount=-1.5))
    for control in controls(*edits):
        mask, boost = control
        assert (mask.kind, mask.layer, len(set(mask.experts))) == ("mask", 3, 2)
        assert (boost.kind, boost.layer, boost.amount, len(boost.experts)) == ("boost", 4, -1.5, 1)
        assert not {3, 17} & set(mask.experts) and boost.experts != (5,)
        check_edits(control, SPEC)


def test_substitutes_are_among_the_nearest_in_load():
    found = {e.experts[0] for (e,) in controls(RouterEdit("ablate", (10,), layer=2), n=LEAST_COMPARABLE)}
    assert len(found) == LEAST_COMPARABLE and max(abs(e - 10) for e in found) <= 3


def test_the_seed_decides_and_the_controls_differ():
    edit = RouterEdit("mask", (0, 8, 16), layer=2)
    first, again, other = controls(edit), controls(edit), controls(edit, seed=1)
    assert first == again != other and len(set(first)) == 3


def test_an_expert_named_twice_has_one_substitute():
    edits = (RouterEdit("force", (4,), layer=2), RouterEdit("boost", (4,), layer=2, amount=1.0))
    for force, boost in controls(*edits):
        assert force.experts == boost.experts != (4,)


def test_an_edit_of_every_layer_becomes_one_a_layer():
    for control in controls(RouterEdit("mask", (7,))):
        assert [e.layer for e in control] == [2, 3, 4] and all(e.experts != (7,) for e in control)


def test_a_change_of_k_alone_has_no_counterpart_and_stays_beside_others():
    assert controls(RouterEdit("top_k", amount=2)) == []
    (k, mask), *_ = controls(RouterEdit("top_k", amount=2), RouterEdit("mask", (1,), layer=2))
    assert k == RouterEdit("top_k", amount=2) and mask.layer == 2


@pytest.mark.parametrize("named", [17, 28])
def test_too_many_experts_leave_no_as_many_others(named: int):
    assert controls(RouterEdit("ablate", tuple(range(named)), layer=3)) == []


def test_fewer_are_given_where_no_more_exist():
    small, load = make_spec(layers=1, experts=3, top_k=1), np.full((1, 3), 1 / 3)
    found = random_controls((RouterEdit("mask", (0,), layer=0),), small, load, 5, 0)
    assert sorted(e.experts for (e,) in found) == [(1,), (2,)]


def test_experts_that_a_layer_does_not_have_are_never_chosen():
    load = LOAD.copy()
    load[0, 4:] = np.nan
    found = random_controls((RouterEdit("mask", (0,), layer=2),), SPEC, load, 3, 0)
    assert {e.experts[0] for (e,) in found} == {1, 2, 3}
