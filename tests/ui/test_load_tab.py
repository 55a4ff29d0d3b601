"""The tab "Load": what it draws, and what it says when it cannot."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import numpy as np
import pytest

from analysis.figures import style
from analysis.words import Words
from app.ui import load_tab
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown, is_skipped

TRACE = make_trace(rows=80, layers=3, experts=16, top_k=4, first_layer=2)
WORDS = Words("en")


def test_the_map_is_centred_on_the_uniform_share():
    figure = load_tab.load_figures(TRACE, "answer", 3, WORDS, "light")[0]
    heat = figure.data[0]
    assert heat.zmid == 0 and heat.zmax == -heat.zmin
    counts = np.zeros(16)
    for row in TRACE.expert_ids[TRACE.rows_in("answer"), 1]:
        counts[row] += 1
    share = counts / counts.sum()
    np.testing.assert_allclose(heat.customdata[1, :, 0], 100 * share)
    most = int(share.argmax())
    assert heat.z[1][most] == pytest.approx(min(style.LOAD_SPAN, math.log2(share[most] * 16)))
    assert list(figure.layout.yaxis.ticktext) == ["2", "3", "4"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "layer 0 is on top"


def test_every_figure_says_phase_and_sample_size_and_has_a_height():
    n = int(TRACE.rows_in("answer").sum())
    for figure in load_tab.load_figures(TRACE, "answer", 3, WORDS, "dark"):
        assert "answer" in figure.layout.title.text and str(n) in figure.layout.title.text
        assert figure.layout.height > 100


def test_sorted_load_falls_and_shows_both_rulers():
    figure = load_tab.load_figures(TRACE, "generated", 4, WORDS, "light")[1]
    bars, random = figure.data[0], figure.data[-1]
    assert list(bars.y) == sorted(bars.y, reverse=True) and sum(bars.y) == pytest.approx(100)
    assert sum(random.y) == pytest.approx(100) and random.y[0] > 100 / 16
    assert figure.layout.shapes[0].y0 == pytest.approx(100 / 16)


def test_balance_has_a_line_and_a_ruler_a_phase_and_measure():
    figure = load_tab.load_figures(TRACE, "all", 2, WORDS, "light")[2]
    assert len(figure.data) == 3 * 3 * 2
    without = load_tab.load_figures(make_trace(rows=60, thinking=False), "all", 0, WORDS, "light")[2]
    assert len(without.data) == 3 * 2 * 2


def test_a_phase_without_rows_is_said_not_drawn():
    figures = load_tab.load_figures(make_trace(rows=40, thinking=False), "thinking", 0, WORDS, "light")
    assert not figures[0].data and WORDS("figures.no_rows").split()[0] in figures[0].layout.annotations[0].text


def test_the_tab_draws_the_shared_trace_only_while_it_is_open():
    page = TabPage(load_tab)
    trace_id = page.services.store.put(TRACE)
    drawn = page.call(page.shared.trace_id, "change", trace_id=trace_id)
    assert is_shown(drawn[page.tab.body]) and is_shown(drawn[page.tab.map])
    assert drawn[page.tab.layer]["value"] == 2 and drawn[page.tab.phase] == "generated"
    hidden = page.call(page.shared.trace_id, "change", trace_id=trace_id, open_tab="token")
    assert all(map(is_skipped, hidden.values()))


@pytest.mark.parametrize(
    ("value", "says"),
    [("gone", "no longer in memory"), (["x"], "no longer in memory"), ("dense", "no router"), (None, "Send a message")],
)
def test_what_cannot_be_shown_is_one_sentence(value: Any, says: str):
    page = TabPage(load_tab)
    if value == "dense":
        value = page.services.store.put(make_trace(layers=0))
    answer = page.call(page.shared.open_tab, "change", trace_id=value)
    assert says in answer[page.tab.status] and answer[page.tab.body] == gr.update(visible=False)


@pytest.mark.parametrize("layer", [99, -1, math.nan, "2", None, [3], True])
def test_a_layer_that_is_not_there_becomes_the_first(layer: Any):
    page = TabPage(load_tab)
    trace_id = page.services.store.put(TRACE)
    drawn = page.call(page.shared.layer, "change", trace_id=trace_id, layer=layer)
    assert drawn[page.tab.layer]["value"] == 2 and is_shown(drawn[page.tab.sorted])


@pytest.mark.parametrize("phase", ["<img src=x onerror=alert(1)>", math.nan, None, {"a": 1}, "marker\n"])
def test_a_hostile_phase_is_one_escaped_sentence(phase: Any):
    page = TabPage(load_tab)
    trace_id = page.services.store.put(TRACE)
    answer = page.call(page.tab.phase, "input", trace_id=trace_id, phase=phase)
    assert "Unknown phase" in answer[page.tab.status] and "<img" not in answer[page.tab.status]


def test_the_phase_falls_back_for_a_new_trace_but_not_against_the_visitor():
    page = TabPage(load_tab)
    trace_id = page.services.store.put(make_trace(rows=40, thinking=False))
    followed = page.call(page.shared.trace_id, "change", trace_id=trace_id, phase="thinking")
    assert followed[page.tab.phase] == "generated"
    insisted = page.call(page.tab.phase, "input", trace_id=trace_id, phase="thinking")
    assert insisted[page.tab.phase] == "thinking"


def test_a_fault_is_logged_and_said_without_a_traceback(monkeypatch, caplog):
    page = TabPage(load_tab)
    monkeypatch.setattr(page.services.store, "get", lambda _: 1 / 0)
    answer = page.call(page.shared.open_tab, "change", trace_id="x")
    assert WORDS("tabs.fault") in answer[page.tab.status]
    assert "ZeroDivisionError" in caplog.text


def test_the_words_are_the_visitors(monkeypatch):
    page = TabPage(load_tab, language="ja")
    assert Words("ja")("tabs.empty") in page.call(page.shared.open_tab, "change")[page.tab.status]
