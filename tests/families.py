"""Random tiny models of every family of mixture of experts that Transformers has, with routers that have something to say.

A config is made small by its fields' names, whatever the family; what a family needs besides is in ``NEEDS``.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "depth"), 4),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads", "linear_num_value_heads", "index_n_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "n_group"), 2),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "moe_top_k"), 2),
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "ffn_hidden_size", "d_ff"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("head_dim", "global_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank", "index_head_dim"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_topk", "d_kv"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 4),
    "max_position_embeddings": 512,
    "sliding_window": 64,
    "first_k_dense_replace": 1,
    "topk_group": 1,
    "vocab_size": 160,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

LISTED = (
    "qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_5_moe_text qwen3_vl_moe qwen3_omni_moe_thinker olmoe mixtral "
    "granitemoe granitemoeshared granitemoehybrid phimoe deepseek_v2 deepseek_v3 glm4_moe gpt_oss minimax minimax_m2 "
    "ernie4_5_moe hunyuan_v1_moe llama4_text llama4 gemma4_text gemma4 lfm2_moe dbrx"
).split()
"""Families whose capture must be proven."""

NEEDS: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"head_dim": 4},
}


def tiny_family(family: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A random model of ``family`` (a model type), its routers, biases and scales far from their first values.

    Raises:
        whatever the family's own code raises where it cannot be made this small.
    """
    config = _shrink(_default_config(family))
    for name, value in {**NEEDS.get(family, {}), **changes}.items():
        setattr(getattr(config, "text_config", None) or config, name, value)
    torch.manual_seed(seed)
    model = _model_class(config)(config).eval()
    _have_something_to_say(model)
    return model


def _default_config(family: str) -> Any:
    return CONFIG_MAPPING[family]()


def _shrink(config: Any, depth: int = 0) -> Any:
    for name, value in SMALL.items():
        old = getattr(config, name, None)
        if isinstance(old, int | float) and not isinstance(old, bool):
            setattr(config, name, value)
    for value in list(vars(config).values()):
        if hasattr(value, "to_dict") and depth < 3:
            _shrink(value, depth + 1)
    return config


def _model_class(config: Any) -> Any:
    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)]
    raise KeyError(f"no language model of {config.model_type}")


@torch.no_grad()
def _have_something_to_say(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        last = name.rsplit(".", 1)[-1]
        if last in ("e_score_correction_bias", "expert_bias"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2)
        elif last == "per_expert_scale":
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() == 2 and (".gate.weight" in name or ".router." in name):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
