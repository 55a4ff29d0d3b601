"""What each expert gives for a token: the instrumented pass behind saliency, super experts and contributions.

Knows MoE layers and tensors. Every expert is run by the model's own experts module, one (token, expert) pair at a time,
so that any family, any quantization and any kernel is measured as it runs.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from app.engine.moe_layer import MoELayer


class OutputsCapture:
    """Usage, beside a ``RoutingCapture`` of the same layers::

        with OutputsCapture(layers) as outputs:
            model(input_ids)
        arrays = outputs.drain(top_k=8)

    Runs each chosen expert once more, so a pass takes about twice as long; for measuring, not for chatting.
    """

    def __init__(self, layers: list[MoELayer]) -> None:
        self.layers = layers
        self._found: list[dict[str, torch.Tensor]] = [{} for _ in layers]
        self._dense: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> OutputsCapture:
        for position, layer in enumerate(self.layers):
            self._handles.append(layer.experts.register_forward_hook(self._experts_hook(position), with_kwargs=True))
            if layer.gates_at is not None:
                self._handles.append(layer.router.register_forward_hook(self._dense_hook(position)))
            for gate in _shared_gates(layer):
                self._handles.append(gate.register_forward_hook(self._gate_hook(position)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def drain(self, top_k: int) -> dict[str, np.ndarray]:
        """The last pass: ``contribution`` and ``output_max`` (R, L, top_k), ``shared_gate`` (R, L) where a layer has
        (NaN for layers without); float32, as in ``RoutingRows``."""
        arrays: dict[str, np.ndarray] = {}
        for name in ("contribution", "output_max"):
            parts = [found[name].cpu() for found in self._found]
            cut = [nn.functional.pad(part, (0, top_k - part.shape[-1])) for part in parts]
            arrays[name] = torch.stack(cut, 1).numpy()
        if any("shared_gate" in found for found in self._found):
            rows = len(arrays["contribution"])
            nothing = torch.full((rows,), torch.nan)
            arrays["shared_gate"] = torch.stack([f.get("shared_gate", nothing).cpu() for f in self._found], 1).numpy()
        self._found = [{} for _ in self.layers]
        return arrays

    def _experts_hook(self, position: int) -> Any:
        layer = self.layers[position]

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> None:
            if layer.call:
                ids, weights = layer.call.routing(args, kwargs)
                plain = outputs_of(layer, layer.call.tokens(args, kwargs), ids, torch.ones_like(weights))
                given = plain * weights.float().unsqueeze(-1)
            else:
                ids, _ = self._dense.pop(position)
                every = output.reshape(layer.spec.num_experts, len(ids), -1).transpose(0, 1).float()
                real = (ids >= 0).unsqueeze(-1)
                index = ids.clamp_min(0).unsqueeze(-1).expand(-1, -1, every.shape[-1])
                plain = given = every.gather(1, index) * real
            self._found[position]["contribution"] = given.norm(dim=-1)
            self._found[position]["output_max"] = plain.abs().amax(-1)

        return hook

    def _dense_hook(self, position: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._dense[position] = self.layers[position].dense(output)

        return hook

    def _gate_hook(self, position: int) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            self._found[position]["shared_gate"] = torch.sigmoid(output.detach().float()).flatten()

        return hook


def _shared_gates(layer: MoELayer) -> list[nn.Module]:
    """The module whose sigmoid multiplies the shared expert's output, where there is one."""
    return [m for n, m in layer.block.named_children() if n.startswith("shared") and n.endswith("gate")]


@torch.no_grad()
def outputs_of(layer: MoELayer, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N, K, H) float32: what each expert of ``ids`` adds to its token, w·E(x); their sum over K is the routed output.

    With weights of 1 it is what the expert gives before the gate. Where a family multiplies the expert's input by the
    gate instead of its output (Llama 4), this is E(w·x).

    Args:
        hidden: (N, H) the input of the experts.
        ids, weights: (N, K).
    """
    hidden = hidden.reshape(-1, hidden.shape[-1])
    ids, weights = ids.to(hidden.device).long(), weights.to(hidden.device, torch.float32)
    n, k = ids.shape
    if layer.call:
        tokens, ones = hidden.repeat_interleave(k, 0), hidden.new_ones((n * k, 1))
        args, kwargs = layer.call.make(tokens, ids.reshape(-1, 1), ones)
        return layer.experts.forward(*args, **kwargs).reshape(n, k, -1).float() * weights.unsqueeze(-1)
    gates = dense_gates(ids, weights, layer.spec.num_experts)
    every = layer.experts.forward(dense_inputs(hidden, gates)).reshape(gates.shape[-1], n, -1)
    return every.transpose(0, 1).float()[torch.arange(n, device=ids.device).unsqueeze(-1), ids]


def dense_gates(ids: torch.Tensor, weights: torch.Tensor, experts: int) -> torch.Tensor:
    """(N, E): the weights of ``ids``, zero elsewhere."""
    return weights.new_zeros((len(ids), experts)).scatter(-1, ids, weights)


def dense_inputs(hidden: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    """(E·N, H): every token once for every expert, times its gate, expert by expert."""
    return (hidden.unsqueeze(0) * gates.to(hidden.dtype).T.unsqueeze(-1)).flatten(0, 1)
