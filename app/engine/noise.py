"""The noise floor: how far two runs of the same tokens differ that ought to be the same.

Knows models and capture. A difference between two conditions that is not larger than this was not measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from analysis.statistic import Statistic
from analysis.trace import RouterSpec, Step
from app.engine.capture import RoutingCapture
from app.engine.check import routed_in_passes
from app.engine.models import input_device
from app.engine.moe_layer import MoELayer
from app.engine.router import find_moe_layers

CHUNK = 16

NOISE_TEXT = """<|im_start|>user
Sort these numbers: 42, 7, 19, 88, 3. Then spell the word bridge backwards, and say what 538 + 274 is.<|im_end|>
<|im_start|>assistant
<think>
The numbers are 42, 7, 19, 88 and 3. The smallest is 3, then 7, 19, 42 and 88. Bridge backwards is egdirb. 8 + 4 is 12,
carry 1; 3 + 7 + 1 is 11, carry 1; 5 + 2 + 1 is 8. So 538 + 274 = 812.
</think>

3, 7, 19, 42, 88. Backwards it is egdirb, and the sum is 812. 東京は日本の首都です。北京是中国的首都。<|im_end|>
"""
"""What is routed where no text is given: both modes' tokens, and three languages."""


@torch.no_grad()
def noise_floor(model: Any, token_ids: list[int], others: Mapping[str, Any] | None = None) -> dict[str, Statistic]:
    """Route one text in several ways and compare each with one pass of prefill.

    Ways: token by token behind a cache ("decode"), in chunks of 16 ("chunks"), in a padded batch with other texts
    ("batch"), and by each of ``others``: the same model in another dtype or quantized, by name.

    Returns:
        ``ids``: share of executed expert ids that are not in the same row and layer of the other run; axes way, layer;
            in [0, 1].
        ``load``: the largest difference in any expert's share of slots over the whole text; axes way, layer.

    Raises:
        ValueError: fewer than 4 tokens.
        CaptureError: the model's routing cannot be captured.
    """
    if len(token_ids) < 4:
        raise ValueError("the noise floor needs at least 4 tokens")
    ids = torch.tensor([token_ids], device=input_device(model))
    layers = find_moe_layers(model, token_ids)
    runs = {"decode": _in_passes(model, layers, ids, 1), "chunks": _in_passes(model, layers, ids, CHUNK)}
    runs["batch"] = _in_batch(model, layers, ids)
    for name, other in (others or {}).items():
        there = ids.to(input_device(other))
        runs[name] = _in_passes(other, find_moe_layers(other, token_ids), there, len(token_ids))
    base, spec = _in_passes(model, layers, ids, len(token_ids)), RouterSpec(tuple(layer.spec for layer in layers))
    different = [_different(base, run, spec) for run in runs.values()]
    moved = [_moved(base, run, spec) for run in runs.values()]
    axes, n = ("way", "layer"), len(token_ids)
    labels: dict[str, Sequence[Any]] = {"way": list(runs), "layer": spec.layer_numbers}
    return {
        "ids": Statistic("ids that differ", np.array(different), axes, labels, "share of ids", n=n),
        "load": Statistic("largest load difference", np.array(moved), axes, labels, "share of slots", n=n),
    }


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """A copy of ``model`` in another floating dtype; it takes as much memory again."""
    return copy.deepcopy(model).to(dtype)


def _in_passes(model: Any, layers: list[MoELayer], ids: torch.Tensor, size: int) -> np.ndarray:
    """(N, L, K) executed ids, ``size`` tokens a pass."""
    with RoutingCapture(layers) as capture:
        return routed_in_passes(model, capture, ids, [*range(0, ids.shape[1], size), ids.shape[1]])


def _in_batch(model: Any, layers: list[MoELayer], ids: torch.Tensor) -> np.ndarray:
    """(N, L, K) executed ids of the text as the second of three, the others shorter and padded on the left."""
    n = ids.shape[1]
    texts = [ids[0, n // 2 :], ids[0], ids[0, : max(1, n // 3)].flip(0)]
    batch, mask = ids.new_zeros((3, n)), torch.zeros((3, n), dtype=torch.bool, device=ids.device)
    for row, text in enumerate(texts):
        batch[row, n - len(text) :], mask[row, n - len(text) :] = text, True
    with RoutingCapture(layers) as capture:
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        model(input_ids=batch, attention_mask=mask.long(), position_ids=positions, use_cache=False)
        return capture.drain_batch(mask, [0, 0, 0], Step.PREFILL)[1].expert_ids


def _different(base: np.ndarray, other: np.ndarray, spec: RouterSpec) -> np.ndarray:
    """(L,) share of ids of ``base`` that are not in the same row and layer of ``other``."""
    if base.shape != other.shape:
        raise ValueError(f"routing of shape {other.shape} cannot be compared with {base.shape}")
    missing = ~(base[..., :, None] == other[..., None, :]).any(-1)
    real = base != spec.no_expert
    return (missing & real).sum((0, 2)) / real.sum((0, 2))


def _moved(base: np.ndarray, other: np.ndarray, spec: RouterSpec) -> np.ndarray:
    """(L,) largest difference of any expert's share of slots."""
    found = []
    for position, layer in enumerate(spec.layers):
        slots = layer.num_experts, len(base) * layer.top_k
        counts = [np.bincount(run[:, position].ravel(), minlength=slots[0])[: slots[0]] for run in (base, other)]
        found.append(np.abs(counts[0] - counts[1]).max() / slots[1])
    return np.array(found)
