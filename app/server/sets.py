"""Sets of answered prompts kept for the page, each under an id that cannot be guessed. Bounded by memory.

Knows pairs of traces. Does not know who asks: whoever has the id may read.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Any

from analysis.errors import BadValue
from analysis.pairs import PairSet
from app.server.store import size_of


class SetStore:
    """The least recently used sets leave first; the last one always stays."""

    def __init__(self, max_megabytes: float = 256) -> None:
        self._max_bytes = max_megabytes * 1e6
        self._lock = threading.Lock()
        self._sets: OrderedDict[str, tuple[PairSet, int]] = OrderedDict()

    def put(self, pairs: PairSet) -> str:
        """Keep ``pairs`` and return their id."""
        set_id = secrets.token_urlsafe(16)
        with self._lock:
            self._sets[set_id] = pairs, sum(size_of(trace) for pair in pairs.pairs for trace in pair)
            while len(self._sets) > 1 and sum(size for _, size in self._sets.values()) > self._max_bytes:
                self._sets.popitem(last=False)
        return set_id

    def get(self, set_id: Any) -> PairSet:
        """The set under ``set_id``.

        Raises:
            BadValue: there is none, or it had to make room.
        """
        with self._lock:
            if not isinstance(set_id, str) or set_id not in self._sets:
                raise BadValue.said("not_in_memory")
            self._sets.move_to_end(set_id)
            return self._sets[set_id][0]
