"""The queue: first come first served, bounded, and no place is lost when somebody leaves."""

from __future__ import annotations

import threading
import time

import pytest

from analysis.errors import Busy
from app.engine.scheduler import Scheduler


def test_places_move_up_as_others_leave():
    scheduler = Scheduler(running=1, waiting=3)
    first, second, third = (scheduler.enter() for _ in range(3))
    assert [t.position for t in (first, second, third)] == [0, 1, 2]
    assert first.wait(0) and not second.wait(0)
    second.leave()
    assert third.position == 1
    first.leave()
    assert third.wait(0) and third.position == 0
    third.leave()
    third.leave()
    assert scheduler.length == 0


def test_a_full_queue_turns_away_and_opens_again():
    scheduler = Scheduler(running=1, waiting=1)
    tickets = [scheduler.enter(), scheduler.enter()]
    with pytest.raises(Busy, match="full"):
        scheduler.enter()
    tickets[1].leave()
    scheduler.enter()


def test_an_error_in_the_block_gives_the_place_back():
    scheduler = Scheduler()
    with pytest.raises(ZeroDivisionError), scheduler.enter():
        raise ZeroDivisionError
    assert scheduler.length == 0


def test_only_one_runs_at_a_time_and_everyone_gets_a_turn():
    scheduler = Scheduler(running=1, waiting=50)
    running, most, served = 0, 0, []
    lock = threading.Lock()

    def visit(number):
        nonlocal running, most
        with scheduler.enter() as ticket:
            while not ticket.wait(5):
                pass
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)  # time for another to come in
            served.append(number)
            with lock:
                running -= 1

    threads = [threading.Thread(target=visit, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 1 and sorted(served) == list(range(20)) and scheduler.length == 0
