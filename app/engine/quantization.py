"""What ``--quantize 4bit`` and ``8bit`` do: linear layers by bitsandbytes, stacked experts by ``QuantizedStack``.

bitsandbytes alone leaves experts that are stacked in one parameter as they are, which is nearly the whole model. Here
both are quantized while the checkpoint is read, each weight as soon as it has arrived on its device, so loading needs
the quantized model plus about two copies of one stack in 16 bits (Qwen3-30B-A3B in 4 bits: 16.8 GiB and 1.5 GiB), and
never the whole model in 16 bits. Routers, gates, embeddings, norms and the output layer are left alone.

Knows weights and how Transformers loads them. Does not know routing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.core_model_loading import ConversionOps
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, batched_mm_experts_forward
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizer_bnb_8bit import Bnb8BitHfQuantizer

BLOCK = 64
"""NF4 keeps one float32 scale for this many weights: 4.5 bits a weight in all."""

PIECE = 2**22
"""Weights that are quantized at once."""

GATHERED = 16
"""Most (token, expert) pairs whose experts are dequantized in one go, repeated where two tokens share one."""

EXPERTS_FUNCTION = "expertscope_quantized"


class QuantizedStack(torch.Tensor):
    """The matrices of all experts, (E, …), held in 4 or 8 bits; looks like a tensor of that shape and its old dtype.

    ``stack[e]`` and ``stack[ids]`` dequantize the experts asked for; every other operation dequantizes all of them.
    4 bits: NF4 with a float32 scale for 64 weights. 8 bits: integers with a float32 scale for each row.

    Attributes:
        codes: (E, n / 2) uint8 with two weights in a byte, or (E, …) int8.
        scales: (E, n / 64), or (E, …, 1); float32.
    """

    codes: torch.Tensor
    scales: torch.Tensor

    @staticmethod
    def __new__(
        cls, codes: torch.Tensor, scales: torch.Tensor, shape: torch.Size, dtype: torch.dtype
    ) -> QuantizedStack:
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=codes.device)

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor, shape: torch.Size, dtype: torch.dtype) -> None:
        self.codes, self.scales = codes, scales

    @classmethod
    def quantize(cls, stack: torch.Tensor, bits: int) -> QuantizedStack:
        """``stack`` (E, …) in ``bits`` bits, on its device.

        Raises:
            ValueError: an expert's weights do not fill whole blocks; see ``fits``.
        """
        if not fits(stack, bits):
            raise ValueError(f"a stack of shape {tuple(stack.shape)} cannot be held in {bits} bits")
        if bits == 8:
            scales = stack.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / 127
            codes = torch.stack([(e.float() / s).round().to(torch.int8) for e, s in zip(stack, scales, strict=True)])
            return cls(codes, scales, stack.shape, stack.dtype)
        from bitsandbytes.functional import quantize_4bit

        codes = torch.empty(stack.numel() // 2, dtype=torch.uint8, device=stack.device)
        scales = torch.empty(stack.numel() // BLOCK, dtype=torch.float32, device=stack.device)
        for i, piece in enumerate(stack.reshape(-1).split(PIECE)):  # bitsandbytes works on a CPU in float32
            found, state = quantize_4bit(piece, blocksize=BLOCK, quant_type="nf4")
            codes[i * PIECE // 2 :][: len(piece) // 2] = found.reshape(-1)
            scales[i * PIECE // BLOCK :][: len(piece) // BLOCK] = state.absmax
        return cls(codes.reshape(len(stack), -1), scales.reshape(len(stack), -1), stack.shape, stack.dtype)

    def plain(self, experts: Any = slice(None)) -> torch.Tensor:
        """The matrices of ``experts``, an index into the first axis, as an ordinary tensor."""
        codes, scales = self.codes[experts], self.scales[experts]
        if codes.dtype == torch.int8:
            return (codes * scales).to(self.dtype)
        from bitsandbytes.functional import QuantState, dequantize_4bit

        blocks = torch.Size([scales.numel(), BLOCK])
        state = QuantState(scales.reshape(-1), blocks, dtype=self.dtype, blocksize=BLOCK, quant_type="nf4")
        return dequantize_4bit(codes.reshape(-1, 1), state).reshape(*codes.shape[:-1], *self.shape[1:])

    def stored(self) -> int:
        """Bytes in memory."""
        return self.codes.nbytes + self.scales.nbytes

    def __tensor_flatten__(self) -> tuple[list[str], tuple[torch.Size, torch.dtype]]:
        return ["codes", "scales"], (self.shape, self.dtype)

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], meta: Any, size: Any, stride: Any) -> QuantizedStack:
        return QuantizedStack(inner["codes"], inner["scales"], *meta)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"QuantizedStack(shape={tuple(self.shape)}, dtype={self.dtype}, bytes={self.stored()})"

    @classmethod
    @torch.inference_mode(False)  # autograd takes the result of an indexing for a view, which it refuses in that mode
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, aten, first = kwargs or {}, torch.ops.aten, args[0] if args else None
        if isinstance(first, cls):
            if func in (aten.detach.default, aten.alias.default):
                return first._map(lambda part: part)
            if func is aten.clone.default:
                return first._map(torch.clone)
            if func is aten._to_copy.default and kwargs.get("dtype", first.dtype) == first.dtype:
                return first._map(lambda part: part.to(kwargs.get("device")))
            if func is aten.select.int and args[1] == 0:
                return first.plain(args[2])
            if func is aten.index.Tensor and len(args[1]) == 1:
                return first.plain(args[1][0])
        if func._schema.is_mutable:
            raise RuntimeError(f"quantized experts cannot be changed in place ({func})")
        plain = torch.utils._pytree.tree_map_only(cls, cls.plain, (args, kwargs))
        return func(*plain[0], **plain[1])

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> QuantizedStack:
        return QuantizedStack(change(self.codes), change(self.scales), self.shape, self.dtype)


def fits(weight: torch.Tensor, bits: int) -> bool:
    """NF4 wants whole blocks of 64: in each expert of a stack, in each row of a layer's matrix, and there are kernels
    that want the rows by 32."""
    if bits == 8:
        return True
    if weight.dim() == 2:
        return weight.shape[0] % 32 == 0 and weight.shape[1] % BLOCK == 0
    return weight[0].numel() % BLOCK == 0


def quantized_parameters(model: nn.Module, bits: int) -> dict[str, int]:
    """The parameters of ``model`` (it may be on the meta device) that are quantized, with the bytes each will take."""
    kept = set(_kept(model))
    found = {}
    for name, module in model.named_modules():
        if type(module) is nn.Linear and name not in kept and fits(module.weight, bits):
            found[f"{name}.weight"] = _bytes(module.weight, bits)
    for name, parameter in _stacks(model).items():
        if fits(parameter, bits):
            found[name] = _bytes(parameter, bits)
    return found


def weight_bytes(model: nn.Module, quantize: str, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of ``model``'s weights in memory once loaded in ``dtype`` and with ``quantize``; the model may be on the
    meta device. The key-value cache is not in it."""
    quantized = quantized_parameters(model, int(quantize[0])) if quantize else {}
    return sum(quantized.get(name, p.numel() * dtype.itemsize) for name, p in model.named_parameters())


def quantization_config(quantize: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What ``from_pretrained`` takes as ``quantization_config`` for ``quantize``, "4bit" or "8bit"."""
    config = BitsAndBytesConfig(
        load_in_4bit=quantize == "4bit",
        load_in_8bit=quantize == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
    )
    config.quant_method = f"expertscope_{quantize}"
    return config


def what_was_quantized(model: nn.Module, quantize: str) -> str:
    """For the provenance: ``quantize``, and what kept its dtype because it could not be quantized."""
    kept = set(_kept(model))
    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear and name not in kept]
    stacks = [name for name, parameter in _stacks(model).items() if not isinstance(parameter, QuantizedStack)]
    counts = {"stacks of experts": len(stacks), "linear layers": len(linear)}
    left = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{quantize}; {left} whose sizes do not fit stay in {_name(model.dtype)}" if left else quantize


def unscaled_fp8(folder: Path) -> list[str]:
    """FP8 weights of the checkpoint in ``folder`` without a scale; Transformers would take their bare values."""
    dtypes: dict[str, str] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            dtypes.update({key: weights.get_slice(key).get_dtype() for key in weights.keys()})  # noqa: SIM118
    scaled = {key.rpartition(".")[0] for key in dtypes if re.search(r"scale\w*$", key) and "activation" not in key}
    fp8 = (key for key, dtype in dtypes.items() if dtype.startswith("F8_") and "scale" not in key)
    return sorted(key for key in fp8 if key.rpartition(".")[0] not in scaled)


def quantized_experts(
    experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """The experts' output (N, H), by the family's own loop over the experts that are used; for few pairs, as in
    decoding, on a GPU in one go and without waiting for it. Either way only the experts used are dequantized."""
    if top_k_index.numel() <= GATHERED and hidden_states.device.type != "cpu":
        return batched_mm_experts_forward(experts, hidden_states, top_k_index, top_k_weights)
    return type(experts).forward.__wrapped__(experts, hidden_states, top_k_index, top_k_weights)


ALL_EXPERTS_FUNCTIONS.register(EXPERTS_FUNCTION, quantized_experts)


class _Quantize(ConversionOps):
    """One weight, as soon as it has been read: a stack of experts by us, a linear layer's by bitsandbytes."""

    def __init__(self, linear: ConversionOps, bits: int) -> None:
        self.linear, self.bits = linear, bits

    def convert(self, input_dict: dict[str, Any], model: Any = None, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        (name, value), *_ = input_dict.items()
        value, expected = value[0] if isinstance(value, list) else value, model.get_parameter(name)
        if value.shape != expected.shape:  # Transformers does not look at the shape of what is quantized
            raise ValueError(f"{name} has the shape {tuple(value.shape)}, not {tuple(expected.shape)}")
        if name not in _stacks(model):
            return self.linear.convert({name: value}, model=model, **options)
        stack = QuantizedStack.quantize(value.to(expected.dtype), self.bits)
        return {name: nn.Parameter(stack, requires_grad=False)}


class _WithExperts:
    """What both quantizers below add to those of bitsandbytes."""

    bits: int

    def __init__(self, quantization_config: BitsAndBytesConfig, **options: Any) -> None:
        # our name has led here; for Transformers and Accelerate the model is one of bitsandbytes
        quantization_config.quant_method = "bitsandbytes"
        super().__init__(quantization_config, **options)  # type: ignore[call-arg]
        self._planned: dict[str, int] = {}

    def _process_model_before_weight_loading(self, model: Any, *args: Any, **options: Any) -> None:
        self._planned = quantized_parameters(model, self.bits)
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
        self.quantization_config.llm_int8_skip_modules = [  # type: ignore[attr-defined]
            name for name in linear if f"{name}.weight" not in self._planned
        ]
        super()._process_model_before_weight_loading(model, *args, **options)  # type: ignore[misc]

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        return param_name in self._planned

    def param_element_size(self, model: Any, param_name: str, param: torch.Tensor) -> float:
        if param_name in self._planned:
            return self._planned[param_name] / param.numel()
        return param.element_size()

    def get_quantize_ops(self) -> ConversionOps:
        return _Quantize(super().get_quantize_ops(), self.bits)  # type: ignore[misc]

    def _process_model_after_weight_loading(self, model: Any, **options: Any) -> Any:
        model.config._experts_implementation = EXPERTS_FUNCTION
        return super()._process_model_after_weight_loading(model, **options)  # type: ignore[misc]


@register_quantizer("expertscope_4bit")
class FourBit(_WithExperts, Bnb4BitHfQuantizer):
    """NF4."""

    bits = 4


@register_quantizer("expertscope_8bit")
class EightBit(_WithExperts, Bnb8BitHfQuantizer):
    """LLM.int8 for linear layers, integers with a scale for each row for experts."""

    bits = 8


def _stacks(model: nn.Module) -> dict[str, nn.Parameter]:
    """Stacked expert weights: matrices, not biases, that belong to a module named ``experts`` and to no layer in it."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if re.search(r"(^|\.)experts\.", name)
        and parameter.dim() >= 2
        and parameter.is_floating_point()
        and not name.endswith("bias")
        and not isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Linear | nn.Embedding)
    }


def _kept(model: nn.Module) -> list[str]:
    """Linear layers that are not quantized: everything in a router or a gate, and the output layer."""
    gates = [n for n, _ in model.named_modules() if re.search(r"(^|\.)(router|gate|\w+_gate)(\.|$)", n)]
    return gates + get_keys_to_not_convert(model)


def _bytes(parameter: torch.Tensor, bits: int) -> int:
    if bits == 8:
        return parameter.numel() + parameter.numel() // parameter.shape[-1] * 4
    return parameter.numel() // 2 + parameter.numel() // BLOCK * 4


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
