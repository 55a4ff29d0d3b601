"""The instrument: forward hooks that write every router's decision into preallocated buffers.

Knows MoE layers and tensors. Does not know requests, tokens or text. What is stored is what was executed: the ids and
weights are those the experts were called with, the router's logits are those it computed; none is recomputed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import RouterSpec, RoutingRows, Step
from app.engine.router import MoELayer, find_moe_layers, router_spec


class RoutingCapture:
    """Usage::

        with capture_routing(model, max_rows=512) as capture:
            model(input_ids)
            rows, _ = capture.drain(input_ids.shape[1], start=0, step=Step.PREFILL)

    Buffers of one forward pass, on the model's device: ids (L, rows, K) int16, weights (L, rows, K) float32,
    logits (L, rows, E) float32. Hooks only copy into them; entropy, margin and mass are computed once for all layers
    in ``drain``, and one copy leaves the device.
    """

    def __init__(self, layers: list[MoELayer], max_rows: int = 512) -> None:
        self.layers = layers
        self.spec: RouterSpec = router_spec(layers)
        self.max_rows = max_rows
        device = _device(layers[0].router) if layers else torch.device("cpu")
        count, k, experts = self.spec.num_moe_layers, self.spec.top_k, self.spec.num_experts
        self._ids = torch.full((count, max_rows, k), -1, dtype=torch.int16, device=device)
        self._weights = torch.zeros((count, max_rows, k), dtype=torch.float32, device=device)
        self._logits = torch.full((count, max_rows, experts), -torch.inf, dtype=torch.float32, device=device)
        self._seen_ids = [0] * count
        self._seen_logits = [0] * count
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> RoutingCapture:
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()

    def install(self) -> None:
        """Register the hooks; nothing happens if they are registered."""
        if self._handles:
            return
        for position, layer in enumerate(self.layers):
            self._handles.append(layer.router.register_forward_hook(self._router_hook(position)))
            self._handles.append(
                layer.experts.register_forward_pre_hook(self._experts_hook(position), with_kwargs=True)
            )

    def remove(self) -> None:
        """Remove the hooks, and forget a pass that was not drained."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.discard()

    def discard(self) -> None:
        """Forget the rows of the last pass."""
        self._seen_ids = [0] * len(self.layers)
        self._seen_logits = [0] * len(self.layers)

    def drain(
        self, rows: int, start: int, step: Step, *, router_scores: bool = False, extra: torch.Tensor | None = None
    ) -> tuple[RoutingRows, list[int]]:
        """The ``rows`` rows of the pass just run, for tokens ``start``, ``start + 1``, …

        Args:
            rows: tokens that were fed.
            router_scores: also the router's probabilities of all experts.
            extra: (M,) int64 tensor that leaves the device in the same copy, for example the sampled token.

        Returns:
            The rows, and ``extra`` as a list.

        Raises:
            CaptureError: a layer was not seen, was seen twice, or with another number of rows; or they are more than
                ``max_rows``.
        """
        if rows > self.max_rows:
            self.discard()
            raise CaptureError(f"{rows} tokens were fed at once; this capture has room for {self.max_rows}.")
        for layer, ids, logits in zip(self.layers, self._seen_ids, self._seen_logits, strict=True):
            if ids != rows or logits != rows:
                self.discard()
                raise CaptureError(
                    f"Layer {layer.spec.layer} showed {min(ids, logits)} routing rows for {rows} tokens, "
                    "so the capture is not faithful."
                )
        self.discard()
        arrays, tail = self._to_host(rows, router_scores, extra)
        return RoutingRows(start=start, step=step, **arrays), tail

    @torch.no_grad()
    def _to_host(self, rows: int, router_scores: bool, extra: torch.Tensor | None) -> tuple[dict[str, Any], list[int]]:
        count = self.spec.num_moe_layers
        ids = self._ids[:, :rows].transpose(0, 1)  # (R, L, K)
        used = ids >= 0
        probabilities = (
            torch.softmax(self._logits[:, :rows].transpose(0, 1), -1) if count else self._logits.new_zeros((rows, 0, 0))
        )
        parts: dict[str, torch.Tensor] = {
            "expert_ids": ids,
            "expert_weights": self._weights[:, :rows].transpose(0, 1).half(),
            "entropy": torch.special.entr(probabilities).sum(-1),
            "margin": self._margin(probabilities, used),
            "top_k_mass": (probabilities.gather(-1, ids.clamp(min=0).long()) * used).sum(-1),
        }
        if router_scores:
            parts["router_scores"] = probabilities.half()
        if extra is not None:
            parts["extra"] = extra.to(ids.device)
        flat = [p.contiguous().flatten().view(torch.uint8) for p in parts.values()]
        host = torch.cat(flat).cpu().numpy()
        arrays: dict[str, Any] = {}
        offset = 0
        for (name, part), data in zip(parts.items(), flat, strict=True):
            dtype = _NUMPY[part.dtype]
            arrays[name] = host[offset : offset + len(data)].view(dtype).reshape(tuple(part.shape))
            offset += len(data)
        tail = [int(v) for v in arrays.pop("extra", [])]
        raw = arrays["expert_ids"]
        arrays["expert_ids"] = np.where(raw < 0, self.spec.no_expert, raw.view(np.uint16)).astype(self.spec.id_dtype)
        return arrays, tail

    def _margin(self, probabilities: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
        """The k-th largest probability minus the next; where all experts are used, the smallest probability."""
        k = self.spec.top_k
        top = probabilities.topk(min(k + 1, probabilities.shape[-1]), dim=-1).values
        top = torch.nn.functional.pad(top, (0, k + 1 - top.shape[-1]))
        if not k:
            return probabilities.sum(-1)
        last = used.sum(-1, keepdim=True).clamp(min=1)
        return (top.gather(-1, last - 1) - top.gather(-1, last)).squeeze(-1)

    def _router_hook(self, position: int) -> Any:
        logits_of_layer, experts = self._logits[position], self.layers[position].spec.num_experts

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            logits = output[0].detach()
            rows = logits.shape[0]
            if rows <= self.max_rows:
                logits_of_layer[:rows, :experts].copy_(logits)
            self._seen_logits[position] += rows

        return hook

    def _experts_hook(self, position: int) -> Any:
        ids_of_layer, weights_of_layer = self._ids[position], self._weights[position]
        k = self.layers[position].spec.top_k

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            ids = args[1] if len(args) > 1 else kwargs["top_k_index"]
            weights = args[2] if len(args) > 2 else kwargs["top_k_weights"]
            rows = ids.shape[0]
            if rows <= self.max_rows:
                ids_of_layer[:rows, :k].copy_(ids)
                weights_of_layer[:rows, :k].copy_(weights.detach())
            self._seen_ids[position] += rows

        return hook


def capture_routing(model: nn.Module, max_rows: int = 512) -> RoutingCapture:
    """A capture for ``model``, to be used as a ``with`` block; see ``RoutingCapture``.

    Raises:
        CaptureError: the model has experts whose routers are not understood.
    """
    return RoutingCapture(find_moe_layers(model), max_rows)


_NUMPY = {
    torch.int16: np.dtype(np.int16),
    torch.int64: np.dtype(np.int64),
    torch.float16: np.dtype(np.float16),
    torch.float32: np.dtype(np.float32),
}


def _device(router: nn.Module) -> torch.device:
    device = next(router.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device
