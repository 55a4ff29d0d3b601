"""Traces in memory: the least recently used leave first, what is kept stays."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import BadValue
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
