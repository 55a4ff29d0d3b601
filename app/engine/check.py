"""The capture check: is what the hooks reported what the model did?

Runs on every model when it is opened, and by ``python -m app check``. Everything is worked out a second time from the
router's input and the experts' own weights; the captured rows are only compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import RoutingRows, Step
from app.engine.capture import RoutingCapture
from app.engine.expert_outputs import dense_gates, dense_inputs, outputs_of
from app.engine.models import RUN_ERRORS, ModelCache, first_line, input_device
from app.engine.moe_layer import MoELayer, linear_scores

MATCH = 0.999
"""Least fraction of executed ids that the recomputed selection must share."""

MATCH_COARSE = 0.99
"""The same of a text read twice, up to a token that was changed, in 16 bits and less: how later tokens are shared out
among the experts changes the order of sums, and so a rank where two experts all but tie."""

LEAST_SAME = 0.9
"""Least fraction of ids that two ways of running the same text must share in float32."""

LEAST_SAME_COARSE = 0.75
"""The same in 16 bits and less, where sums that were taken in another order change ranks."""


@dataclass
class CaptureCheck:
    """What was found; plain numbers, kept in every trace.

    Attributes:
        ok: nothing in ``problems``.
        layers_captured: MoE layers whose rows arrived.
        rows: routing rows compared.
        ids_match: fraction of executed ids equal to those recomputed from the router's input; where two experts tie for
            the k-th place, either is right.
        ties: (row, layer) pairs with such a tie.
        weight_sum: least and largest sum of a row's gate weights.
        weight_error: largest difference between a captured gate weight and the recomputed one.
        score_error: largest difference of captured router probabilities, entropy, margin or top-k mass from those that
            follow from the router's input.
        output_error: largest difference between the experts' output and the one rebuilt from captured ids, weights and
            the experts' own parameters, relative to the layer's largest output.
        causal: changing a token changed no earlier row; in 16 bits and less, next to none.
        chunked_match: fraction of ids that agree between a prefill in one pass and one in two chunks.
        decode_match: fraction of ids that agree between prefill and decode of the same tokens.
        quantized: some weights are held in fewer bits than they are computed in.
        problems: sentences.
    """

    ok: bool = True
    layers_captured: int = 0
    rows: int = 0
    ids_match: float = 1.0
    ties: int = 0
    weight_sum: dict[str, float] = field(default_factory=lambda: {"min": 0.0, "max": 0.0})
    weight_error: float = 0.0
    score_error: float = 0.0
    output_error: float = 0.0
    causal: bool = True
    chunked_match: float = 1.0
    decode_match: float = 1.0
    quantized: bool = False
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Figures that are no numbers, as those of damaged weights, are None: JSON has none such."""

        def known(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: known(inner) for key, inner in value.items()}
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {key: known(value) for key, value in asdict(self).items()}


@torch.no_grad()
def check_capture(model: nn.Module, capture: RoutingCapture, token_ids: list[int]) -> CaptureCheck:
    """Route ``token_ids`` (at least 4) and verify the capture of it.

    Works on any capture, so that a faulty one can be handed in: see the tests.
    """
    result = CaptureCheck(quantized=getattr(model, "hf_quantizer", None) is not None)
    if len(token_ids) < 4:
        raise ValueError("the check needs at least 4 tokens")
    ids = torch.tensor([token_ids], device=input_device(model))
    try:
        with capture, _Witness(capture.layers) as witness:
            logits = model(input_ids=ids, use_cache=False).logits
            rows = capture.drain(len(token_ids), 0, Step.PREFILL, router_scores=True)
            _compare_layers(result, capture.layers, witness, rows)
        with capture:
            _check_causality(result, model, capture, ids, rows)
            _check_decode(result, model, capture, ids, rows)
    except CaptureError as error:
        result.problems.append(str(error))
    except RUN_ERRORS as error:  # a kernel that this machine or this shape has not
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
        self.router_call: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.experts_input: dict[int, torch.Tensor] = {}
        self.experts_output: dict[int, torch.Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> _Witness:
        for i, layer in enumerate(self.layers):
            self._handles += [
                layer.router.register_forward_pre_hook(self._keep_call(i), with_kwargs=True),
                layer.experts.register_forward_hook(self._keep_output(i), with_kwargs=True),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep_call(self, position: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.router_call[position] = tuple(_copied(a) for a in args), dict(kwargs)

        return hook

    def _keep_output(self, position: int) -> Any:
        call = self.layers[position].call

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> None:
            self.experts_input[position] = _copied(call.tokens(args, kwargs) if call else args[0])
            self.experts_output[position] = output.detach().clone()

        return hook


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _compare_layers(result: CaptureCheck, layers: list[MoELayer], witness: _Witness, rows: RoutingRows) -> None:
    agree, counted = 0, 0
    sums: list[np.ndarray] = []
    coarse = False
    for position, layer in enumerate(layers):
        number, spec = layer.spec.layer, layer.spec
        if position not in witness.router_call or position not in witness.experts_output:
            result.problems.append(f"Layer {number} never ran its router and experts.")
            continue
        result.layers_captured += 1
        logits = layer.gating.logits(_scores(layer, *witness.router_call[position]))
        executed = torch.as_tensor(rows.expert_ids[:, position, : spec.top_k].astype(np.int64), device=logits.device)
        if len(executed) != len(logits):
            result.problems.append(f"Layer {number} routed {len(logits)} tokens, but {len(executed)} rows came.")
            continue
        match = layer.gating.follows(logits, executed)
        agree, counted = agree + int(match.sum()), counted + match.numel()
        result.ties += int(torch.stack(layer.gating.ties(logits, spec.top_k)).any(0).sum())
        assert rows.expert_weights is not None
        weights = torch.as_tensor(rows.expert_weights[:, position, : spec.top_k].astype(np.float32)).to(logits.device)
        expected = layer.gating.weights(logits, executed)
        largest = float(expected.abs().max()) or 1.0
        result.weight_error = max(result.weight_error, float((weights - expected).abs().max()) / max(1.0, largest))
        sums.append(weights.sum(-1).cpu().numpy())
        result.score_error = max(result.score_error, _score_error(layer, logits, executed, rows, position))
        output = witness.experts_output[position].float()
        coarse |= witness.experts_output[position].dtype != torch.float32
        rebuilt = _rebuild(layer, witness.experts_input[position], executed, weights)
        scale = float(output.abs().max()) or 1.0
        error = float((rebuilt.reshape_as(output) - output).abs().max()) / scale if rebuilt is not None else math.inf
        result.output_error = max(result.output_error, error)
    if not layers:
        return
    result.rows = len(rows)
    result.ids_match = agree / counted if counted else 0.0
    if sums:
        every = np.concatenate(sums)
        result.weight_sum = {"min": float(every.min()), "max": float(every.max())}
    if result.layers_captured != len(layers):
        result.problems.append(f"Only {result.layers_captured} of {len(layers)} MoE layers were captured.")
    if result.ids_match < MATCH:
        result.problems.append(
            f"Only {result.ids_match:.2%} of the executed expert ids follow from the router's input (expected 99.9%)."
        )
    if not result.weight_error <= (0.02 if coarse else 0.002):
        result.problems.append(f"Captured gate weights differ from the router's formula by {result.weight_error:.3g}.")
    if not result.score_error <= (0.02 if coarse else 0.002):
        result.problems.append(f"Captured router scores differ from those of the router by {result.score_error:.3g}.")
    if not result.output_error <= (0.1 if coarse else 0.01):
        result.problems.append(
            f"The experts' output cannot be rebuilt from the captured rows (off by {result.output_error:.1%})."
        )


def _score_error(
    layer: MoELayer, logits: torch.Tensor, executed: torch.Tensor, rows: RoutingRows, position: int
) -> float:
    """The largest difference of captured probabilities, entropy (as a share of ln E), margin and top-k mass from those
    that follow from the router's input."""
    probabilities, ranked = layer.gating.probabilities(logits), layer.gating.ranked(logits)
    others = layer.gating.choice_scores(logits).scatter(-1, executed, -torch.inf).amax(-1)
    expected = {
        "router_scores": probabilities,
        "entropy": torch.special.entr(probabilities).sum(-1),
        "margin": ranked.gather(-1, executed).amin(-1) - others.masked_fill(others == -torch.inf, 0.0),
        "top_k_mass": probabilities.gather(-1, executed).sum(-1),
    }
    worst = 0.0
    for name, value in expected.items():
        captured = getattr(rows, name)[:, position]
        wanted = value.cpu().numpy()
        captured = captured[:, : wanted.shape[-1]] if wanted.ndim == 2 else captured
        scale = math.log(layer.spec.num_experts) or 1.0 if name == "entropy" else max(1.0, float(np.abs(wanted).max()))
        error = float(np.abs(captured.astype(np.float64) - wanted).max()) / scale
        worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def _scores(layer: MoELayer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """What the router hands out for an input that was kept: worked out here where it is a product of matrices, else
    by asking the router again."""
    if layer.linear:
        return linear_scores(layer.router, args[0].reshape(-1, args[0].shape[-1]), layer.linear)
    return layer.scores(layer.router.forward(*args, **kwargs))


def _rebuild(layer: MoELayer, seen: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor | None:
    """The experts' output worked out in float32 from captured ids and weights, one expert at a time; None where the
    experts were not given what those say."""
    if layer.call:
        return outputs_of(layer, seen, ids, weights).sum(1)
    gates = dense_gates(ids, weights, layer.spec.num_experts)
    inputs = seen.reshape(gates.shape[-1], len(gates), -1)
    strongest, first = gates.max(-1)
    own = torch.arange(len(gates), device=gates.device)
    tokens = inputs[first, own].float() / strongest.unsqueeze(-1)
    if (inputs.float() - dense_inputs(tokens, gates).reshape_as(inputs)).abs().max() > 0.05 * inputs.abs().max():
        return None
    return layer.experts.forward(dense_inputs(tokens.to(seen.dtype), gates)).float()


def _check_causality(
    result: CaptureCheck, model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, rows: RoutingRows
) -> None:
    changed, at = ids.clone(), ids.shape[1] // 2
    changed[0, at] = next((t for t in ids[0].tolist() if t != int(ids[0, at])), int(ids[0, at]) ^ 1)
    model(input_ids=changed, use_cache=False)
    other = capture.drain(ids.shape[1], 0, Step.PREFILL)
    before = same_sets(rows.expert_ids[:at], other.expert_ids[:at])
    result.causal = before >= (MATCH if _is_exact(model, result) else MATCH_COARSE)
    if not result.causal:
        result.problems.append(f"Changing token {at} changed the routing of earlier tokens.")
    blind = bool((rows.entropy == rows.entropy[:1]).all())  # type: ignore[index]  # every token has the same scores
    seen = ((r.expert_ids[at], r.expert_weights[at], r.entropy[at]) for r in (rows, other))  # type: ignore[index]
    if not blind and all(map(np.array_equal, *seen)):
        result.problems.append(f"Changing token {at} did not change its own routing; rows and tokens are shifted.")


def _check_decode(
    result: CaptureCheck, model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, rows: RoutingRows
) -> None:
    """The same text behind a cache: two chunks of prefill, then the last tokens one by one."""
    count = ids.shape[1]
    alone = count - max(1, count // 4)
    try:
        result.chunked_match, result.decode_match = _behind_cache(model, capture, ids, rows, [0, alone // 2, alone])
    except RUN_ERRORS:
        capture.discard()
        result.chunked_match = 0.0
    if result.chunked_match < LEAST_SAME:  # this family reads a prompt whole or not at all
        _, result.decode_match = _behind_cache(model, capture, ids, rows, [0, alone])
    least = LEAST_SAME if _is_exact(model, result) else LEAST_SAME_COARSE
    if result.decode_match < least:
        result.problems.append(
            f"Tokens decoded alone used {result.decode_match:.0%} of the experts they used in prefill "
            f"(expected {least:.0%})."
        )


def _is_exact(model: nn.Module, result: CaptureCheck) -> bool:
    return model.dtype == torch.float32 and not result.quantized


def _behind_cache(
    model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, rows: RoutingRows, bounds: list[int]
) -> tuple[float, float]:
    """Agreement with ``rows`` of prefill in chunks between ``bounds``, and of the tokens after them one by one."""
    alone = bounds[-1]
    every = routed_in_passes(model, capture, ids, [*bounds, *range(alone + 1, ids.shape[1] + 1)])
    return same_sets(every[:alone], rows.expert_ids[:alone]), same_sets(every[alone:], rows.expert_ids[alone:])


def routed_in_passes(model: nn.Module, capture: RoutingCapture, ids: torch.Tensor, bounds: Iterable[int]) -> np.ndarray:
    """(N, L, K) executed ids of a text (1, N) that is fed behind a cache in passes from one bound to the next; the
    hooks of ``capture`` must be on."""
    cache, found = ModelCache(model), []
    for begin, end in pairwise(bounds):
        cache.forward(ids[:, begin:end])
        found.append(capture.drain(end - begin, begin, Step.PREFILL).expert_ids)
    return np.concatenate(found)


def same_sets(a: np.ndarray, b: np.ndarray) -> float:
    """Fraction of ids of ``a`` that are also in the same row and layer of ``b``; 1 where there are none."""
    if not a.size:
        return 1.0
    fraction = float((a[..., :, None] == b[..., None, :]).any(-1).mean())
    return fraction if math.isfinite(fraction) else 0.0
