"""The pace at which a run is shown: what is held back, what a step shows, and the rows that go with each token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.errors import BadValue
from app.engine.base import ChatRequest, Message, TokenEvent
from app.ui.pacing import AT_ONCE, MOST_STEPS, STEP, Pacer, chosen_pace
from tests.fake_engine import FakeEngine


def events(thinking: str = "a b c d e f g h") -> list[TokenEvent]:
    """A turn, each of whose rows comes alone."""
    engine = FakeEngine()
    engine.enqueue(thinking, "done")
    return list(engine.stream(ChatRequest((Message("user", "hello"),))))


def together(made: list[TokenEvent], size: int) -> list[TokenEvent]:
    """The events with the rows of ``size`` generated tokens delivered in one."""
    found, waiting = [], []
    for event in made:
        is_prompt = event.rows is not None and len(event.rows) > 1
        if event.rows is None or is_prompt:
            found.append(event)
            continue
        waiting.append(event.rows)
        due = len(waiting) == size or event.finish_reason
        rows = None
        if due:
            arrays = {
                name: np.concatenate([getattr(part, name) for part in waiting])
                for name in ("expert_ids", "expert_weights", "entropy", "margin", "top_k_mass")
            }
            rows = replace(waiting[0], **arrays)
            waiting = []
        found.append(replace(event, rows=rows))
    return found


def shown(pacer: Pacer, seconds: float = 0.0) -> list[TokenEvent]:
    return [event for event, _ in pacer.release(seconds)]


def generated(made: list[TokenEvent]) -> list[int]:
    first = next(event.index for event in made if event.origin.name == "SAMPLED")
    return [event.index for event in made if event.index >= first]


def fed(pacer: Pacer, made: list[TokenEvent]) -> None:
    pacer.add([(event, 0.0) for event in made])


def test_at_once_everything_is_shown_as_it_came() -> None:
    made, pacer = events(), Pacer(AT_ONCE)
    fed(pacer, made)
    assert shown(pacer) == made and not pacer


def test_a_pace_shows_so_many_tokens_a_second_and_the_prompt_at_once() -> None:
    made, pacer = events(), Pacer(10)
    fed(pacer, made)
    prompt = len(made) - len(generated(made))
    assert len(shown(pacer, 0.0)) == prompt
    assert [len(shown(pacer, 0.1)) for _ in range(3)] == [1, 1, 1]
    assert len(shown(pacer, 0.35)) in (3, 4) and pacer


def test_a_step_shows_one_token_and_a_key_held_down_does_not_run_away() -> None:
    made, pacer = events("word " * 40), Pacer(STEP)
    fed(pacer, made)
    shown(pacer)
    assert shown(pacer, 60.0) == []  # time alone shows nothing
    pacer.step()
    assert [event.index for event in shown(pacer)] == generated(made)[:1]
    for _ in range(100):
        pacer.step()
    assert len(shown(pacer)) == MOST_STEPS and shown(pacer) == []


@pytest.mark.parametrize("pace", [STEP, 10.0])
@pytest.mark.parametrize("size", [1, 3, 16])
def test_every_token_brings_its_own_row_where_the_model_is_ahead(pace: float, size: int) -> None:
    made, pacer = together(events(), size), Pacer(pace)
    fed(pacer, made)
    known = len(shown(pacer))  # the prompt's tokens and rows
    for index in generated(made):
        pacer.step()
        (event,) = shown(pacer, 0.1 if pace > 0 else 0.0)
        assert event.index == index
        if event.finish_reason:
            assert event.rows is None  # the last token of a turn was never routed
        else:
            assert event.rows is not None and (event.rows.start, len(event.rows)) == (known, 1)
            known += 1
    assert not pacer


@pytest.mark.parametrize("paces", [(3, AT_ONCE), (AT_ONCE, STEP), (STEP, 30, STEP, AT_ONCE)])
def test_no_row_is_lost_or_doubled_when_the_pace_changes_while_it_runs(paces: tuple[float, ...]) -> None:
    made = together(events("word " * 30), 8)
    pacer, seen = Pacer(paces[0]), []
    for i, event in enumerate(made):
        pacer.set(paces[i * len(paces) // len(made)])
        fed(pacer, [event])
        pacer.step()
        seen += shown(pacer, 0.05)
    pacer.set(AT_ONCE)
    seen += shown(pacer)
    assert [event.index for event in seen] == [event.index for event in made]
    starts = [(event.rows.start, len(event.rows)) for event in seen if event.rows is not None]
    assert [start for start, _ in starts] == [sum(n for _, n in starts[:i]) for i in range(len(starts))]
    assert sum(n for _, n in starts) == len(made) - 1
    for event in seen:
        assert event.rows is None or event.rows.start + len(event.rows) <= event.index + 1


def test_where_nobody_presses_for_long_the_rest_is_shown() -> None:
    now = [0.0]
    made, pacer = events(), Pacer(STEP, patience=300, clock=lambda: now[0])
    fed(pacer, made)
    shown(pacer)
    now[0] = 299.0
    pacer.step()
    assert len(shown(pacer)) == 1
    now[0] = 598.0
    assert shown(pacer) == []
    now[0] = 600.0
    assert len(shown(pacer)) == len(generated(made)) - 1 and not pacer


def test_time_in_which_there_was_nothing_to_step_to_tries_no_patience() -> None:
    now = [0.0]
    made, pacer = events(), Pacer(STEP, patience=300, clock=lambda: now[0])
    now[0] = 1000.0
    assert shown(pacer) == [] and pacer.stepping, "it waited in the queue"
    fed(pacer, made)
    shown(pacer)
    assert pacer.stepping and len(pacer._held) == len(generated(made))


def test_what_was_not_shown_when_it_is_stopped_is_dropped() -> None:
    pacer = Pacer(STEP)
    fed(pacer, events())
    shown(pacer)
    pacer.drop()
    assert pacer.dropped and not pacer and shown(pacer) == []


@pytest.mark.parametrize(("value", "pace"), [(None, AT_ONCE), (30, 30.0), (-1, STEP), (-0.5, STEP)])
def test_a_pace_from_the_browser(value: object, pace: float) -> None:
    assert chosen_pace(value) == pace


@pytest.mark.parametrize("value", ["fast", float("nan"), -2, 1e9, True])
def test_what_is_no_pace_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        chosen_pace(value)
