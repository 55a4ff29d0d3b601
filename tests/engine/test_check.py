"""The capture check finds what can go wrong with a capture: each test breaks one in one way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.engine.capture import RoutingCapture
from app.engine.check import CaptureCheck, check_capture
from app.engine.router import find_moe_layers
from tests.tiny_models import tiny_dense, tiny_moe

IDS = list(range(5, 29))


def checked(model, capture=None):
    return check_capture(model, capture or RoutingCapture(find_moe_layers(model)), IDS)


class Faulty(RoutingCapture):
    """A capture whose rows pass through ``fault`` on their way out."""

    fault = staticmethod(lambda rows: rows)

    def drain(self, *args, **options):
        return self.fault(super().drain(*args, **options))


def test_a_faithful_capture_passes():
    result = checked(tiny_moe())
    assert result.ok and result.problems == []
    assert result.layers_captured == 3 and result.rows == 24 and result.ids_match == 1.0
    assert result.weight_sum["min"] == pytest.approx(1, abs=2e-3) == result.weight_sum["max"]
    assert result.causal and result.decode_match == 1.0


def test_bfloat16_and_not_renormalised_pass():
    assert checked(tiny_moe().to(torch.bfloat16)).ok
    result = checked(tiny_moe(norm_topk_prob=False))
    assert result.ok and result.weight_sum["max"] < 1


def test_a_dense_model_is_ok_with_no_layers():
    result = checked(tiny_dense())
    assert result.ok and result.layers_captured == 0


def shift_rows(rows):
    return replace(rows, expert_ids=np.roll(rows.expert_ids, 1, 0), expert_weights=np.roll(rows.expert_weights, 1, 0))


def swap_experts(rows):
    ids = rows.expert_ids.copy()
    ids[:, 1, :][rows.expert_ids[:, 1, :] == 3] = 5
    ids[:, 1, :][rows.expert_ids[:, 1, :] == 5] = 3
    return replace(rows, expert_ids=ids)


def swap_layers(rows):
    return replace(rows, expert_ids=rows.expert_ids[:, ::-1], expert_weights=rows.expert_weights[:, ::-1])


def swap_weights(rows):
    return replace(rows, expert_weights=rows.expert_weights[:, :, ::-1])


def even_weights(rows):
    return replace(rows, expert_weights=np.full_like(rows.expert_weights, 0.25))


def repeat_expert(rows):
    ids = rows.expert_ids.copy()
    ids[:, :, 1] = ids[:, :, 0]
    return replace(rows, expert_ids=ids)


@pytest.mark.parametrize("fault", [shift_rows, swap_experts, swap_layers, swap_weights, even_weights, repeat_expert])
def test_a_faulty_row_is_caught(fault):
    model = tiny_moe()
    capture = Faulty(find_moe_layers(model))
    capture.fault = fault
    result = checked(model, capture)
    assert not result.ok and result.problems


def test_a_missing_layer_is_caught():
    model = tiny_moe()
    layers = find_moe_layers(model)
    capture = RoutingCapture(layers)
    original = capture.install

    def install_without_the_last():
        original()
        capture._handles[-1].remove()

    capture.install = install_without_the_last
    result = checked(model, capture)
    assert not result.ok and "Layer 3" in result.problems[0]


def test_weights_that_were_not_renormalised_as_stated_are_caught():
    model = tiny_moe(norm_topk_prob=False)
    layers = [replace(layer, gating=replace(layer.gating, renormalised=True)) for layer in find_moe_layers(model)]
    result = checked(model, RoutingCapture(layers))
    assert not result.ok and "gate weights differ" in result.problems[0]


def test_an_edit_behind_the_router_is_caught():
    """Experts that run on other weights than the router gave: the output no longer follows from its formula."""
    model = tiny_moe()
    layers = find_moe_layers(model)
    layers[0].experts.register_forward_pre_hook(lambda m, args: (args[0], args[1], args[2] * 1.5))
    assert not checked(model, RoutingCapture(layers)).ok


def test_damaged_weights_are_caught():
    model = tiny_moe()
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    result = checked(model)
    assert not result.ok and "not finite" in result.problems[0]


def edit_after_the_capture(layers):
    """Hooks of an edit that stand behind those of the capture: what is stored is what was there before the edit."""

    def reroute(module, args):
        hidden, ids, weights = args
        return hidden, (ids + 1) % 16, weights

    return [layer.experts.register_forward_pre_hook(reroute) for layer in layers]


def test_figures_that_are_no_numbers_are_none_in_json():
    found = CaptureCheck(weight_sum={"min": float("nan"), "max": 1.0}, score_error=float("inf"))
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["weight_sum"] == {"min": None, "max": 1.0}
    assert found.to_json()["score_error"] is None


def test_capture_before_an_edit_instead_of_after_is_caught():
    model = tiny_moe()
    capture = RoutingCapture(find_moe_layers(model))
    original = capture.install

    def install_then_edit():
        if not capture._handles:
            original()
            edit_after_the_capture(capture.layers)

    capture.install = install_then_edit
    result = checked(model, capture)
    assert not result.ok and any("cannot be rebuilt" in p for p in result.problems)


def test_an_edit_before_the_capture_is_stored_as_executed():
    model = tiny_moe()
    layers = find_moe_layers(model)
    edit_after_the_capture(layers)
    result = checked(model, RoutingCapture(layers))
    assert result.output_error < 0.01  # stored and executed agree …
    assert not result.ok and result.ids_match < 0.9  # … and the check says that the router did not choose this


def test_a_softmax_over_probabilities_is_caught():
    model = tiny_moe()
    for router in [layer.router for layer in find_moe_layers(model)]:
        original = router.forward
        router.forward = lambda hidden, original=original: (torch.softmax((o := original(hidden))[0], -1), *o[1:])
    layers = find_moe_layers(model)
    assert checked(model, RoutingCapture(layers)).ok
    twice = [replace(layer, gating=replace(layer.gating, gives="logits")) for layer in layers]
    result = checked(model, RoutingCapture(twice))
    assert not result.ok and "gate weights differ" in result.problems[0]


def test_ids_recomputed_where_a_tie_was_broken_the_other_way_are_caught():
    """Twin experts tie wherever they are chosen last. An instrument that chooses anew may take the other twin: its row
    is as good by the scores, but it is not what ran."""
    model = tiny_moe(num_experts_per_tok=1)
    layers = find_moe_layers(model)
    with torch.no_grad():
        for layer in layers:
            layer.router.weight[1::2] = layer.router.weight[::2]
    assert checked(model, RoutingCapture(layers)).ok

    class ChoosesAnew(RoutingCapture):
        def drain(self, *args, **options):
            rows = super().drain(*args, **options)
            return replace(rows, expert_ids=rows.expert_ids ^ 1)

    result = checked(model, ChoosesAnew(layers))
    assert result.ties and not result.ok and any("cannot be rebuilt" in p for p in result.problems)


@pytest.mark.parametrize(
    "fault",
    [
        lambda rows: replace(rows, router_scores=np.roll(rows.router_scores, 1, 0)),
        lambda rows: replace(rows, router_scores=_softmax(rows.router_scores)),
        lambda rows: replace(rows, entropy=np.roll(rows.entropy, 1, 0)),
        lambda rows: replace(rows, margin=rows.margin[:, ::-1]),
        lambda rows: replace(rows, top_k_mass=np.ones_like(rows.top_k_mass)),
    ],
    ids=["scores shifted", "softmax twice", "entropy shifted", "margins of other layers", "mass renormalised"],
)
def test_scores_that_are_not_the_routers_are_caught(fault):
    capture = Faulty(find_moe_layers(tiny := tiny_moe()))
    capture.fault = lambda rows: fault(rows) if rows.router_scores is not None else rows
    result = checked(tiny, capture)
    assert not result.ok and any("router scores" in p for p in result.problems)


def _softmax(scores):
    powers = np.exp(scores.astype(np.float32))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float16)
