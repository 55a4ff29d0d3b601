"""The lessons: numbers of the selected token, budgets one after the other, a drawing of the loaded model."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from analysis.trace import Origin, Phase, RouterSpec
from analysis.words import LANGUAGES, Words
from app.engine.base import Architecture
from app.server.serve import make_services
from app.settings import Settings
from app.ui import learn_tab
from app.ui import tabs_common as common
from app.ui.lessons import architecture, balance, budget, contexts, literature, myth, router
from tests.fake_engine import FakeEngine
from tests.make_traces import make_spec, make_trace
from tests.ui.tab_page import TabPage, is_shown

WORDS = Words("en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_lesson_has_its_words(language: str):
    words = Words(language)
    for lesson in learn_tab.LESSONS:
        assert words(f"learn.{lesson.NAME}.title") and words(f"learn.{lesson.NAME}.text")
    for claim in literature.CLAIMS:
        assert words(f"learn.literature.claims.{claim}.said") != words(f"learn.literature.claims.{claim}.fact")


def test_the_router_lesson_follows_the_selected_token():
    page = TabPage(learn_tab)
    lesson = page.tab.lessons[learn_tab.LESSONS.index(router)]
    page.tab.__dict__["k"] = lesson.k
    trace = make_trace(rows=20, layers=3, experts=16, top_k=4)
    trace_id = page.services.store.put(trace)
    drawn = page.call(page.shared.token, "change", trace_id=trace_id, token=7, layer=1, k=4)
    assert is_shown(drawn[lesson.shown]) and "Token 7" in drawn[lesson.steps] and "layer 1" in drawn[lesson.steps]
    assert drawn[lesson.steps].count("class=marked") == 4
    more = page.call(page.shared.token, "change", trace_id=trace_id, token=7, layer=1, k=6)
    assert more[lesson.steps].count("class=marked") == 6
    bare = page.services.store.put(make_trace(rows=20, scores=False))
    none = page.call(page.shared.token, "change", trace_id=bare, token=7, layer=1, k=2)
    assert "not recorded" in none[lesson.message] and not is_shown(none[lesson.shown])


def test_hostile_tokens_stay_text():
    trace = make_trace(rows=20, layers=1, experts=8, top_k=2)
    hostile = trace.pieces[:5] + (b"<img src=x onerror=alert(1)>",) + trace.pieces[6:]
    object.__setattr__(trace, "pieces", hostile)
    assert "<img" not in router.steps_html(trace, 5, 0, 2, WORDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_router_without_scores_names_the_setting_that_records_them(language: str):
    words = Words(language)
    with pytest.raises(common.Nothing) as nothing:
        router.steps_html(make_trace(rows=9, scores=False), 3, 0, 2, words)
    assert words("page.record_scores") in str(nothing.value)


def tried(engine: FakeEngine, stopped: threading.Event | None = None) -> list[budget.Tried]:
    services = make_services(engine, Settings())
    last = list(budget.try_budgets(services, "What is 8 + 4?", stopped or threading.Event(), WORDS))[-1]
    with services.scheduler.enter() as ticket:
        assert ticket.wait(5), "the engine was let go"
    assert last[2] is False
    return last[0]


def test_every_budget_is_tried_with_the_same_seed():
    engine = FakeEngine()
    for _ in budget.BUDGETS:
        engine.enqueue("so " * 20, "12")
    found = tried(engine)
    assert [t.budget for t in found] == list(budget.BUDGETS)
    assert [t.thinking_tokens for t in found][:3] == [0, 8, 16] and found[-1].thinking_tokens > 16
    assert {request.seed for request in engine.requests} == {0}
    assert "no limit" in budget.answers_html(found, WORDS)


def test_budgets_can_be_stopped():
    stopped = threading.Event()
    stopped.set()
    assert tried(FakeEngine(), stopped) == []


def test_a_cut_is_seen_by_what_was_forced():
    trace = make_trace(rows=40)
    assert not budget.was_cut(trace) and budget.own_thinking(trace) == trace.phase_counts()["thinking"]
    at = int((trace.phase == Phase.THINKING).argmax())
    trace.origin.flags.writeable = True
    trace.origin[at] = Origin.FORCED
    assert budget.was_cut(trace) and budget.own_thinking(trace) == trace.phase_counts()["thinking"] - 1


def test_the_drawing_has_the_models_own_numbers():
    made = Architecture("x", 7, 96, 6, 3, 512, 200, 24, True, True, 5_230_208, 1_101_440)
    spec = make_spec(5, 16, 4, first_layer=2)
    drawn = architecture.drawing_html(made, spec, "<b>model</b>", WORDS)
    for part in (
        "512 tokens",
        "96 numbers",
        "7 layers",
        "2 of them without",
        "6 query heads, 3",
        "16 experts",
        "top 4",
    ):
        assert part in drawn
    assert ", none shared" in drawn
    two = RouterSpec(tuple(replace(layer, shared_experts=2) for layer in spec.layers))
    assert "inner width 24, and 2 shared, used by every token" in architecture.drawing_html(made, two, "m", WORDS)
    assert "5.23 M" in drawn and "1.1 M" in drawn and "<b>model" not in drawn
    assert drawn.count("class=on") == 4
    assert architecture.family_html(made, spec, "mine", WORDS).count("class=marked") == 1
    assert "does not tell" in architecture.drawing_html(None, spec, "m", WORDS)


def test_a_dense_model_is_drawn_without_a_router():
    made = Architecture("x", 7, 96, 6, 3, 512, 200)
    drawn = architecture.drawing_html(made, make_spec(0, 1, 1), "dense", WORDS)
    assert "inner width 200" in drawn and "Router" not in drawn


def test_one_answer_is_set_beside_the_recordings_of_its_own_model():
    own = balance.gallery()[0]
    figure, said = balance.drawn(own, own.spec.layer_numbers[1], WORDS, "light")
    assert len(figure.data) >= 2 and f"{len(balance.gallery())} recordings" in said and "MaxVio" in said
    foreign = make_trace(rows=40)
    figure, said = balance.drawn(foreign, 0, WORDS, "dark")
    assert "recordings" not in said and "this answer" in said


def test_words_in_both_texts_are_found_where_they_stand():
    page = TabPage(learn_tab)
    lesson = page.tab.lessons[learn_tab.LESSONS.index(contexts)]
    texts = ("sort 42 and 7", "what is 42 plus 9")
    *_, last = page.listener(lesson.go, "click").fn(*texts, "en")
    status, pair, shown, word = last
    assert "1 different" in status and is_shown(shown)
    traces = [page.services.store.get(trace_id) for trace_id in pair]
    (found,) = contexts.common_words(*traces)
    assert [trace.texts()[at].strip() for trace, at in zip(traces, found[1:], strict=True)] == ["42", "42"]
    assert "[" + traces[0].texts()[found[1]] + "]" in contexts.context(traces[0], found[1])
    page.tab.__dict__.update(pair=lesson.pair, word=lesson.word)
    drawn = page.call(lesson.pair, "change", pair=pair, word=word["value"])
    assert is_shown(drawn[lesson.figure])
    assert not is_shown(page.call(lesson.pair, "change", pair=pair, word="9,9")[lesson.figure])
    drawing = page.listener(lesson.pair, "change")
    assert {(s._id, "change") for s in (page.shared.open_tab, page.shared.theme)} <= set(drawing.targets)


@pytest.mark.parametrize("texts", [("", "a"), ("a", None), ("one two", "three four")])
def test_texts_that_cannot_be_compared_are_one_sentence(texts):
    page = TabPage(learn_tab)
    lesson = page.tab.lessons[learn_tab.LESSONS.index(contexts)]
    *_, last = page.listener(lesson.go, "click").fn(*texts, "en")
    assert "problem" in last[0] and last[1] is None


def test_the_myth_lesson_reads_the_set_that_was_answered():
    page = TabPage(learn_tab)
    lesson = page.tab.lessons[learn_tab.LESSONS.index(myth)]
    views = list(page.listener(lesson.run, "click").fn("en"))
    set_id = views[-1][-1]
    assert len(page.services.sets.get(set_id).pairs) == 24
    assert page.shared.set_id not in page.listener(lesson.run, "click").outputs, "the set of Compare is another"
    page.tab.__dict__.update(lesson_set=lesson.set_id)
    drawn = page.call(lesson.set_id, "change", lesson_set=set_id)
    assert is_shown(drawn[lesson.shown]) and drawn[lesson.finding].count("<p>") >= 3
    assert "among the same tokens" in drawn[lesson.finding].split("</p>")[0], "what is left comes first"


def test_the_myth_lesson_claims_no_more_than_a_control_can_show():
    for language, causes in (("en", "other causes"), ("ja", "別の原因"), ("zh", "其他原因")):
        words = Words(language)
        assert causes in words("learn.myth.text") and causes in words("finding.closing.found")
