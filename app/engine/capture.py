"""The instrument: forward hooks that write every router's decision into preallocated buffers.

Knows MoE layers and tensors. Does not know requests, tokens or text. What is stored is what was executed: the ids and
weights are those the experts were called with, the scores are those the router handed out; none is recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import RouterSpec, RoutingRows, Step
from app.engine.gating import Gating
from app.engine.router import MoELayer, find_moe_layers, router_spec

HEAD = 2
"""Floats before the rows of a buffer: the bytes of one int64 that leaves the device in the same copy."""


class RoutingCapture:
    """Usage::

        with capture_routing(model, max_rows=512) as capture:
            model(input_ids)
            rows, _ = capture.drain(input_ids.shape[1], start=0, step=Step.PREFILL)

    One float32 buffer a device, (rows, layers there, ids K | weights K | scores E). Hooks only copy into it, so they
    can be compiled (install them first) and replayed in a CUDA graph; what follows from the scores is computed in
    ``drain``, for all layers at once, after one copy to the host.

    Args:
        layers: what ``find_moe_layers`` returned.
        max_rows: tokens that may be fed in one pass.
        top_k: room for more experts a token than the routers choose, where an edit raises k.
    """

    def __init__(self, layers: list[MoELayer], max_rows: int = 512, *, top_k: int = 0) -> None:
        self.layers = layers
        self.spec: RouterSpec = router_spec(layers)
        self._experts = self.spec.num_experts
        self._places = _by_device([device_of(layer) for layer in layers])
        self._buffers: dict[torch.device, torch.Tensor] = {}
        self._kinds = _same_formula(layers)
        self._rows_seen = [[0, 0] for _ in layers]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self.reserve(max_rows, top_k)

    def __enter__(self) -> RoutingCapture:
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.remove()

    @property
    def width(self) -> int:
        """Floats of one row of one layer."""
        return 2 * self.top_k + self._experts

    def reserve(self, max_rows: int, top_k: int = 0) -> None:
        """Make room for passes of ``max_rows`` tokens and ``top_k`` experts each; not while a compiled model writes
        here."""
        self.max_rows, self.top_k = max_rows, max(top_k, self.spec.top_k)
        for device, positions in self._places.items():
            floats = HEAD + max_rows * len(positions) * self.width
            self._buffers[device] = torch.full((floats,), -1.0, device=device)
        self._cells = [self._cell(position) for position in range(len(self.layers))]
        self._decoding = [self._slices(p, 1, layer.spec.top_k) for p, layer in enumerate(self.layers)]

    def install(self) -> None:
        """Register the hooks; nothing happens if they are registered."""
        if self._handles:
            return
        for position, layer in enumerate(self.layers):
            self._handles.append(layer.router.register_forward_hook(self._router_hook(position)))
            if layer.call:
                hook = self._experts_hook(position)
                self._handles.append(layer.experts.register_forward_pre_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Remove the hooks, and forget a pass that was not drained."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.discard()

    def discard(self) -> None:
        """Forget the rows of the last pass."""
        for seen in self._rows_seen:
            seen[:] = 0, 0

    def drain(
        self,
        rows: int,
        start: int,
        step: Step,
        *,
        router_scores: bool = False,
        extra: torch.Tensor | None = None,
        edited: RouterSpec | None = None,
        compiled: bool = False,
    ) -> tuple[RoutingRows, list[int]]:
        """The ``rows`` rows of the pass just run, for tokens ``start``, ``start + 1``, …

        Args:
            rows: tokens that were fed.
            router_scores: also the router's probabilities of all experts.
            extra: (1,) int64 tensor that leaves the device in the same copy, for example the sampled token.
            edited: where the routing was edited, the spec with the room that the edits need.
            compiled: the pass was a compiled one, whose hooks run no Python.

        Returns:
            The rows, and ``extra`` as a list.

        Raises:
            CaptureError: a layer was not seen, was seen twice, or with another number of rows; or they are more than
                ``max_rows``.
        """
        host, tail = self._to_host(rows, extra, compiled)
        return self._rows(host, start, step, router_scores, edited), tail

    def drain_batch(
        self, mask: torch.Tensor, starts: Sequence[int], step: Step, *, router_scores: bool = False
    ) -> list[RoutingRows]:
        """The rows of a batch, one ``RoutingRows`` a sequence, padding left out.

        Args:
            mask: (B, S) true where a token is real, on either side.
            starts: for each sequence the index of its first token in this pass.
        """
        host, _ = self._to_host(mask.numel(), None, False)
        sequences = host.unflatten(0, tuple(mask.shape))
        return [
            self._rows(sequence[keep], start, step, router_scores)
            for sequence, keep, start in zip(sequences, mask.bool().cpu(), starts, strict=True)
        ]

    def _to_host(self, rows: int, extra: torch.Tensor | None, compiled: bool) -> tuple[torch.Tensor, list[int]]:
        """(rows, L, width) on the host, and the values of ``extra``."""
        if rows > self.max_rows:
            self.discard()
            raise CaptureError(f"{rows} tokens were fed at once; this capture has room for {self.max_rows}.")
        seen = [(rows, rows)] * len(self.layers) if compiled else [tuple(s) for s in self._rows_seen]
        self.discard()
        parts, tail = [], None
        for device, positions in self._places.items():
            buffer, floats = self._buffers[device], HEAD + rows * len(positions) * self.width
            if extra is not None and tail is None:
                buffer[:HEAD].view(torch.int64).copy_(extra)
            copy = buffer[:floats].to("cpu", copy=True)
            buffer[HEAD:floats].fill_(-1.0)  # a layer that does not write the next pass is found out
            if extra is not None and tail is None:
                tail = copy[:HEAD].view(torch.int64).tolist()
            parts.append(copy[HEAD:].view(rows, len(positions), self.width))
        if tail is None:
            tail = [] if extra is None else extra.tolist()
        host = torch.cat(parts, 1) if parts else torch.zeros((rows, 0, self.width))
        if len(parts) > 1:
            order = [p for positions in self._places.values() for p in positions]
            host = host[:, np.argsort(order)]
        silent = (host[:, :, :1] < 0).any(-1).any(0).tolist()
        for layer, (ids, scores), missing in zip(self.layers, seen, silent, strict=True):
            if ids != rows or scores != rows or missing:
                shown = min(ids, scores) if (ids, scores) != (rows, rows) else 0
                raise CaptureError(
                    f"Layer {layer.spec.layer} showed {shown} routing rows for {rows} tokens, "
                    "so the capture is not faithful."
                )
        return host, tail

    @torch.no_grad()
    def _rows(
        self, host: torch.Tensor, start: int, step: Step, router_scores: bool, edited: RouterSpec | None = None
    ) -> RoutingRows:
        spec = edited or self.spec
        ids, weights, given = host.split((self.top_k, self.top_k, self._experts), -1)
        ids, weights = ids[..., : spec.top_k], weights[..., : spec.top_k]
        if edited:  # an expert named again with no weight fills a place that the edit left empty
            again = (ids[..., 1:] == ids[..., :1]) & (weights[..., 1:] == 0)
            ids = torch.cat([ids[..., :1], ids[..., 1:].masked_fill(again, -1)], -1)
        shape = (len(host), len(self.layers))
        entropy, margin, mass = (torch.zeros(shape) for _ in range(3))
        scores = torch.zeros((*shape, spec.num_experts)) if router_scores else None
        for positions, experts, gating in self._kinds:
            logits = gating.logits(given[:, positions, :experts])
            chosen = ids[:, positions].long()
            probabilities = gating.probabilities(logits)
            entropy[:, positions] = torch.special.entr(probabilities).sum(-1)
            real = chosen >= 0
            mass[:, positions] = (probabilities.gather(-1, chosen.clamp_min(0)) * real).sum(-1)
            margin[:, positions] = _margin(gating.choice_scores(logits), chosen, real)
            if scores is not None:
                scores[:, positions, :experts] = probabilities
        return RoutingRows(
            start=start,
            step=step,
            expert_ids=ids.where(ids >= 0, spec.no_expert).numpy().astype(spec.id_dtype),
            expert_weights=weights.where(ids >= 0, 0.0).half().numpy(),
            router_scores=None if scores is None else scores.half().numpy(),
            entropy=entropy.numpy(),
            margin=margin.numpy(),
            top_k_mass=mass.numpy(),
        )

    def _cell(self, position: int) -> torch.Tensor:
        """(max_rows, width) view of one layer's part of its device's buffer."""
        device = next(d for d, positions in self._places.items() if position in positions)
        positions = self._places[device]
        table = self._buffers[device][HEAD:].view(self.max_rows, len(positions), self.width)
        return table[:, positions.index(position)]

    def _view(self, position: int, rows: int, used: int) -> tuple[torch.Tensor, ...]:
        """Where ``rows`` rows of a layer are written: ids, weights, scores."""
        if rows == 1 and used == self.layers[position].spec.top_k:
            return self._decoding[position]
        return self._slices(position, rows, used)

    def _slices(self, position: int, rows: int, used: int) -> tuple[torch.Tensor, ...]:
        cell, experts = self._cells[position][:rows], self.layers[position].spec.num_experts
        ids, weights, scores = cell.split((self.top_k, self.top_k, self._experts), -1)
        return ids[:, :used], weights[:, :used], scores[:, :experts]

    def _router_hook(self, position: int) -> Any:
        layer, seen = self.layers[position], self._rows_seen[position]

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            given = layer.scores(output)
            rows = given.shape[0]
            if rows <= self.max_rows:
                ids, weights, scores = self._view(position, rows, layer.spec.top_k)
                scores.copy_(given.detach())
                if layer.gates_at is not None:
                    ids, weights, _ = self._view(position, rows, min(self.top_k, layer.spec.num_experts))
                    executed, gates = layer.dense(output, ids.shape[-1])
                    ids.copy_(executed.masked_fill(gates == 0, -1))
                    weights.copy_(gates.detach())
            if not torch.compiler.is_compiling():
                seen[1] += rows
                seen[0] += rows if layer.gates_at is not None else 0

        return hook

    def _experts_hook(self, position: int) -> Any:
        call, seen = self.layers[position].call, self._rows_seen[position]
        assert call

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            executed, gates = call.routing(args, kwargs)
            rows, used = executed.shape
            if rows <= self.max_rows:
                ids, weights, _ = self._view(position, rows, used)
                ids.copy_(executed)
                weights.copy_(gates.detach())
            if not torch.compiler.is_compiling():
                seen[0] += rows

        return hook


def capture_routing(model: nn.Module, max_rows: int = 512) -> RoutingCapture:
    """A capture for ``model``, to be used as a ``with`` block; see ``RoutingCapture``.

    Raises:
        CaptureError: the model has experts whose routers are not understood.
    """
    return RoutingCapture(find_moe_layers(model), max_rows)


def device_of(layer: MoELayer) -> torch.device:
    """Where a layer's routing comes to be; the host where its weights are kept elsewhere until they are needed."""
    device = next(layer.router.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def _by_device(devices: Sequence[torch.device]) -> dict[torch.device, list[int]]:
    places: dict[torch.device, list[int]] = {}
    for position, device in enumerate(devices):
        places.setdefault(device, []).append(position)
    return places


def _same_formula(layers: Sequence[MoELayer]) -> list[tuple[list[int] | slice, int, Gating]]:
    """Layers that can be worked out together: their positions, their experts and one gating with stacked biases."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, layer in enumerate(layers):
        groups.setdefault((layer.spec.num_experts, *layer.gating.key()), []).append(position)
    return [
        (
            slice(None) if len(groups) == 1 else positions,
            layers[positions[0]].spec.num_experts,
            Gating.stacked([layers[p].gating for p in positions]),
        )
        for positions in groups.values()
    ]


def _margin(ranked: torch.Tensor, chosen: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The least chosen score minus the best one not chosen; where all are chosen, the least chosen score."""
    least = ranked.gather(-1, chosen.clamp_min(0)).masked_fill(~real, torch.inf).amin(-1)
    others = torch.cat([ranked, ranked[..., :1]], -1)  # the last column takes the places of "no expert"
    index = torch.where(real, chosen, ranked.shape[-1])
    best = others.scatter(-1, index, -torch.inf)[..., :-1].amax(-1)
    return torch.where(torch.isfinite(best), least - best, least)
