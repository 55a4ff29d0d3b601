"""The tab "Token": the token's own row, its text as text, and a sentence where there is no row."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from analysis.errors import BadValue
from analysis.words import Words
from app.ui import token_tab
from app.ui.following import SO_FAR
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

TRACE = make_trace(rows=60, layers=3, experts=16, top_k=4, first_layer=1)
WORDS = Words("en")


def lines_of(table: str) -> list[list[str]]:
    """The text of an HTML table, line by line."""
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def test_ladder_and_table_hold_the_ids_and_weights_of_the_row():
    view = token_tab.token_view(TRACE, 20, 2, WORDS, "light")
    ladder = view.ladder.data[0]
    for position in range(3):
        assert ladder.customdata[position, :, 1].astype(int).tolist() == TRACE.expert_ids[20, position].tolist()
        np.testing.assert_array_equal(ladder.z[position], TRACE.expert_weights[20, position].astype(float))
        first, weight = TRACE.expert_ids[20, position, 0], TRACE.expert_weights[20, position, 0]
        line = lines_of(view.table)[position + 1]
        assert line[:2] == [str(position + 1), f"expert {first}: {weight:.3f}"]
        buttons = re.findall(r"<button[^>]*data-expert='(\d+),(\d+)'", view.table)[4 * position : 4 * position + 4]
        assert [(int(a), int(b)) for a, b in buttons] == [(position + 1, e) for e in TRACE.expert_ids[20, position]]
    assert len(lines_of(view.table)[0]) == 5
    for figure in (view.ladder, view.uncertainty, view.scores):
        assert "used by token 20" in figure.layout.title.text and "thinking" in figure.layout.title.text
        assert figure.layout.height > 100


def test_scores_mark_exactly_the_used_experts():
    view = token_tab.token_view(TRACE, 20, 3, WORDS, "light")
    used, rest = view.scores.data
    assert sorted(used.customdata) == sorted(TRACE.expert_ids[20, 2].tolist())
    assert len(rest.customdata) == 12
    assert sum(used.y) + sum(rest.y) == pytest.approx(1, abs=0.01)
    assert view.scores.layout.shapes[0].y0 == pytest.approx(1 / 16)


def test_used_experts_are_shown_however_many_there_are():
    wide = make_trace(rows=10, layers=1, experts=512, top_k=10)
    view = token_tab.token_view(wide, 5, 0, WORDS, "light")
    assert sorted(view.scores.data[0].customdata) == sorted(wide.expert_ids[5, 0].tolist())
    assert "64 of 512" in view.scores.layout.title.text


def test_the_neighbours_are_around_the_token_and_its_line_is_marked():
    view = token_tab.token_view(make_trace(rows=300), 150, 0, WORDS, "light")
    heat, box = view.heat.data[0], view.heat.layout.shapes[0]
    assert heat.z.shape[0] == 2 * token_tab.AROUND + 1 <= 200
    assert (box.y0 + box.y1) / 2 == token_tab.AROUND
    assert "▸ 150" in view.heat.layout.yaxis.ticktext[token_tab.AROUND]


def test_the_last_token_has_no_row_and_says_so():
    view = token_tab.token_view(TRACE, 60, 1, WORDS, "light")
    assert view.ladder is None and view.heat is None and "never fed back" in view.about
    assert token_tab.token_view(TRACE, 59, 1, WORDS, "light").ladder is not None


def test_what_was_not_recorded_is_said_not_drawn():
    bare = make_trace(weights=False, scores=False, summaries=False)
    view = token_tab.token_view(bare, 12, 0, WORDS, "light")
    assert view.scores is None and view.uncertainty is None
    assert "not recorded" in view.missing and "not available" in view.missing
    assert lines_of(view.table)[1][1] == f"expert {bare.expert_ids[12, 0, 0]}"
    assert "not available" in view.ladder.layout.title.text and not view.ladder.data[0].showscale


def test_text_of_the_model_is_never_markup():
    pieces = (*TRACE.pieces[:20], b"<img src=x onerror=alert(1)>%{x}$a$ <b>\n", *TRACE.pieces[21:])
    view = token_tab.token_view(replace(TRACE, pieces=pieces), 20, 1, WORDS, "light")
    assert view.text.startswith("<img"), "the text box shows it as it is"
    for figure in (view.ladder, view.uncertainty, view.scores, view.heat):
        drawn = figure.to_json()
        assert "<img" not in drawn and "\\u003cimg" not in drawn
    for trace in view.heat.data:
        assert "%{x}$" not in (trace.hovertemplate or "")


@pytest.mark.parametrize("token", [-1, 61, 1.5, math.nan, math.inf, "3", [1], True, "<b>x</b>"])
def test_tokens_that_are_not_there_are_one_escaped_sentence(token: Any):
    page = TabPage(token_tab)
    trace_id = page.services.store.put(TRACE)
    answer = page.call(page.shared.token, "change", trace_id=trace_id, token=token)
    assert "tokens 0 to 60" in answer[page.tab.status] and "<b>" not in answer[page.tab.status]
    assert answer[page.tab.body] == gr.update(visible=False)


def test_without_a_choice_the_last_routed_token_is_shown():
    assert token_tab.chosen_token(TRACE, None, WORDS) == 59
    assert token_tab.chosen_token(make_trace(rows=0), None, WORDS) == 0
    assert token_tab.token_view(TRACE, 59, 1, WORDS, "light").ladder is not None
    with pytest.raises(BadValue):
        token_tab.chosen_token(TRACE, 61, WORDS)


def test_stepping_stays_within_the_trace():
    assert token_tab.step_token(TRACE, 60, 1, WORDS) == 60
    assert token_tab.step_token(TRACE, 0, -1, WORDS) == 0
    page = TabPage(token_tab)
    trace_id = page.services.store.put(TRACE)
    forward = page.call(page.tab.next, "click", trace_id=trace_id, token=7, layer=3)
    live = forward[page.shared.live]  # goes along
    assert forward[page.shared.token] == 8 and live["run"] == trace_id and live["select"] == {"index": 8, "layer": 3}
    back = page.call(page.tab.previous, "click", trace_id=trace_id + SO_FAR, token=7)
    assert back[page.shared.token] is None  # that run is over
    assert page.call(page.tab.previous, "click", trace_id=trace_id, token=7)[page.shared.token] == 6
    gone = page.call(page.tab.next, "click", trace_id="gone", token=7)
    assert gone == {page.shared.token: None, page.shared.live: gr.skip()}


def test_a_layer_chosen_here_is_shown_in_the_live_view():
    page = TabPage(token_tab)
    chosen = page.call(page.tab.layer, "input", trace_id="run", token=7)
    assert chosen[page.shared.live]["select"]["index"] == 7
    assert is_skipped(page.call(page.tab.layer, "input", trace_id=None, token=7)[page.shared.live])


def test_the_tab_follows_token_and_layer_only_while_it_is_open():
    page = TabPage(token_tab, language="zh")
    trace_id = page.services.store.put(TRACE)
    drawn = page.call(page.shared.token, "change", trace_id=trace_id, token=20, layer=3, theme="dark")
    assert drawn[page.tab.layer]["value"] == 3 and is_shown(drawn[page.tab.ladder])
    assert "第 3 层" in drawn[page.tab.heat]["value"].layout.title.text
    last = page.call(page.shared.token, "change", trace_id=trace_id, token=60)
    assert last[page.tab.body] == gr.update(visible=False) and last[page.tab.next] == gr.update(interactive=False)
    closed = page.call(page.shared.token, "change", trace_id=trace_id, token=20, open_tab="load")
    assert all(map(is_skipped, closed.values()))


def test_the_table_says_what_each_expert_added_where_it_was_measured():
    plain = lines_of(token_tab.token_view(TRACE, 20, 2, WORDS, "light").table)[1]
    assert not any("adds" in cell for cell in plain)
    measured = replace(TRACE, contribution=np.arange(1, 5, dtype=np.float32) * np.ones(TRACE.expert_ids.shape, "f4"))
    line = lines_of(token_tab.token_view(measured, 20, 2, WORDS, "light").table)[1]
    first = int(np.argmax(TRACE.expert_weights[20, 0]))
    assert line[1] == plain[1] + f" (adds {(first + 1) / 10:.0%})"
