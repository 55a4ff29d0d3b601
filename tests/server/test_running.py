"""A run in its own thread: it ends, breaks, is stopped or runs out of time, and always lets go of its place."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Generator

import pytest

from app.engine.base import ChatRequest, Message, TokenEvent
from app.engine.scheduler import Scheduler
from app.server.running import Run, in_turns
from tests.fake_engine import FakeEngine

REQUEST = ChatRequest((Message("user", "hello there"),))


def start(engine: FakeEngine, scheduler: Scheduler, seconds: float = 30.0) -> Run:
    ticket = scheduler.enter()
    assert ticket.wait(1)
    return Run(lambda: engine.stream(REQUEST), ticket, seconds)


def drain(run: Run, timeout: float = 0.02) -> list[TokenEvent]:
    events: list[TokenEvent] = []
    while not run.finished:
        events += run.take(timeout)
    return events


def wait_until_free(scheduler: Scheduler) -> None:
    end = time.monotonic() + 15
    while scheduler.length and time.monotonic() < end:
        time.sleep(0.01)
    assert scheduler.length == 0


def test_all_events_arrive_in_order_and_the_place_is_given_back() -> None:
    engine, scheduler = FakeEngine(delay=0.005), Scheduler()
    events = drain(start(engine, scheduler))
    assert [e.index for e in events] == list(range(len(events)))
    assert events[-1].finish_reason == "stop"
    wait_until_free(scheduler)
    assert engine.streams_open == engine.streams_closed == 1


def test_a_stopped_run_closes_its_stream_within_a_token() -> None:
    engine, scheduler = FakeEngine(delay=0.05), Scheduler()
    engine.enqueue("long " * 500, "")
    run = start(engine, scheduler)
    while not run.take(0.02):
        pass
    began = time.monotonic()
    run.stop()
    run.take(0.0)
    assert run.finished and run.ended == "stopped"
    wait_until_free(scheduler)
    assert time.monotonic() - began < 10  # all of it would take 25
    assert engine.streams_closed == 1


def test_a_run_out_of_time_is_interrupted() -> None:
    engine, scheduler = FakeEngine(delay=0.02), Scheduler()
    engine.enqueue("long " * 500, "")
    run = start(engine, scheduler, seconds=0.2)
    began = time.monotonic()
    drain(run)
    assert run.ended == "interrupted" and time.monotonic() - began < 5  # of 10
    wait_until_free(scheduler)


def test_what_the_stream_raises_is_kept_after_its_events() -> None:
    engine, scheduler = FakeEngine(fail_after=3), Scheduler()
    run = start(engine, scheduler)
    events = drain(run)
    assert len([e for e in events if e.origin.label == "sampled"]) == 3
    assert isinstance(run.error, RuntimeError)
    wait_until_free(scheduler)


def test_a_stream_that_refuses_at_once() -> None:
    scheduler = Scheduler()

    def refuse() -> Generator[TokenEvent, None, None]:
        raise ValueError("no")

    ticket = scheduler.enter()
    run = Run(refuse, ticket, 5)
    assert drain(run) == [] and isinstance(run.error, ValueError)
    wait_until_free(scheduler)


def test_the_next_in_line_waits_until_the_model_is_free() -> None:
    """A stopped run whose model is in the middle of a long step still holds its place."""
    engine, scheduler = FakeEngine(prefill_delay=0.5), Scheduler()
    run = start(engine, scheduler)
    after = scheduler.enter()
    time.sleep(0.05)
    run.stop()
    assert run.finished and not after.wait(0.1)
    assert after.wait(2)
    assert engine.running == 0


@pytest.mark.parametrize("timeout", [0.0, 0.05])
def test_taking_after_the_end_gives_nothing(timeout: float) -> None:
    run = start(FakeEngine(), Scheduler())
    drain(run)
    assert run.take(timeout) == []


def test_streams_take_turns_and_one_that_fails_leaves_the_others() -> None:
    def broken() -> Generator[TokenEvent, None, None]:
        yield next(FakeEngine().stream(REQUEST))
        raise RuntimeError("broken")

    engine = FakeEngine()
    turns = list(in_turns([lambda: engine.stream(REQUEST), broken, lambda: engine.stream(REQUEST)]))
    assert [number for number, _ in turns[:8]] == [0, 1, 2, 0, 1, 2, 0, 2]
    assert isinstance(turns[4][1], RuntimeError) and [of for of, came in turns if came is None] == [0, 2]
    alone = list(engine.stream(REQUEST))
    for number in (0, 2):
        events = [came for of, came in turns if of == number and came is not None]
        assert [e.token_id for e in events] == [e.token_id for e in alone]  # type: ignore[union-attr]


def test_turns_that_are_given_up_close_every_stream() -> None:
    engine = FakeEngine()
    turns = in_turns([lambda: engine.stream(REQUEST), lambda: engine.stream(REQUEST)])
    next(turns), next(turns)
    turns.close()
    assert engine.streams_open == engine.streams_closed == 2


def test_what_a_failed_stream_held_is_let_go() -> None:
    class Cache:
        pass

    held: list[weakref.ref[Cache]] = []

    def stream() -> Generator[TokenEvent, None, None]:
        cache = Cache()
        held.append(weakref.ref(cache))
        raise RuntimeError(f"out of memory beside {cache}")
        yield

    scheduler = Scheduler()
    ticket = scheduler.enter()
    assert ticket.wait(1)
    gc.disable()
    try:
        run = Run(stream, ticket, 30)
        drain(run)
        run._thread.join(3)
        assert isinstance(run.error, RuntimeError) and held[0]() is None
    finally:
        gc.enable()
