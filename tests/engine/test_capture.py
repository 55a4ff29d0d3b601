"""The instrument on random tiny models: what it stores is what was executed, and it changes nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

from analysis.errors import CaptureError
from analysis.trace import Step
from app.engine.capture import RoutingCapture, capture_routing
from app.engine.router import find_moe_layers
from tests.families import known, tiny_family
from tests.tiny_models import tiny_dense, tiny_moe

IDS = torch.arange(3, 15).unsqueeze(0)


def run(model, ids=IDS, layers=None, **options):
    with torch.no_grad(), RoutingCapture(layers or find_moe_layers(model)) as capture:
        logits = model(ids).logits
        rows = capture.drain(ids.shape[1], 0, Step.PREFILL, **options)
    return logits, rows


def test_hooks_on_is_bit_identical_to_hooks_off():
    model = tiny_moe()
    with torch.no_grad():
        before = model(IDS).logits
    during, _ = run(model)
    with torch.no_grad():
        after = model(IDS).logits
    assert torch.equal(before, during) and torch.equal(before, after)


def test_hooks_are_gone_after_the_block_even_after_an_error():
    model = tiny_moe()
    with pytest.raises(ZeroDivisionError), capture_routing(model):
        raise ZeroDivisionError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_rows_are_the_layers_own_numbers_and_what_the_experts_were_called_with():
    model = tiny_moe()
    called = []
    layers = find_moe_layers(model)
    for layer in layers:
        layer.experts.register_forward_pre_hook(lambda m, args: called.append((args[1].clone(), args[2].clone())))
    _, rows = run(model, layers=layers)
    assert [layer.spec.layer for layer in layers] == [0, 2, 3]
    assert rows.expert_ids.dtype == np.uint8 and rows.expert_ids.shape == (12, 3, 4)
    for position, (ids, weights) in enumerate(called):
        assert np.array_equal(rows.expert_ids[:, position], ids.numpy())
        assert np.array_equal(rows.expert_weights[:, position], weights.half().numpy())


def test_entropy_margin_mass_and_scores_follow_from_the_router_logits():
    model = tiny_moe()
    seen = []
    layers = find_moe_layers(model)
    for layer in layers:
        layer.router.register_forward_hook(lambda m, args, output: seen.append(output[0].double()))
    _, rows = run(model, layers=layers, router_scores=True)
    for position, logits in enumerate(seen):
        p = torch.softmax(logits, -1).numpy()
        top = np.sort(p, -1)[:, ::-1]
        np.testing.assert_allclose(rows.entropy[:, position], -(p * np.log(p)).sum(-1), rtol=1e-4)
        np.testing.assert_allclose(rows.margin[:, position], top[:, 3] - top[:, 4], atol=1e-6)
        np.testing.assert_allclose(rows.top_k_mass[:, position], top[:, :4].sum(-1), rtol=1e-5)
        np.testing.assert_allclose(rows.router_scores[:, position], p, atol=1e-3)


@pytest.mark.parametrize("family", known(["deepseek_v2", "deepseek_v3"]))
def test_the_margin_is_to_the_best_expert_that_its_groups_allow(family):
    """Two groups of four experts, one of which is used: the best expert of the other could not have been chosen."""
    model = tiny_family(family)
    seen, layers = [], find_moe_layers(model)
    for layer in layers:
        layer.router.register_forward_hook(lambda m, args, output, layer=layer: seen.append(layer.scores(output)))
    _, rows = run(model, layers=layers)
    assert (rows.margin >= 0).all()
    for position, (layer, given) in enumerate(zip(layers, seen, strict=True)):
        ranked = layer.gating.ranked(layer.gating.logits(given)).numpy()
        for row, ids in zip(range(len(ranked)), rows.expert_ids[:, position].tolist(), strict=True):
            others = [e for e in range(8) if e // 4 == ids[0] // 4 and e not in ids]
            assert rows.margin[row, position] == pytest.approx(
                ranked[row, ids].min() - ranked[row, others].max(), abs=1e-6
            )


def test_where_a_tie_was_broken_the_executed_id_is_stored():
    """Two experts with the same router weights tie on every token; which one runs is the router's business."""
    model = tiny_moe(num_experts_per_tok=1)
    layer = find_moe_layers(model)[0]
    with torch.no_grad():
        layer.router.weight[0] *= 10
        layer.router.weight[1] = layer.router.weight[0]
    swap = {0: 1, 1: 0}

    def break_ties_the_other_way(module, args, output):
        logits, weights, ids = output
        only_one = (ids <= 1).sum(-1, keepdim=True) == 1
        return logits, weights, torch.where(only_one & (ids <= 1), 1 - ids, ids)

    _, usual = run(model)
    with torch.no_grad(), capture_routing(model) as capture:
        layer.router.register_forward_hook(break_ties_the_other_way)
        model(IDS)
        rows = capture.drain(12, 0, Step.PREFILL)
    ties = [
        (set(usual.expert_ids[t, 0]), set(rows.expert_ids[t, 0]))
        for t in range(12)
        if len({0, 1} & set(usual.expert_ids[t, 0].tolist())) == 1
    ]
    assert ties, "the construction must produce ties at the k-th place"
    for before, after in ties:
        assert {swap.get(int(e), int(e)) for e in before} == {int(e) for e in after}


class CountOps(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_hooks_compute_nothing_and_one_copy_leaves_the_device(monkeypatch):
    """No reading of a value (``item``), no allocation, no copy a layer; all of that waits until the pass is over."""
    model = tiny_moe()
    moved = []
    with torch.no_grad():
        with CountOps() as without:
            model(IDS)
        with capture_routing(model) as capture:
            with CountOps() as during:
                model(IDS)
            here = capture.drain(12, 0, Step.PREFILL)
            model(IDS)
            cpu = torch.Tensor.cpu
            monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(tuple(self.shape)) or cpu(self))
            capture._places = {torch.device("cuda"): [0, 1, 2]}  # as if the layers were elsewhere
            there = capture.drain(12, 0, Step.PREFILL)
    assert set(during.ops - without.ops) <= {"view", "alias"}
    assert moved == [(12, 3, 4 + 4 + 16)]
    assert np.array_equal(here.expert_ids, there.expert_ids) and np.array_equal(here.entropy, there.entropy)


def test_passes_read_together_are_those_read_one_by_one():
    model = tiny_moe()
    with torch.no_grad(), capture_routing(model) as capture:
        apart, passes = [], []
        for start in range(8):
            for kept in (apart, passes):
                model(IDS[:, start : start + 1])
                kept.append(capture.drain(1, start, Step.DECODE) if kept is apart else capture.take(1))
        together = capture.rows_of(passes, 0, Step.DECODE)
    for name in ("expert_ids", "expert_weights", "entropy", "margin", "top_k_mass"):
        np.testing.assert_allclose(
            getattr(together, name), np.concatenate([getattr(r, name) for r in apart]), rtol=1e-6
        )


def test_a_layer_that_is_not_seen_is_an_error_not_a_hole():
    model = tiny_moe()
    with torch.no_grad(), capture_routing(model) as capture:
        capture._handles[-1].remove()
        model(IDS)
        with pytest.raises(CaptureError, match="Layer 3 showed 0 routing rows for 12 tokens"):
            capture.drain(12, 0, Step.PREFILL)
        model(IDS)
        with pytest.raises(CaptureError, match="for 11 tokens"):
            capture.drain(11, 0, Step.PREFILL)


def test_dense_model_gives_rows_without_layers():
    _, rows = run(tiny_dense())
    assert rows.expert_ids.shape == (12, 0, 0) and rows.entropy.shape == (12, 0)


SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize(
    ("build", "experts", "renormalised", "shared"),
    [
        (lambda: tiny_moe(norm_topk_prob=False), 16, False, 0),
        (lambda: tiny_moe(num_experts=300), 300, True, 0),
        (lambda: OlmoeForCausalLM(OlmoeConfig(**SIZES, num_experts=8)), 8, False, 0),
        (lambda: MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=8)), 8, True, 0),
        (
            lambda: Qwen2MoeForCausalLM(
                Qwen2MoeConfig(**SIZES, num_experts=8, moe_intermediate_size=16, shared_expert_intermediate_size=16)
            ),
            8,
            False,
            1,
        ),
    ],
)
def test_what_a_router_computes_is_found_by_asking_it(build, experts, renormalised, shared):
    torch.manual_seed(0)
    model = build().eval()
    for layer in find_moe_layers(model):
        torch.nn.init.normal_(layer.router.weight)
    spec = find_moe_layers(model)[-1].spec
    assert (spec.num_experts, spec.renormalised, spec.shared_experts) == (experts, renormalised, shared)
    _, rows = run(model, IDS % 60)
    assert rows.expert_ids.dtype == (np.uint16 if experts > 255 else np.uint8)
    assert rows.expert_ids.max() < experts


@pytest.mark.parametrize(
    "change",
    [
        lambda logits, weights, ids: (logits, torch.sigmoid(weights * 9), ids),
        lambda logits, weights, ids: (logits, weights, (ids + 1) % 16),
        lambda logits, weights, ids: (logits * logits, weights, ids),
    ],
    ids=["another formula", "another choice", "other scores"],
)
def test_a_router_that_is_not_understood_is_refused(change):
    model = tiny_moe()
    router = find_moe_layers(model)[0].router
    original = router.forward
    router.forward = lambda hidden: change(*original(hidden))
    with pytest.raises(CaptureError, match="not understood"):
        find_moe_layers(model)


def test_probabilities_under_the_name_of_logits_are_not_put_through_a_second_softmax():
    model = tiny_moe()
    _, usual = run(model, router_scores=True)
    for router in [layer.router for layer in find_moe_layers(model)]:
        original = router.forward
        router.forward = lambda hidden, original=original: (
            torch.softmax((out := original(hidden))[0], -1),
            *out[1:],
        )
    assert {layer.gating.gives for layer in find_moe_layers(model)} == {"probabilities"}
    _, rows = run(model, router_scores=True)
    np.testing.assert_allclose(rows.entropy, usual.entropy, rtol=1e-4)
    np.testing.assert_allclose(rows.router_scores, usual.router_scores, atol=1e-3)
