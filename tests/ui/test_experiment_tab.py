"""The tab "Experiment": edits and their undoing, the run and its controls, and what may not be claimed."""

from __future__ import annotations

import math
import re
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from analysis import storage
from analysis.errors import BadValue
from analysis.trace import Phase
from analysis.words import LANGUAGES, Words
from app.engine.base import Capabilities, RouterEdit
from app.server.serve import make_services
from app.settings import Settings
from app.ui import experiment_edits as editing
from app.ui import experiment_tab, experiment_view
from app.ui.context import EXAMPLE, Services
from app.ui.experiment_edits import History
from app.ui.experiment_plan import MOST_CONTROLS, Arm, ExperimentView, Options, parting
from app.ui.experiment_run import run_experiment
from app.ui.following import ActiveRuns
from app.ui.page_links import edited_label, wire_experiment
from tests.fake_engine import FakeEngine, experts_of
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

WORDS = Words("en")
MASK = (RouterEdit("mask", (3,), layer=1),)
SPEC = FakeEngine(layers=3, experts=16, top_k=4).spec


def views(services: Services, edits: editing.Edits = MASK, prompt: Any = "What is 8 + 4?", **options: Any):
    return list(run_experiment(services, edits, Options(prompt, **options), threading.Event(), WORDS))


# the edits


def test_history_goes_back_step_by_step():
    one, two = MASK, (*MASK, RouterEdit("top_k", amount=2))
    history = History().changed(one).changed(two).changed(two)
    assert history.edits == two and len(history.past) == 2
    assert history.without(0).edits == two[1:] and history.without(0).undone() == history
    assert history.undone().edits == one and history.undone().undone().edits == ()
    assert History().undone() == History() and history.changed(()).undone().edits == two


@pytest.mark.parametrize("index", [2, -1, None, "0", True, 0.5])
def test_an_edit_that_is_not_there_cannot_be_removed(index: Any):
    history = History().changed(MASK)
    assert history.without(index) == history


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (("mask", [1], "3, 17 or 4-6", None), "mask:1:3,17,4,5,6"),
        (("boost", [0, 2], "5", -1.5), "boost:0:5:-1.5 boost:2:5:-1.5"),
        (("force", ["all", 1], "7", None), "force:all:7"),
        (("ablate", 2, "1、2，3", None), "ablate:2:1,2,3"),
        (("top_k", ["all"], "", 2), "top_k:all:2"),
    ],
)
def test_fields_make_edits_in_the_grammar_of_the_command_line(fields: tuple[Any, ...], text: str):
    spec = FakeEngine(layers=3, experts=32, top_k=4).spec
    edits = editing.from_fields(*fields, spec, WORDS)
    assert editing.to_text(edits) == text
    assert editing.from_text(text) == editing.from_text(" --edit " + text.replace(" ", "\n--edit=")) == edits


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (("hide", [1], "3", None), "Unknown edit 'hide'"),
        (("mask", [], "3", None), "Choose a layer"),
        (("mask", [math.nan], "3", None), "Layer must be a number"),
        (("mask", ["<b>"], "3", None), "Layer must be a number"),
        (("mask", [1], "", None), "Name at least one expert"),
        (("mask", [1], None, None), "Name at least one expert"),
        (("mask", [1], "x", None), "ranges such as 3, 17 or 4-7, not x"),
        (("mask", [1], "9-3", None), "not 9-3"),
        (("mask", [1], "0-999999", None), "not 0-999999"),
        (("mask", [1], ["3"], None), "must be text"),
        (("boost", [1], "3", math.inf), "Added to the logit must be a number"),
        (("top_k", ["all"], "", 0), "Experts a token must be a number from 1 to 16"),
        (("top_k", ["all"], "", 2.5), "Experts a token must be a whole number"),
    ],
)
def test_bad_fields_are_one_sentence(fields: tuple[Any, ...], says: str):
    with pytest.raises(BadValue) as error:
        editing.from_fields(*fields, SPEC, WORDS)
    assert says in str(error.value)


def test_edits_that_do_not_fit_are_refused_in_the_visitors_language():
    for edit, says in ((RouterEdit("mask", (99,)), "エキスパート 99"), (RouterEdit("mask", (1,), layer=9), "第 9 層")):
        with pytest.raises(BadValue) as error:
            editing.checked((edit,), SPEC, Words("ja"))
        assert says in error.value.in_words(Words("ja"))
    with pytest.raises(BadValue, match="300 edits are too many"):
        editing.checked([RouterEdit("boost", (1,), amount=float(i)) for i in range(1, 301)], SPEC, WORDS)


def test_chips_say_it_in_plain_words():
    said = [
        editing.describe(edit, WORDS) for edit in editing.from_text("mask:1:3 boost:all:4,5:2 top_k:2:1 top_k:all:6")
    ]
    assert said == [
        "layer 1: expert 3 masked",
        "every layer: experts 4, 5 boosted by +2",
        "layer 2: 1 expert a token",
        "every layer: 6 experts a token",
    ]
    chips = experiment_view.chips_html(MASK, WORDS)
    assert "aria-label='Remove: layer 1: expert 3 masked'" in chips and "data-i='0'" in chips
    assert "No edit yet" in experiment_view.chips_html((), WORDS)


def test_presets_take_their_experts_from_the_answer():
    spec = make_trace(rows=80, layers=3, experts=16, top_k=4).spec
    trace = make_trace(rows=80, layers=3, experts=16, top_k=4, skew=2)
    counts = np.array(
        [[np.sum(trace.expert_ids[trace.rows_in("generated"), p] == e) for e in range(16)] for p in range(3)]
    )
    (edit,), line = editing.preset("busiest", trace, 2, spec, WORDS)
    assert edit == RouterEdit("mask", (int(counts[2].argmax()),), 2)
    share, uniform = (float(x) for x in re.findall(r"([\d.]+) %", line))
    assert share == pytest.approx(100 * counts[2].max() / counts[2].sum(), rel=0.01) and uniform == 6.25
    assert f"n = {int(trace.rows_in('generated').sum())} tokens" in line
    every, _ = editing.preset("every", trace, None, spec, WORDS)
    assert [(e.kind, e.experts[0]) for e in every] == [("ablate", int(c.argmax())) for c in counts]
    many, line = editing.preset("thinking", trace, None, spec, WORDS)
    assert sum(len(e.experts) for e in many) == 8 and "(thinking, n =" in line
    assert editing.preset("half", None, None, spec, WORDS)[0] == (RouterEdit("top_k", amount=2.0),)
    assert editing.preset("one", None, None, spec, WORDS)[0] == (RouterEdit("top_k", amount=1.0),)


@pytest.mark.parametrize(
    ("name", "trace", "says"),
    [
        ("busiest", None, "no answer of this model yet"),
        ("every", make_trace(layers=2, experts=16, top_k=4), "no answer of this model yet"),
        ("thinking", make_trace(layers=3, experts=16, top_k=4, thinking=False), "has no thinking"),
        ("<b>", None, "no such preset"),
        (None, None, "no such preset"),
    ],
)
def test_presets_without_evidence_say_so(name: Any, trace: Any, says: str):
    with pytest.raises(BadValue, match=says):
        editing.preset(name, trace, 0, SPEC, WORDS)


# the run


def test_the_same_prompt_is_answered_unedited_edited_and_with_random_experts():
    engine = FakeEngine()
    for answer in ("It is 12.", "It is 13.", "It is 12."):
        engine.enqueue("8 and 4", answer)
    services = make_services(engine, Settings())
    seen = views(services, temperature=0.3, seed=7, control_seed=5)
    last = seen[-1]
    assert last.finished and not last.problem and not last.running and last.status == "Done."
    assert [arm.kind for arm in last.arms] == ["unedited", "edited", "control"]
    plain, edited, control = engine.requests
    assert plain.edits == () and edited.edits == MASK
    assert {(r.messages, r.seed, r.sampling, r.mode) for r in engine.requests} == {
        (plain.messages, 7, plain.sampling, "thinking")
    }
    (swapped,) = control.edits
    assert (swapped.kind, swapped.layer) == ("mask", 1) and swapped.experts != (3,) and len(swapped.experts) == 1
    assert services.scheduler.length == 0
    traces = [services.store.get(arm.trace_id) for arm in last.arms]
    assert [t.provenance["experiment"] for t in traces] == [
        {"arm": "unedited"},
        {"arm": "edited"},
        {"arm": "control 1", "seed": 5},
    ]
    assert [len(t.provenance["edits"]) for t in traces] == [0, 1, 1]
    assert 3 not in traces[1].expert_ids[:, 1]


def test_routing_is_compared_on_the_unedited_answers_own_tokens():
    engine = FakeEngine()
    services = make_services(engine, Settings())
    last = views(services, controls=2)[-1]
    written = services.store.get(last.arms[0].trace_id)
    assert [ids for ids, _ in engine.scored] == [written.token_ids.tolist()] * 4
    assert [edits for _, edits in engine.scored] == [arm.edits for arm in last.arms]
    assert len(services.store) == 4  # the answers; what was read again leaves only numbers
    found = last.measured["generated"]
    assert found.arms == (1, 2, 3) and found.layers == {1}
    assert [float(s.values) for s in found.log_prob] == [-1.0] * 3
    assert found.log_prob[0].n == found.changed[0].n == int(written.rows_in("generated").sum())
    assert not found.noise.values.any() and not found.noise_moved.values.any()
    assert [s.along("expert") for s in found.touched] == [[(1, arm.edits[0].experts[0])] for arm in last.arms[1:]]
    assert set(last.measured) == {"generated", "thinking", "answer", "prompt", "all"}


def test_a_masked_expert_leaves_and_its_layer_is_another_set():
    services = make_services(FakeEngine(), Settings())
    used = int(experts_of("What is 8 + 4?", SPEC)[1, 0])
    found = views(services, (RouterEdit("mask", (used,), layer=1),))[-1].measured["answer"]
    assert found.changed[0].values.tolist() == [0, 1, 0] and found.moved[0].values[1] > 0
    assert found.touched[0].values.tolist() == [[0.25, 0.0]] and found.touched[0].chance.tolist() == [[1 / 16]]


def test_a_change_of_k_has_no_control_and_says_so():
    engine = FakeEngine()
    services = make_services(engine, Settings())
    last = views(services, (RouterEdit("top_k", amount=6),), controls=3)[-1]
    assert last.finished and len(last.arms) == 2 and len(engine.requests) == 2
    assert services.store.get(last.arms[1].trace_id).spec.top_k == 6
    drawn = experiment_view.draw(last.arms, last.measured, "generated", WORDS, "light")
    assert any("this experiment has no control" in line for line in drawn.sentences)
    assert any("that share says nothing here" in line for line in drawn.sentences)
    assert drawn.touched is None
    assert (np.array(drawn.changed.data[-1].x) == 100).all()


def test_an_edit_of_most_experts_has_no_random_control():
    services = make_services(FakeEngine(), Settings())
    last = views(services, (RouterEdit("ablate", tuple(range(9)), layer=0),))[-1]
    assert last.finished and len(last.arms) == 2
    drawn = experiment_view.draw(last.arms, last.measured, "generated", WORDS, "light")
    assert any("no as many others" in line for line in drawn.sentences)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"edits": ()}, "Choose an edit first"),
        ({"edits": (RouterEdit("mask", (16,)),)}, "has no expert 16"),
        ({"prompt": " \x00\n"}, "Write a prompt"),
        ({"prompt": None}, "must be text"),
        ({"prompt": "x" * 20_001}, "20,001"),
        ({"temperature": math.nan}, "Temperature"),
        ({"top_p": "high"}, "Top-p"),
        ({"max_tokens": 0}, "Token limit"),
        ({"seed": -1}, "Seed of the answers"),
        ({"seed": None}, "Seed of the answers"),
        ({"controls": 0}, "Random controls must be a number from 1 to 5"),
        ({"controls": 1.5}, "Random controls must be a whole number"),
        ({"controls": 99}, "Random controls"),
        ({"control_seed": math.inf}, "Seed of the random experts"),
        ({"mode": "dreaming"}, "Unknown mode"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_runs_nothing(given: dict[str, Any], says: str):
    engine = FakeEngine()
    services = make_services(engine, Settings())
    (only,) = views(services, **given)
    assert says in only.status and "\n" not in only.status
    assert only.problem and not only.running and not only.finished and not only.arms
    assert not engine.requests and services.scheduler.length == 0


def test_the_servers_limits_hold():
    services = make_services(FakeEngine(), Settings(max_new_tokens=3))
    last = views(services, max_tokens=1000)[-1]
    assert [arm.reason for arm in last.arms] == ["length"] * 3
    assert all(len(arm.tokens) == 3 for arm in last.arms)


def test_an_engine_that_cannot_edit_says_so_in_one_sentence():
    engine = FakeEngine(capabilities=Capabilities(edits=False, context=4096))
    (only,) = views(make_services(engine, Settings()))
    assert only.status == WORDS("tabs.experiment.unable") and only.problem and not engine.requests
    (dense,) = views(make_services(FakeEngine(layers=0), Settings()))
    assert dense.status == WORDS("tabs.dense")


def test_an_engine_without_forced_text_shows_the_answers_alone():
    engine = FakeEngine(capabilities=Capabilities(forced_text=False, context=4096))
    services = make_services(engine, Settings())
    last = views(services)[-1]
    assert last.finished and len(last.arms) == 3 and not last.measured
    drawn = experiment_view.draw(last.arms, last.measured, "generated", WORDS, "light")
    assert drawn.changed is drawn.moved is drawn.touched is drawn.log_prob is None
    assert "not compared" in drawn.sentences[-1]


def test_an_engine_without_probabilities_invents_none():
    services = make_services(FakeEngine(capabilities=Capabilities(logprobs=False, context=4096)), Settings())
    last = views(services)[-1]
    drawn = experiment_view.draw(last.arms, last.measured, "generated", WORDS, "light")
    assert drawn.changed is not None and drawn.log_prob is None
    assert "not available from this engine" in drawn.sentences[-1]


def test_waiting_shows_the_place_and_can_be_stopped():
    engine, stopped = FakeEngine(), threading.Event()
    services = make_services(engine, Settings())
    with services.scheduler.enter():
        running = run_experiment(services, MASK, Options("hello"), stopped, WORDS)
        assert "Unedited: waiting, 1 before you" in next(running).status
        stopped.set()
        last = list(running)[-1]
    assert last.status == WORDS("tabs.experiment.stopped") and not last.running and not last.finished
    assert not engine.requests and services.scheduler.length == 0


def test_stopping_keeps_what_had_arrived_and_compares_nothing():
    engine = FakeEngine(delay=0.02)
    engine.enqueue("so", "12")
    engine.enqueue("so " * 500, "12")
    services, stopped, last = make_services(engine, Settings()), threading.Event(), ExperimentView()
    for last in run_experiment(services, MASK, Options("hello"), stopped, WORDS):
        if last.arms and last.arms[1].tokens:
            stopped.set()
    unedited, edited, control = last.arms
    assert unedited.reason == "stop" and edited.reason == "stopped" and not control.tokens
    assert not last.finished and services.store.get(edited.trace_id).num_tokens > 0
    assert len(engine.requests) == 2
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5), "the engine was let go"


def test_a_visitor_who_leaves_frees_the_engine():
    engine = FakeEngine(delay=0.02)
    engine.enqueue("so " * 500, "12")
    services = make_services(engine, Settings())
    running = run_experiment(services, MASK, Options("hello"), threading.Event(), WORDS)
    while not (seen := next(running)).arms[0].tokens:
        assert seen.running
    running.close()
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5)
    assert len(services.store) == 0 and engine.streams_closed == 1


def test_a_fault_keeps_what_had_come(caplog: pytest.LogCaptureFixture):
    services = make_services(FakeEngine(fail_after=2), Settings())
    last = views(services)[-1]
    assert last.problem and last.status == WORDS("tabs.fault") and "told to fail" in caplog.text
    assert len(last.arms) == 2 and not last.finished and services.scheduler.length == 0


def test_others_are_served_between_two_answers():
    services = make_services(FakeEngine(delay=0.005), Settings())
    running = run_experiment(services, MASK, Options("hello"), threading.Event(), WORDS)
    while not next(running).arms[0].tokens:
        pass
    with services.scheduler.enter() as other:
        seen = next(running)
        while not seen.status.startswith("Unedited: waiting"):
            assert seen.running
            seen = next(running)
        assert other.position == 0
    assert list(running)[-1].finished


def test_the_time_left_is_said_once_something_is_over():
    services = make_services(FakeEngine(delay=0.12), Settings())
    lines = [seen.status for seen in views(services, controls=2)]
    first = next(i for i, line in enumerate(lines) if "left" in line)
    assert not any("left" in line for line in lines[:first]) and lines[first].startswith("Unedited")
    seconds = [int(m[1]) for line in lines if (m := re.search(r"about (\d+) s left", line))]
    assert seconds and max(seconds) < 30 and seconds[-1] <= seconds[0]


# what is shown


def arm(kind: str, *tokens: tuple[int, str, Phase], reason: str = "stop") -> Arm:
    return Arm(kind, tokens=tokens, reason=reason)


T, A, M = Phase.THINKING, Phase.ANSWER, Phase.MARKER


def test_answers_part_at_the_first_token_that_differs():
    base = arm("unedited", (1, "8", T), (2, "+", T), (9, "</think>", M), (3, "12", A))
    assert parting(base, base) is None
    assert parting(base, arm("edited", (1, "8", T), (5, "-", T))) == 1
    assert parting(base, arm("edited", (1, "8", T), (2, "+", T))) == 2
    assert parting(base, arm("edited", (1, "8", T), reason="")) is None
    assert parting(base, arm("edited")) == 0


def test_the_token_where_they_part_is_marked_and_text_stays_text():
    base = arm("unedited", (1, "<b>8", T), (2, " +", T), (9, "</think>", M), (3, "${12}", A))
    other = arm("edited", (1, "<b>8", T), (2, " +", T), (9, "</think>", M), (4, " <i>13", A))
    mark = parting(base, other)
    assert mark == 3
    thinking = experiment_view.said_html(other, T, mark, WORDS)
    answer = experiment_view.said_html(other, A, mark, WORDS)
    assert "&lt;b&gt;8 +" in thinking and "<mark" not in thinking and "/think" not in thinking
    assert re.search(r"<mark title='parts here'><span class='heard'>\(parts here\) </span>␣&lt;i&gt;13</mark>", answer)
    head = experiment_view.head_html(other, base, 0, WORDS)
    assert "at token 3 of 0–3: “␣&lt;i&gt;13” instead of “$\u200b{12}”." in head and "<i>" not in head


def test_a_marker_is_shown_only_where_they_part():
    base = arm("unedited", (1, "8", T), (9, "</think>", M), (3, "12", A))
    longer = arm("edited", (1, "8", T), (2, "+", T), (9, "</think>", M), (3, "12", A))
    assert "&lt;/think&gt;</mark>" in experiment_view.said_html(base, T, parting(base, longer), WORDS)
    assert "+</mark>" in experiment_view.said_html(longer, T, parting(base, longer), WORDS)


def test_figures_and_sentences_hold_the_same_numbers():
    services = make_services(FakeEngine(), Settings())
    last = views(services, (RouterEdit("mask", (3, 5, 9, 11), layer=1),), controls=2)[-1]
    drawn = experiment_view.draw(last.arms, last.measured, "generated", WORDS, "light")
    assert list(drawn.log_prob.data[0].x) == [-4.0] * 3
    sentence = next(line for line in drawn.sentences if line.startswith("Probability"))
    assert "−4.000 (× 0.0183); random controls −4.000 (× 0.0183), −4.000 (× 0.0183)" in sentence
    sentence = next(line for line in drawn.sentences if line.startswith("Routing"))
    edit = drawn.changed.data[-1]
    assert len(edit.x) == 3 and f"under the edit {sum(edit.x) / 3:.1f} %" in sentence
    n = int(services.store.get(last.arms[0].trace_id).rows_in("generated").sum())
    for figure in (drawn.changed, drawn.moved, drawn.touched):
        assert f"n = {n} tokens" in figure.layout.title.text


def test_the_tab_says_what_cannot_be_concluded():
    for language in LANGUAGES:
        assert len(Words(language)("tabs.experiment.caution")) > 80
    caution = WORDS("tabs.experiment.caution")
    assert "One prompt is an anecdote" in caution and "no significance" in caution


def test_views_of_an_experiment_are_marked():
    services = make_services(FakeEngine(), Settings())
    last = views(services)[-1]
    labels = [edited_label(services.store.get(arm.trace_id), WORDS) for arm in last.arms]
    assert labels[0] == "Experiment, routing as it is" and labels[1] == "Experiment, routing edited: mask:1:3"
    assert edited_label(make_trace(rows=5), WORDS) == ""
    assert edited_label(make_trace(rows=5, edits="<b>", experiment=3), WORDS) == ""
    damaged = [{"kind": "mask", "experts": 5}]
    assert edited_label(make_trace(rows=5, edits=damaged), WORDS).startswith("Routing edited: ")


# the tab


def message(results: dict[Any, Any], tab: Any) -> str:
    return str(results[tab.edits.message])


def test_a_preset_is_one_click_and_can_be_taken_back():
    page = TabPage(experiment_tab)
    tab = page.tab
    trace_id = page.services.store.put(make_trace(rows=60, layers=3, experts=16, top_k=4))
    assert not tab.run.interactive
    clicked = page.call(tab.edits.presets["busiest"], "click", trace_id=trace_id)
    history = clicked[tab.edits.history]
    assert len(history.edits) == 1 and "masked" in clicked[tab.edits.chips]
    assert clicked[tab.edits.text] == editing.to_text(history.edits) and clicked[tab.run]["interactive"]
    assert "uniform 6.25 %" in message(clicked, tab)

    def after(component: Any, event: str, **values: Any) -> dict[Any, Any]:
        fn = page.listener(component, event)
        given = {tab.edits.history: history, **{getattr(tab.edits, k): v for k, v in values.items()}}
        return dict(zip(fn.outputs, fn.fn(*[given.get(block, block.value) for block in fn.inputs]), strict=True))

    cleared = after(tab.edits.clear, "click")[tab.edits.history]
    assert cleared.edits == () and cleared.past[-1] == history.edits
    assert after(tab.edits.undo, "click")[tab.edits.history].edits == ()
    undo = page.listener(tab.edits.undo, "click")
    assert (undo.trigger_mode, undo.concurrency_limit) == ("multiple", 1), "every press counts"
    added = after(tab.edits.add, "click", kind="ablate", layers=[0], experts="2")
    assert [e.kind for e in added[tab.edits.history].edits] == ["mask", "ablate"]
    typed = after(tab.edits.text, "submit", text="top_k:all:2")
    assert typed[tab.edits.history].edits == (RouterEdit("top_k", amount=2.0),)
    for refused in (
        after(tab.edits.add, "click", experts="99"),
        after(tab.edits.text, "submit", text="mask:<b>"),
        after(tab.edits.text, "submit", text="mask:9:1"),
    ):
        assert "problem" in message(refused, tab) and "<b>" not in message(refused, tab)
        assert all(is_skipped(value) for block, value in refused.items() if block is not tab.edits.message)


def test_a_chip_takes_its_edit_away():
    page = TabPage(experiment_tab)
    fn = page.listener(page.tab.edits.chips, "remove")
    history = History().changed(editing.from_text("mask:0:1 mask:1:2"))
    for data, left in (({"i": 0}, "mask:1:2"), ({"i": 7}, "mask:0:1 mask:1:2"), (None, "mask:0:1 mask:1:2")):
        event: Any = SimpleNamespace(_data=data)
        results = dict(zip(fn.outputs, fn.fn(event, "en", history, ""), strict=True))
        assert editing.to_text(results[page.tab.edits.history].edits) == left


def test_the_example_is_evidence_until_there_is_an_answer():
    page = TabPage(experiment_tab)
    refused = page.call(page.tab.edits.presets["every"], "click")
    assert "no answer of this model yet" in message(refused, page.tab)
    page.services.store.keep(make_trace(rows=60, layers=3, experts=16, top_k=4), EXAMPLE)
    assert len(page.call(page.tab.edits.presets["every"], "click")[page.tab.edits.history].edits) == 3


def test_an_engine_without_edits_has_an_explained_empty_tab():
    page = TabPage(experiment_tab, FakeEngine(capabilities=Capabilities(edits=False)))
    config = page.blocks.get_config_file()["components"]
    body = next(c for c in config if c["props"].get("elem_id") == "experiment-body")
    assert body["props"]["visible"] is False
    assert any(WORDS("tabs.experiment.unable") in str(c["props"].get("value")) for c in config)


def test_the_page_shows_a_finished_experiment():
    page = TabPage(experiment_tab)
    tab = page.tab
    seen = views(page.services)
    for view in seen:
        updates = experiment_tab.updates(view, "id", 0, "", WORDS)
        assert len(updates) == 6 + 6 * (2 + MOST_CONTROLS)
    final = experiment_tab.updates(seen[-1], "id", 0, "", WORDS)
    assert final[0] == "" and final[5] is seen[-1] and "python -m app record" in final[4]
    heads = [final[6 + 6 * i + 1] for i in range(3)]
    assert [re.search("<h4>(.*?)</h4>", head)[1] for head in heads] == ["Unedited", "Edited", "Random control 1"]
    assert hash(seen[-1]) != hash(seen[-2])  # as a session's state it must have one
    drawn = page.call(tab.result, "change", result=seen[-1])
    assert is_shown(drawn[tab.out.drawn]) and all(is_shown(drawn[plot]) for plot in tab.out.figures.values())
    assert "<li>" in drawn[tab.out.found]
    runs = ActiveRuns()
    with page.blocks:
        wire_experiment(page.services, runs, page.shared, tab, WORDS)
    fn = page.listener(tab.arms[1].show, "click")
    assert fn.fn(seen[-1], "")[0] == seen[-1].arms[1].trace_id and is_skipped(fn.fn(None, "")[0])
    runs.add("run", Mock())
    assert is_skipped(fn.fn(seen[-1], "run")[0]), "the live view follows an answer"

    def phase(name: Any) -> dict[Any, Any]:
        fn = page.listener(tab.out.phase, "input")
        given = {tab.result: seen[-1], tab.out.phase: name}
        return dict(zip(fn.outputs, fn.fn(*[given.get(b, b.value) for b in fn.inputs]), strict=True))

    assert "Unknown phase" in phase("<b>")[tab.out.message] and "<b>" not in phase("<b>")[tab.out.message]
    page.services.store.drop(seen[-1].arms[1].trace_id)
    assert is_skipped(fn.fn(seen[-1], "")[0])
    assert page.call(tab.result, "change", result=None)[tab.out.drawn] == {"visible": False, "__type__": "update"}


def test_a_refused_run_leaves_the_last_result():
    seen = views(make_services(FakeEngine(), Settings()), prompt="")[-1]
    updates = experiment_tab.updates(seen, "id", None, "", WORDS)
    assert "Write a prompt" in updates[1] and all(is_skipped(u) for u in updates[4:])


def test_the_prompt_follows_the_visitors_trace_until_they_write():
    page = TabPage(experiment_tab)
    trace_id = page.services.store.put(make_trace())
    (fn,) = [fn for fn in page.blocks.fns.values() if page.tab.filled in fn.outputs]
    assert list(fn.fn("experiment", trace_id, "", "")) == ["What is 8 + 4?"] * 2
    assert list(fn.fn("experiment", trace_id, "old", "old")) == ["What is 8 + 4?"] * 2
    for given in (("experiment", trace_id, "mine", ""), ("load", trace_id, "", ""), ("experiment", EXAMPLE, "", "")):
        assert is_skipped(fn.fn(*given)[0])


def test_the_command_records_the_edited_answer_again(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The bundled model: what the tab shows is what the command line gives, token by token."""
    from app.engine.opening import open_engine

    services = make_services(open_engine(), Settings())
    edits, _ = editing.preset("every", services.store.get(EXAMPLE), None, services.engine.spec, WORDS)
    last = views(services, edits, "What's 5 + 3?\nIt is", max_tokens=24, seed=3)[-1]
    assert last.finished and last.request is not None
    prompt, record = editing.command(last.request, "").splitlines()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(prompt)
    assert words[:2] == ["printf", "%s\\n"] and words[3:] == [">", "prompt.jsonl"]
    Path("prompt.jsonl").write_text(words[2] + "\n", encoding="utf-8")
    code, _, err = run(*shlex.split(record)[3:])
    assert code == 0, err
    again = storage.load(next(Path("edited").glob("*.safetensors")))
    here = services.store.get(last.arms[1].trace_id)
    assert again.token_ids.tolist() == here.token_ids.tolist()
    assert again.provenance["edits"] == [{**e, "experts": list(e["experts"])} for e in here.provenance["edits"]]
    assert last.measured["all"].noise.values.max() <= 0.05
