"""What a model is made of, read from its config and its weights. Knows no routing and no page."""

from __future__ import annotations

import re
from typing import Any

from app.engine.base import Architecture
from app.engine.facts import stack_of, text_config

_EXPERT = re.compile(r"\.experts\.")


def architecture_of(model: Any, experts: dict[int, tuple[int, int]]) -> Architecture:
    """``experts`` tells of every MoE layer, by its number, how many experts it has and how many a token uses."""
    config = text_config(model)
    heads = _number(config, "num_attention_heads")
    total, active = _parameters(model, experts)
    return Architecture(
        model_type=str(model.config.model_type),
        layers=_number(config, "num_hidden_layers"),
        hidden=_number(config, "hidden_size"),
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads") or heads,
        vocabulary=_number(config, "vocab_size"),
        dense_intermediate=_number(config, "intermediate_size"),
        expert_intermediate=_number(config, "moe_intermediate_size"),
        tied_embeddings=bool(getattr(model.config, "tie_word_embeddings", False)),
        qk_norm=any(name.endswith(("q_norm.weight", "q_layernorm.weight")) for name, _ in model.named_parameters()),
        parameters=total,
        active_parameters=active,
    )


def _parameters(model: Any, experts: dict[int, tuple[int, int]]) -> tuple[int | None, int | None]:
    """All, and those that one token uses: of a layer's routed experts k of E. None where weights are packed."""
    total, active = 0, 0.0
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            return None, None
        total += parameter.numel()
        layer = stack_of(name)[1]
        share = 1.0
        if layer in experts and _EXPERT.search(name):
            have, used = experts[layer]
            share = used / have
        active += parameter.numel() * share
    return total, round(active)


def _number(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) else None
