"""What each expert gives, measured: on every kind of experts, and equal to what the block really adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis import storage
from analysis.output_metrics import contributions, saliency, super_experts
from analysis.trace import Step
from app.engine.base import RouterEdit
from app.engine.capture import RoutingCapture
from app.engine.expert_outputs import OutputsCapture, outputs_of
from app.engine.local import LocalEngine
from app.engine.router import find_moe_layers
from tests.families import tiny_family
from tests.tiny_models import tiny_moe, tokenizer

IDS = torch.arange(5, 25)[None]


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe", "gpt_oss", "glm4_moe", "llama4_text", "phimoe"])
def test_the_experts_outputs_add_up_to_what_the_experts_module_gives(family):
    model = tiny_family(family)
    layers = find_moe_layers(model)
    layer, seen = layers[-1], []
    handle = layer.experts.register_forward_hook(lambda m, args, output: seen.append((args, output.clone())))
    hidden: list[torch.Tensor] = []
    other = layer.router.register_forward_pre_hook(
        lambda m, args: hidden.append(args[0].reshape(-1, args[0].shape[-1]))
    )
    with torch.no_grad(), RoutingCapture(layers, 64) as capture, OutputsCapture(layers) as outputs:
        model(input_ids=IDS, use_cache=False)
        rows, _ = capture.drain(20, 0, Step.PREFILL)
        arrays = outputs.drain()
    handle.remove(), other.remove()
    (args, output), ids = seen[0], torch.as_tensor(rows.expert_ids[:, -1].astype(np.int64))
    tokens = args[0] if layer.call else hidden[0]
    weights = torch.as_tensor(rows.expert_weights[:, -1].astype(np.float32))
    given = outputs_of(layer, tokens, ids, weights)
    whole = output if layer.call else output.reshape(8, 20, -1).sum(0)
    torch.testing.assert_close(given.sum(1), whole.reshape(20, -1), atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(arrays["contribution"][:, -1], given.norm(dim=-1), rtol=5e-3, atol=1e-5)
    assert ("shared_gate" in arrays) == (family == "qwen2_moe")
    if family == "qwen2_moe":
        assert ((arrays["shared_gate"] > 0) & (arrays["shared_gate"] < 1)).all()


def test_measuring_changes_nothing_else_and_is_kept_in_the_file(tmp_path):
    engine = LocalEngine(tiny_moe(), tokenizer())
    plain = engine.run_forced("What is 2 + 2?")
    trace = engine.run_forced("What is 2 + 2?", expert_outputs=True)
    assert plain.contribution is None
    for name in ("expert_ids", "expert_weights", "entropy"):
        assert np.array_equal(getattr(plain, name), getattr(trace, name))
    kept = storage.load(storage.save(trace, tmp_path / "t.safetensors"))
    assert np.array_equal(kept.contribution, trace.contribution)
    assert np.array_equal(kept.output_max, trace.output_max)
    generated = engine.run("hello", expert_outputs=True, seed=1)
    assert generated.contribution.shape == generated.expert_ids.shape


def test_an_ablated_expert_contributes_nothing_and_its_output_is_still_known():
    engine = LocalEngine(tiny_moe(), tokenizer())
    edits = (RouterEdit("ablate", tuple(range(8))),)
    trace = engine.run_forced("What is 2 + 2?", edits=edits, expert_outputs=True)
    gone = trace.expert_ids < 8
    assert gone.any() and (trace.contribution[gone] == 0).all() and (trace.output_max[gone] > 0).all()


def test_saliency_maxima_and_contributions_follow_their_definitions():
    trace = LocalEngine(tiny_moe(), tokenizer()).run_forced("What is 538 + 274?", expert_outputs=True)
    table, largest = saliency(trace), super_experts(trace)
    for position, expert in ((0, 3), (2, 7)):
        used = trace.expert_ids[:, position] == expert
        if used.any():
            np.testing.assert_allclose(
                table.values[position, expert], trace.contribution[:, position][used].mean(), rtol=1e-5
            )
            assert largest.values[position, expert] == pytest.approx(trace.output_max[:, position][used].max())
        else:
            assert np.isnan(table.values[position, expert])
    token = contributions(trace, 3)
    assert np.allclose(np.nansum(token.values, -1), 1)
    assert saliency(LocalEngine(tiny_moe(), tokenizer()).run_forced("x y")) is None
