"""What each expert gives for a token: the instrumented pass behind saliency, super experts and contributions.

Knows MoE layers and tensors. Every expert is run by the model's own experts module, one (token, expert) pair at a time,
so that any family, any quantization and any kernel is measured as it runs.
"""

from __future__ import annotations

import torch

from app.engine.router import MoELayer


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
