"""Traces kept for the page, each under an id that cannot be guessed. Bounded by number and by memory.

Knows traces as values. Does not know sessions, files or who asks: whoever has the id may read.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from analysis.errors import BadValue
from analysis.trace import ROW_ARRAYS, RoutingTrace


class TraceStore:
    """The least recently used traces leave first."""

    def __init__(self, max_traces: int = 256, max_megabytes: float = 512) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_megabytes * 1e6
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, RoutingTrace] = OrderedDict()
        self._bytes = 0
        self._kept: dict[str, RoutingTrace] = {}

    def keep(self, trace: RoutingTrace, trace_id: str) -> None:
        """Hold ``trace`` beside the others for as long as the server runs."""
        self._kept[trace_id] = trace

    def __contains__(self, trace_id: str) -> bool:
        with self._lock:
            return trace_id in self._kept or trace_id in self._traces

    def put(self, trace: RoutingTrace, trace_id: str | None = None) -> str:
        """Keep ``trace`` (in place of the one under ``trace_id``, if given) and return its id."""
        trace_id = trace_id or secrets.token_urlsafe(16)
        with self._lock:
            self._drop(trace_id)
            self._traces[trace_id] = trace
            self._bytes += size_of(trace)
            while len(self._traces) > 1 and (len(self._traces) > self._max_traces or self._bytes > self._max_bytes):
                self._drop(next(iter(self._traces)))
        return trace_id

    def get(self, trace_id: str) -> RoutingTrace:
        """The trace under ``trace_id``.

        Raises:
            BadValue: there is none, or it had to make room.
        """
        with self._lock:
            if isinstance(trace_id, str) and trace_id in self._kept:
                return self._kept[trace_id]
            if not isinstance(trace_id, str) or trace_id not in self._traces:
                raise BadValue.said("not_in_memory")
            self._traces.move_to_end(trace_id)
            return self._traces[trace_id]

    def drop(self, trace_id: str) -> None:
        """Let a trace go; harmless when it is not there."""
        with self._lock:
            self._drop(trace_id)

    def __len__(self) -> int:
        return len(self._traces)

    def _drop(self, trace_id: str) -> None:
        trace = self._traces.pop(trace_id, None)
        if trace is not None:
            self._bytes -= size_of(trace)


def size_of(trace: RoutingTrace) -> int:
    """Bytes of a trace's arrays and text, roughly."""
    arrays = [getattr(trace, name) for name in ROW_ARRAYS]
    return sum(a.nbytes for a in arrays if a is not None) + sum(len(p) + 64 for p in trace.pieces)
