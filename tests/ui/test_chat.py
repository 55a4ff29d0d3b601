"""Turns of the chat as values, with an engine that answers what it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import Mock

import gradio as gr
import numpy as np
import pytest

from analysis.figures.style import shown
from analysis.trace import Origin, Phase
from analysis.words import Words
from app.engine.base import Candidate, Capabilities, Message, SamplingParams, TokenEvent
from app.engine.edit_rules import edited_spec
from app.engine.opening import open_engine
from app.server.serve import make_services
from app.settings import Settings
from app.ui import chat
from app.ui.chat import as_updates, invitation, shown_of, status_html
from app.ui.chat_options import follow_mode
from app.ui.chat_pace import drawn_html
from app.ui.context import Services
from app.ui.conversation import Turn, chat_messages, request_messages
from app.ui.experiment_edits import History, from_text, in_brief
from app.ui.following import ActiveRuns, pull
from app.ui.pacing import STEP
from app.ui.page_links import edited_label
from app.ui.turn import Options, TurnView, build_request, recommended, run_turn, status_line
from tests.fake_engine import FakeEngine, edited_experts, experts_of
from tests.ui.tab_page import is_skipped, listener, shared_of


def say(key: str, **values: object) -> str:
    return Words("en")(f"page.{key}", **values)


def services_of(engine: FakeEngine, **settings: Any) -> Services:
    return make_services(engine, Settings(**{"updates_per_second": 60.0, **settings}))


def shown_messages(view: TurnView) -> list[str]:
    return [message["content"][0]["text"] for message in chat_messages(view.conversation, say)]


def turn(services: Services, text: Any, before: tuple[Turn, ...] = (), **options: Any) -> list[TurnView]:
    return list(run_turn(services, ActiveRuns(), before, text, Options(**options), say))


def test_a_turn_streams_its_thinking_and_its_answer_and_leaves_a_trace() -> None:
    engine = FakeEngine(delay=0.01)
    engine.enqueue("8 + 4 = 12, carry 1", "It is 812.")
    services = services_of(engine)
    views = turn(services, "What is 538 + 274?", router_scores=True)
    last = views[-1]
    done = last.conversation[-1]
    assert (done.thinking, done.answer) == ("8 + 4 = 12, carry 1", "It is 812.")
    assert (done.thinking_tokens, done.answer_tokens, done.finish_reason) == (10, 4, "stop")
    assert done.done and not last.run_id and last.trace_id == done.trace_id
    assert any(v.conversation[-1].thinking and not v.conversation[-1].answer for v in views if v.conversation)
    trace = services.store.get(last.trace_id)
    assert trace.provenance["finish_reason"] == "stop"
    assert trace.text_of("answer") == "It is 812." and trace.router_scores is not None
    assert services.scheduler.length == 0


@pytest.mark.parametrize("text", ["mask:0:3", "top_k:all:6", "force:1:15 ablate:2:4"])
def test_an_answer_under_edits_is_marked_and_its_trace_has_them_and_what_ran(text: str) -> None:
    engine = FakeEngine()
    services, edits = services_of(engine), from_text(text)
    plain = turn(services, "hello")[-1]
    last = turn(services, "hello", plain.conversation, edits=History(edits))[-1]
    assert [request.edits for request in engine.requests] == [(), edits]
    trace = services.store.get(last.trace_id)
    assert trace.provenance["edits"] == [asdict(edit) for edit in edits]
    assert trace.spec == edited_spec(engine.spec, edits)
    wanted = edited_experts(experts_of("hello", engine.spec), edits, engine.spec)
    assert (trace.expert_ids.astype(int)[-1] == wanted).all()
    assert last.chunk is not None and last.conversation[0].edits == ""
    messages = chat_messages(last.conversation, say)
    marked = [m["content"][0]["text"] for m in messages if "edited routing" in m["content"][0]["text"]]
    assert marked == [f"✎ Answered with edited routing: {in_brief(edits, Words('en'))}"]
    assert "edited" not in str(request_messages(last.conversation, "and now?"))
    assert edited_label(trace, Words("en")).startswith(f"Routing edited: {text.split()[0]}")


def test_the_trace_id_is_set_only_at_the_end_and_the_run_id_until_then() -> None:
    views = turn(services_of(FakeEngine(delay=0.02)), "hello there")
    assert all(v.run_id and not v.trace_id for v in views[:-1])
    assert len({v.run_id for v in views[:-1]}) == 1


def test_later_turns_carry_answers_but_no_thinking() -> None:
    engine = FakeEngine()
    engine.enqueue("secret steps", "first answer")
    services = services_of(engine)
    first = turn(services, "one")[-1].conversation
    turn(services, "two", first)
    sent = [(m.role, m.content) for m in engine.requests[-1].messages]
    assert sent == [("user", "one"), ("assistant", "first answer"), ("user", "two")]


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("", {}, "empty"),
        ("  \n ", {}, "empty"),
        ("x" * 20_001, {}, "20,001 characters"),
        (None, {}, "must be text"),
        ("hello", {"temperature": float("nan")}, "Temperature"),
        ("hello", {"mode": "other"}, "Unknown mode"),
        ("hello", {"max_tokens": 0}, "Token limit"),
        ("hello", {"system": 7}, "system prompt must be text"),
    ],
)
def test_a_mistake_is_one_sentence_and_the_text_returns_to_the_box(text: Any, options: Any, sentence: str) -> None:
    engine = FakeEngine()
    before = (Turn("a", "", "b", done=True, finish_reason="stop"),)
    (view,) = turn(services_of(engine), text, before, **options)
    assert sentence in view.problem and view.conversation == before and not engine.requests
    assert view.restore == (text if isinstance(text, str) and len(text) <= 20_000 else None)


def test_a_full_queue_is_said() -> None:
    services = services_of(FakeEngine(), max_waiting=1)
    tickets = [services.scheduler.enter(), services.scheduler.enter()]
    (view,) = turn(services, "hello")
    assert "queue is full" in view.problem and view.restore == "hello"
    for ticket in tickets:
        ticket.leave()


def test_the_place_in_the_queue_is_shown_and_left_by_one_who_leaves() -> None:
    services = services_of(FakeEngine())
    ticket = services.scheduler.enter()
    views = run_turn(services, ActiveRuns(), (), "hello", Options(), say)
    assert next(views).status == "Waiting: 1 before you"
    views.close()
    assert services.scheduler.length == 1
    ticket.leave()


def test_one_who_leaves_in_mid_stream_frees_the_model() -> None:
    engine = FakeEngine(delay=0.02)
    engine.enqueue("long " * 300, "")
    services, runs = services_of(engine), ActiveRuns()
    views = run_turn(services, runs, (), "hello", Options(), say)
    while not next(views).chunk:
        pass
    views.close()
    end = time.monotonic() + 15
    while services.scheduler.length and time.monotonic() < end:
        time.sleep(0.01)
    assert services.scheduler.length == 0 and engine.streams_closed == 1 and len(runs) == 0
    assert len(services.store) == 0


def test_stop_keeps_what_came() -> None:
    engine = FakeEngine(delay=0.02)
    engine.enqueue("long " * 300, "never")
    services, runs = services_of(engine), ActiveRuns()
    last = None
    for view in run_turn(services, runs, (), "hello", Options(), say):
        last = view
        if view.run_id and view.conversation[-1].thinking_tokens > 3:
            active = runs.get(view.run_id)
            assert active is not None
            active.stop()
    assert last is not None
    done = last.conversation[-1]
    assert done.done and done.finish_reason == "stopped" and "long" in done.thinking and not done.answer
    assert services.store.get(last.trace_id).provenance["finish_reason"] == "stopped"
    assert last.status.startswith("Stopped")
    assert shown_messages(last)[-1] == say("cut_stopped")
    again = turn(services, "and now?", last.conversation)[-1]
    assert say("cut_stopped") in shown_messages(again) and shown_messages(again)[-1] != say("cut_stopped")


def test_stop_while_waiting_leaves_the_queue() -> None:
    services, runs = services_of(FakeEngine()), ActiveRuns()
    with services.scheduler.enter():
        views = run_turn(services, runs, (), "hello", Options(), say)
        active = runs.get(next(views).run_id)
        assert active is not None
        active.stop()
        last = list(views)[-1]
    assert last.conversation[-1].finish_reason == "stopped" and not last.trace_id


def test_out_of_time_is_said_and_kept() -> None:
    engine = FakeEngine(delay=0.05)
    engine.enqueue("long " * 300, "")
    services = services_of(engine, turn_seconds=1.0)
    last = turn(services, "hello")[-1]
    assert last.conversation[-1].finish_reason == "interrupted" and last.status.startswith("Out of time")
    assert services.store.get(last.trace_id).provenance["finish_reason"] == "interrupted"


def test_a_fault_before_the_first_token_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    last = turn(services_of(FakeEngine(fail_after=0)), "hello there")[-1]
    assert last.problem == say("fault") and last.restore == "hello there" and last.conversation == ()
    assert "told to fail" in caplog.text


def test_a_fault_in_mid_stream_keeps_what_came() -> None:
    services = services_of(FakeEngine(fail_after=4, delay=0.01))
    last = turn(services, "hello there")[-1]
    assert last.problem == say("fault") and last.conversation[-1].finish_reason == "error"
    assert services.store.get(last.trace_id).provenance["finish_reason"] == "error"


def test_two_visitors_at_once_never_share_a_row() -> None:
    engine = FakeEngine(experts=64, delay=0.003)
    services = services_of(engine)
    results: dict[str, TurnView] = {}

    def visit(text: str) -> None:
        results[text] = turn(services, text)[-1]

    texts = [f"visitor number {i}" for i in range(5)]
    threads = [threading.Thread(target=visit, args=(t,)) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert engine.most_running == 1 and set(results) == set(texts)
    for text, view in results.items():
        trace = services.store.get(view.trace_id)
        assert (trace.expert_ids == experts_of(text, engine.spec)).all()
        assert text in view.conversation[-1].answer
    assert not np.array_equal(experts_of(texts[0], engine.spec), experts_of(texts[1], engine.spec))


def test_the_live_view_can_pull_a_run_while_it_streams_and_afterwards() -> None:
    engine = FakeEngine(delay=0.01)
    services, runs = services_of(engine), ActiveRuns()
    pulled = last = None
    for last in run_turn(services, runs, (), "hello there", Options(), say):
        if last.run_id and last.chunk and last.conversation[-1].answer:
            pulled = pulled or pull(services, runs, last.run_id)
    assert pulled is not None and last is not None and not pulled["done"]
    after = pull(services, runs, last.trace_id)
    assert after["done"] and after["rows"] > pulled["rows"] and after["tokens"][: len(pulled["tokens"])]


def test_a_paced_turn_is_shown_slowly_but_frees_the_model_at_once() -> None:
    engine = FakeEngine()
    engine.enqueue("one two three four five six seven eight", "done")
    services = services_of(engine)
    began, free_after, shown = time.monotonic(), None, set()
    views = []
    for view in run_turn(services, ActiveRuns(), (), "hello", Options(pace=8), say):
        views.append(view)
        if view.run_id:
            shown.add(view.conversation[-1].thinking_tokens)
        if free_after is None and engine.streams_closed and not services.scheduler.length:
            free_after = time.monotonic() - began
    took, done = time.monotonic() - began, views[-1].conversation[-1]
    assert took > 1 and len(shown) > 4 and free_after is not None and free_after < took / 2
    assert done.answer == "done" and done.seconds < took / 2  # the model's own time
    assert services.store.get(views[-1].trace_id).provenance["finish_reason"] == "stop"


def test_a_page_that_is_served_seldom_still_gets_the_pace_it_asked_for() -> None:
    engine = FakeEngine()
    engine.enqueue("one two three four five six seven eight", "done")
    seen = 0
    for _ in run_turn(services_of(engine), ActiveRuns(), (), "hello", Options(pace=20), say):
        seen += 1
        time.sleep(0.2)
    assert seen < 15, "ten tokens at four in 0.2 seconds"


def test_stopping_a_paced_turn_keeps_what_was_shown() -> None:
    engine = FakeEngine()
    engine.enqueue("word " * 100, "never shown")
    services, runs = services_of(engine), ActiveRuns()
    last = None
    for last in run_turn(services, runs, (), "hello", Options(pace=10), say):
        if last.run_id and last.conversation[-1].thinking_tokens > 3:
            runs.get(last.run_id).stop()  # type: ignore[union-attr]
    assert last is not None and last.conversation[-1].finish_reason == "stopped"
    assert last.conversation[-1].answer == "" and last.conversation[-1].thinking_tokens < 20
    trace = services.store.get(last.trace_id)
    assert trace.phase_counts()["thinking"] == last.conversation[-1].thinking_tokens


def test_step_by_step_a_token_is_shown_for_each_step_with_what_it_was_drawn_from() -> None:
    engine = FakeEngine()
    engine.enqueue("one two three", "four")
    services, runs, newest = services_of(engine), ActiveRuns(), []
    for view in run_turn(services, runs, (), "hello", Options(pace=STEP), say):
        if view.newest is not None and view.newest not in newest:
            newest.append(view.newest)
        active = runs.get(view.run_id)
        if active is not None and engine.streams_closed:  # the model is done; nothing of it has been shown but steps
            active.pacer.step()
    assert engine.requests[0].candidates == 5
    assert [event.index for event in newest] == list(range(newest[0].index, newest[-1].index + 1))
    assert newest[-1].finish_reason == "stop" and len(newest) > 5
    for event in newest:
        assert any(c.token_id == event.token_id for c in event.candidates)
        assert shown(event.text) in drawn_html(event, say)


def test_before_the_first_step_nothing_is_said_to_have_been_drawn() -> None:
    engine = FakeEngine()
    services, runs, lines = services_of(engine), ActiveRuns(), []
    before = turn(services, "hello")[-1].conversation  # its answer is read again, as part of the next prompt
    for view in run_turn(services, runs, before, "and now?", Options(pace=STEP), say):
        assert view.newest is None or view.conversation[-1].thinking_tokens or view.conversation[-1].answer_tokens
        active = runs.get(view.run_id)
        lines.append(view.status)
        if active is not None and view.status == say("step_ready"):
            active.stop()
    assert say("step_ready") in lines


def test_a_run_that_is_left_while_it_waits_for_a_step_lets_go_of_the_model() -> None:
    engine = FakeEngine(delay=0.01)
    engine.enqueue("word " * 500, "never written")
    services, runs = services_of(engine), ActiveRuns()
    with closing(run_turn(services, runs, (), "hello", Options(pace=STEP), say)) as views:
        for _ in range(8):
            next(views)
    deadline = time.monotonic() + 15
    while services.scheduler.length and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.streams_closed == engine.streams_open == 1 and not services.scheduler.length and not len(runs)


def test_what_was_not_drawn_is_said_to_be_so() -> None:
    forced = TokenEvent(5, 9, b"<b>", "<b>", Phase.THINKING, Origin.FORCED, 0)
    assert "budget" in drawn_html(forced, say) and "<b><b>" not in drawn_html(forced, say)
    assert "not known" in drawn_html(replace(forced, origin=Origin.SAMPLED), say)
    half = replace(forced, origin=Origin.SAMPLED, piece=b"\xe4", text="", candidates=(Candidate(9, "‹e4›", 0.25, 1.0),))
    assert "‹e4›" in drawn_html(half, say) and "25.0%" in drawn_html(half, say) and "100.0%" in drawn_html(half, say)


def test_sampling_left_at_the_recommendation_follows_the_soft_switch() -> None:
    services = services_of(FakeEngine())
    usual = recommended(services, "thinking")
    fields = {n: getattr(usual, n) for n in ("temperature", "top_p", "top_k", "min_p", "presence_penalty")}
    switched = build_request(services, (Message("user", "hi /no_think"),), Options(**fields, max_tokens=9))
    assert switched.sampling == SamplingParams(temperature=0.7, top_p=0.8, top_k=20, max_tokens=9)
    own = build_request(services, (Message("user", "hi /no_think"),), Options(**{**fields, "top_p": 0.5}))
    assert own.sampling is not None and own.sampling.top_p == 0.5


def test_a_model_that_only_thinks_refuses_the_other_mode() -> None:
    engine = FakeEngine(capabilities=Capabilities(modes=("thinking",)))
    (view,) = turn(services_of(engine), "hello", mode="non-thinking")
    assert "no non-thinking mode" in view.problem


def test_untouched_fields_follow_the_mode_and_touched_ones_stay() -> None:
    thinking, direct = SamplingParams(), SamplingParams(temperature=0.7, top_p=0.8)
    assert follow_mode((0.6, 0.95, 20, 0.0, 0.0), [thinking], direct) == [0.7, 0.8, 20, 0.0, 0.0]
    assert follow_mode((1.1, 0.95, 20, 0.0, 1.5), [thinking], direct) == [1.1, 0.8, 20, 0.0, 1.5]


def test_every_update_has_every_value_and_the_box_is_emptied_once() -> None:
    def views() -> Iterator[TurnView]:
        yield TurnView((Turn("q"),), run_id="r", status="reading")
        yield TurnView((Turn("q", "hm", "", 1),), run_id="r", status="thinking")
        yield TurnView((Turn("q", "hm", "a", 1, 1, done=True),), status="done", trace_id="t")

    first, second, last = as_updates(views(), say, "q ")
    assert len(first) == len(second) == len(last) == 11
    assert json.loads(first[4])["taken"] == "q "
    assert second[4] == last[4] == gr.skip()
    assert (first[5]["interactive"], first[6]["interactive"]) == (False, True)
    assert (last[5]["interactive"], last[6]["interactive"]) == (True, False)
    assert (second[8], last[8], last[9]) == ("r", "", "t")


def test_what_the_last_answer_was_drawn_from_is_not_said_of_the_next() -> None:
    views = (TurnView((Turn("q"),), run_id="r", status=status) for status in ("reading", "still"))
    first, second = as_updates(views, say)
    assert first[7] == drawn_html(None, say) and second[7] == gr.skip()


def failing(*, after: int) -> Iterator[TurnView]:
    for _ in range(after):
        yield TurnView((Turn("q"),), run_id="r", status="Waiting: 1 before you")
    yield TurnView((), problem="The queue is full.", restore="q")


def test_a_draft_in_the_box_is_touched_only_by_what_was_sent_from_it() -> None:
    box = 4
    begun, failed = (json.loads(u[box]) for u in as_updates(failing(after=1), say, "q"))
    assert begun["taken"] == failed["back"] == "q"
    (refused,) = as_updates(failing(after=0), say, "q")
    assert refused[box] == gr.skip()  # what was typed still stands there
    assert all(u[box] == gr.skip() for u in as_updates(failing(after=1), say))


def test_a_repeated_turn_that_is_refused_leaves_the_conversation_as_it_was() -> None:
    whole = tuple(Turn(q, "", "a", done=True, finish_reason="stop") for q in "abc")
    services = services_of(FakeEngine())
    options = Options(seed="abc")
    (view,) = run_turn(services, ActiveRuns(), whole[:1], "b", options, say, otherwise=whole)
    assert "Seed" in view.problem and view.conversation == whole


def test_mistakes_are_said_in_the_language_of_the_page() -> None:
    services = services_of(FakeEngine())
    for language, sentence in (("ja", "メッセージが空です"), ("zh", "消息为空")):
        (view,) = run_turn(services, ActiveRuns(), (), " ", Options(), say, language)
        assert sentence in view.problem
    (view,) = run_turn(services, ActiveRuns(), (), "x", Options(temperature=9), say, "ja")
    assert view.problem.startswith("温度")


def test_what_a_switch_in_the_text_has_decided_is_said() -> None:
    turn = Turn("x /no_think", mode="thinking", effective="non-thinking", done=True, finish_reason="stop")
    assert status_line(turn, say).endswith("/no_think holds until a /think")
    assert "holds" not in status_line(replace(turn, effective="thinking"), say)


def test_the_sentence_of_a_spent_budget_is_not_taken_for_the_models_words() -> None:
    services = make_services(open_engine(), Settings())
    options = Options(thinking_budget="5", max_tokens=100, seed="3")
    *_, last = run_turn(services, ActiveRuns(), (), "What is 538 + 274?", options, say)
    done = last.conversation[-1]
    assert done.inserted.startswith("Considering the limited time") and done.thinking_tokens == 5
    assert "Considering" not in done.thinking and "Considering" not in done.answer and done.answer
    shown = chat_messages((done,), say)[1]["content"][0]["text"]
    assert "inserted because the thinking budget was spent" in shown and "Considering the limited time" in shown


def test_a_cleared_chat_shows_nothing_of_what_was() -> None:
    (update,) = as_updates(iter([TurnView((), cleared=True)]), say)
    assert update[0] == () and update[1] == [] and update[2] is None and update[9] is None
    turns = (Turn("a", "", "b", done=True, trace_id="first"), Turn("c", "", "d", done=True, trace_id="second"))
    assert shown_of((), say)[3:] == (None, None, None)
    kept, _, _, live, trace_id, token = shown_of(turns[:1], say)
    assert kept == turns[:1] and live["run"] == trace_id == "first" and token is None


def test_a_new_chat_discards_its_own_answer_and_leaves_a_text_that_is_routed() -> None:
    services, runs, run = services_of(FakeEngine()), ActiveRuns(), Mock()
    with gr.Blocks() as blocks:
        talk = chat.build(services, say, "en")
        chat.wire(talk, services, runs, shared_of("token"), say, "en")
    clear = listener(blocks, talk.clear, "click").fn
    runs.add("run", run)
    assert clear((Turn("a", "", "b", done=True, trace_id="first"),), "run")[:2] == ((), [])
    assert all(map(is_skipped, clear((), "run"))) and not run.discard.called
    assert all(map(is_skipped, clear((Turn("a"),), "run"))) and run.discard.called


def test_the_status_line_escapes_what_it_repeats() -> None:
    shown = status_html("Unknown mode '<img src=x>'", problem=True)
    assert "<img" not in shown and 'role="alert"' in shown


def test_an_empty_chat_says_what_an_expert_is_where_there_are_any() -> None:
    assert "8 of 64" in invitation(FakeEngine(6, 64, 8).spec, say)
    assert invitation(FakeEngine(0, 0, 0).spec, say).strip() == f"## {say('invite')}"
