"""The tab "Gates": weights by rank against the even weight, and honesty where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.words import Words
from app.ui import gates_tab
from app.ui.tabs_common import Nothing
from tests.make_traces import make_trace
from tests.ui.tab_page import TabPage, is_shown

TRACE = make_trace(rows=80, layers=3, experts=16, top_k=4)
WORDS = Words("en")


def test_boxes_are_the_quantiles_of_the_sorted_weights():
    ranks, _ = gates_tab.gate_figures(TRACE, "answer", 1, WORDS, "light")
    box = ranks.data[0]
    weights = -np.sort(-TRACE.expert_weights[TRACE.rows_in("answer"), 1].astype(float), axis=1)
    np.testing.assert_allclose(box.median, np.median(weights, axis=0), rtol=1e-3)
    np.testing.assert_allclose(box.lowerfence, np.quantile(weights, 0.05, axis=0), rtol=1e-3)
    assert ranks.layout.shapes[0].y0 == pytest.approx(1 / 4)
    assert f"n = {len(weights)}" in ranks.layout.title.text and "0.25" in ranks.layout.title.text


def test_groups_of_phases_are_drawn_as_their_parts():
    def names(phase: str) -> list[str]:
        return [t.name for t in gates_tab.gate_figures(TRACE, phase, 0, WORDS, "light")[0].data if t.type == "box"]

    assert names("generated") == ["thinking", "answer"]
    assert names("all") == ["prompt", "thinking", "answer"]
    assert names("prompt") == ["prompt"]


def test_medians_of_all_layers():
    layers = gates_tab.gate_figures(TRACE, "answer", 0, WORDS, "dark")[1]
    weights = -np.sort(-TRACE.expert_weights[TRACE.rows_in("answer")].astype(float), axis=2)
    np.testing.assert_allclose(layers.data[0].z, np.median(weights, axis=0), rtol=1e-3)
    assert layers.layout.height > 100


def test_without_weights_nothing_is_drawn_and_it_is_said():
    bare = make_trace(weights=False)
    with pytest.raises(Nothing, match="not available"):
        gates_tab.gate_figures(bare, "all", 0, WORDS, "light")
    page = TabPage(gates_tab)
    answer = page.call(page.shared.open_tab, "change", trace_id=page.services.store.put(bare))
    assert "not available" in answer[page.tab.status] and not is_shown(answer[page.tab.body])


def test_a_phase_without_rows_is_said():
    ranks, layers = gates_tab.gate_figures(make_trace(rows=40, thinking=False), "thinking", 0, WORDS, "light")
    assert not ranks.data and not layers.data
    assert ranks.layout.annotations and layers.layout.annotations


def test_the_tab_draws_the_shared_trace_and_layer():
    page = TabPage(gates_tab)
    trace_id = page.services.store.put(TRACE)
    drawn = page.call(page.shared.layer, "change", trace_id=trace_id, layer=2)
    assert is_shown(drawn[page.tab.ranks]) and "Layer 2" in drawn[page.tab.ranks]["value"].layout.title.text
