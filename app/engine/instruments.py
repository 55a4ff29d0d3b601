"""What stands on a model while it answers: capture, edits and measured outputs, put on and taken off together.

Knows MoE layers and whose turn it is. Does not know tokens, sampling or caches.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch

from analysis.trace import RouterSpec, RoutingRows, Step
from app.engine.base import RouterEdit
from app.engine.capture import RoutingCapture
from app.engine.edits import PLAIN, RouterEdits, edited_spec
from app.engine.expert_outputs import OutputsCapture
from app.engine.router import MoELayer


@dataclass(frozen=True)
class Reading:
    """How one stream's passes are run and read.

    Attributes:
        slot: its place among the edits.
        edited: the spec that its edits need; None without edits.
        router_scores, outputs: what it wants besides ids and weights.
    """

    slot: int = PLAIN
    edited: RouterSpec | None = None
    router_scores: bool = False
    outputs: bool = False


class Instruments:
    """Usage::

        with instruments.reading(edits, rows=256) as reading:       # one stream
            with instruments.turn(reading):                         # one pass of it; others wait
                model(input_ids)
                rows, _ = instruments.drain(reading, n, start, Step.PREFILL)

    Hooks are on the model while at least one stream is open, and on no other time, unless they are to be compiled with
    the model: then they stay. A stream's edits are in the tables while it is open, whatever ends it.
    """

    def __init__(self, layers: list[MoELayer], rows: int, *, stay: bool = False) -> None:
        self.capture = RoutingCapture(layers, rows)
        self.spec = self.capture.spec
        self._edits = RouterEdits(layers, rows)
        self._outputs = OutputsCapture(layers)
        self._stay = stay
        self._streams = 0
        self._lock = threading.RLock()  # a forgotten stream may be closed by the garbage collector inside a step

    @contextmanager
    def reading(
        self, edits: Sequence[RouterEdit], rows: int, *, router_scores: bool = False, outputs: bool = False
    ) -> Iterator[Reading]:
        """For the length of one stream, whose passes feed up to ``rows`` tokens.

        Raises:
            BadValue: ``edits`` do not fit the model.
        """
        reading = Reading(router_scores=router_scores, outputs=outputs and bool(self.spec.layers))
        with self._lock:
            if edits:
                reading = replace(reading, slot=self._edits.add(edits), edited=edited_spec(self.spec, edits))
            self._make_room(rows, reading.edited.top_k if reading.edited else 0)
            self._streams += 1
            self.capture.install()
            if edits or self._stay:
                self._edits.install()
        try:
            yield reading
        finally:
            with self._lock:
                self._streams -= 1
                if reading.slot != PLAIN:
                    self._edits.drop(reading.slot)
                if not self._streams and not self._stay:
                    self.capture.remove()
                    self._edits.remove()

    @contextmanager
    def turn(self, reading: Reading) -> Iterator[None]:
        """For the length of one pass and its ``drain``, so that its rows belong to this stream alone."""
        with self._lock, self._edits.selected(reading.slot), self._outputs if reading.outputs else nullcontext():
            self.capture.discard()  # whatever else ran the model since the last pass
            yield

    def drain(
        self,
        reading: Reading,
        rows: int,
        start: int,
        step: Step,
        *,
        extra: torch.Tensor | None = None,
        compiled: bool = False,
    ) -> tuple[RoutingRows, list[int]]:
        """The rows of the pass; see ``RoutingCapture.drain``."""
        found, tail = self.capture.drain(
            rows,
            start,
            step,
            router_scores=reading.router_scores,
            extra=extra,
            edited=reading.edited,
            compiled=compiled,
        )
        if reading.outputs:
            found = replace(found, **self._outputs.drain())  # type: ignore[arg-type]
        return found, tail

    def _make_room(self, rows: int, top_k: int) -> None:
        room, k = self.capture.max_rows, self.capture.top_k
        if rows > room or top_k > k:
            self.capture.reserve(max(rows, room), max(top_k, k))
            self._edits.reserve(max(rows, room))
