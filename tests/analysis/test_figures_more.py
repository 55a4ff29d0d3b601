"""Pictures of statistics over many tokens: what is drawn are the statistic's numbers, in every shape and theme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from analysis import (
    association,
    caching,
    coactivation,
    metrics,
    output_metrics,
    overlap,
    placement,
    repetition,
    specialization,
    token_metrics,
)
from analysis.figures import coactivation as coactivation_figures
from analysis.figures import confidence, control, engineering, markers, reuse, style
from analysis.figures import overlap as overlap_figures
from analysis.figures import specialization as specialization_figures
from analysis.figures import stages as stage_figures
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, Phase, RouterSpec, RoutingTrace
from analysis.words import LANGUAGES, Words
from tests.analysis.comparisons import compared, planted
from tests.analysis.pictures import said
from tests.make_traces import make_trace

EN = Words("en")
Draw = Callable[[Words, style.Theme], go.Figure]


def with_outputs(trace: RoutingTrace) -> RoutingTrace:
    """The same with outputs that grow with the expert's number, those of one expert of the first layer by far."""
    ids = trace.expert_ids.astype(np.float32)
    largest = 1 + ids / 10
    largest[:, 0][ids[:, 0] == ids[0, 0, 0]] = 1000
    return replace(trace, contribution=1 + ids, output_max=largest)


def uneven() -> RoutingTrace:
    """Layers 3 and 7, of 4 experts using 1 and of 100 using 2."""
    trace = make_trace(rows=60, layers=2, experts=100, top_k=2)
    spec = RouterSpec((LayerSpec(3, 4, 1), LayerSpec(7, 100, 2)))
    ids, weights = trace.expert_ids.copy(), trace.expert_weights.copy()
    ids[:, 0] %= 4
    ids[:, 0, 1] = spec.no_expert
    weights[:, 0, 1] = 0
    return replace(trace, spec=spec, expert_ids=ids, expert_weights=weights, router_scores=None)


def bare() -> RoutingTrace:
    """Ids alone, and no row in most phases."""
    return make_trace(
        rows=3, layers=1, experts=4, top_k=1, thinking=False, weights=False, scores=False, summaries=False
    )


TRACES = {
    "usual": lambda: with_outputs(make_trace(rows=80, layers=6, experts=64, top_k=8)),
    "uneven": lambda: with_outputs(uneven()),
    "tiny, ids alone": bare,
    "large": lambda: with_outputs(make_trace(rows=60, layers=94, experts=128, top_k=8)),
    "dense": lambda: make_trace(rows=20, layers=0),
}


@pytest.fixture(scope="module", params=TRACES, ids=list(TRACES))
def pictures(request) -> dict[str, Draw]:
    return figures_of(TRACES[request.param]())


@pytest.fixture(scope="module")
def usual() -> RoutingTrace:
    return TRACES["usual"]()


def figures_of(trace: RoutingTrace) -> dict[str, Draw]:
    """Every picture that has no layer of its own, then those of the last layer."""
    phases = ("prompt", "thinking", "answer")
    load, placed = metrics.expert_load(trace), placement.in_blocks(trace.spec, 2)
    saliency, maxima = output_metrics.saliency(trace), output_metrics.super_experts(trace)
    hits = caching.lru_hit_rate(trace), caching.belady_hit_rate(trace)
    work = placement.device_load(trace, placed), placement.device_imbalance(trace, placed)
    stages, contexts = {"early": overlap.saturation(trace, trace)}, overlap.token_controlled_overlap(trace)
    opening, both = association.marker_npmi(trace), overlap.token_overlap(trace, trace)
    many = [token_metrics.uncertainty_quantiles(trace, phase) for phase in phases]
    again = [repetition.consecutive_repetition(trace, phase) for phase in phases]
    made: dict[str, Draw] = {
        "confidence": lambda w, t: confidence.confidence_bands(many, w, t),
        "repetition": lambda w, t: reuse.repetition(again, w, t),
        "cache": lambda w, t: reuse.cache_hits(*hits, w, t),
        "saturation": lambda w, t: stage_figures.saturation(stages, "last", w, t),
        "balance of stages": lambda w, t: stage_figures.balance({"early": metrics.max_violation(trace)}, w, t),
        "both": lambda w, t: overlap_figures.shared_by_layer(both, w, t),
        "context": lambda w, t: overlap_figures.context_overlap(contexts, w, t),
        "markers": lambda w, t: markers.marker_map(opening, "<think>", w, t),
        "saliency": lambda w, t: engineering.saliency_scatter(load, saliency, maxima, w, t),
        "devices": lambda w, t: engineering.device_load(*work, w, t),
    }
    if not trace.spec.layers:
        return made
    router, first, second = trace.spec.layers[-1], trace.num_rows - 2, trace.num_rows - 1
    gates = token_metrics.token_gates(trace, first), token_metrics.token_gates(trace, second)
    lift = coactivation.coactivation_lift(trace)
    domains = specialization.domain_specialization({"a": trace, "b": trace})
    vocabulary = specialization.vocabulary_specialization(trace, minimum=2)
    return {
        **made,
        "cache of a layer": lambda w, t: reuse.cache_hits(*hits, w, t, router.layer),
        "coactivation": lambda w, t: coactivation_figures.coactivation(lift, router.layer, w, t),
        "domains": lambda w, t: specialization_figures.domain_map(domains, router.layer, w, t),
        "vocabulary": lambda w, t: specialization_figures.vocabulary(vocabulary, {}, router.layer, w, t),
        "word": lambda w, t: overlap_figures.same_word(gates, ("one <b>a</b>", "two"), router, w, t),
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_can_be_drawn_says_its_sample_and_has_something_in_it(pictures, language):
    for name, draw in pictures.items():
        for theme in ("light", "dark") if language == "en" else ("light",):
            figure = draw(Words(language), theme)
            text = said(figure)
            assert figure.layout.height >= 150, name
            assert figure.data or figure.layout.annotations, name
            assert "n = " in text or not figure.data, name
            assert "nan" not in text.lower().replace("%", " ").split(), name
            assert "<b>a</b>" not in text, name


def test_nothing_to_show_is_said():
    empty = TRACES["tiny, ids alone"]()
    for name, text in (
        ("confidence", "were not recorded"),
        ("saliency", "--expert-outputs"),
        ("markers", "no such marker"),
        ("vocabulary", "No token occurs 10 times"),
        ("coactivation", "Too few tokens"),
    ):
        figure = figures_of(empty)[name](EN, "light")
        assert not figure.data and text in said(figure), name


def test_bands_are_the_quantiles_of_the_phase(usual):
    many = token_metrics.uncertainty_quantiles(usual, "thinking")
    figure = confidence.confidence_bands([many], EN, "light")
    lines = [trace for trace in figure.data if trace.customdata is not None]
    for line, name in zip(lines, confidence.MEASURES, strict=True):
        expected = np.quantile(getattr(usual, name)[usual.rows_in("thinking")], (0.25, 0.5, 0.75), axis=0)
        np.testing.assert_allclose(line.x, expected[1], rtol=1e-6)
        np.testing.assert_allclose(line.customdata[:, 1:3].T.astype(float), expected[[0, 2]], rtol=1e-6)
        assert line.line.color == style.PHASE["light"]["thinking"]
    ruler = next(trace for trace in figure.data if trace.name == "no preference")
    np.testing.assert_allclose(ruler.x, np.log(64))


def test_quantiles_over_several_recordings_are_those_of_all_their_tokens():
    traces = [make_trace(rows=rows, seed=rows) for rows in (20, 50)]
    pooled = np.concatenate([trace.entropy[trace.rows_in("answer")] for trace in traces])
    found = token_metrics.uncertainty_quantiles(traces, "answer")
    np.testing.assert_allclose(found["entropy"].values[:, 2], np.median(pooled, axis=0), rtol=1e-6)
    assert found["entropy"].n == len(pooled)
    assert "entropy" not in token_metrics.uncertainty_quantiles([traces[0], replace(traces[1], entropy=None)])


def test_repetition_and_hit_rates_are_those_of_the_statistics(usual):
    again = repetition.consecutive_repetition(usual, "thinking")
    lines = [t for t in reuse.repetition([again], EN, "light").data if t.customdata is not None]
    for column, line in enumerate(lines):
        np.testing.assert_allclose(line.x, 100 * again.values[:, column])
        np.testing.assert_allclose(line.customdata[:, 1].astype(float), 100 * again.chance[:, column])
    lru, belady = caching.lru_hit_rate(usual), caching.belady_hit_rate(usual)
    drawn = {t.name: t for t in reuse.cache_hits(lru, belady, EN, "light").data}
    np.testing.assert_allclose(drawn["LRU"].y, 100 * lru.values.mean(axis=0))
    np.testing.assert_allclose(drawn["LRU"].customdata[:, 1], 100 * lru.values.min(axis=0))
    np.testing.assert_allclose(drawn["Belady, the best possible"].y, 100 * belady.values.mean(axis=0))
    np.testing.assert_allclose(drawn["random routing, LRU"].y, 100 * lru.chance.mean(axis=0))
    one = {t.name: t for t in reuse.cache_hits(lru, belady, EN, "light", 2).data}
    np.testing.assert_allclose(one["LRU"].y, 100 * lru.values[2])


def test_a_cache_smaller_than_k_has_no_point():
    trace = TRACES["uneven"]()
    lru, belady = caching.lru_hit_rate(trace, slots=[1, 2, 8]), caching.belady_hit_rate(trace, slots=[1, 2, 8])
    drawn = {t.name: t for t in reuse.cache_hits(lru, belady, EN, "light").data}
    assert list(drawn["LRU"].x) == [2, 8]


def test_coactivation_shows_each_pair_where_its_labels_say(usual):
    lift = coactivation.coactivation_lift(usual, minimum=8)
    heat = coactivation_figures.coactivation(lift, 4, EN, "light").data[0]
    order = [int(label) for label in heat.x]
    kept = np.flatnonzero(np.isfinite(lift.values[4]).any(axis=1))
    assert sorted(order) == kept.tolist() and list(heat.x) == list(heat.y)
    np.testing.assert_allclose(heat.customdata[..., 0], lift.values[4][np.ix_(order, order)])
    with np.errstate(divide="ignore"):
        level = np.log2(lift.values[4][np.ix_(order, order)] / lift.chance[4, 0, 0])
    np.testing.assert_allclose(heat.z, np.clip(level, -style.LOAD_SPAN, style.LOAD_SPAN))


def test_domains_are_shown_against_chance(usual):
    other = make_trace(rows=50, layers=6, experts=64, top_k=8, seed=5)
    domains = specialization.domain_specialization({"maths": usual, "<i>code</i>": other}, "generated")
    figure = specialization_figures.domain_map(domains, 2, EN, "light")
    heat = figure.data[0]
    np.testing.assert_allclose(heat.customdata[..., 0], 100 * domains.values[:, 2])
    np.testing.assert_allclose(heat.customdata[..., 1], domains.values[:, 2] / (8 / 64))
    assert heat.y[0] == "maths" and "<i>" not in "".join(heat.y)


def test_words_of_few_occurrences_are_not_shown(usual):
    found = specialization.vocabulary_specialization(usual, minimum=2)
    figure = specialization_figures.vocabulary(found, {}, 1, EN, "light", minimum=6)
    bars, chance = figure.data
    assert len(bars.x) == np.count_nonzero(found.occurrences >= 6) and min(bars.customdata[:, 1]) >= 6
    excess = np.asarray(bars.x) - np.asarray(chance.x)
    assert (np.diff(excess) <= 1e-9).all()
    ids = found.share.along("token")
    for label, share, expert in zip(figure.layout.yaxis.ticktext, bars.x, bars.customdata[:, 0], strict=True):
        at = ids.index(int(label.split(" ")[0][1:]))
        assert share == pytest.approx(100 * found.share.values[at, 1]) and expert == found.expert[at, 1]


def test_saturation_has_a_line_a_layer_and_their_mean(usual):
    other = make_trace(rows=80, layers=6, experts=64, top_k=8, seed=9)
    other = replace(other, token_ids=usual.token_ids)
    stages = {"100": overlap.saturation(other, usual), "200": overlap.saturation(usual, usual)}
    figure = stage_figures.saturation(stages, "200", EN, "light")
    table = np.array([s.values for s in stages.values()])
    assert len(figure.data) == 7
    for layer in range(6):
        np.testing.assert_allclose(figure.data[layer].y, 100 * table[:, layer])
    np.testing.assert_allclose(figure.data[-1].y, 100 * table.mean(axis=1))
    assert figure.layout.shapes[0].y0 == pytest.approx(100 * 8 / 64)


def test_one_token_through_training_has_the_last_checkpoints_experts_first(usual):
    first, last = (
        token_metrics.token_gates(t, 30) for t in (make_trace(rows=80, layers=6, experts=64, top_k=8, seed=9), usual)
    )
    figure = stage_figures.token_experts({"first": first, "last": last}, 2, "<b>", EN, "light")
    cells, k = figure.data[0], 8
    assert list(cells.x[:k]) == [str(e) for e in last.ids[2]]
    np.testing.assert_allclose(cells.z[1][:k], last.weights.values[2])
    assert not np.isfinite(cells.z[1][k:]).any() and np.isfinite(cells.z[0]).sum() == k
    shared = len(set(first.ids[2]) & set(last.ids[2]))
    assert list(cells.y) == [f"first · {shared}/8", "last · 8/8"] and len(cells.x) == 2 * k - shared
    assert figure.layout.shapes[0].x0 == k - 0.5 and "<b>" not in figure.layout.title.text.split("</b>", 1)[1]


def test_what_both_use_is_the_mean_over_the_tokens(usual):
    other = replace(make_trace(rows=80, layers=6, experts=64, top_k=8, seed=9), token_ids=usual.token_ids)
    found = overlap.token_overlap(other, usual)
    band, chance, mean = overlap_figures.shared_by_layer(found, EN, "light").data
    np.testing.assert_allclose(mean.x, 100 * overlap.saturation(other, usual).values)
    assert np.allclose(chance.x, 100 * 8 / 64) and len(band.x) == 12


def test_overlap_of_contexts_is_the_statistic(usual):
    found = overlap.token_controlled_overlap(usual)
    same, different, chance = overlap_figures.context_overlap(found, EN, "light").data
    np.testing.assert_allclose([same.x, different.x], found.values)
    np.testing.assert_allclose(chance.x, found.chance)


def test_two_contexts_light_their_experts_and_frame_the_shared_ones(usual):
    gates = token_metrics.token_gates(usual, 40), token_metrics.token_gates(usual, 41)
    router = usual.spec.layers[2]
    figure = overlap_figures.same_word(gates, ("a", "b"), router, EN, "light")
    lit = [t for t in figure.data if t.type == "heatmap" and t.zmax is not None]
    used = [set(found.ids[2].tolist()) for found in gates]
    for heat, found, experts in zip(lit, gates, used, strict=True):
        values = np.array(heat.z, float).ravel()
        assert set(np.flatnonzero(np.isfinite(values))) == experts
        np.testing.assert_allclose(values[found.ids[2]], found.weights.values[2])
    frames = [int(8 * (shape.y0 + 0.5) + shape.x0 + 0.5) for shape in figure.layout.shapes]
    assert sorted(frames) == sorted([*(used[0] & used[1])] * 2)
    shared = len(used[0] & used[1])
    assert f"{shared} of 8 experts shared" in said(figure)
    assert f"Jaccard {shared / (16 - shared):.2g}" in said(figure)


def test_markers_are_shown_above_what_chance_gives(usual):
    found = association.marker_npmi(usual, b"<think>")
    heat, rings = markers.marker_map(found, "<think>", EN, "light", most=3).data
    excess = found.values - found.chance
    np.testing.assert_allclose(heat.z, excess)
    best = np.sort(excess[np.isfinite(excess)])[-3:]
    np.testing.assert_allclose(np.sort(excess[rings.y, rings.x]), best)
    assert heat.zmin == -heat.zmax and found.n == 1
    text = said(markers.marker_map(found, "<think>", EN, "light"))
    assert "&lt;think&gt;" in text and "a small sample" in text


def test_saliency_stars_the_super_experts(usual):
    load, saliency = metrics.expert_load(usual), output_metrics.saliency(usual)
    maxima = output_metrics.super_experts(usual)
    figure = engineering.saliency_scatter(load, saliency, maxima, EN, "light")
    plain, stars = figure.data
    beyond = output_metrics.are_super(maxima)
    assert 0 < beyond.sum() == len(stars.x) and stars.marker.symbol == "star"
    np.testing.assert_allclose(stars.y, saliency.values[beyond])
    rest = np.isfinite(saliency.values) & ~beyond
    np.testing.assert_allclose(plain.x, load.values[rest] * 64)
    unstarred = engineering.saliency_scatter(load, saliency, None, EN, "light")
    assert len(unstarred.data) == 1 and "super" not in said(unstarred)


def test_devices_are_shown_against_the_experts_they_hold(usual):
    placed = placement.in_blocks(usual.spec, 4)
    load, imbalance = placement.device_load(usual, placed), placement.device_imbalance(usual, placed)
    heat, bars, random = engineering.device_load(load, imbalance, EN, "dark").data
    np.testing.assert_allclose(heat.customdata[..., 1], load.values / 0.25)
    np.testing.assert_allclose(bars.x, imbalance.values)
    np.testing.assert_allclose(random.x, imbalance.chance)


def test_a_control_fills_what_stays_and_empties_what_goes():
    plain = compared(planted())
    kept = np.argwhere(plain.contrast.significant)
    gone = plain.contrast.q.copy()
    gone[tuple(kept[0])] = 1.0
    turned = -plain.contrast.difference[tuple(kept[1])]
    difference = plain.contrast.difference.copy()
    difference[tuple(kept[1])] = turned
    controlled = replace(
        plain,
        control="token",
        plain=plain.contrast,
        contrast=replace(plain.contrast, q=gone, difference=difference),
    )
    figure = control.myth_or_effect(controlled, EN, "light")
    drawn = {t.name: t for t in figure.data if t.customdata is not None}
    before = drawn["without control"]
    np.testing.assert_allclose(
        np.sort(np.abs(before.x)), np.sort(np.abs(100 * plain.contrast.difference[tuple(kept.T)]))
    )
    hollow = {tuple(line) for line in drawn["same tokens only: no longer"].customdata[:, :2].astype(int)}
    assert hollow == {tuple(kept[0]), tuple(kept[1])}
    assert len(drawn["same tokens only: still significant"].x) == len(kept) - 2
    assert f"{len(kept) - 2} of {len(kept)} significant experts stay so" in said(figure)


def test_without_a_control_or_anything_to_check_it_is_said():
    assert "without a control" in said(control.myth_or_effect(compared(planted()), EN, "light"))
    equal = compared(planted(planted=0, effect=0.0))
    assert "nothing to check" in said(control.myth_or_effect(replace(equal, plain=equal.contrast), EN, "light"))


def test_samples_of_other_things_than_tokens_are_named():
    for unit, few, enough in (("prompts", 9, 10), ("pairs of tokens", 29, 30), ("markers", 29, 30)):
        statistic = Statistic("x", np.zeros(()), n=few, n_unit=unit)
        assert unit in style.sample(statistic, EN) and "small sample" in style.sample(statistic, EN)
        assert "small" not in style.sample(replace(statistic, n=enough), EN)
    assert style.phases("prompt, answer", EN) == "prompt, answer"
    assert style.phases("prompt − answer", Words("ja")) == "プロンプト − 回答"
    assert {phase.label for phase in Phase} == set(style.PHASE["light"])
