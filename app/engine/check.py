"""The capture check: is what the hooks reported what the model did?

Runs on every model when it is opened, and by ``python -m app check``. Everything is worked out a second time from the
router's input and the experts' own weights; the captured rows are only compared with it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from analysis.errors import CaptureError
from analysis.trace import RoutingRows, Step
from app.engine.capture import RoutingCapture
from app.engine.models import cache_argument, first_line
from app.engine.router import MoELayer, expected_weights

MATCH = 0.999
"""Least fraction of executed ids that the recomputed selection must share."""


@dataclass
class CaptureCheck:
    """What was found; plain numbers, kept in every trace.

    Attributes:
        ok: nothing in ``problems``.
        layers_captured: MoE layers whose rows arrived.
        rows: routing rows compared.
        ids_match: fraction of executed ids equal to those recomputed from the router's input, rows with a tie at the
            k-th place apart.
        ties: (row, layer) pairs with such a tie.
        weight_sum: least and largest sum of a row's gate weights.
        weight_error: largest difference between a captured gate weight and the recomputed one.
        output_error: largest difference between the experts' output and the one rebuilt from captured ids, weights and
            the experts' own parameters, relative to the layer's largest output.
        causal: changing a token changed no earlier row.
        decode_match: fraction of ids that agree between prefill and decode of the same tokens.
        problems: sentences.
    """

    ok: bool = True
    layers_captured: int = 0
    rows: int = 0
    ids_match: float = 1.0
    ties: int = 0
    weight_sum: dict[str, float] = field(default_factory=lambda: {"min": 0.0, "max": 0.0})
    weight_error: float = 0.0
    output_error: float = 0.0
    causal: bool = True
    decode_match: float = 1.0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def check_capture(model: nn.Module, capture: RoutingCapture, token_ids: list[int]) -> CaptureCheck:
    """Route ``token_ids`` (at least 4, at most ``capture.max_rows``) and verify the capture of it.

    Works on any capture, so that a faulty one can be handed in: see the tests.
    """
    result = CaptureCheck()
    if len(token_ids) < 4:
        raise ValueError("the check needs at least 4 tokens")
    device = model.get_input_embeddings().weight.device  # type: ignore[operator,union-attr]
    ids = torch.tensor([token_ids], device=device)
    try:
        with capture, _Witness(capture.layers) as witness:
            logits = model(input_ids=ids, use_cache=False).logits
            rows, _ = capture.drain(len(token_ids), 0, Step.PREFILL)
            _compare_layers(result, capture.layers, witness, rows)
        with capture:
            _check_causality(result, model, capture, ids, rows)
            _check_decode(result, model, capture, ids, rows)
    except CaptureError as error:
        result.problems.append(str(error))
    except RuntimeError as error:  # a kernel that this machine or this shape has not
        result.problems.append(f"The model cannot be run here: {first_line(error)}")
    else:
        if not bool(torch.isfinite(logits.float()).all()):
            result.problems.append("The model's output is not finite; its weights are damaged.")
    result.ok = not result.problems
    return result


class _Witness:
    """Records, with hooks of its own, what went into each router and each experts module and what came out."""

    def __init__(self, layers: list[MoELayer]) -> None:
        self.layers = layers
        self.router_input: dict[int, torch.Tensor] = {}
        self.experts_input: dict[int, torch.Tensor] = {}
        self.experts_output: dict[int, torch.Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> _Witness:
        for i, layer in enumerate(self.layers):
            self._handles += [
                layer.router.register_forward_pre_hook(self._keep(self.router_input, i)),
                layer.experts.register_forward_pre_hook(self._keep(self.experts_input, i)),
                layer.experts.register_forward_hook(self._keep_output(i)),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, where: dict[int, torch.Tensor], position: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            where[position] = args[0].detach().clone()

        return hook

    def _keep_output(self, position: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            self.experts_output[position] = output.detach().clone()

        return hook


def _compare_layers(result: CaptureCheck, layers: list[MoELayer], witness: _Witness, rows: RoutingRows) -> None:
    agree, counted = 0, 0
    sums: list[np.ndarray] = []
    for position, layer in enumerate(layers):
        number, spec = layer.spec.layer, layer.spec
        if position not in witness.router_input or position not in witness.experts_output:
            result.problems.append(f"Layer {number} never ran its router and experts.")
            continue
        result.layers_captured += 1
        hidden = witness.router_input[position].reshape(-1, witness.router_input[position].shape[-1])
        executed = torch.as_tensor(rows.expert_ids[:, position, : spec.top_k].astype(np.int64), device=hidden.device)
        if len(executed) != len(hidden):
            result.problems.append(f"Layer {number} routed {len(hidden)} tokens, but {len(executed)} rows came.")
            continue
        logits = _router_logits(layer, hidden)
        match, ties = _selection(logits, executed)
        agree, counted, result.ties = agree + int(match.sum()), counted + match.numel(), result.ties + ties
        assert rows.expert_weights is not None
        weights = rows.expert_weights[:, position, : spec.top_k].astype(np.float32)
        expected = expected_weights(logits, executed, spec).cpu().numpy()
        result.weight_error = max(result.weight_error, float(np.abs(weights - expected).max()))
        sums.append(weights.sum(-1))
        output = witness.experts_output[position].float()
        rebuilt = _rebuild(layer, witness.experts_input[position], executed, torch.as_tensor(weights))
        scale = float(output.abs().max()) or 1.0
        result.output_error = max(result.output_error, float((rebuilt.reshape_as(output) - output).abs().max()) / scale)
    if not layers:
        return
    result.rows = len(rows)
    result.ids_match = agree / counted if counted else 0.0
    if sums:
        every = np.concatenate(sums)
        result.weight_sum = {"min": float(every.min()), "max": float(every.max())}
    coarse = layers[0].router.weight.dtype != torch.float32  # type: ignore[union-attr]
    if result.layers_captured != len(layers):
        result.problems.append(f"Only {result.layers_captured} of {len(layers)} MoE layers were captured.")
    if result.ids_match < MATCH:
        result.problems.append(
            f"Only {result.ids_match:.2%} of the executed expert ids follow from the router's input (expected 99.9%)."
        )
    if not result.weight_error <= (0.02 if coarse else 0.002):
        result.problems.append(f"Captured gate weights differ from the router's formula by {result.weight_error:.3g}.")
    if not result.output_error <= (0.1 if coarse else 0.01):
        result.problems.append(
            f"The experts' output cannot be rebuilt from the captured rows (off by {result.output_error:.1%})."
        )


def _router_logits(layer: MoELayer, hidden: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.router.weight, getattr(layer.router, "bias", None)
    if weight.device.type == "meta":  # type: ignore[union-attr]
        return layer.router(hidden)[0].float()
    return nn.functional.linear(hidden.to(weight.dtype), weight, bias).float()  # type: ignore[arg-type]


def _selection(logits: torch.Tensor, executed: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Which executed ids are among the top k of ``logits``, rows with a tie at the k-th place left out; and how many
    such rows there are."""
    k = executed.shape[-1]
    top = logits.topk(min(k + 1, logits.shape[-1]), -1)
    chosen = top.indices[:, :k]
    same = (executed.unsqueeze(-1) == chosen.unsqueeze(-2)).any(-1)
    distinct = executed.sort(-1).values.diff(dim=-1).ne(0).all(-1, keepdim=True)
    if top.values.shape[-1] <= k:
        return same & distinct, 0
    tie = (top.values[:, k - 1] - top.values[:, k]).abs() <= 1e-6 * top.values[:, k - 1].abs()
    return (same & distinct)[~tie], int(tie.sum())


def _rebuild(layer: MoELayer, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The experts' output worked out in float32 from ids, weights and the experts' parameters, expert by expert.

    Where the parameters are not plain stacked matrices (quantized, offloaded) the experts module itself is called.
    """
    experts, hidden = layer.experts, hidden.reshape(-1, hidden.shape[-1])
    weights = weights.to(hidden.device)
    gate_up, down = getattr(experts, "gate_up_proj", None), getattr(experts, "down_proj", None)
    plain = (
        isinstance(gate_up, torch.Tensor)
        and isinstance(down, torch.Tensor)
        and hasattr(experts, "act_fn")
        and gate_up.is_floating_point()
        and gate_up.device.type != "meta"
        and gate_up.shape[0] == layer.spec.num_experts
        and gate_up.shape[-1] == hidden.shape[-1]
        and down.shape[-2:] == (hidden.shape[-1], gate_up.shape[-2] // 2)
    )
    if not plain:
        return experts(hidden, ids, weights.to(hidden.dtype)).float()
    output = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device)
    for expert in ids.unique().tolist():
        row, rank = torch.where(ids == expert)
        gate, up = (hidden[row].float() @ gate_up[expert].float().T).chunk(2, -1)  # type: ignore[index]
        out = (experts.act_fn(gate) * up) @ down[expert].float().T  # type: ignore[operator,index]
        output.index_add_(0, row, out * weights[row, rank, None])
    return output


def _check_causality(
    result: CaptureCheck, model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, rows: RoutingRows
) -> None:
    changed, at = ids.clone(), ids.shape[1] // 2
    size = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator,union-attr]
    changed[0, at] = (int(changed[0, at]) + size // 2) % size
    model(input_ids=changed, use_cache=False)
    other, _ = capture.drain(ids.shape[1], 0, Step.PREFILL)
    before = _same_sets(rows.expert_ids[:at], other.expert_ids[:at])
    result.causal = before >= MATCH
    if not result.causal:
        result.problems.append(f"Changing token {at} changed the routing of earlier tokens.")
    if rows.expert_weights is not None and other.expert_weights is not None and len(capture.layers):
        moved = np.abs(rows.expert_weights[at].astype(np.float32) - other.expert_weights[at].astype(np.float32)).max()
        if moved == 0 and np.array_equal(rows.expert_ids[at], other.expert_ids[at]):
            result.problems.append(f"Changing token {at} did not change its own routing; rows and tokens are shifted.")


def _check_decode(
    result: CaptureCheck, model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, rows: RoutingRows
) -> None:
    """The last token once more, fed alone behind a cache: as many rows as tokens, and the same experts."""
    cached: dict[str, Any] = {cache_argument(model): DynamicCache(config=model.config), "use_cache": True}
    model(input_ids=ids[:, :-1], **cached)
    capture.drain(ids.shape[1] - 1, 0, Step.PREFILL)
    model(input_ids=ids[:, -1:], **cached)
    last, _ = capture.drain(1, ids.shape[1] - 1, Step.DECODE)
    result.decode_match = _same_sets(last.expert_ids, rows.expert_ids[-1:])
    if result.decode_match < 0.9:
        result.problems.append(
            f"A token decoded alone used {result.decode_match:.0%} of the experts it used in prefill (expected 90%)."
        )


def _same_sets(a: np.ndarray, b: np.ndarray) -> float:
    """Fraction of ids of ``a`` that are also in the same row and layer of ``b``; 1 where there are none."""
    if not a.size:
        return 1.0
    fraction = float((a[..., :, None] == b[..., None, :]).any(-1).mean())
    return fraction if math.isfinite(fraction) else 0.0
