"""The tab "Experts": its pools hold the visitor's own recordings, and its card says what was measured, as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from analysis import expert_card
from analysis.errors import BadValue
from analysis.trace import RoutingTrace
from analysis.words import LANGUAGES, Words
from app.server.store import TraceStore
from app.ui import expert_card_view, experts_choice, experts_pool, experts_tab
from app.ui.context import EXAMPLE
from app.ui.experts_pool import Remembered, Session, beside, gallery, overview, pool_of
from app.ui.following import SO_FAR
from app.ui.tabs_common import Nothing, event_pair
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

TRACE = make_trace(rows=80, layers=3, experts=16, top_k=4, first_layer=2)
WORDS = Words("en")


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def page_with(*traces: RoutingTrace, language: str = "en") -> tuple[TabPage, tuple[str, ...]]:
    page = TabPage(experts_tab, language=language)
    return page, tuple(page.services.store.put(trace) for trace in traces)


def pool(*traces: RoutingTrace, name: str = "session", labels: Any = None) -> experts_pool.Pool:
    ids = tuple(map(str, range(len(traces))))
    return experts_pool.Pool(name, ids, traces, labels or ({},) * len(traces))


def test_before_the_first_answer_the_gallery_is_shown() -> None:
    page = TabPage(experts_tab)
    drawn = page.call(page.shared.open_tab, "change")
    tab = page.tab
    assert drawn[tab.pool] == "gallery" and is_shown(drawn[tab.body]) and is_shown(drawn[tab.map])
    assert f"{len(gallery().traces)} recordings" in drawn[tab.about]
    assert drawn[tab.chosen] == (drawn[tab.layer_box], drawn[tab.expert_box])
    assert drawn[tab.map]["value"].layout.title.text.startswith("<b>The gallery")


def test_the_gallery_is_labelled_by_language_and_topic() -> None:
    labels = gallery().by_label()
    assert set(labels) == {"language", "topic"} and set(labels["language"]) == {"en", "ja", "zh"}
    assert sum(map(len, labels["language"].values())) == len(gallery().traces) > 20
    assert gallery() is gallery()


@pytest.mark.parametrize(("language", "title"), [("ja", "話題 ごと"), ("zh", "按 主题")])
def test_the_gallerys_labels_and_modes_are_said_in_the_language_of_the_page(language: str, title: str) -> None:
    words = Words(language)
    layer, expert = experts_choice.busiest(overview(gallery(), "generated"))
    card = plain(expert_card_view.card(gallery(), layer, expert, "generated", words))
    assert title in card and words("library.topic.arithmetic") in card and "日本語" in card
    assert not re.search(r"arithmetic|smalltalk|· (non-)?thinking", card)
    assert {name.rsplit(" · ")[-1] for name in expert_card_view.recording_names(gallery(), words)} == {
        words(f"library.mode.{mode}") for mode in ("thinking", "non-thinking")
    }


def test_an_answer_of_ones_own_comes_before_the_gallery_and_a_choice_before_both() -> None:
    page, (own,) = page_with(TRACE)
    assert page.call(page.shared.trace_id, "change", trace_id=own)[page.tab.pool] == "answer"
    picked = page.call(page.shared.trace_id, "change", trace_id=own, picked="gallery")
    assert picked[page.tab.pool] == "gallery"
    for shipped in (EXAMPLE, gallery().ids[0]):
        assert page.call(page.shared.trace_id, "change", trace_id=shipped)[page.tab.pool] == "gallery"


@pytest.mark.parametrize("name", ["answer", "conversation", "session"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_pool_says_how_to_fill_it(name: str, language: str) -> None:
    page = TabPage(experts_tab, language=language)
    answer = page.call(page.tab.pool, "input", pool=name)
    assert Words(language)(f"tabs.experts.none_{name}") in answer[page.tab.status]
    assert answer[page.tab.body] == gr.update(visible=False)


def test_a_session_holds_what_the_visitor_recorded_and_nothing_else() -> None:
    seen = Session().seen(("a",), ("a",)).seen(("a", "b"), ("c", "run" + SO_FAR, EXAMPLE, gallery().ids[3], ""))
    assert seen == Session(("a", "b"), ("a", "b", "c"))
    assert seen.seen((), ("",)) == Session((), ("a", "b", "c")), "a cleared chat was recorded all the same"
    many = Session().seen((), tuple(map(str, range(300))))
    assert len(many.every) == experts_pool.MOST and many.every[-1] == "299"


def test_a_pool_reads_only_the_ids_of_its_session() -> None:
    store = TraceStore()
    ids = [store.put(make_trace(rows=20, seed=seed)) for seed in range(4)]
    mine = Session((ids[1],), (ids[0], ids[1], "gone"))
    assert pool_of(store, "session", ids[0], mine, WORDS).ids == (ids[0], ids[1])
    assert pool_of(store, "session", ids[0], mine, WORDS).left_out == 1
    assert pool_of(store, "conversation", ids[0], mine, WORDS).ids == (ids[1],)
    with pytest.raises(Nothing):
        pool_of(store, "session", ids[0], Session(), WORDS)


def test_a_card_shows_the_gallery_beside_an_answer_and_the_answer_beside_the_gallery() -> None:
    store, shipped = TraceStore(), gallery()
    own = store.put(replace(shipped.traces[3], provenance={}))
    other = store.put(make_trace(rows=20))
    answer = pool_of(store, "answer", own, Session(), WORDS)
    assert beside(store, answer, own, WORDS) is shipped
    shown = beside(store, shipped, own, WORDS)
    assert shown is not None and (shown.name, shown.ids) == ("answer", (own,))
    assert beside(store, pool_of(store, "answer", other, Session(), WORDS), other, WORDS) is None  # of another model
    for trace_id in (None, shipped.ids[2], other, "gone"):
        assert beside(store, shipped, trace_id, WORDS) is None

    layer, expert = 0, int(shipped.traces[3].expert_ids[-1, 0, 0])
    card = expert_card_view.card(answer, layer, expert, "all", WORDS, shipped)
    section = card.split("And in the gallery that comes along")[1].split("</section>")[0]
    use = expert_card.use_share(shipped.traces, layer, expert, "all")
    assert f"{use.n:,} tokens" in section and f"{100 * float(use.values):.3g}" in section
    numbers = [int(n) for n in re.findall(r"data-token='(\d+),", section)]
    assert numbers and min(numbers) >= 1 and max(numbers) <= len(shipped.ids)  # they come after the answer's own
    assert "And in the" not in expert_card_view.card(answer, layer, expert, "all", WORDS)


def test_another_model_and_earlier_turns_are_left_out() -> None:
    store = TraceStore()
    first, other = make_trace(rows=40), make_trace(rows=40, experts=12)
    second = replace(make_trace(rows=40, seed=1), turn=np.repeat([0, 1], [20, 21]).astype(np.uint16))
    ids = tuple(store.put(trace) for trace in (first, other, second))
    found = pool_of(store, "session", ids[0], Session(ids, ids), WORDS)
    assert found.ids == (ids[0], ids[2]) and found.left_out == 1
    assert [trace.num_rows for trace in found.traces] == [40, 20]
    assert pool_of(store, "answer", ids[2], Session(), WORDS).traces[0].num_rows == 40
    assert "1 of another model" in expert_card_view.about(found, WORDS)


@pytest.mark.parametrize(("trace", "says"), [(make_trace(layers=0), "dense"), (make_trace(rows=0), "Send a message")])
def test_what_has_no_routing_is_said(trace: RoutingTrace, says: str) -> None:
    page, (own,) = page_with(trace)
    assert says in page.call(page.shared.trace_id, "change", trace_id=own)[page.tab.status]


def test_the_tab_sleeps_while_another_is_open() -> None:
    page, (own,) = page_with(TRACE)
    assert all(map(is_skipped, page.call(page.shared.trace_id, "change", trace_id=own, open_tab="load").values()))


@pytest.mark.parametrize("sort", experts_pool.SORTS)
def test_every_cell_of_the_map_leads_to_its_expert(sort: str) -> None:
    page, (own,) = page_with(TRACE)
    drawn = page.call(page.shared.trace_id, "change", trace_id=own, sort=sort)
    heat = drawn[page.tab.map]["value"].data[0]
    seen = overview(pool(TRACE), "generated")
    for row in range(3):
        assert sorted(heat.customdata[row, :, 4].astype(int).tolist()) == list(range(16))
        for place in range(16):
            layer, expert = experts_choice.at_cell(seen, sort, [row, place])
            assert expert == heat.customdata[row, place, 4] and layer == heat.customdata[row, place, 3]
            assert heat.customdata[row, place, 0] == pytest.approx(100 * seen.load.values[row, expert], rel=1e-5)
            assert experts_choice.mark_of(seen, sort, (layer, expert)) == [row, place]
    if sort != "layer":
        values = (seen.load if sort == "load" else seen.shift).values
        first = experts_choice.at_cell(seen, sort, [1, 0])[1]
        assert values[1, first] == values[1].max()


def test_a_click_on_the_map_opens_the_card() -> None:
    page, (own,) = page_with(TRACE)
    fn = page.listener(page.tab.bridge, "cell")
    inputs = ["experts", "en", own, Session(), "answer", "generated", "layer", None]
    status, bridge, layer, expert, chosen, card, shown = fn.fn(event(at=[1, 7]), *inputs)
    assert (status, layer, expert, chosen) == ("", 3, 7, (3, 7)) and bridge == {"mark": [1, 7]}
    assert "Layer 3, expert 7" in plain(card) and shown[1] == (3, 7)
    use = expert_card.use_share(TRACE, 3, 7, "generated")
    assert f"{100 * float(use.values):.3g} %" in plain(card) and f"n = {use.n}" in plain(card)
    for wrong in ([1], [3, 0], [-1, 0], ["1", 2], None, [0, 16], {"a": 1}):
        answer = fn.fn(event(at=wrong), *inputs)
        assert WORDS("errors.no_cell") in answer[0] and all(map(is_skipped, answer[1:]))


def test_steps_go_through_every_expert_and_around() -> None:
    page, (own,) = page_with(TRACE)
    shown = {"trace_id": own, "pool": "answer"}
    after = page.call(page.tab.next, "click", chosen=(2, 15), **shown)
    assert after[page.tab.chosen] == (3, 0)
    assert page.call(page.tab.previous, "click", chosen=(3, 0), **shown)[page.tab.chosen] == (2, 15)
    assert page.call(page.tab.next, "click", chosen=(4, 15), **shown)[page.tab.chosen] == (2, 0)
    lost = page.call(page.tab.next, "click", chosen=(99, "x"), **shown)[page.tab.chosen]
    seen = overview(pool(TRACE), "generated")
    assert lost == experts_choice.stepped(pool(TRACE), experts_choice.busiest(seen), 1)


def test_numbers_that_are_typed_are_left_alone_and_checked() -> None:
    page, (own,) = page_with(TRACE)
    typed = page.call(page.tab.expert_box, "input", trace_id=own, pool="answer", layer_box=4, expert_box=11)
    assert (
        typed[page.tab.chosen] == (4, 11)
        and is_skipped(typed[page.tab.layer_box])
        and is_skipped(typed[page.tab.expert_box])
    )
    for layer, expert in ((1, 3), (4, 16), (4, -1), (4, None), (None, 3), (4, 2.5), (float("nan"), 3), (True, 3)):
        wrong = page.call(page.tab.layer_box, "input", trace_id=own, pool="answer", layer_box=layer, expert_box=expert)
        assert 'role="alert"' in wrong[page.tab.status] and is_skipped(wrong[page.tab.card])


@pytest.mark.parametrize(
    ("text", "expert"),
    [
        ("layer 3 expert 12", (3, 12)),
        ("L3E12", (3, 12)),
        (" l3, e12 ", (3, 12)),
        ("第 3 層 エキスパート 12", (3, 12)),
        ("第3层专家12", (3, 12)),
        ("3 e 12", (3, 12)),
        ("312", None),
        ("carry", None),
        ("layer", None),
        ("5+7", None),
        (None, None),
    ],
)
def test_a_search_for_an_expert_is_told_from_one_for_a_token(text: Any, expert: Any) -> None:
    assert experts_choice.asked_expert(text) == expert


def test_a_search_finds_experts_and_tokens() -> None:
    page, (own,) = page_with(TRACE)
    shown = {"trace_id": own, "pool": "answer", "phase": "all"}
    found = page.call(page.tab.go, "click", search="L3E5", **shown)
    assert found[page.tab.chosen] == (3, 5) and found[page.tab.found] == ""
    token = page.call(page.tab.search, "submit", search="the", **shown)
    n = sum(piece.strip() == b"the" for piece in TRACE.pieces[: TRACE.num_rows])
    assert n >= 5 and f"“the” occurs {n} times" in plain(token[page.tab.found])
    assert len(re.findall("data-expert='[234],", token[page.tab.found])) == 8 and is_skipped(token[page.tab.card])
    for text, says in (
        ("L9E1", "no MoE layer 9"),
        ("zebra", "reads “zebra”"),
        ("", "Write an expert"),
        (3, "Write an"),
    ):
        assert says in page.call(page.tab.go, "click", search=text, **shown)[page.tab.status]
    assert "contain it" in page.call(page.tab.go, "click", search="rit", **shown)[page.tab.status]


def test_a_token_that_is_rare_is_not_spoken_of() -> None:
    with pytest.raises(BadValue, match="occurs 1 times"):
        expert_card_view.found(pool(TRACE), "all", "<|im_start|>", WORDS)


def test_the_card_shows_labels_partners_vocabulary_and_contexts() -> None:
    traces = [make_trace(rows=200, layers=2, experts=8, top_k=3, seed=s) for s in range(4)]
    labelled = pool(*traces, labels=tuple({"domain": d} for d in ("code", "maths", "code", "maths")))
    shown = expert_card_view.card(labelled, 1, 4, "generated", WORDS)
    text = plain(shown)
    assert "By domain" in text and "code" in text and "maths" in text
    n = expert_card.use_share(traces[::2], 1, 4, "generated").n
    assert f" {n} " in text
    partner = expert_card.partners(traces, 1, 4, "generated").lift.along("partner")[0]
    assert f"data-expert='1,{partner}'" in shown
    assert "by luck" in text and "chance 0.76" in text  # (3 - 1) 8 / (3 (8 - 1))
    assert 5 <= len(re.findall(r"data-token='[0-3],\d+'", shown)) <= 15
    assert "missed by" in text and "was the first one left out" in text
    unlabelled = plain(expert_card_view.card(pool(*traces), 1, 4, "generated", WORDS))
    assert "By domain" not in unlabelled


def test_what_was_not_recorded_is_said() -> None:
    bare = make_trace(rows=60, weights=False, scores=False, summaries=False)
    text = plain(expert_card_view.card(pool(bare), 0, 1, "generated", WORDS))
    assert WORDS("page.record_scores") in text and "gate weights are not available" in text and "rank" not in text
    short = make_trace(rows=12, layers=1, experts=64, top_k=1)
    unused = next(e for e in range(64) if not (short.expert_ids == e).any())
    text = plain(expert_card_view.card(pool(short), 0, unused, "generated", WORDS))
    assert WORDS("tabs.experts.unused") in text and "fewer than 10 tokens" in text and "read with care" in text


def test_text_of_the_model_is_never_markup() -> None:
    bad = "<img src=x onerror=alert(1)>${x}{{y}}"
    trace = replace(
        make_trace(rows=60, messages=[{"role": "user", "content": bad}], mode=bad), pieces=(bad.encode(),) * 61
    )
    labelled = pool(trace, trace, labels=({bad: bad}, {bad: "x"}))
    drawn = expert_card_view.card(labelled, 0, 1, "all", WORDS) + expert_card_view.found(labelled, "all", bad, WORDS)
    assert "<img" not in drawn and "&lt;img" in drawn
    page = TabPage(experts_tab)
    answer = page.call(page.tab.go, "click", search=bad)
    assert "<img" not in answer[page.tab.status]


def modes(prompts: int, rows: int = 120) -> list[RoutingTrace]:
    return [
        make_trace(rows, 2, 8, 2, 2 * p + t, bool(t), messages=[{"role": "user", "content": f"prompt {p}"}])
        for p in range(prompts)
        for t in (0, 1)
    ]


@pytest.mark.parametrize(
    ("name", "prompts", "says"),
    [
        ("answer", 1, "One answer cannot show this"),
        ("conversation", 8, "One conversation cannot show this"),
        ("session", 1, "Too few prompts to show this: 1 in thinking mode, 1 in non-thinking mode"),
        ("session", 8, "interval"),
    ],
)
def test_sensitivity_is_shown_where_prompts_allow(name: str, prompts: int, says: str) -> None:
    text = plain(expert_card_view.sensitivity(pool(*modes(prompts), name=name), 0, 1, WORDS, Remembered()))
    assert "interval and no test" not in text and ("A difference of 0 is no change." in text) == (says == "interval")
    assert says in text and ("8 prompts (the same prompts in both modes)" in text) == (says == "interval")


def test_a_card_says_why_it_has_no_test() -> None:
    """Answers without thinking are often several times shorter: the test then needs more of them."""
    uneven = pool(*modes(3, rows=200)[1::2], *modes(3, rows=20)[::2])
    text = plain(expert_card_view.sensitivity(uneven, 0, 1, WORDS, Remembered()))
    said = re.search(r"About (\d+) .* in (\d+) non-thinking tokens; against (\d+) tokens .* needs (\d+)", text)
    assert said and "3 prompts" in text
    expected, few, many, needed = map(int, said.groups())
    assert expected < needed > 40 and few * 5 < many
    assert "interval is corrected" not in text and "Chance" not in text and "count as separate ones" in text

    text = plain(expert_card_view.sensitivity(pool(*modes(2, rows=20)), 0, 1, WORDS, Remembered()))
    assert "the test needs 10" in text and "unequal" not in text


def test_the_test_is_run_once_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    real = expert_card.thinking_contrast
    monkeypatch.setattr(expert_card, "thinking_contrast", lambda traces: runs.append(1) or real(traces))
    remembered, found = Remembered(), pool(*modes(3))
    for expert in range(4):
        expert_card_view.sensitivity(found, 0, expert, WORDS, remembered)
    assert len(runs) == 1


def test_what_is_remembered_is_bounded() -> None:
    remembered = Remembered(most=2)
    for key in "abac":
        assert remembered.get(key, lambda key=key: key.upper()) == key.upper()
    assert "a" in remembered and "c" in remembered and "b" not in remembered


@pytest.mark.parametrize("phase", ["<img src=x>", None, {"a": 1}])
def test_a_hostile_phase_is_one_escaped_sentence(phase: Any) -> None:
    page, (own,) = page_with(TRACE)
    answer = page.call(page.tab.phase, "input", trace_id=own, phase=phase, pool="answer")
    assert "Unknown phase" in answer[page.tab.status] and "<img" not in answer[page.tab.status]


@pytest.mark.parametrize("data", [None, {}, {"at": 3}, {"at": [1]}, {"at": [1, 2, 3]}, {"at": ["1", None]}, [1, 2]])
def test_events_from_outside_are_checked(data: Any) -> None:
    assert event_pair(gr.EventData(None, data)) == (-1, -1)
    assert event_pair(event(at=[1, 2.0])) == (1, 2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_large_models_are_drawn_in_every_language(language: str) -> None:
    large = make_trace(rows=12, layers=60, experts=512, top_k=10, scores=False)
    page, (own,) = page_with(large, language=language)
    drawn = page.call(page.shared.trace_id, "change", trace_id=own)
    assert drawn[page.tab.map]["value"].data[0].z.shape == (60, 512)
    assert drawn[page.tab.map]["value"].layout.height <= 1100 and len(drawn[page.tab.table]["data"]) == 60
