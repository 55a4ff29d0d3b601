"""Traces kept for the page, each under an id that cannot be guessed. Bounded by number and by memory.

Knows traces as values. Does not know sessions, files or who asks: whoever has the id may read.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from analysis.errors import BadValue
from analysis.trace import ROW_ARRAYS, RoutingTrace

UNDO_SECONDS = 15.0
"""How long a discarded trace can be brought back."""


class TraceStore:
    """The least recently used traces leave first, and before them those that can be opened again."""

    def __init__(self, max_traces: int = 256, max_megabytes: float = 512, undo_seconds: float = UNDO_SECONDS) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_megabytes * 1e6
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, RoutingTrace] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._kept: dict[str, RoutingTrace] = {}
        self._offered: dict[str, Callable[[], RoutingTrace]] = {}
        self._discarded: dict[str, tuple[RoutingTrace, threading.Timer]] = {}
        self.undo_seconds = undo_seconds

    def keep(self, trace: RoutingTrace, trace_id: str) -> None:
        """Hold ``trace`` beside the others for as long as the server runs."""
        self._kept[trace_id] = trace

    def offer(self, trace_id: str, load: Callable[[], RoutingTrace]) -> None:
        """Have a trace under ``trace_id`` for as long as the server runs. It is opened when it is asked for, makes
        room for any other, and is then opened again."""
        self._offered[trace_id] = load

    def is_permanent(self, trace_id: str) -> bool:
        """Whether it came along with the program and cannot be discarded."""
        return trace_id in self._kept or trace_id in self._offered

    def __contains__(self, trace_id: str) -> bool:
        with self._lock:
            return trace_id in self._kept or trace_id in self._offered or trace_id in self._traces

    def put(self, trace: RoutingTrace, trace_id: str | None = None) -> str:
        """Keep ``trace`` (in place of the one under ``trace_id``, if given) and return its id."""
        trace_id = trace_id or secrets.token_urlsafe(16)
        with self._lock:
            self._put(trace, trace_id)
        return trace_id

    def get(self, trace_id: str) -> RoutingTrace:
        """The trace under ``trace_id``.

        Raises:
            BadValue: there is none, or it had to make room.
            TraceError: it came along, and its file is damaged or gone.
        """
        with self._lock:
            if isinstance(trace_id, str) and trace_id in self._kept:
                return self._kept[trace_id]
            if isinstance(trace_id, str) and trace_id in self._traces:
                self._traces.move_to_end(trace_id)
                return self._traces[trace_id]
            load = self._offered.get(trace_id) if isinstance(trace_id, str) else None
        if load is None:
            raise BadValue.said("not_in_memory")
        trace = load()
        self.put(trace, trace_id)
        return trace

    def peek(self, trace_id: str) -> RoutingTrace:
        """``get``, but looking at a trace does not keep it longer, nor does opening one put another out.

        Raises:
            BadValue: there is none, or it had to make room.
            TraceError: it came along, and its file is damaged or gone.
        """
        with self._lock:
            found = self._kept.get(trace_id) or self._traces.get(trace_id)
            load = self._offered.get(trace_id)
        if found is not None:
            return found
        if load is None:
            raise BadValue.said("not_in_memory")
        return load()

    def drop(self, trace_id: str) -> None:
        """Let a trace go; harmless when it is not there."""
        with self._lock:
            self._drop(trace_id)

    def discard(self, trace_id: str) -> bool:
        """Let a trace go so that nobody can read it; for ``undo_seconds`` ``restore`` can bring it back, then its
        memory is free. False where there is no such trace, or it is permanent."""
        with self._lock:
            trace = None if self.is_permanent(trace_id) else self._traces.get(trace_id)
            if trace is None:
                return False
            self._drop(trace_id)
            timer = threading.Timer(self.undo_seconds, self._forget, (trace_id,))
            timer.daemon = True
            self._discarded[trace_id] = trace, timer
            timer.start()
        return True

    def restore(self, trace_id: str) -> bool:
        """Bring a discarded trace back under its id; False where it is too late."""
        with self._lock:
            trace, timer = self._discarded.pop(trace_id, (None, None))
            if trace is None or timer is None:
                return False
            timer.cancel()
            self._put(trace, trace_id)
        return True

    def __len__(self) -> int:
        return len(self._traces)

    def _put(self, trace: RoutingTrace, trace_id: str) -> None:
        self._drop(trace_id)
        self._traces[trace_id], self._sizes[trace_id] = trace, size_of(trace)
        while len(self._traces) > 1 and (
            len(self._traces) > self._max_traces or sum(self._sizes.values()) > self._max_bytes
        ):
            first = next(iter(self._traces))
            self._drop(next((one for one in self._traces if one in self._offered), first))

    def _drop(self, trace_id: str) -> None:
        self._traces.pop(trace_id, None)
        self._sizes.pop(trace_id, None)

    def _forget(self, trace_id: str) -> None:
        with self._lock:
            self._discarded.pop(trace_id, None)


def size_of(trace: RoutingTrace) -> int:
    """Bytes of a trace's arrays, text and provenance, roughly: an object takes many times its JSON."""
    arrays = [getattr(trace, name) for name in ROW_ARRAYS]
    facts = 20 * len(json.dumps(trace.provenance, ensure_ascii=False, default=str))
    return sum(a.nbytes for a in arrays if a is not None) + sum(len(p) + 64 for p in trace.pieces) + facts
