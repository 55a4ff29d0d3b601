"""Random tiny models of every family of mixture of experts in Transformers, with routers that have something to say.

A config is made small by its fields' names, whatever the family; what a family needs besides is in ``NEEDS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "depth"), 4),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "n_group"), 2),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "moe_top_k"), 2),
    **dict.fromkeys(("intermediate_size", "intermediate_size_mlp", "ffn_hidden_size", "d_ff"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    **dict.fromkeys(("head_dim", "global_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank", "index_head_dim"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_topk", "d_kv"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 4),
    **dict.fromkeys(("linear_num_heads", "index_n_heads"), 4),
    **dict.fromkeys(("swa_num_attention_heads", "swa_num_key_value_heads"), 4),
    **dict.fromkeys(("swa_head_dim", "d_rel", "linear_head_dim"), 8),
    **dict.fromkeys(("encoder_layers", "encoder_attention_heads"), 2),
    **dict.fromkeys(("out_hidden_size", "encoder_ffn_dim", "output_dim", "projector_output_dim"), 32),
    **dict.fromkeys(("moe_hidden_size", "projector_hidden_size", "projection_hidden_dim"), 32),
    **dict.fromkeys(("vision_output_dim", "projector_input_dim"), 32),
    "num_position_embeddings": 16,
    "text_hidden_size": 32,
    "image_size": 56,
    "max_position_embeddings": 512,
    "sliding_window": 64,
    "first_k_dense_replace": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.5,
    **dict.fromkeys(("vocab_size", "unpadded_vocab_size"), 160),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_LISTED = (
    "qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_5_moe_text qwen3_vl_moe qwen3_omni_moe_thinker olmoe mixtral "
    "granitemoe granitemoeshared granitemoehybrid phimoe deepseek_v2 deepseek_v3 glm4_moe gpt_oss minimax minimax_m2 "
    "ernie4_5_moe hunyuan_v1_moe llama4_text llama4 gemma4_text gemma4 lfm2_moe dbrx"
)
LISTED = tuple(_LISTED.split())
"""Families whose capture must be proven."""

_OTHERS = (
    "afmoe aria axk1 axk2 bailing_hybrid beam cohere2_moe deepseek_ocr2 deepseek_v32 deepseek_v4 diffusion_gemma doge "
    "dots1 ernie4_5_vl_moe exaone_moe flex_olmo flint glm4_moe_lite glm4v_moe glm5_next glm_moe_dsa "
    "granite_docling granitemoe_swa hy_v3 hy_v4 hy_v4_vl inkling2 inkling2_loop jamba jetmoe "
    "kimi_linear kolibri1 laguna lara_mini longcat_flash mellum mimo_v2_flash minimax_m3_vl mistral4 mistral_large4 "
    "muse_spark nemotron_h qwen4_exp solar_open step3p7 zaya"
)
OTHERS = tuple(_OTHERS.split())
"""Families whose capture is proven or refused."""

GEMMA4 = {
    "enable_moe_block": True,
    "num_experts": 8,
    "top_k_experts": 2,
    "moe_intermediate_size": 16,
    "hidden_size_per_layer_input": 0,
}

SEES: dict[str, Any] = {"vision_config": {"deepstack_visual_indexes": [1]}, "mlp_only_layers": [1]}

AS_MANY_KEYS: dict[str, Any] = {"num_key_value_heads": 4}

NEEDS: dict[str, dict[str, Any]] = {
    "axk2": AS_MANY_KEYS,
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2, "num_key_value_heads": 4},
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"moe_num_experts": 8, "moe_top_k": 2},
    },
    "deepseek_v2": {
        **AS_MANY_KEYS,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "topk_method": "group_limited_greedy",
    },
    "deepseek_v3": AS_MANY_KEYS,
    "deepseek_v32": {**AS_MANY_KEYS, "first_k_dense_replace": 1, "mlp_layer_types": ["dense"] + ["sparse"] * 3},
    "diffusion_gemma": GEMMA4,
    "deepseek_ocr2": {"mlp_layer_types": ["dense"] + ["sparse"] * 3, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "ernie4_5_vl_moe": {"head_dim": 128},
    "gemma4": GEMMA4,
    "gemma4_text": GEMMA4,
    "glm4_moe": {"eos_token_id": [2, 3]},
    "glm4v_moe": {"head_dim": 128},
    "glm5_next": {**AS_MANY_KEYS, "index_kpool": 4, "qk_rope_head_dim": 0},
    "glm_moe_dsa": AS_MANY_KEYS,
    "granitemoeshared": {"shared_intermediate_size": 16},
    "granitemoehybrid": {
        "shared_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_chunk_size": 16,
    },
    "hunyuan_v1_moe": {"head_dim": 8},
    "hy_v4_vl": {**AS_MANY_KEYS, "qk_rope_head_dim": 64, "index_head_dim": 64},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 0},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2, "num_key_value_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 4, "zero_expert_num": 4, "num_key_value_heads": 4},
    "llama4": {"interleave_moe_layer_step": 2},
    "llama4_text": {"interleave_moe_layer_step": 2},
    "mistral_large4": AS_MANY_KEYS,
    "qwen2_moe": {"mlp_only_layers": [1]},
    "qwen3_moe": {"mlp_only_layers": [1]},
    "qwen3_next": {"mlp_only_layers": [1]},
    "qwen3_omni_moe": {**SEES, "enable_audio_output": False},
    "qwen3_omni_moe_thinker": SEES,
    "qwen3_vl_moe": SEES,
    "qwen4_exp": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 64,
        "split_ngram_parts": 1,
        "hc_lowrank": 8,
    },
    "step3p7": {"sliding_window": 64},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a family needs besides: fields of its language model's config, or of another part by that part's name."""


def known(families: Sequence[str]) -> list[str]:
    """Those that the installed Transformers has."""
    return [family for family in families if family in CONFIG_MAPPING]


def tiny_family(family: str, seed: int = 0, *, whole: bool = False, **changes: Any) -> nn.Module:
    """A random model of ``family`` (a model type), its routers, biases and scales far from their first values.

    Args:
        whole: as a checkpoint holds it, with its eyes and ears; else what answers text with text.
        changes: fields of the language model's config.
    """
    config = _tiny_config(CONFIG_MAPPING[family], {**NEEDS.get(family, {}), **changes})
    torch.manual_seed(seed)
    model = _model(config, whole).eval()
    _have_something_to_say(model)
    return model


def _tiny_config(config_class: Any, changes: dict[str, Any]) -> Any:
    """A small config of ``config_class`` and of the configs inside it; what follows from a size is left to follow."""
    defaults = vars(config_class())
    stored = {n: config_class.attribute_map.get(n, n) for n in _fields(config_class)}
    known = {n: defaults[at] for n, at in stored.items() if at in defaults}
    parts = {n: v for n, v in defaults.items() if hasattr(v, "to_dict")}
    text = next((n for n in ("text_config", "thinker_config") if n in parts), None)
    own = {n: v for n, v in changes.items() if n not in parts}
    small = {n: _tiny_config(type(v), own if n == text else changes.get(n, {})) for n, v in parts.items()}
    sizes = {n: v for n, v in SMALL.items() if _is_number(known.get(n))}
    return config_class(**{**sizes, **{n: v for n, v in own.items() if n in known or not text}, **small})


def _fields(config_class: Any) -> Any:
    """Names that a config takes, not those that follow from them."""
    return getattr(config_class, "__dataclass_fields__", None) or inspect.signature(config_class).parameters


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _model(config: Any, whole: bool) -> nn.Module:
    names = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForMultimodalLM")
    for name in reversed(names) if whole else names:
        auto = getattr(transformers, name, None)
        if auto and type(config) in auto._model_mapping:
            return auto._model_mapping[type(config)](config) if whole else auto.from_config(config)
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
