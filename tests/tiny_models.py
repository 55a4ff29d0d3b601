"""Random tiny models with the bundled tokenizer: the real architectures, small enough to run a test in milliseconds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

ASSETS = Path(__file__).parents[1] / "assets" / "mini-qwen3-moe"


@functools.cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(ASSETS)


def tiny_moe(seed: int = 0, **changes: Any) -> Qwen3MoeForCausalLM:
    """4 layers, the second one dense, 16 experts top-4."""
    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_experts": 16,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 16,
        "norm_topk_prob": True,
        "mlp_only_layers": [1],
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
    }
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**{**options, **changes})).eval()


def tiny_dense(seed: int = 0) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
    )
    return Qwen3ForCausalLM(config).eval()
