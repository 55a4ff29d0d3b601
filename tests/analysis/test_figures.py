"""Figures of every kind of trace, language and theme: they hold, they say phase and n, and text stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from analysis import balance, compare, edited, metrics, token_metrics
from analysis.figures import compare as compare_figures
from analysis.figures import edited as edited_figures
from analysis.figures import gates, load, style, token
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace
from analysis.words import LANGUAGES, Words
from tests.make_traces import make_trace

PALETTE = Path(__file__).resolve().parents[2] / "app" / "ui" / "live" / "web" / "palette.js"


def uneven() -> RoutingTrace:
    """Layers 3 and 7, of 4 experts using 1 and of 300 using 2."""
    trace = make_trace(rows=30, layers=2, experts=300, top_k=2, scores=True)
    spec = RouterSpec((LayerSpec(3, 4, 1), LayerSpec(7, 300, 2, "sigmoid", False)))
    ids = trace.expert_ids.copy()
    ids[:, 0] %= 4
    ids[:, 0, 1] = spec.no_expert
    return replace(trace, spec=spec, expert_ids=ids)


def every_figure(trace: RoutingTrace, words: Words, theme: style.Theme) -> list[go.Figure]:
    layer, chosen, texts = trace.spec.layer_numbers[-1], trace.num_rows // 2, trace.texts()
    router = trace.spec.layers[-1]
    gate = token_metrics.token_gates(trace, chosen)
    used = gate.ids[-1][gate.ids[-1] >= 0].tolist()
    heat = token_metrics.layer_heatmap(trace, layer, chosen - 3, chosen + 4)
    shares = metrics.expert_load(trace, "generated")
    measures = {"max_violation": metrics.max_violation, "entropy": metrics.load_entropy, "gini": metrics.gini}
    made = [
        token.gate_ladder(gate, texts[chosen], "thinking", words, theme),
        token.layer_heatmap(heat, [texts[i] for i in heat.along("token")], ["answer"] * 7, chosen, layer, words, theme),
        load.load_map(shares, words, theme, "A"),
        load.sorted_load(
            shares, layer, words, theme, balance.sorted_by_chance(shares.n, router.num_experts, router.top_k)
        ),
        load.balance(
            {name: [metric(trace, p) for p in ("prompt", "thinking")] for name, metric in measures.items()},
            [entry.num_experts for entry in trace.spec.layers],
            words,
            theme,
        ),
        compare_figures.js_by_layer(compare.pair_js(trace, trace, draws=5), words, theme),
        compare_figures.difference_map(compare.load_difference(trace, trace), "A", "B", words, theme),
    ]
    changed, moved = (measure(trace, trace) for measure in (edited.sets_changed, edited.load_moved))
    named = [(trace.spec.layer_numbers[0], 1), (layer, 2)]
    touched = edited.touched_load(trace, trace, named)
    log_prob = edited.log_prob_change(trace, [-1.0] * trace.num_tokens, [-1.5] * trace.num_tokens)
    made += [
        edited_figures.by_layer("changed", changed, [changed, changed], changed, {layer}, words, theme),
        edited_figures.by_layer("moved", moved, [], None, set(), words, theme),
        edited_figures.touched(touched, [touched], words, theme),
        edited_figures.log_prob(log_prob, [log_prob], words, theme),
    ]
    weights = metrics.gate_weights_by_rank(trace, "thinking")
    if weights is not None:
        made += [gates.gate_ranks([weights], layer, words, theme), gates.gate_layers(weights, words, theme)]
    scores = token_metrics.token_scores(trace, chosen, layer)
    if scores is not None:
        made.append(token.router_scores(scores, used, layer, chosen, texts[chosen], words, theme))
    sure = token_metrics.uncertainty(trace, chosen)
    if sure:
        many = token_metrics.uncertainty_quantiles(trace, "thinking")
        made.append(token.uncertainty(sure, many, chosen, texts[chosen], words, theme))
    return made


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "trace",
    [make_trace(rows=40), uneven(), make_trace(weights=False, scores=False, summaries=False), make_trace(layers=1)],
    ids=["full", "uneven", "ids only", "one layer"],
)
def test_every_figure_can_be_drawn_and_says_its_sample(trace, language):
    for theme in ("light", "dark"):
        for figure in every_figure(trace, Words(language), theme):
            assert figure.layout.height >= 150
            assert figure.layout.title.text.count("<br>") >= 1
            assert re.search(r"\d", figure.layout.title.text)
            assert figure.data
            assert "NaN" not in figure.to_json()


def test_layer_numbers_are_the_models_own_and_the_first_is_on_top():
    for figure in every_figure(uneven(), Words(), "light"):
        if figure.layout.yaxis.title.text == "layer":
            assert list(figure.layout.yaxis.ticktext) == ["3", "7"]
            assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]


def test_chance_is_a_line_or_in_the_hover_of_every_figure_that_has_one():
    ladder, heat, load_map, ordered, *_ = every_figure(make_trace(rows=40), Words(), "light")
    assert "even" in ladder.data[0].hovertemplate and "even" in heat.data[0].hovertemplate
    assert "uniform" in load_map.data[0].hovertemplate
    assert ordered.layout.shapes[0].type == "line"


def test_experts_a_layer_lacks_are_gaps_not_zeros():
    heat = load.load_map(metrics.expert_load(uneven()), Words(), "light").data[0]
    assert np.isnan(heat.z[0][4:]).all() and np.isfinite(heat.z[0][:4]).all()


def test_an_expert_that_was_never_used_is_at_the_low_end():
    trace = make_trace(rows=1, layers=1, experts=8, top_k=2)
    heat = load.load_map(metrics.expert_load(trace), Words(), "light").data[0]
    assert sorted(np.unique(heat.z)) == [-style.LOAD_SPAN, style.LOAD_SPAN]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" sum", "␣sum"),
        ("\n\n", "↵↵"),
        ("a\tb", "a⇥b"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("\x00\u202e\x1b[31m", "···[31m"),
        ("x" * 50, "x" * 23 + "…"),
        ("$a$", "$\u200ba$\u200b"),
        ("答え", "答え"),
    ],
)
def test_text_of_a_token_is_one_harmless_line(text, shown):
    assert style.shown(text) == shown


def test_names_that_begin_alike_stay_different():
    folder = "/home/anna/checkpoints/"
    assert style.shown_apart([folder + "stage-3", folder + "stage-4"]) == [
        "…nna/checkpoints/stage-3",
        "…nna/checkpoints/stage-4",
    ]
    assert style.shown_apart(["thinking", "<b>"]) == ["thinking", "&lt;b&gt;"]
    long = "x" * 40
    assert len(set(style.shown_apart([long + "a" + long, long + "b" + long]))) == 2


def test_an_expert_far_down_the_list_stands_at_its_own_place():
    trace = make_trace(rows=5, layers=1, experts=128, top_k=2)
    scores = token_metrics.token_scores(trace, 2, 0)
    last = int(np.argsort(-scores.values, kind="stable")[120])
    figure = token.router_scores(scores, [last], 0, 2, "x", Words("en"), "light")
    (used,) = [bars for bars in figure.data if list(bars.customdata) == [last]]
    assert list(used.x) == [121]


def test_scores_that_are_no_probabilities_are_called_shares():
    trace = make_trace(rows=5, layers=1)
    spec = RouterSpec((replace(trace.spec.layers[0], scoring="sigmoid"),))
    for made, said in ((trace, "router probability"), (replace(trace, spec=spec), "share of the router's scores")):
        figure = token.router_scores(token_metrics.token_scores(made, 2, 0), [1], 0, 2, "x", Words("en"), "light")
        assert figure.layout.yaxis.title.text == said and "uniform 12.5 %" in figure.layout.title.text


def test_a_long_dense_trace_is_counted():
    trace = make_trace(rows=metrics._MANY + 1, layers=0)
    assert metrics.expert_counts(trace).shape == (0, 0) or not metrics.expert_counts(trace).size


def test_titles_fit_on_a_phone():
    for language in LANGUAGES:
        for text in Words(language)("tabs.compare.caution"), "word " * 40, "長い文章。" * 20:
            lines = style.wrap(text, 40)
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
            assert all(sum(map(style._width, line)) <= 44 for line in lines)
            assert not any(line[0] in "。、，：；）" for line in lines)


def test_facts_are_kept_together():
    assert style.wrap_facts("one fact · another fact · a third", 24) == ["one fact · another fact", "a third"]
    assert style.wrap_facts("") == []


def test_a_share_of_less_than_all_is_never_the_whole():
    said = {1.0: "100 %", 1 - 1e-12: "100 %", 0.9996: "99.9 %", 0.9994: "99.9 %", 0.25: "25 %", 0.0: "0 %"}
    assert {share: style.percent(share) for share in said} == said
    assert float(style.percent(1e-7).removesuffix(" %")) > 0 and style.percent(np.nan) == "–"


def test_the_live_view_uses_the_same_colours():
    """``palette.js`` and ``style.py`` are read by different programs and must say the same."""
    source = PALETTE.read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        line = re.search(rf"^  {theme}: {{(.*)}},$", source, re.M)[1]
        assert dict(re.findall(r'(\w+): "(#\w+)"', line)) == style.PHASE[theme]
    for name, colours in (("GATE", style.GATE), ("LOAD", style.LOAD["light"])):
        line = re.search(rf"^const {name} = \[(.*?)\];", source, re.M | re.S)[1]
        assert tuple(re.findall(r"#\w+", line)) == colours
    assert float(re.search(r"LOAD_SPAN = ([\d.]+)", source)[1]) == style.LOAD_SPAN


def test_colours_of_a_and_b_are_used_for_nothing_else():
    others = {c for theme in style.PHASE.values() for c in theme.values()} | set(style.GATE)
    others |= {c for colours in style.LOAD.values() for c in colours} | set(style.INK["light"].values())
    assert not others & {c for theme in style.PAIR.values() for c in theme.values()}


def test_figures_of_an_edit_hold_what_was_measured():
    trace = make_trace(rows=60, layers=3, experts=16, top_k=4)
    ids = trace.expert_ids.copy()
    ids[:, 1] = make_trace(rows=60, layers=3, experts=16, top_k=4, seed=5).expert_ids[:, 1]
    other, words = replace(trace, expert_ids=ids), Words("en")
    changed, nothing = edited.sets_changed(trace, other), edited.sets_changed(trace, trace)
    drawn = edited_figures.by_layer("changed", changed, [nothing], nothing, {1}, words, "light")
    noise, control, edit = drawn.data
    assert list(edit.x) == (100 * changed.values).tolist() and list(edit.y) == [0, 1, 2]
    assert edit.marker.symbol == ("circle", "diamond", "circle")
    assert edit.line.color == style.PAIR["light"]["a"] and control.line.color == style.PAIR["light"]["b"]
    assert noise.line.dash == "dot" and not np.any(noise.x)
    assert "random controls: 1" in drawn.layout.title.text

    touched = edited.touched_load(trace, other, [(1, e) for e in range(16)])
    dots = edited_figures.touched(touched, [touched], words, "dark")
    assert "24 of 32 experts drawn" in dots.layout.title.text
    before = next(d for d in dots.data if d.name == "without the edit")
    np.testing.assert_allclose(before.x[:16], 100 * touched.values[:, 0])
    assert list(dots.layout.yaxis.ticktext[:2]) == ["L1 · 0", "L1 · 1"]

    half = edited.log_prob_change(trace, [-1.0] * 61, [-1.5] * 61)
    bars = edited_figures.log_prob(half, [], words, "light").data[0]
    assert list(bars.x) == [-0.5] and list(bars.text) == ["−0.500"]
    assert bars.customdata[0] == pytest.approx(np.exp(-0.5))


def test_a_change_has_its_sign_and_nothing_has_none():
    assert [edited_figures.signed(v) for v in (0.25, -0.25, -0.0001, 0.0)] == ["+0.250", "−0.250", "0.000", "0.000"]
