"""Changes of the routing, row by row: what ``RouterEdit`` says, done between router and experts.

Knows MoE layers, formulas and tensors; does not know requests. A pass without an edit goes by untouched; in a compiled
step, and beside edited rows of the same pass, rows without one keep their ids and weights bit by bit. The tables
are tensors on the device, so that edits change under a compiled model or a CUDA graph without a new compilation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from analysis.errors import BadValue
from analysis.trace import RouterSpec
from app.engine.base import RouterEdit
from app.engine.capture import device_of
from app.engine.edit_rules import check_edits
from app.engine.moe_layer import MoELayer

ROWS = 256
"""Room for this many tokens a pass, more where ``install`` asks for it."""

PLAIN = 0
"""The slot whose rows are not edited."""


class RouterEdits:
    """Usage::

        edits = RouterEdits(layers)
        slot = edits.add((RouterEdit("mask", (3,), layer=2),))
        edits.install(rows=256)
        with edits.selected(slot):  # or a tensor with a slot for each row
            model(input_ids)
        edits.drop(slot)

    Its hooks stand before those of a ``RoutingCapture``, whichever was installed first: what is captured is what was
    executed. The router's own scores stay as they were.
    """

    def __init__(self, layers: list[MoELayer], slots: int = 64) -> None:
        self.layers = layers
        self._slots: list[tuple[RouterEdit, ...]] = [()] * (slots + 1)
        self._tables = [_Table(layer, slots + 1) for layer in layers]
        self._given: list[torch.Tensor | None] = [None] * len(layers)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._active = False
        self.most = max((layer.spec.top_k for layer in layers), default=0)
        """The most experts a token may use in any layer under the edits in force."""

    def add(self, edits: Sequence[RouterEdit]) -> int:
        """Take a free slot for ``edits``.

        Raises:
            BadValue: they do not fit the model (see ``check_edits``), or no slot is free.
        """
        check_edits(edits, RouterSpec(tuple(layer.spec for layer in self.layers)))
        slot = next((i for i, taken in enumerate(self._slots) if i != PLAIN and not taken), None)
        if slot is None:
            raise BadValue(
                f"{len(self._slots) - 1} requests with router edits are running; try again when one is done."
            )
        self._fill(slot, edits)
        return slot

    def drop(self, slot: int) -> None:
        """Give a slot back, its tables as if it had never been used."""
        self._fill(slot, ())

    def _fill(self, slot: int, edits: Sequence[RouterEdit]) -> None:
        self._slots[slot] = tuple(edits)
        for table in self._tables:
            table.write(slot, [e for e in edits if e.layer in (None, table.layer.spec.layer)])
        self.most = max((table.most for table in self._tables), default=0)

    def select(self, slots: int | torch.Tensor) -> None:
        """Which slot each row of the next pass has: one for all, or (N,) int64."""
        for table in self._tables:
            if isinstance(slots, int):
                table.slot_of_row.fill_(slots)
            else:
                table.slot_of_row[: len(slots)].copy_(slots)

    @contextmanager
    def selected(self, slots: int | torch.Tensor) -> Iterator[None]:
        """``select`` for the length of a ``with`` block, and no edits after it, whatever happens in it."""
        if not self._handles or (isinstance(slots, int) and slots == PLAIN):
            yield
            return
        self.select(slots)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            self.select(PLAIN)

    def install(self, rows: int) -> None:
        """Register the hooks, with room for passes of ``rows`` tokens."""
        for table in self._tables:
            if len(table.slot_of_row) < rows:
                table.slot_of_row = table.slot_of_row.new_zeros(rows)
        if self._handles:
            return
        for position, layer in enumerate(self.layers):
            router_hook = self._on_router(position)
            self._handles.append(layer.router.register_forward_hook(router_hook, prepend=True))
            if layer.call:
                experts_hook = self._on_experts(position)
                self._handles.append(
                    layer.experts.register_forward_pre_hook(experts_hook, prepend=True, with_kwargs=True)
                )

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_router(self, position: int) -> Any:
        layer, table = self.layers[position], self._tables[position]

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not (self._active or torch.compiler.is_compiling()):
                return None
            given = layer.scores(output)
            self._given[position] = given
            if layer.gates_at is None:
                return None
            dense, gates = layer.dense(output)
            k = layer.spec.top_k
            ids, weights = table.rerouted(given, dense[:, :k], gates[:, :k], self.most)
            original = output[layer.gates_at]
            gates = torch.zeros_like(given).scatter_add(-1, ids, weights.to(given.dtype)).reshape(original.shape)
            edited = table.edited(len(given)).reshape(*original.shape[:-1], 1)
            changed = torch.where(edited, gates.to(original.dtype), original)
            return tuple(changed if i == layer.gates_at else o for i, o in enumerate(output))

        return hook

    def _on_experts(self, position: int) -> Any:
        layer, table = self.layers[position], self._tables[position]
        call = layer.call
        assert call

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not (self._active or torch.compiler.is_compiling()):
                return None
            given, self._given[position] = self._given[position], None
            ids, weights = table.rerouted(given, *call.routing(args, kwargs), self.most)
            return call.rerouted(args, kwargs, ids, weights)

        return hook


class _Table:
    """What every slot does in one layer: S slots, E experts.

    bias (S, E) added to the logits, -inf where masked; forced, ablated (S, E) bool; k (S,); changed (S,) bool: the
    choice is made anew; slot_of_row (ROWS,) int64.
    """

    def __init__(self, layer: MoELayer, slots: int) -> None:
        device, experts = device_of(layer), layer.spec.num_experts
        self.layer = layer
        self.most = layer.spec.top_k
        self.bias = torch.zeros((slots, experts), device=device)
        self.forced = torch.zeros((slots, experts), dtype=torch.bool, device=device)
        self.ablated = torch.zeros((slots, experts), dtype=torch.bool, device=device)
        self.k = torch.full((slots,), layer.spec.top_k, device=device)
        self.changed = torch.zeros(slots, dtype=torch.bool, device=device)
        self.slot_of_row = torch.zeros(ROWS, dtype=torch.int64, device=device)

    def write(self, slot: int, edits: Sequence[RouterEdit]) -> None:
        self.bias[slot], self.forced[slot], self.ablated[slot] = 0.0, False, False
        self.k[slot] = self.layer.spec.top_k
        for edit in edits:
            index = list(edit.experts)
            if edit.kind == "boost":
                self.bias[slot, index] += edit.amount
            elif edit.kind == "mask":
                self.bias[slot, index] = -torch.inf
            elif edit.kind == "force":
                self.forced[slot, index] = True
            elif edit.kind == "ablate":
                self.ablated[slot, index] = True
            else:
                self.k[slot] = int(edit.amount)
        other_k = int(self.k[slot]) != self.layer.spec.top_k
        self.changed[slot] = bool((self.bias[slot] != 0).any() | self.forced[slot].any()) or other_k
        self.most = max(self.layer.spec.top_k, int(self.k.max()))

    def edited(self, rows: int) -> torch.Tensor:
        """(rows,) bool: rows of a slot that does anything."""
        slot = self.slot_of_row[:rows]
        return self.changed[slot] | self.ablated[slot].any(-1)

    def rerouted(
        self, given: torch.Tensor | None, ids: torch.Tensor, weights: torch.Tensor, most: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, K) ids and weights after the edits of each row; those of other rows as they came."""
        assert given is not None, "the experts ran without their router"
        slot, gating = self.slot_of_row[: len(ids)], self.layer.gating
        bias = self.bias[slot]
        logits = gating.logits(given) + bias
        ranked = gating.choice_scores(logits, bias == -torch.inf).masked_fill(self.forced[slot], torch.inf)
        width = max(min(most, ranked.shape[-1]), ids.shape[-1])
        best, chosen = ranked.topk(width, -1)
        used = (torch.arange(width, device=ids.device) < self.k[slot].unsqueeze(-1)) & (best > -torch.inf)
        chosen = torch.where(used, chosen, chosen[:, :1])
        fresh = gating.weights(logits, chosen, used)
        if width > ids.shape[-1]:
            spare = width - ids.shape[-1]
            ids = torch.cat([ids, ids[:, :1].expand(-1, spare)], -1)
            weights = torch.cat([weights, weights.new_zeros((len(ids), spare))], -1)
        changed = self.changed[slot].unsqueeze(-1)
        ids = torch.where(changed, chosen.to(ids.dtype), ids)
        weights = torch.where(changed, fresh.to(weights.dtype), weights)
        return ids, weights.masked_fill(self.ablated[slot].gather(-1, ids.long()), 0.0)
