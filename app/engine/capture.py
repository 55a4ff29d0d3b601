"""The instrument: forward hooks that keep every router's decision until one pass is over.

Knows MoE layers and tensors. Does not know requests, tokens or text. What is stored is what was executed: the ids and
weights are those the experts were called with, the scores are those the router handed out; none is recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import RouterSpec, RoutingRows, Step
from app.engine.gating import Gating
from app.engine.moe_layer import MoELayer, router_spec
from app.engine.router import find_moe_layers


@dataclass(frozen=True)
class Pass:
    """What the hooks kept of one forward pass of ``rows`` tokens: for each layer ids and weights (rows, K) and scores
    (rows, E), or ``packed`` (rows, L, ids K | weights K | scores E) out of a compiled pass."""

    rows: int
    ids: tuple[torch.Tensor, ...] = ()
    weights: tuple[torch.Tensor, ...] = ()
    scores: tuple[torch.Tensor, ...] = ()
    packed: torch.Tensor | None = None


class RoutingCapture:
    """Usage::

        with capture_routing(model) as capture:
            model(input_ids)
            rows = capture.drain(input_ids.shape[1], start=0, step=Step.PREFILL)

    The hooks compute nothing: they keep the tensors at hand. ``take`` hands out those of one pass, ``rows_of`` joins
    the layers of one or more passes in a few operations, takes them off the device in one copy, and works out what
    follows from the scores for all of them at once; ``drain`` is both. In a function that is compiled, ``packed`` after
    the model's call makes the routing one more output of its graph: install the hooks first, for later ones never run.
    """

    def __init__(self, layers: list[MoELayer]) -> None:
        self.layers = layers
        self.spec: RouterSpec = router_spec(layers)
        self._experts, self._top_k = self.spec.num_experts, self.spec.top_k
        self._even = len({(e.spec.top_k, e.spec.num_experts, e.gates_at is None) for e in layers}) == 1
        self._kinds = _same_formula(layers)
        self._places = _by_device([device_of(layer) for layer in layers])
        self._scores: list[list[Any]] = [[] for _ in layers]  # what the routers returned, as they did
        self._executed: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in layers]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self.listening = True
        """False lets passes go by that are nobody's, while hooks stay on the model."""

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
            if layer.call:
                hook = self._experts_hook(position)
                self._handles.append(layer.experts.register_forward_pre_hook(hook, with_kwargs=layer.call.by_name))

    def remove(self) -> None:
        """Remove the hooks, and forget a pass that was not taken."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.discard()

    def discard(self) -> None:
        """Forget the last pass."""
        for kept in (*self._scores, *self._executed):
            kept.clear()

    def take(self, rows: int) -> Pass:
        """The pass just run, of ``rows`` tokens; its tensors stay on the device.

        Raises:
            CaptureError: a layer was not seen, was seen twice, or with another number of rows.
        """
        found = []
        for layer, outputs, executed in zip(self.layers, self._scores, self._executed, strict=True):
            scores = [layer.scores(output) for output in outputs]
            counts = [s.shape[0] for s in scores], [ids.shape[0] for ids, _ in executed]
            if counts != ([rows], [rows]):
                seen = min(sum(counts[0]), sum(counts[1]))
                self.discard()
                raise CaptureError(
                    f"Layer {layer.spec.layer} showed {seen} routing rows for {rows} tokens, "
                    "so the capture is not faithful."
                )
            found.append(scores[0])
        taken = Pass(
            rows,
            tuple(executed[0][0] for executed in self._executed),
            tuple(executed[0][1] for executed in self._executed),
            tuple(found),
        )
        self.discard()
        return taken

    def packed(self, rows: int) -> torch.Tensor:
        """``take`` as one tensor (rows, L, ids K | weights K | scores E), float32; for compiled functions."""
        taken = self.take(rows)
        return _packed(self._joined([taken], range(len(self.layers)))) if self.layers else torch.zeros((rows, 0, 0))

    def drain(
        self, rows: int, start: int, step: Step, *, router_scores: bool = False, edited: RouterSpec | None = None
    ) -> RoutingRows:
        """The rows of the pass just run, for tokens ``start``, ``start + 1``, …; ``take`` and ``rows_of`` in one."""
        return self.rows_of([self.take(rows)], start, step, router_scores=router_scores, edited=edited)

    def drain_batch(
        self,
        mask: torch.Tensor,
        starts: Sequence[int],
        step: Step,
        *,
        router_scores: bool = False,
        edited: RouterSpec | None = None,
    ) -> list[RoutingRows]:
        """The rows of a batch, one ``RoutingRows`` a sequence, padding left out; ``edited`` as in ``rows_of``, with the
        room that the edits of all sequences need.

        Args:
            mask: (B, S) true where a token is real, on either side.
            starts: for each sequence the index of its first token in this pass.
        """
        tables = [table.unflatten(0, tuple(mask.shape)) for table in self._to_host([self.take(mask.numel())])]
        real = mask.bool().cpu()
        return [
            self._rows([table[i, real[i]] for table in tables], start, step, router_scores, edited)
            for i, start in enumerate(starts)
        ]

    def rows_of(
        self,
        passes: Sequence[Pass],
        start: int,
        step: Step,
        *,
        router_scores: bool = False,
        edited: RouterSpec | None = None,
    ) -> RoutingRows:
        """The rows of consecutive passes of equal size, for tokens ``start``, ``start + 1``, …

        Args:
            router_scores: also the router's probabilities of all experts.
            edited: where the routing was edited, the spec with the room that the edits need.
        """
        return self._rows(self._to_host(passes), start, step, router_scores, edited)

    @torch.no_grad()
    def _to_host(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """ids and weights (rows, L, K) and scores (rows, L, E), on the host."""
        if not self.layers:
            return [torch.zeros((sum(p.rows for p in passes), 0, 0), dtype=torch.int64)] * 3
        if passes[0].packed is not None:
            packed = [p.packed for p in passes if p.packed is not None]
            if len({part.shape[-1] for part in packed}) == 1:
                return self._unpacked(torch.cat(packed).cpu())
            tables = [self._unpacked(part.cpu()) for part in packed]
            k = max(ids.shape[-1] for ids, _, _ in tables)
            widths = (k, k, self._experts)
            return [torch.cat([_widened(t[i], width) for t in tables]) for i, width in enumerate(widths)]
        parts = []
        for device, positions in self._places.items():
            tables = self._joined(passes, positions)
            parts.append(tables if device.type == "cpu" else self._unpacked(_packed(tables).cpu()))
        if len(parts) == 1:
            return parts[0]
        order = np.argsort([p for positions in self._places.values() for p in positions])
        return [torch.cat(tables, 1)[:, order] for tables in zip(*parts, strict=True)]

    def _joined(self, passes: Sequence[Pass], positions: Sequence[int]) -> list[torch.Tensor]:
        """ids and weights (rows, layers, K) and scores (rows, layers, E) of the layers of one device, still on it."""
        rows, layers = passes[0].rows, len(positions)
        k = max([self._top_k, *[part.shape[-1] for p in passes for part in p.ids]])
        tables = []
        for name, width in (("ids", k), ("weights", k), ("scores", self._experts)):
            if layers == len(self.layers):
                parts = [part for p in passes for part in getattr(p, name)]
            else:
                parts = [getattr(p, name)[i] for p in passes for i in positions]
            if not self._even or k > self._top_k:
                parts = [_widened(part, width) for part in parts]
            if rows == 1:
                tables.append(torch.cat(parts).view(len(passes), layers, width))
            else:
                tables.append(torch.stack(parts).view(-1, layers, rows, width).transpose(1, 2).flatten(0, 1))
        return tables

    def _unpacked(self, packed: torch.Tensor) -> list[torch.Tensor]:
        k = (packed.shape[-1] - self._experts) // 2
        return list(packed.split((k, k, self._experts), -1))

    @torch.no_grad()
    def _rows(
        self,
        tables: Sequence[torch.Tensor],
        start: int,
        step: Step,
        router_scores: bool,
        edited: RouterSpec | None = None,
    ) -> RoutingRows:
        spec = edited or self.spec
        ids, weights, given = tables[0][..., : spec.top_k], tables[1][..., : spec.top_k], tables[2]
        if edited:  # an expert named again with no weight fills a place that the edit left empty
            again = (ids[..., 1:] == ids[..., :1]) & (weights[..., 1:] == 0)
            ids = torch.cat([ids[..., :1], ids[..., 1:].masked_fill(again, -1)], -1)
        partly = bool(edited) or not self._even
        derived = [self._derive(given, ids, partly, *kind) for kind in self._kinds]
        entropy, margin, mass, scores = derived[0] if len(derived) == 1 else self._collected(derived, len(given))
        if partly:
            ids, weights = ids.where(ids >= 0, spec.no_expert), weights.where(ids >= 0, 0.0)
        return RoutingRows(
            start=start,
            step=step,
            expert_ids=ids.numpy().astype(spec.id_dtype),
            expert_weights=weights.half().numpy(),
            router_scores=scores.half().numpy() if router_scores else None,
            entropy=entropy.numpy(),
            margin=margin.numpy(),
            top_k_mass=mass.numpy(),
        )

    def _derive(
        self,
        given: torch.Tensor,
        ids: torch.Tensor,
        partly: bool,
        positions: list[int] | slice,
        experts: int,
        gating: Gating,
    ) -> tuple[torch.Tensor, ...]:
        """Entropy, margin, mass (R, layers) and probabilities (R, layers, E) of the layers of one formula; ``partly``
        where some ids may be -1, no expert."""
        logits = gating.logits(given[:, positions, :experts])
        chosen = ids[:, positions].long()
        probabilities = gating.probabilities(logits)
        ranked = gating.ranked(logits) if gating.ranks_otherwise else probabilities
        missing = None
        if partly:
            missing = chosen < 0
            chosen = chosen.where(~missing, chosen[..., :1].clamp_min(0))  # again the first: changes no least or best
        of_chosen = ranked.gather(-1, chosen)
        best = gating.within_groups(ranked).scatter(-1, chosen, -torch.inf).amax(-1)
        margin = of_chosen.amin(-1) - best.masked_fill(best == -torch.inf, 0.0)  # where all are used, the least score
        mass = probabilities.gather(-1, chosen) if gating.ranks_otherwise else of_chosen
        if missing is not None:
            mass = mass.masked_fill(missing, 0.0)
        return torch.special.entr(probabilities).sum(-1), margin, mass.sum(-1), probabilities

    def _collected(self, derived: list[tuple[torch.Tensor, ...]], rows: int) -> tuple[torch.Tensor, ...]:
        """What ``_derive`` gave for several formulas, in the order of the layers."""
        shape = (rows, len(self.layers))
        found = [torch.zeros(shape) for _ in range(3)] + [torch.zeros((*shape, self._experts))]
        for (positions, experts, _), values in zip(self._kinds, derived, strict=True):
            for table, value in zip(found[:3], values, strict=False):
                table[:, positions] = value
            found[3][:, positions, :experts] = values[3]
        return tuple(found)

    def _router_hook(self, position: int) -> Any:
        layer, scores, executed = self.layers[position], self._scores[position], self._executed[position]
        dense = layer.gates_at is not None

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self.listening:
                scores.append(output)
                if dense:
                    executed.append(layer.dense(output))

        return hook

    def _experts_hook(self, position: int) -> Any:
        call, executed = self.layers[position].call, self._executed[position]
        assert call
        (ids_at, _), (weights_at, _) = call.ids, call.weights

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if self.listening:
                executed.append((args[ids_at], args[weights_at]))

        def named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.listening:
                executed.append(call.routing(args, kwargs))

        return named if call.by_name else hook


def capture_routing(model: nn.Module) -> RoutingCapture:
    """A capture for ``model``, to be used as a ``with`` block; see ``RoutingCapture``.

    Raises:
        CaptureError: the model has experts whose routers are not understood.
    """
    return RoutingCapture(find_moe_layers(model))


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


def _packed(tables: Sequence[torch.Tensor]) -> torch.Tensor:
    """(rows, layers, ids K | weights K | scores E) float32: one tensor that leaves the device at once."""
    return torch.cat([table.float() for table in tables], -1)  # bfloat16 knows no id above 256


def _widened(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """(rows, width), filled up with -1: no expert."""
    missing = width - tensor.shape[-1]
    return nn.functional.pad(tensor, (0, missing), value=-1) if missing else tensor
