"""The one place that knows model families: where a model's routers are and how they turn scores into gate weights.

Nothing is decided by a class name. A MoE block is a module with a router beside a module named ``experts``; what the
router computes is found out by asking it (``probe``). A model whose routers cannot be explained is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import LayerSpec, RouterSpec

ROUTER_NAMES = ("gate", "router")


@dataclass(frozen=True)
class MoELayer:
    """The modules of one MoE layer.

    Attributes:
        spec: what its router does.
        block: the whole MoE block, shared experts included.
        router: returns ``(logits [N, E], weights [N, K], ids [N, K])``.
        experts: called with ``(hidden [N, H], ids [N, K], weights [N, K])``.
    """

    spec: LayerSpec
    block: nn.Module
    router: nn.Module
    experts: nn.Module


def find_moe_layers(model: nn.Module) -> list[MoELayer]:
    """The MoE layers of ``model`` in its own order; none for a dense model.

    Raises:
        CaptureError: there are experts whose router is not understood.
    """
    layers = []
    for name, block in model.named_modules():
        experts = getattr(block, "experts", None)
        if not isinstance(experts, nn.Module):
            continue
        router = next((r for r in (getattr(block, n, None) for n in ROUTER_NAMES) if isinstance(r, nn.Module)), None)
        number = re.findall(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?:\.|$)", name)
        if router is None or not number:
            raise CaptureError(
                f"The experts at {name or 'the top of the model'} have no router beside them that is understood, "
                "so this model's routing cannot be captured."
            )
        layers.append(MoELayer(_probe(name, int(number[-1]), block, router), block, router, experts))
    expected = _experts_by_config(model)
    if expected and not layers:
        raise CaptureError(
            f"The model's config speaks of {expected} experts, but no MoE layer was found in it, "
            "so its routing cannot be captured."
        )
    numbers = [layer.spec.layer for layer in layers]
    if numbers != sorted(set(numbers)):
        raise CaptureError(f"Several MoE blocks share a layer number ({numbers}), so rows could not be told apart.")
    return layers


def router_spec(layers: list[MoELayer]) -> RouterSpec:
    return RouterSpec(tuple(layer.spec for layer in layers))


def expected_weights(logits: torch.Tensor, ids: torch.Tensor, spec: LayerSpec) -> torch.Tensor:
    """Gate weights by the formula of ``spec``: softmax over all experts in float32, those of ``ids``, divided by
    their sum where the router renormalises, times the scale. Shapes (N, E), (N, K) → (N, K)."""
    weights = torch.softmax(logits.float(), -1).gather(-1, ids.long())
    if spec.renormalised:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights * spec.scale


@torch.no_grad()
def _probe(name: str, number: int, block: nn.Module, router: nn.Module) -> LayerSpec:
    """Ask the router: feed it noise and find the formula that explains its gate weights and its choice."""
    refused = CaptureError(
        f"The router at {name} ({type(router).__name__}) computes its gate weights in a way that is not understood, "
        "so this model's routing cannot be captured."
    )
    weight = getattr(router, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
        raise refused
    device = weight.device if weight.device.type != "meta" else torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, weight.shape[-1], generator=generator).to(device, weight.dtype)
    try:
        logits, weights, ids = router.forward(noise)  # not router(noise): somebody's hooks may be on it
    except (TypeError, ValueError, RuntimeError):
        raise refused from None
    if logits.shape != (64, weight.shape[0]) or ids.shape != weights.shape or ids.is_floating_point():
        raise refused
    if bool((logits >= 0).all()) and torch.allclose(logits.float().sum(-1), torch.ones_like(logits[:, 0]).float()):
        raise refused  # probabilities under the name of logits: a second softmax would flatten them
    chosen, order = logits.gather(-1, ids), logits.sort(-1, descending=True).values[:, : ids.shape[-1]]
    if not torch.equal(chosen.sort(-1, descending=True).values, order):
        raise refused  # the choice does not follow the scores alone
    shared = next((getattr(block, n) for n in ("shared_expert", "shared_experts") if hasattr(block, n)), None)
    for renormalised in (True, False):
        spec = LayerSpec(
            layer=number,
            num_experts=logits.shape[-1],
            top_k=ids.shape[-1],
            scoring="softmax",
            renormalised=renormalised,
            shared_experts=0 if shared is None else 1,
            shared_gate=hasattr(block, "shared_expert_gate"),
        )
        if torch.allclose(expected_weights(logits, ids, spec), weights.float(), rtol=2e-2, atol=1e-3):
            return spec
    raise refused


def _experts_by_config(model: nn.Module) -> int:
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", None) or config
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        count = getattr(config, name, None)
        if isinstance(count, int) and count > 1:
            return count if _has_sparse_layer(config) else 0
    return 0


def _has_sparse_layer(config: object) -> bool:
    """False for a MoE config whose every layer is declared dense."""
    dense = getattr(config, "mlp_only_layers", None) or []
    return len(set(dense)) < getattr(config, "num_hidden_layers", 1)
