"""A model's config.json → the routers it has, for routing that comes from elsewhere. Loads no model.

Knows the field names of common families. What it says of scoring and scale is what the config says; nothing is
measured, so the capture of a live model is not decided here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import BadValue
from analysis.trace import LayerSpec, RouterSpec

LAYERS = ("num_hidden_layers", "n_layers", "num_layers")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K = ("num_experts_per_tok", "experts_per_token", "moe_topk", "moe_k", "moe_top_k", "top_k_experts")
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
MOST_LAYERS = 1_000


@dataclass(frozen=True)
class ConfigFacts:
    """What a config says.

    Attributes:
        spec: the routers of the MoE layers; dense layers are left out.
        num_layers: all layers, dense ones counted.
        model_type: as the config has it; "" where it has none.
        vocab_size: 0 where the config has none.
    """

    spec: RouterSpec
    num_layers: int
    model_type: str
    vocab_size: int


def read_config(path: Path) -> ConfigFacts:
    """
    Raises:
        BadValue: the file is not the config of a mixture of experts that can be understood.
    """
    data = read_json(path, "a model's config.json")
    if not isinstance(data, dict):
        raise BadValue(f"{path} is not a model's config.json.")
    text = data.get("text_config")
    return _facts({**data, **text} if isinstance(text, dict) else data, str(path))


def read_json(path: Path, expected: str) -> Any:
    """
    Raises:
        BadValue: the file cannot be read, or is not JSON; ``expected`` says what it should have been.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise BadValue(f"{path} is not readable JSON; expected {expected}.") from None


def _facts(config: dict[str, Any], name: str) -> ConfigFacts:
    layers, experts, top_k = (_number(config, keys, name) for keys in (LAYERS, EXPERTS, TOP_K))
    if layers > MOST_LAYERS or not 1 <= top_k <= experts <= 65535:
        raise BadValue(f"{name} speaks of {layers} layers with top-{top_k} of {experts} experts.")
    scoring = config.get("scoring_func") or config.get("score_function") or "softmax"
    scale = config.get("routed_scaling_factor", 1.0)
    shared = next((config[key] for key in SHARED if _whole(config.get(key))), 0)
    shared = shared or int(bool(config.get("shared_expert_intermediate_size")))
    try:
        numbers = _moe_layers(config, layers)
    except (TypeError, ValueError, ZeroDivisionError):
        raise BadValue(f"{name} does not say in a known way which layers are dense.") from None
    if not numbers:
        raise BadValue(f"{name} is the config of a dense model: it has no routers.")
    spec = RouterSpec(
        tuple(
            LayerSpec(
                layer,
                experts,
                top_k,
                scoring=str(scoring),
                renormalised=bool(config.get("norm_topk_prob", True)),
                scale=float(scale) if isinstance(scale, int | float) else 1.0,
                shared_experts=shared,
                shared_gate=bool(config.get("shared_expert_intermediate_size")),
            )
            for layer in numbers
        )
    )
    vocabulary = config.get("vocab_size")
    return ConfigFacts(
        spec, layers, str(config.get("model_type") or ""), vocabulary if _whole(vocabulary) else 0  # type: ignore[arg-type]
    )  # fmt: skip


def _moe_layers(config: dict[str, Any], layers: int) -> list[int]:
    """Numbers of the layers that have routed experts."""
    kinds = config.get("mlp_layer_types")
    if kinds is not None:
        if len(kinds) != layers:
            raise ValueError
        return [i for i, kind in enumerate(kinds) if kind == "sparse"]
    listed = config.get("moe_layers")
    if isinstance(listed, list):
        if any(not _whole(i) or i >= layers for i in listed):
            raise ValueError
        return sorted(set(listed))
    frequency = config.get("moe_layer_freq", 1)
    if isinstance(frequency, list):
        if len(frequency) != layers:
            raise ValueError
        return [i for i, used in enumerate(frequency) if used]
    dense = set(config.get("mlp_only_layers") or ())
    first = int(config.get("first_k_dense_replace") or 0)
    step = int(config.get("decoder_sparse_step") or 1)
    interleaved = int(config.get("interleave_moe_layer_step") or 1)
    return [
        i
        for i in range(first, layers)
        if i not in dense and (i + 1) % step == 0 and (i + 1) % interleaved == 0 and i % int(frequency) == 0
    ]


def _number(config: dict[str, Any], keys: tuple[str, ...], name: str) -> int:
    for key in keys:
        value = config.get(key)
        if _whole(value) and value:
            return int(value)
    raise BadValue(f"{name} lacks {keys[0]}; expected the config.json of a mixture of experts.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
