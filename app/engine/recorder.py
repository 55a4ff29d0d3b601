"""From token events to a trace: the recorder keeps what a stream gave, and can hand out a trace at any moment.

A stopped or broken stream leaves a trace of what had arrived. Does not know where the events come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis.trace import ROW_ARRAYS, RouterSpec, RoutingRows, RoutingTrace
from app.engine.base import TokenEvent


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
        self.events: list[TokenEvent] = []
        self._rows: list[RoutingRows] = []
        self._next_row = 0

    def add(self, event: TokenEvent) -> None:
        """Keep ``event``; a row that does not follow the last one is a fault of the engine."""
        if event.index != len(self.events):
            raise RuntimeError(f"token {event.index} follows {len(self.events) - 1}")
        self.events.append(event)
        if event.rows is not None and len(event.rows):
            if event.rows.start != self._next_row:
                raise RuntimeError(f"row {event.rows.start} arrived where row {self._next_row} was expected")
            self._rows.append(event.rows)
            self._next_row += len(event.rows)
        if event.finish_reason:
            self.provenance["finish_reason"] = event.finish_reason

    def trace(self) -> RoutingTrace:
        """What has arrived so far. ``finish_reason`` is "stopped" unless the stream said otherwise."""
        events, rows = self.events, self._rows
        arrays: dict[str, np.ndarray | None] = {}
        for name in ROW_ARRAYS:
            parts = [getattr(block, name) for block in rows]
            arrays[name] = np.concatenate(parts) if parts and all(p is not None for p in parts) else None
        if arrays["expert_ids"] is None:
            arrays["expert_ids"] = np.zeros((0, self.spec.num_moe_layers, self.spec.top_k), self.spec.id_dtype)
        steps = [np.full(len(block), block.step, np.uint8) for block in rows]
        return RoutingTrace(
            spec=self.spec,
            token_ids=np.array([e.token_id for e in events], np.int32),
            phase=np.array([e.phase for e in events], np.uint8),
            origin=np.array([e.origin for e in events], np.uint8),
            turn=np.array([e.turn for e in events], np.uint16),
            pieces=tuple(e.piece for e in events),
            row_start=0,
            step=np.concatenate(steps) if steps else np.zeros(0, np.uint8),
            provenance={"finish_reason": "stopped", **self.provenance},
            **arrays,  # type: ignore[arg-type]
        )


def record(events: Iterable[TokenEvent], spec: RouterSpec, provenance: dict[str, Any]) -> RoutingTrace:
    """Run a stream to its end and return its trace."""
    recorder = TraceRecorder(spec, provenance)
    for event in events:
        recorder.add(event)
    return recorder.trace()
