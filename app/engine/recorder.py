"""From token events to a trace: the recorder keeps what a stream gave, and can hand out a trace at any moment.

A stopped or broken stream leaves a trace of what had arrived. Does not know where the events come from.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.trace import ROW_ARRAYS, RouterSpec, RoutingRows, RoutingTrace
from app.engine.base import TokenEvent

BLOCK = 64
"""Row blocks that are joined: many small arrays take far more memory than their numbers."""


class TraceRecorder:
    """Usage::

    recorder = TraceRecorder(engine.spec, engine.provenance(request))
    for event in engine.stream(request):
        recorder.add(event)
    trace = recorder.trace()
    """

    def __init__(self, spec: RouterSpec, provenance: dict[str, Any]) -> None:
        self.spec = spec
        self.provenance = dict(provenance)
        self._token_ids, self._phases, self._origins, self._turns = array("i"), array("B"), array("B"), array("H")
        self._pieces: list[bytes] = []
        self._rows: list[RoutingRows] = []
        self._blocks: list[dict[str, np.ndarray | None]] = []
        self._next_row = 0

    def add(self, event: TokenEvent) -> None:
        """Keep ``event``; a row that does not follow the last one is a fault of the engine."""
        if event.index != len(self._pieces):
            raise RuntimeError(f"token {event.index} follows {len(self._pieces) - 1}")
        self._token_ids.append(event.token_id)
        self._phases.append(event.phase)
        self._origins.append(event.origin)
        self._turns.append(event.turn)
        self._pieces.append(event.piece)
        if event.rows is not None and len(event.rows):
            if event.rows.start != self._next_row:
                raise RuntimeError(f"row {event.rows.start} arrived where row {self._next_row} was expected")
            self._rows.append(event.rows)
            self._next_row += len(event.rows)
            if len(self._rows) == BLOCK:
                self._blocks.append(_joined(self._rows))
                self._rows = []
        if event.finish_reason:
            self.provenance["finish_reason"] = event.finish_reason

    def trace(self) -> RoutingTrace:
        """What has arrived so far. ``finish_reason`` is "stopped" unless the stream said otherwise."""
        blocks = [*self._blocks, _joined(self._rows)] if self._rows else self._blocks
        arrays = {name: _concatenate([block[name] for block in blocks]) for name in ("step", *ROW_ARRAYS)}
        if arrays["expert_ids"] is None:
            arrays["step"] = np.zeros(0, np.uint8)
            arrays["expert_ids"] = np.zeros((0, self.spec.num_moe_layers, self.spec.top_k), self.spec.id_dtype)
        return RoutingTrace(
            spec=self.spec,
            token_ids=np.array(self._token_ids, np.int32),
            phase=np.array(self._phases, np.uint8),
            origin=np.array(self._origins, np.uint8),
            turn=np.array(self._turns, np.uint16),
            pieces=tuple(self._pieces),
            row_start=0,
            provenance={"finish_reason": "stopped", **self.provenance},
            **arrays,  # type: ignore[arg-type]
        )


def _joined(rows: list[RoutingRows]) -> dict[str, np.ndarray | None]:
    """The arrays of consecutive rows and their ``step``, in memory of their own."""
    arrays = {name: _concatenate([getattr(block, name) for block in rows]) for name in ROW_ARRAYS}
    return {"step": np.concatenate([np.full(len(block), block.step, np.uint8) for block in rows]), **arrays}


def _concatenate(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """None where a part is missing, or there is none."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present and len(present) == len(parts) else None


def record(events: Iterable[TokenEvent], spec: RouterSpec, provenance: dict[str, Any]) -> RoutingTrace:
    """Run a stream to its end and return its trace."""
    recorder = TraceRecorder(spec, provenance)
    for event in events:
        recorder.add(event)
    return recorder.trace()
