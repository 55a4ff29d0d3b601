"""The same text in every situation a model may be run in gives the same rows, and the capture check holds in each."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from transformers import StaticCache

from analysis.trace import Step
from app.engine import capture as capture_module
from app.engine.capture import RoutingCapture
from app.engine.check import check_capture
from app.engine.models import ModelCache, cache_argument
from app.engine.router import find_moe_layers
from tests.families import tiny_family
from tests.tiny_models import tiny_moe

TEXT = list(range(5, 45))


def alone(model, layers, text=TEXT):
    with torch.no_grad(), RoutingCapture(layers) as capture:
        model(input_ids=torch.tensor([text]), use_cache=False)
        return capture.drain(len(text), 0, Step.PREFILL)


def same(a, b):
    """Fraction of ids of ``a`` that the same row and layer of ``b`` has too."""
    return float((a.expert_ids[..., :, None] == b.expert_ids[..., None, :]).any(-1).mean())


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_in_a_batch_is_nobodys_row(side):
    model = tiny_moe()
    layers = find_moe_layers(model)
    texts = [TEXT[:13], TEXT[3:40], TEXT[7:8]]
    width = max(map(len, texts))
    ids, mask = torch.zeros(3, width, dtype=torch.int64), torch.zeros(3, width, dtype=torch.bool)
    for row, text in enumerate(texts):
        at = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[row, at], mask[row, at] = torch.tensor(text), True
    with torch.no_grad(), RoutingCapture(layers) as capture:
        model(input_ids=ids, attention_mask=mask.long(), position_ids=(mask.cumsum(-1) - 1).clamp_min(0))
        batch = capture.drain_batch(mask, [0, 5, 9], Step.PREFILL)
    assert [rows.start for rows in batch] == [0, 5, 9]
    for text, rows in zip(texts, batch, strict=True):
        wanted = alone(model, layers, text)
        assert len(rows) == len(text) and same(rows, wanted) >= 0.999
        np.testing.assert_allclose(rows.entropy, wanted.entropy, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 39])
def test_chunks_of_prefill_are_the_whole(chunk):
    model = tiny_moe()
    layers = find_moe_layers(model)
    parts = []
    with torch.no_grad(), RoutingCapture(layers) as capture:
        cache = ModelCache(model)
        for start in range(0, len(TEXT), chunk):
            piece = TEXT[start : start + chunk]
            cache.forward(torch.tensor([piece]))
            parts.append(capture.drain(len(piece), start, Step.PREFILL).expert_ids)
    assert np.array_equal(np.concatenate(parts), alone(model, layers).expert_ids)


def test_a_static_cache_gives_the_rows_of_a_growing_one():
    model = tiny_moe()
    layers = find_moe_layers(model)
    cache = {cache_argument(model): StaticCache(config=model.config, max_cache_len=128)}
    parts = []
    with torch.no_grad(), RoutingCapture(layers) as capture:
        for piece, start in ((TEXT[:30], 0), *(([t], 30 + i) for i, t in enumerate(TEXT[30:]))):
            model(input_ids=torch.tensor([piece]), use_cache=True, **cache)
            parts.append(capture.drain(len(piece), start, Step.PREFILL).expert_ids)
    assert np.array_equal(np.concatenate(parts), alone(model, layers).expert_ids)


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe", "glm4_moe", "gpt_oss"])
@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_weights_kept_elsewhere_until_they_are_needed(family, where, tmp_path):
    model = tiny_family(family)
    plain = alone(model, find_moe_layers(model))
    if where == "cpu":
        model = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    else:
        model = disk_offload(copy.deepcopy(model), str(tmp_path), execution_device=torch.device("cpu"))
    assert next(model.parameters()).device.type == "meta"
    layers = find_moe_layers(model)
    assert [layer.spec for layer in layers] == [layer.spec for layer in find_moe_layers(tiny_family(family))]
    assert np.array_equal(alone(model, layers).expert_ids, plain.expert_ids)
    result = check_capture(model, RoutingCapture(layers), TEXT)
    assert result.ok, result.problems


def test_layers_on_several_devices_come_out_in_order(monkeypatch):
    model = tiny_moe()
    layers = find_moe_layers(model)
    plain = alone(model, layers)
    devices = iter([torch.device("cpu", 0), torch.device("cpu"), torch.device("cpu", 0)])
    monkeypatch.setattr(capture_module, "device_of", lambda layer: next(devices))
    with torch.no_grad(), RoutingCapture(layers) as capture:
        model(input_ids=torch.tensor([TEXT]), use_cache=False)
        rows = capture.drain(40, 0, Step.PREFILL)
    assert len(capture._places) == 2
    assert np.array_equal(rows.expert_ids, plain.expert_ids)
    assert np.array_equal(rows.entropy, plain.entropy)


def test_ties_in_bfloat16_are_counted_apart_and_the_executed_expert_is_kept():
    model = tiny_moe().to(torch.bfloat16)
    layers = find_moe_layers(model)
    with torch.no_grad():
        for layer in layers:  # pairs of experts that always tie
            layer.router.weight[1::2] = layer.router.weight[::2]
    executed = []
    handle = layers[0].experts.register_forward_pre_hook(lambda m, args: executed.append(args[1].clone()))
    rows = alone(model, layers)
    handle.remove()
    assert np.array_equal(rows.expert_ids[:, 0], executed[0].numpy())
    result = check_capture(model, RoutingCapture(layers), TEXT)
    assert result.ok, result.problems
