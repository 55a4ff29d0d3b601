"""Traces in memory: the least recently used leave first, what is kept stays."""

from __future__ import annotations

import gc
import time
import weakref
from typing import NoReturn

import numpy as np
import pytest

from analysis.errors import BadValue, TraceError
from app.server.store import TraceStore, size_of
from tests.make_traces import make_trace


def test_what_is_put_can_be_got_under_an_id_that_cannot_be_guessed() -> None:
    store = TraceStore()
    trace = make_trace()
    ids = {store.put(trace) for _ in range(20)}
    assert len(ids) == 20 and min(map(len, ids)) >= 20
    assert all(store.get(trace_id) is trace and trace_id in store for trace_id in ids)


def test_the_least_recently_used_leaves_first() -> None:
    store = TraceStore(max_traces=2)
    first, second = store.put(make_trace()), store.put(make_trace())
    store.get(first)
    third = store.put(make_trace())
    assert first in store and third in store and second not in store
    with pytest.raises(BadValue, match="no longer in memory"):
        store.get(second)


def test_memory_is_bounded_and_the_newest_stays_however_large() -> None:
    trace = make_trace()
    store = TraceStore(max_traces=100, max_megabytes=2.5 * size_of(trace) / 1e6)
    ids = [store.put(trace) for _ in range(5)]
    assert [trace_id in store for trace_id in ids] == [False, False, False, True, True]
    tiny = TraceStore(max_megabytes=1e-6)
    tiny.put(trace)
    assert len(tiny) == 1 and tiny.put(trace) in tiny and len(tiny) == 1


def test_what_a_file_says_of_itself_takes_memory_too() -> None:
    trace = make_trace()
    assert size_of(trace.with_provenance(more=[[]] * 100_000)) > size_of(trace) + 56 * 100_000


def test_what_is_kept_never_leaves() -> None:
    store = TraceStore(max_traces=1)
    example = make_trace()
    store.keep(example, "example")
    for _ in range(3):
        store.put(make_trace())
    assert store.get("example") is example and len(store) == 1


@pytest.mark.parametrize("wrong", [None, "", "no such id", 7, ["a"], np.nan])
def test_what_is_not_there_is_said(wrong: object) -> None:
    with pytest.raises(BadValue, match="no longer in memory"):
        TraceStore().get(wrong)  # type: ignore[arg-type]


def test_what_is_offered_is_opened_when_it_is_asked_for_and_again_after_it_made_room() -> None:
    store, trace, opened = TraceStore(max_traces=1), make_trace(), []
    store.offer("shipped", lambda: opened.append(1) or trace)  # type: ignore[func-returns-value]
    assert "shipped" in store and store.is_permanent("shipped") and not opened and len(store) == 0
    assert store.get("shipped") is store.get("shipped") is trace and len(opened) == 1
    store.put(make_trace())
    assert store.get("shipped") is trace and len(opened) == 2


def test_what_can_be_opened_again_makes_room_for_what_cannot() -> None:
    store = TraceStore(max_traces=3)
    for trace_id in ("a", "b"):
        store.offer(trace_id, make_trace)
    own = [store.put(make_trace()), store.put(make_trace())]
    store.get("a")
    store.get("b")
    assert all(one in store for one in own) and len(store) == 3
    own.append(store.put(make_trace()))
    store.get("a")
    assert all(one in store for one in own) and len(store) == 3
    store.put(make_trace())
    assert [one in store for one in own] == [False, True, True]


def test_looking_at_a_trace_puts_no_other_out() -> None:
    store, trace = TraceStore(max_traces=2), make_trace()
    store.offer("shipped", lambda: trace)
    first, second = store.put(make_trace()), store.put(make_trace())
    assert store.peek("shipped") is trace and first in store and second in store
    store.peek(first)
    store.put(make_trace())
    assert first not in store  # looking did not keep it
    with pytest.raises(BadValue, match="no longer in memory"):
        store.peek(first)


def test_a_file_that_is_gone_is_said_and_asked_for_again() -> None:
    store = TraceStore()

    def fail() -> NoReturn:
        raise TraceError("gone")

    store.offer("shipped", fail)
    for read in (store.get, store.peek, store.get):
        with pytest.raises(TraceError, match="gone"):
            read("shipped")


def test_what_is_discarded_is_out_of_reach_at_once_and_can_come_back() -> None:
    store = TraceStore()
    trace = make_trace()
    trace_id = store.put(trace)
    assert store.discard(trace_id)
    assert trace_id not in store and len(store) == 0 and not store._sizes
    with pytest.raises(BadValue, match="no longer in memory"):
        store.get(trace_id)
    assert not store.discard(trace_id)
    assert store.restore(trace_id) and store.get(trace_id) is trace
    assert not store.restore(trace_id)


def test_after_a_while_its_memory_is_free() -> None:
    store = TraceStore(undo_seconds=0.05)
    trace_id = store.put(make_trace())
    trace = weakref.ref(store.get(trace_id))
    store.discard(trace_id)
    deadline = time.monotonic() + 10
    while trace() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
        gc.collect()
    assert trace() is None and not store.restore(trace_id)


def test_what_came_along_cannot_be_discarded() -> None:
    store = TraceStore()
    store.keep(make_trace(), "example")
    store.offer("shipped", make_trace)
    store.get("shipped")
    assert not store.discard("example") and not store.discard("shipped") and not store.discard("unknown")
    assert store.get("example") and store.get("shipped")
