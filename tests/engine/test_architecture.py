"""What a model is made of: read from its config and counted from its weights."""

from __future__ import annotations

from app.engine.architecture import architecture_of
from tests.tiny_models import tiny_moe


def test_sizes_are_the_models_own():
    model = tiny_moe(num_hidden_layers=3, mlp_only_layers=[1])
    config = model.config
    experts = {layer: (config.num_experts, config.num_experts_per_tok) for layer in (0, 2)}
    found = architecture_of(model, experts)
    assert (found.layers, found.hidden, found.heads) == (3, config.hidden_size, config.num_attention_heads)
    assert found.kv_heads == config.num_key_value_heads and found.qk_norm
    assert found.parameters == sum(p.numel() for p in model.parameters())
    routed = 2 * config.num_experts * 3 * config.hidden_size * config.moe_intermediate_size
    idle = routed * (1 - config.num_experts_per_tok / config.num_experts)
    assert found.active_parameters == found.parameters - round(idle)


def test_a_dense_model_uses_all_of_itself():
    model = tiny_moe(num_hidden_layers=2, mlp_only_layers=[0, 1])
    found = architecture_of(model, {})
    assert found.active_parameters == found.parameters
