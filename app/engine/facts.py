"""What modules and configs say of themselves in plain attributes: groups, scales, shared experts, how many experts.

None of it is believed: it makes hypotheses for ``gating.explain``, words for the spec, and grounds for a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn


def groups(router: nn.Module, block: nn.Module, model: nn.Module) -> tuple[int, int]:
    places = (router, block, text_config(model))
    count = next((v for n in ("num_group", "n_group", "num_expert_group") for v in _numbers(places, n)), 1)
    used = next((v for n in ("topk_group", "num_limited_group") for v in _numbers(places, n)), 1)
    return int(count), int(used)


def scales(router: nn.Module, block: nn.Module, model: nn.Module) -> tuple[float, ...]:
    names = ("routed_scaling_factor", "router_scaling_factor", "route_scale", "routing_scale", "moe_router_scale")
    return tuple(float(v) for n in names for v in _numbers((router, block, text_config(model)), n))


def _numbers(places: Sequence[object], name: str) -> Iterator[float]:
    for place in places:
        value = getattr(place, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            yield value


def shared_experts(model: nn.Module, name: str) -> dict[str, Any]:
    """Experts that every token uses: modules beside the routed ones, or beside their block, that are called shared;
    and a gate on them."""
    stack, number = stack_of(name)
    layer, parts = f"{stack}.{number}", name.split(".")
    around = [".".join(parts[:i]) for i in range(1, len(parts))]
    inside = [model.get_submodule(n) for n in around if n.startswith(layer)]
    beside = [(n, m) for module in inside for n, m in module.named_children() if n.startswith("shared")]
    if not any(p.numel() for n, m in beside if not n.endswith("gate") for p in m.parameters()):
        return {"shared_experts": 0, "shared_gate": False}
    config = text_config(model)
    counts = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    count = next((v for n in counts for v in _numbers((config,), n)), 1)
    return {"shared_experts": int(count), "shared_gate": any(n.endswith("gate") for n, _ in beside)}


def stack_of(name: str) -> tuple[str, int | None]:
    """The list of layers that a module or weight is in, and the layer's number there; "" and None without one."""
    found = re.search(r"^(.*?(?:^|\.)(?:layers|h|blocks|block))\.(\d+)(?:\.|$)", name)
    return (found[1], int(found[2])) if found else ("", None)


def text_config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    return getattr(config, "text_config", None) or config


def experts_by_config(model: nn.Module) -> int:
    """How many routed experts the config speaks of; 0 for a dense model, also for a MoE config whose layers are all
    dense."""
    config = text_config(model)
    if len(set(getattr(config, "mlp_only_layers", None) or [])) >= getattr(config, "num_hidden_layers", 1):
        return 0
    counts = [v for k, v in vars(config).items() if re.search(r"(num|n)_(local_|routed_|total_)?experts$", k)]
    return max((v for v in counts if isinstance(v, int) and v > 1), default=0)


def expert_counts(experts: nn.Module) -> set[int]:
    """How many experts the module may hold, by its parameters and by what it says; empty where it does not say."""
    stacked = {p.shape[0] for p in experts.parameters() if p.dim() == 3}
    named = {getattr(experts, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")}
    return stacked | {v for v in named if isinstance(v, int)}
