"""Which recordings the tab "Experts" looks at: the one shown, the conversation's, the session's, or the gallery's.

Knows the store and the gallery that comes along. A visitor's pools hold only recordings whose ids this visitor's
session has; what is remembered of a pool are numbers under those ids, never traces.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from analysis import metrics, storage
from analysis.errors import UserError
from analysis.pooling import own_turn
from analysis.recordings import Entry, read_entries
from analysis.specialization import risk_difference
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import TRACES
from app.engine.prompts import RESERVED
from app.server.store import TraceStore
from app.ui.context import EXAMPLE
from app.ui.following import SO_FAR
from app.ui.tabs_common import Nothing

POOLS = ("answer", "conversation", "session", "gallery")
SORTS = ("layer", "load", "shift")
GALLERY = TRACES / "gallery"
OPENED = "gallery-"
"""Before the names of the gallery's recordings: their ids in the store, once one was opened."""
MOST = 256  # recordings of a session that are looked at
Made = TypeVar("Made")


@dataclass(frozen=True)
class Session:
    """Ids of a visitor's recordings in the store: those of the conversation, and all of this visit, oldest first."""

    conversation: tuple[str, ...] = ()
    every: tuple[str, ...] = ()

    def seen(self, conversation: tuple[str, ...], others: tuple[str, ...]) -> Session:
        """With what is there now; a run that goes on, and what comes along with the program, are not the visitor's."""
        own = [i for i in (*self.every, *conversation, *others) if i and not i.endswith(SO_FAR) and not comes_along(i)]
        return Session(conversation, tuple(dict.fromkeys(own))[-MOST:])


@dataclass(frozen=True)
class Pool:
    """Recordings of one model taken together.

    Attributes:
        name: one of ``POOLS``.
        ids: their ids in the store, or names of the gallery.
        traces: of several, each with the rows of its own turn only.
        labels: what each recording is labelled with, e.g. its language.
        left_out: recordings of another model, or no longer in memory.
    """

    name: str
    ids: tuple[str, ...]
    traces: tuple[RoutingTrace, ...]
    labels: tuple[dict[str, str], ...]
    left_out: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        """What changes with the pool's rows."""
        return (self.name, *((i, t.num_rows) for i, t in zip(self.ids, self.traces, strict=True)))

    def by_label(self) -> dict[str, dict[str, list[RoutingTrace]]]:
        """Label → its values → the traces that carry them; labels that tell recordings apart only."""
        found: dict[str, dict[str, list[RoutingTrace]]] = {}
        for trace, labels in zip(self.traces, self.labels, strict=True):
            for name, value in labels.items():
                found.setdefault(name, {}).setdefault(value, []).append(trace)
        return {name: values for name, values in found.items() if 1 < len(values) <= 12}


@lru_cache(maxsize=1)
def gallery() -> Pool:
    """The recordings that come along, read once."""
    entries: list[Entry] = read_entries([GALLERY])
    labels = ({k: str(v) for k, v in entry.line.items() if k not in RESERVED and v is not None} for entry in entries)
    traces = tuple(storage.load(entry.path) for entry in entries)
    return Pool("gallery", tuple(OPENED + entry.path.stem for entry in entries), traces, tuple(labels))


def comes_along(trace_id: str) -> bool:
    """Whether it is no recording of a visitor: the example, or one of the gallery that was opened."""
    return trace_id == EXAMPLE or trace_id.startswith(OPENED)


def has_gallery() -> bool:
    return (GALLERY / "index.jsonl").is_file()


def pool_of(store: TraceStore, name: Any, trace_id: Any, session: Session, words: Words) -> Pool:
    """The recordings of the pool ``name``; for None the one shown, or the gallery before there is one.

    Raises:
        Nothing: there is none in it yet, or its model has no router.
        BadValue: the recording shown is no longer in memory.
    """
    if name not in POOLS:
        own = isinstance(trace_id, str) and trace_id and not comes_along(trace_id)
        name = "answer" if own or not has_gallery() else "gallery"
    if name == "gallery":
        if not has_gallery():
            raise Nothing(words("tabs.empty"))
        return gallery()
    if name == "answer":
        ids: tuple[str, ...] = (trace_id,) if trace_id else ()
    else:
        ids = session.conversation if name == "conversation" else session.every
    if not ids:
        raise Nothing(words(f"tabs.experts.none_{name}"))
    if len(ids) == 1:
        traces = {ids[0]: store.get(ids[0])}
    else:
        traces = {i: trace for i in ids if (trace := _kept(store, i)) is not None}
    routed = {i: trace for i, trace in traces.items() if trace.spec.layers and trace.num_rows}
    if not routed:
        dense = any(trace.num_tokens and not trace.spec.layers for trace in traces.values())
        raise Nothing(words("tabs.dense" if dense else "tabs.empty"))
    spec = routed.get(trace_id, next(reversed(routed.values()))).spec
    chosen = {i: trace if len(ids) == 1 else own_turn(trace) for i, trace in routed.items() if trace.spec == spec}
    return Pool(name, tuple(chosen), tuple(chosen.values()), ({},) * len(chosen), len(ids) - len(chosen))


def beside(store: TraceStore, pool: Pool, trace_id: Any, words: Words) -> Pool | None:
    """What a card shows beside ``pool``: the gallery, or beside the gallery the recording that is shown; None where
    there is none of the same model."""
    name = "answer" if pool.name == "gallery" else "gallery"
    if name == "answer" and (not trace_id or trace_id in pool.ids):
        return None
    try:
        other = pool_of(store, name, trace_id, Session(), words)
    except UserError:
        return None
    return other if other.traces[0].spec == pool.traces[0].spec else None


def _kept(store: TraceStore, trace_id: str) -> RoutingTrace | None:
    try:
        return store.get(trace_id)
    except UserError:
        return None


@dataclass(frozen=True)
class Overview:
    """All experts of a pool in one phase.

    Attributes:
        load: ``metrics.expert_load``.
        shift: thinking minus answer, of all rows: ``risk_difference``.
    """

    load: Statistic
    shift: Statistic

    def order(self, sort: str) -> np.ndarray | None:
        """(L, E) the expert at each place of a layer; None for the experts by their numbers."""
        if sort not in ("load", "shift"):
            return None
        values = (self.load if sort == "load" else self.shift).values
        return np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=1, kind="stable")


def overview(pool: Pool, phase: str) -> Overview:
    """Every expert of ``pool``.

    Raises:
        BadValue: there is no such phase.
    """
    load = metrics.expert_load(pool.traces, phase)
    return Overview(load, risk_difference(pool.traces, pool.traces, "thinking", "answer"))


class Remembered:
    """Results under keys; the least recently used leave first."""

    def __init__(self, most: int = 24) -> None:
        self._most, self._lock = most, threading.Lock()
        self._made: OrderedDict[Any, Any] = OrderedDict()

    def __contains__(self, key: Any) -> bool:
        with self._lock:
            return key in self._made

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        return made
