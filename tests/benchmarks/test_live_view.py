from __future__ import annotations

import numpy as np

from benchmarks.live_view import LAYERS, TOP_K, PacedEngine, long_trace, quantile, waits


def test_a_row_waits_for_the_first_picture_that_has_it() -> None:
    given = [(1, 100.0), (2, 110.0), (3, 120.0), (4, 130.0)]
    assert waits(given, [(0, 95.0), (2, 150.0), (3, 160.0), (9, 200.0)]) == [50.0, 40.0, 40.0, 70.0]


def test_rows_that_were_never_drawn_are_left_out_and_clocks_that_disagree_give_no_negative_wait() -> None:
    assert waits([(1, 100.0), (2, 110.0)], [(1, 99.5)]) == [0.0]
    assert waits([(1, 100.0)], []) == []


def test_quantiles_are_values_that_were_measured() -> None:
    assert [quantile([1.0, 2.0, 3.0, 40.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 40.0]
    assert quantile([], 0.5) is None


def test_the_long_trace_is_whole_and_its_rows_have_distinct_experts() -> None:
    trace = long_trace(300)
    assert trace.expert_ids.shape == (299, LAYERS, TOP_K)
    assert all(len(set(ids)) == TOP_K for ids in trace.expert_ids.reshape(-1, TOP_K).tolist())


def test_the_engine_notes_every_generated_row_once() -> None:
    from app.engine.base import ChatRequest, Message

    engine = PacedEngine(2, 8, 2)
    engine.rate = 1000.0
    events = list(engine.stream(ChatRequest((Message("user", "one two"),))))
    rows = [event.rows.start + len(event.rows) for event in events if event.rows is not None]
    assert [number for number, _ in engine.given] == rows[1:]  # the prompt's come before the clock starts
    assert np.all(np.diff([when for _, when in engine.given]) >= 0)
