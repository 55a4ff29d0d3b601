"""Quantization: what is quantized takes the memory that was reckoned and errs as its format does; the routers are those
of the checkpoint; checkpoints that come quantized load whole or not at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Qwen3MoeConfig
from transformers.integrations.moe import batched_mm_experts_forward

from analysis.errors import ModelError
from app.engine import models
from app.engine.capture import capture_routing
from app.engine.check import check_capture
from app.engine.models import load_model
from app.engine.opening import open_engine, verify_checkpoint
from app.engine.quantization import QuantizedStack, quantized_experts, weight_bytes
from tests.engine.test_models import change_config, change_weights, saved
from tests.tiny_models import tiny_moe, tokenizer

bitsandbytes = pytest.importorskip("bitsandbytes.functional")
quantize_4bit, dequantize_4bit = bitsandbytes.quantize_4bit, bitsandbytes.dequantize_4bit

IDS = list(range(5, 29))
BITS = pytest.mark.parametrize("bits", [4, 8])
QUANTIZE = pytest.mark.parametrize("quantize", ["4bit", "8bit"])
ERROR = {"4bit": 0.1, "8bit": 0.01}
"""Bounds on the relative error of normal weights; measured 0.092 and 0.006. An expert's output passes two or three
matrices, whose errors add up to 0.14 to 0.18 and 0.009 to 0.011."""

COMMON = {
    "vocab_size": len(tokenizer()),
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
LOCAL = {"num_local_experts": 8, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_group": 2, "topk_group": 1}
MLA = {"kv_lora_rank": 64, "q_lora_rank": 64, "qk_rope_head_dim": 32, "qk_nope_head_dim": 32, "v_head_dim": 16}
FAMILIES = {
    "qwen3_moe": QWEN,
    "qwen2_moe": {**QWEN, "shared_expert_intermediate_size": 64},
    "olmoe": QWEN,
    "mixtral": LOCAL,
    "granitemoe": LOCAL,
    "gpt_oss": LOCAL,  # transposed, interleaved, with biases
    "deepseek_v3": {**ROUTED, **MLA, "first_k_dense_replace": 0, "num_key_value_heads": 4},  # a bias in the choice
    "nemotron_h": {**ROUTED, "moe_shared_expert_intermediate_size": 64, "layers_block_type": ["moe", "moe"]},  # no gate
    "llama4_text": {"num_local_experts": 8, "moe_layers": [0, 1], "intermediate_size_mlp": 64},  # all experts at once
    "dbrx": {  # one flat matrix for all experts
        "d_model": 64,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 512,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 8, "moe_top_k": 2},
    },
}


def with_normal_weights(model, std=0.1):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, std)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Saves a family's random tiny model once: ``checkpoint(family)`` → (folder, model)."""
    made = {}

    def make(family):
        if family not in made:
            config = CONFIG_MAPPING[family](**{**COMMON, **FAMILIES[family]})
            model = with_normal_weights(AutoModelForCausalLM.from_config(config))
            made[family] = saved(tmp_path_factory.mktemp(family), model), model
        return made[family]

    return make


def error(found, expected):
    return float(((found - expected).float().norm() / expected.float().norm()).detach())


def plain(model):
    """Every parameter by name, as bytes in memory."""
    return {n: p.stored() if isinstance(p, QuantizedStack) else p.nbytes for n, p in model.named_parameters()}


@BITS
@pytest.mark.parametrize("shape", [(6, 96, 64), (6, 20, 16), (64, 128)])
def test_a_stack_reads_as_the_tensor_it_was(bits, shape):
    torch.manual_seed(0)
    original = torch.randn(shape, dtype=torch.bfloat16)
    stack = QuantizedStack.quantize(original, bits)
    assert (stack.shape, stack.dtype) == (original.shape, original.dtype)
    whole, ids = stack + 0, torch.tensor([3, 0, 3])
    assert error(whole, original) < ERROR[f"{bits}bit"]
    if bits == 4:
        blocks = original.reshape(-1, 64)
        expected = dequantize_4bit(*quantize_4bit(blocks, blocksize=64, quant_type="nf4"))
        assert torch.equal(whole, expected.reshape(shape))
    with torch.inference_mode():
        assert torch.equal(stack[2], whole[2]) and torch.equal(stack[torch.tensor(2)], whole[2])
        assert torch.equal(stack[ids], whole[ids]) and torch.equal(stack[1:3], whole[1:3])
        assert torch.equal(stack.transpose(-2, -1), whole.transpose(-2, -1))
    assert torch.equal(nn.Parameter(stack, requires_grad=False)[5], whole[5])
    with pytest.raises(RuntimeError, match="in place"):
        stack.mul_(2)


def test_experts_that_do_not_fill_blocks_are_not_taken():
    with pytest.raises(ValueError, match=r"\(2, 3, 5\) cannot be held in 4 bits"):
        QuantizedStack.quantize(torch.ones(2, 3, 5), 4)
    assert torch.allclose(QuantizedStack.quantize(torch.ones(2, 3, 5), 8)[1], torch.ones(3, 5))
    assert torch.equal(QuantizedStack.quantize(torch.zeros(2, 8, 8), 8)[0], torch.zeros(8, 8))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((48, 2048, 32, 4, 768), {"": 56.9, "4bit": 16.8, "8bit": 29.1}),
        ((94, 4096, 64, 4, 1536), {"": 437.9, "4bit": 124.9, "8bit": 220.2}),
    ],
    ids=["30B-A3B", "235B-A22B"],
)
def test_memory_of_the_real_models(shape, expected):
    layers, hidden, heads, kv_heads, intermediate = shape
    config = Qwen3MoeConfig(
        vocab_size=151936,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=intermediate,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    for quantize, gib in expected.items():
        assert weight_bytes(model, quantize) / 2**30 == pytest.approx(gib, rel=0.01)


@QUANTIZE
def test_a_loaded_model_takes_the_memory_that_was_reckoned(tmp_path, quantize):
    model = with_normal_weights(tiny_moe(hidden_size=256, moe_intermediate_size=128, num_key_value_heads=2))
    loaded = load_model(str(saved(tmp_path, model)), quantize).model
    found = plain(loaded)
    experts = sum(size for name, size in found.items() if ".experts." in name)
    sixteen_bits = sum(2 * p.numel() for name, p in model.named_parameters() if ".experts." in name)
    assert experts / sixteen_bits == pytest.approx(4.5 / 16 if quantize == "4bit" else 8 / 16, rel=0.03)
    # bitsandbytes keeps the scales of linear layers outside of their parameters
    assert sum(found.values()) == pytest.approx(weight_bytes(model, quantize, loaded.dtype), rel=0.03)


@QUANTIZE
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_of_experts_is_quantized_and_no_router(checkpoint, family, quantize):
    folder, model = checkpoint(family)
    loaded = load_model(str(folder), quantize)
    originals = dict(model.named_parameters())
    assert loaded.quantization == quantize
    stacks = {n: p for n, p in loaded.model.named_parameters() if isinstance(p, QuantizedStack)}
    large = {n for n, p in originals.items() if ".experts." in n and not n.endswith("bias")}
    assert set(stacks) == large and large
    for name, parameter in loaded.model.named_parameters():
        if re.search(r"\b(gate|router|\w*_gate|\w*embed\w*|wte|lm_head)\.|norm\w*\.weight$|bias$", name):
            assert torch.equal(parameter, originals[name]), name
        if name in stacks:
            assert error(parameter + 0, originals[name]) < ERROR[quantize]

    name = next(n for n, _ in model.named_modules() if n.endswith("experts") and "shared" not in n)
    original, quantized = model.get_submodule(name), loaded.model.get_submodule(name)
    hidden, ids, weights = torch.randn(24, 64), torch.randint(0, 8, (24, 2)), torch.rand(24, 2)
    arguments = (torch.randn(8 * 3, 64),) if family == "llama4_text" else (hidden, ids, weights)
    with torch.inference_mode():
        assert error(quantized(*arguments), original(*arguments)) < 2 * ERROR[quantize]


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe", "olmoe", "mixtral", "granitemoe", "gpt_oss"])
def test_what_is_captured_is_what_quantized_experts_execute(checkpoint, family):
    folder, original = checkpoint(family)
    model = load_model(str(folder), "4bit").model
    result = check_capture(model, capture_routing(model), IDS)
    assert result.ok, result.problems
    executed = []
    experts = next(m for n, m in model.named_modules() if n.endswith("experts"))
    handle = experts.register_forward_pre_hook(lambda module, args: executed.append(args[1].numpy()))
    with torch.inference_mode(), capture_routing(model) as capture:
        model(torch.tensor([IDS]), use_cache=False)
        rows = capture.drain(len(IDS), 0, "prefill")
    handle.remove()
    assert np.array_equal(rows.expert_ids[:, 0], executed[0])
    with torch.inference_mode(), capture_routing(original) as capture:
        original(torch.tensor([IDS]), use_cache=False)
        before = capture.drain(len(IDS), 0, "prefill")
    agree = (before.expert_ids[..., :, None] == rows.expert_ids[..., None, :]).any(-1).mean()
    assert agree > 0.7  # random weights with nothing to fall back on; measured 0.82 to 0.87


def test_the_bundled_model_routes_nearly_as_before():
    """Forced text, fraction of expert ids that stay: measured 0.99 in 8 bits and 0.90 in 4."""
    text = "<|im_start|>user\nWhat is 538 + 274?<|im_end|>\n<|im_start|>assistant\n"
    plain_ids = open_engine().run_forced(text).expert_ids
    for quantize, least in (("8bit", 0.95), ("4bit", 0.8)):
        ids = open_engine("", quantize).run_forced(text).expert_ids
        assert (plain_ids[..., :, None] == ids[..., None, :]).any(-1).mean() > least


@BITS
def test_experts_in_one_go_are_the_experts_one_by_one(bits):
    experts = tiny_moe(hidden_size=64, moe_intermediate_size=64).model.layers[0].mlp.experts
    for name in ("gate_up_proj", "down_proj"):
        stack = QuantizedStack.quantize(getattr(experts, name).data, bits)
        setattr(experts, name, nn.Parameter(stack, requires_grad=False))
    hidden, ids, weights = torch.randn(2, 64), torch.tensor([[3, 1, 0, 9], [3, 2, 15, 8]]), torch.rand(2, 4)
    with torch.inference_mode():
        together = batched_mm_experts_forward(experts, hidden, ids, weights)
        assert error(together, quantized_experts(experts, hidden, ids, weights)) < 1e-5
    experts.config._experts_implementation = "batched_mm"
    with torch.no_grad():
        compiled = torch.compile(experts, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(hidden, ids, weights), together)


def test_experts_that_do_not_fit_stay_and_it_is_said(tmp_path):
    folder = saved(tmp_path, tiny_moe(hidden_size=32, moe_intermediate_size=9))
    assert load_model(str(folder), "4bit").quantization == (
        "4bit; 3 stacks of experts and 19 linear layers whose sizes do not fit stay in float32"
    )
    assert load_model(str(folder), "8bit").quantization == "8bit"


def test_a_model_that_does_not_fit_is_refused_before_loading_and_one_that_does_is_not(tmp_path, monkeypatch):
    model = tiny_moe(hidden_size=256, moe_intermediate_size=256, num_key_value_heads=2)
    folder = str(saved(tmp_path, model))
    full, small = weight_bytes(model, ""), weight_bytes(model, "4bit")
    monkeypatch.setattr(models.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": (full + small) // 2}.get)
    assert load_model(folder, "4bit").model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match="billion parameters, about"):
        load_model(folder)
    monkeypatch.setattr(models.os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": small - 1}.get)
    with pytest.raises(ModelError, match="in 4bit"):
        load_model(folder, "4bit")


@QUANTIZE
@pytest.mark.parametrize("what", ["expert", "shape", "router"])
def test_nothing_half_loaded_is_quantized(tmp_path, quantize, what):
    folder = saved(tmp_path, tiny_moe(hidden_size=64, moe_intermediate_size=64))
    if what == "shape":
        change_config(folder, moe_intermediate_size=128)
    else:
        part = ".2.mlp.experts.7." if what == "expert" else ".2.mlp.gate."
        change_weights(folder, lambda weights: [weights.pop(key) for key in list(weights) if part in key])
    with pytest.raises(ModelError) as refused:
        load_model(str(folder), quantize)
    assert "\n" not in str(refused.value)


BLOCK = 32


def to_fp8(weight):
    """A matrix as FP8 checkpoints hold it: float8 values and the inverse scale of every block, a power of two here,
    so that bfloat16 holds the product exactly."""
    rows, columns = weight.shape[0] // BLOCK, weight.shape[1] // BLOCK
    blocks = weight.float().reshape(rows, BLOCK, columns, BLOCK)
    scale = torch.exp2(torch.ceil(torch.log2(blocks.abs().amax((1, 3)) / 448)))
    values = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
    exact = (values.float() * scale[:, None, :, None]).reshape(weight.shape)
    return values.reshape(weight.shape), scale, exact


@pytest.fixture
def fp8(tmp_path):
    """A Qwen3 MoE model of FP8 values in 16 bits, and the FP8 checkpoint of the same."""
    model = tiny_moe(hidden_size=64, moe_intermediate_size=64, intermediate_size=64, num_attention_heads=4)
    folder, reference = saved(tmp_path / "fp8", model), saved(tmp_path / "plain", model)
    weights, exact = load_file(folder / "model.safetensors"), {}
    for name in [n for n in weights if "_proj.weight" in n and not any(d % BLOCK for d in weights[n].shape)]:
        weights[name], weights[f"{name}_scale_inv"], exact[name] = to_fp8(weights[name])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    change_weights(reference, lambda plain_weights: plain_weights.update(exact))
    kept = [n.removesuffix(".weight") for n in weights if ".gate." in n or "k_proj.weight" in n or "v_proj.weight" in n]
    config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic"}
    change_config(
        folder,
        quantization_config={
            **config,
            "weight_block_size": [BLOCK, BLOCK],
            "modules_to_not_convert": [*kept, "lm_head"],
        },
    )
    return folder, reference


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there FP8 may stay FP8")
def test_an_fp8_checkpoint_routes_as_the_model_it_was_made_of(fp8):
    folder, reference = map(str, fp8)
    assert verify_checkpoint(folder)["ok"]
    engine = open_engine(folder)
    assert engine.provenance()["quantization"] == "fp8 checkpoint, dequantized to float32"
    text = "What is 538 + 274?"
    assert np.array_equal(engine.run_forced(text).expert_ids, open_engine(reference).run_forced(text).expert_ids)


def test_an_fp8_checkpoint_is_not_quantized_again(fp8):
    with pytest.raises(ModelError, match=r"quantized already \(fp8\); 4bit is not possible"):
        load_model(str(fp8[0]), "4bit")


def test_an_fp8_checkpoint_with_unknown_expert_keys_is_refused(fp8):
    def rename(weights):
        for key in [k for k in weights if ".experts." in k]:
            weights[key.replace("gate_proj", "w1").replace("up_proj", "w3").replace("down_proj", "w2")] = weights.pop(
                key
            )

    change_weights(fp8[0], rename)
    with pytest.raises(ModelError, match="incomplete: .* 'model.layers.0.mlp.experts.down_proj'"):
        load_model(str(fp8[0]))


@pytest.mark.parametrize("where", ["layers.2.mlp.experts.3.up_proj", "layers.2.mlp.experts", "layers.0.self_attn.q"])
def test_fp8_weights_without_their_scale_are_refused(fp8, where):
    def remove(weights):
        for key in [k for k in weights if where in k and k.endswith("scale_inv")]:
            weights.pop(key)

    change_weights(fp8[0], remove)
    with pytest.raises(ModelError) as refused:
        load_model(str(fp8[0]))
    assert "\n" not in str(refused.value)


def test_a_bitsandbytes_checkpoint_with_unknown_expert_keys_is_refused(tmp_path):
    """As made by versions of Transformers in which each expert was a linear layer of its own."""
    folder = saved(tmp_path, tiny_moe(hidden_size=64, moe_intermediate_size=64))

    def quantize(weights):
        for key in [k for k in weights if ".experts." in k]:
            codes, state = quantize_4bit(weights[key], quant_type="nf4")
            weights[key] = codes
            for part, value in state.as_dict(packed=True).items():
                weights[f"{key}.{part}"] = value

    change_weights(folder, quantize)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    change_config(folder, quantization_config={**config, "llm_int8_skip_modules": ["self_attn", "gate", "lm_head"]})
    with pytest.raises(ModelError) as refused:
        load_model(str(folder))
    assert "\n" not in str(refused.value)


def test_an_mxfp4_checkpoint_routes_as_the_model_it_was_made_of(checkpoint, tmp_path):
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    _, model = checkpoint("gpt_oss")
    folder, reference = saved(tmp_path / "mxfp4", model), saved(tmp_path / "plain", model)
    weights, exact = load_file(folder / "model.safetensors"), {}
    generator = torch.Generator().manual_seed(0)
    for name in [n for n in weights if n.endswith(("gate_up_proj", "down_proj"))]:
        experts, columns, rows = weights.pop(name).shape
        codes = torch.randint(0, 16, (experts, rows, columns // 32, 16, 2), generator=generator)
        weights[f"{name}_blocks"] = (codes[..., 0] | codes[..., 1] << 4).to(torch.uint8)
        weights[f"{name}_scales"] = torch.full((experts, rows, columns // 32), 127 - 5, dtype=torch.uint8)
        exact[name] = (values[codes].reshape(experts, rows, columns) / 32).transpose(1, 2).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    change_config(
        folder, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["self_attn", "router"]}
    )
    change_weights(reference, lambda plain_weights: plain_weights.update(exact))
    engine, original = open_engine(str(folder)), open_engine(str(reference))
    assert engine.provenance()["quantization"].startswith("mxfp4 checkpoint, dequantized")
    text = "What is 7 x 8?"
    assert np.array_equal(engine.run_forced(text).expert_ids, original.run_forced(text).expert_ids)
