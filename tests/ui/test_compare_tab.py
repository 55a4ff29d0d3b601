"""The tab "Compare": both modes under the same conditions, the queue, stopping, and what it may not claim."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.errors import BadValue
from analysis.words import Words
from app.engine.base import Capabilities
from app.server.serve import make_services
from app.settings import Settings
from app.ui import arms, compare_tab, pair_tab, pair_view
from app.ui.compare_run import Options, PairView, build_requests, run_pair
from app.ui.context import Services
from tests.fake_engine import FakeEngine
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

WORDS = Words("en")


def views(services: Services, prompt: Any = "What is 8 + 4?", **options: Any) -> list[PairView]:
    return list(run_pair(services, Options(prompt, **options), threading.Event(), WORDS))


def test_both_modes_answer_under_the_same_conditions():
    engine = FakeEngine()
    engine.enqueue("8 and 4 make 12", "12")
    engine.enqueue("unused", "It is 12.")
    services = make_services(engine, Settings())
    last = views(services, temperature=0.3, seed=7)[-1]
    a, b = last.arms
    assert (a.thinking, a.answer, a.reason) == ("8 and 4 make 12", "12", "stop")
    assert (b.thinking, b.answer, b.reason) == ("", "It is 12.", "stop")
    assert (a.thinking_tokens, b.thinking_tokens) == (5, 0)
    assert not last.running and not last.problem and last.status == "Done."
    first, second = engine.requests
    assert replace(first, mode="non-thinking") == second
    assert first.sampling.temperature == 0.3 and first.seed == 7
    traces = [services.store.get(arm.trace_id) for arm in last.arms]
    assert [t.provenance["mode"] for t in traces] == ["thinking", "non-thinking"]
    assert traces[0].text_of("answer") == "12"
    assert services.scheduler.length == 0


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "Write a prompt"),
        (" \x00\n", "Write a prompt"),
        (None, "must be text"),
        (["x"], "must be text"),
        ("x" * 20_001, "20,001"),
        ("2 + 2 /no_think", "/no_think"),
    ],
)
def test_bad_prompts_are_one_sentence_and_run_nothing(prompt: Any, says: str):
    engine = FakeEngine()
    services = make_services(engine, Settings())
    (only,) = views(services, prompt)
    assert says in only.status and only.problem and not only.running
    assert not engine.requests and services.scheduler.length == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", math.nan),
        ("temperature", 9),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", math.inf),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", None),
        ("seed", -1),
        ("seed", math.nan),
        ("seed", 2**60),
    ],
)
def test_bad_numbers_are_one_sentence(name: str, value: Any):
    (only,) = views(make_services(FakeEngine(), Settings()), **{name: value})
    assert only.problem and not only.running and "\n" not in only.status


def test_the_servers_limits_hold():
    services = make_services(FakeEngine(), Settings(max_new_tokens=3))
    last = views(services, max_tokens=1000)[-1]
    assert [arm.reason for arm in last.arms] == ["length", "length"]
    assert last.arms[1].answer_tokens == 3


def test_time_that_runs_out_ends_an_arm_and_keeps_it():
    engine = FakeEngine(delay=0.02)
    engine.enqueue("so " * 400, "12")
    engine.enqueue("", "12")
    services = make_services(engine, replace(Settings(), turn_seconds=2.0))
    last = views(services)[-1]
    assert [arm.reason for arm in last.arms] == ["interrupted", "stop"] and 0 < last.arms[0].thinking_tokens < 400
    assert services.store.get(last.arms[0].trace_id).provenance["finish_reason"] == "interrupted"


def test_a_model_of_one_mode_says_so():
    engine = FakeEngine(capabilities=Capabilities(modes=("thinking",), context=4096))
    services = make_services(engine, Settings())
    (only,) = views(services)
    assert "only one mode (thinking)" in only.status and not engine.requests
    page = TabPage(compare_tab, engine)
    assert "only one mode" in page.tab.status.value and not page.tab.run.interactive


def test_waiting_shows_the_place_and_can_be_stopped():
    engine = FakeEngine()
    services = make_services(engine, Settings())
    stopped = threading.Event()
    with services.scheduler.enter():
        running = run_pair(services, Options("hello"), stopped, WORDS)
        assert "1 before you" in next(running).status
        stopped.set()
        last = list(running)[-1]
    assert last.status == WORDS("tabs.compare.stopped") and not last.running and not engine.requests
    assert services.scheduler.length == 0


def test_a_full_queue_is_one_sentence():
    services = make_services(FakeEngine(), Settings(max_waiting=1))
    with services.scheduler.enter(), services.scheduler.enter():
        (only,) = views(services)
    assert "queue is full" in only.status and only.problem


def test_stopping_keeps_what_had_arrived():
    engine = FakeEngine(delay=0.02)
    engine.enqueue("so " * 500, "12")
    engine.enqueue("", "so " * 500)
    services = make_services(engine, Settings())
    stopped, last = threading.Event(), PairView()
    for last in run_pair(services, Options("hello"), stopped, WORDS):
        if last.arms[0].thinking_tokens:
            stopped.set()
    arm = last.arms[0]
    assert 0 < arm.thinking_tokens < 500 and [arm.reason for arm in last.arms] == ["stopped", "stopped"]
    assert services.store.get(arm.trace_id).phase_counts()["thinking"] >= arm.thinking_tokens
    assert services.store.get(last.arms[1].trace_id).provenance["finish_reason"] == "stopped"
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5), "the engine was let go"


def test_a_visitor_who_leaves_frees_the_engine():
    engine = FakeEngine(delay=0.02)
    engine.enqueue("so " * 500, "12")
    services = make_services(engine, Settings())
    running = run_pair(services, Options("hello"), threading.Event(), WORDS)
    while not next(running).arms[0].thinking_tokens:
        pass
    running.close()
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5)
    assert len(services.store) == 0 and engine.streams_closed == 2 and engine.most_running == 2


def test_a_fault_of_the_engine_is_said_and_the_queue_lives(caplog):
    services = make_services(FakeEngine(fail_after=2), Settings())
    last = views(services)[-1]
    assert last.problem and "A · thinking: broken off" in last.status and "told to fail" in caplog.text
    assert [arm.reason for arm in last.arms] == ["error", "error"] and services.scheduler.length == 0


def test_an_answer_that_fails_leaves_the_other_whole():
    engine = FakeEngine(fail_after=8)
    engine.enqueue("so " * 20, "12")
    engine.enqueue("", "It is 12.")
    services = make_services(engine, Settings())
    last = views(services)[-1]
    assert last.problem and "A · thinking: broken off" in last.status and "B" not in last.status
    assert [arm.reason for arm in last.arms] == ["error", "stop"] and last.arms[1].answer == "It is 12."
    broken, whole = (services.store.get(arm.trace_id) for arm in last.arms)
    assert broken.provenance["finish_reason"] == "error" and whole.text_of("answer") == "It is 12."
    assert services.scheduler.length == 0


def test_both_answers_stream_at_once_and_the_shorter_one_ends_first():
    engine = FakeEngine(delay=0.01)
    engine.enqueue("so " * 60, "12")
    engine.enqueue("", "It is 12, says a longer answer.")
    services = make_services(engine, Settings())
    seen = views(services)
    both = [view.arms for view in seen if view.arms[0].thinking_tokens and view.arms[1].answer_tokens]
    assert any(not a.reason and b.reason == "stop" and b.trace_id for a, b in both), "B shows its end while A goes on"
    assert engine.most_running == 2 and seen[-1].status == "Done."
    counted = next(view.status for view in seen if view.arms[0].thinking_tokens)
    assert "A · thinking: " in counted and "B · non-thinking: " in counted


def test_each_answer_is_bit_for_bit_what_it_is_alone():
    from app.engine.local import LocalEngine
    from tests.tiny_models import tiny_moe, tokenizer

    engine = LocalEngine(tiny_moe(), tokenizer(), check=False)
    services = make_services(engine, Settings())
    last = views(services, temperature=1.0, seed=3, max_tokens=60)[-1]
    alone = [
        engine.run(request) for request in build_requests(services, Options("What is 8 + 4?", 1.0, 0.95, 60, 3), WORDS)
    ]
    for arm, wanted in zip(last.arms, alone, strict=True):
        trace = services.store.get(arm.trace_id)
        assert trace.num_tokens > 60 and trace.provenance["mode"] == wanted.provenance["mode"]
        for name in ("token_ids", "phase", "step", "expert_ids", "expert_weights", "entropy", "margin"):
            assert np.array_equal(getattr(trace, name), getattr(wanted, name)), name


def test_what_the_engine_refuses_is_said_once():
    engine = FakeEngine()

    def refuse(request: Any) -> Any:
        raise BadValue("The conversation is too long.")
        yield

    engine.stream = refuse  # type: ignore[method-assign]
    last = views(make_services(engine, Settings()))[-1]
    assert last.problem and last.status == "The conversation is too long." and not last.arms[0].trace_id


def test_figures_describe_the_pair_in_the_chosen_phase():
    a = make_trace(rows=80, layers=3, experts=16, top_k=4, seed=1)
    b = make_trace(rows=60, layers=3, experts=16, top_k=4, seed=1, thinking=False)
    drawn = pair_view.pair_figures(a, b, ("A · thinking", "B"), "generated", WORDS, "light")
    assert drawn.loads[0].layout.title.text.startswith("<b>A · thinking")
    n = min(int(t.rows_in("generated").sum()) for t in (a, b))
    assert f"n = {n} tokens" in drawn.divergence.layout.title.text
    names = [trace.name for trace in drawn.divergence.data]
    assert any("random splits" in name for name in names)
    assert drawn.difference.data[0].zmax == -drawn.difference.data[0].zmin


def test_a_name_from_a_file_is_text_in_a_title():
    link = "<a href='//x.example'>Open</a>"
    a, b = make_trace(revision=link), make_trace(seed=2, revision="main")
    names = pair_tab.side_name("A", a, b, WORDS), pair_tab.side_name("B", b, a, WORDS)
    drawn = pair_view.pair_figures(a, b, names, "generated", WORDS, "light")
    assert "<a " not in drawn.loads[0].layout.title.text and "&lt;a" in drawn.loads[0].layout.title.text


def test_a_phase_that_one_side_lacks_is_said():
    drawn = pair_view.pair_figures(make_trace(), make_trace(thinking=False), ("A", "B"), "thinking", WORDS, "light")
    assert drawn.divergence is None and "cannot be compared" in drawn.message


def test_the_tab_draws_the_pair_and_refuses_what_is_no_phase():
    page = TabPage(compare_tab)
    ids = tuple(page.services.store.put(make_trace(seed=seed)) for seed in (1, 2))
    drawn = page.call(page.tab.pair, "change", pair=ids)
    assert is_shown(drawn[page.tab.drawn]) and is_shown(drawn[page.tab.view.divergence])
    page.tab.__dict__["phase"] = page.tab.view.phase
    bad = page.call(page.tab.view.phase, "input", pair=ids, phase="<b>")
    assert "Unknown phase" in bad[page.tab.message] and "<b>" not in bad[page.tab.message]
    gone = page.call(page.tab.pair, "change", pair=(ids[0], "gone"))
    assert "no longer in memory" in gone[page.tab.message]


@pytest.mark.parametrize("prompt", ["", "2 + 2 /no_think"])
def test_a_refused_run_leaves_the_last_comparison(prompt: str):
    page = TabPage(compare_tab)
    (fn,) = [fn for fn in page.blocks.fns.values() if (page.tab.run._id, "click") in fn.targets]
    (refused,) = fn.fn("en", prompt, 0.6, 0.95, 64, 0)
    assert "problem" in refused[1] and refused[2]["interactive"] and all(map(is_skipped, refused[4:]))
    ran = list(fn.fn("en", "2 + 2", 0.6, 0.95, 64, 0))[-1]
    assert not any(map(is_skipped, ran)) and all(i in page.services.store for i in ran[-1])


def test_the_prompt_follows_the_trace_until_the_visitor_writes():
    page = TabPage(compare_tab)
    trace_id = page.services.store.put(make_trace())

    def fill(**values: Any) -> list[Any]:
        listeners = [fn for fn in page.blocks.fns.values() if page.tab.filled in fn.outputs]
        (fn,) = listeners
        given = {"open_tab": "compare", "trace_id": trace_id, "prompt": "", "filled": "", **values}
        return list(fn.fn(*(given[k] for k in ("open_tab", "trace_id", "prompt", "filled"))))

    assert fill() == ["What is 8 + 4?"] * 2
    assert fill(prompt="old", filled="old") == ["What is 8 + 4?"] * 2
    for unchanged in ({"prompt": "mine"}, {"open_tab": "load"}, {"trace_id": None}, {"trace_id": "gone"}):
        assert fill(**unchanged)[0] != "What is 8 + 4?"


@pytest.mark.parametrize("messages", [None, 3, [], [1], [{"role": "user"}], [{"role": "user", "content": 5}], {"a": 1}])
def test_foreign_provenance_gives_no_prompt(messages: Any):
    assert make_trace(rows=3, messages=messages).prompt == ""


def test_the_tab_says_that_a_pair_proves_nothing():
    for language in ("en", "ja", "zh"):
        assert len(Words(language)("tabs.compare.caution")) > 50
    assert "proves nothing" in WORDS("tabs.compare.caution")
    assert arms.GLANCE >= 0.2
