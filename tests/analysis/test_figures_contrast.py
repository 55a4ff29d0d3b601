"""Pictures of a comparison show the numbers that were tested, in every shape, theme and language."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from analysis.comparing import Comparison
from analysis.contrast import RATE, mean_load
from analysis.figures import contrast as figures
from analysis.figures import style
from analysis.words import LANGUAGES, Words
from tests.analysis.comparisons import compared, planted, uneven
from tests.analysis.pictures import said

EN = Words("en")
SCENES = {
    "paired": lambda: compared(planted()),
    "two groups in clusters": lambda: compared(
        planted(paired=False, clusters=3, prompts=36), ("maths", "code"), by="x"
    ),
    "uneven": lambda: compared(uneven(planted())),
    "few prompts": lambda: compared(planted(prompts=4)),
    "nothing tested": lambda: compared(planted(), min_count=10**9),
    "large": lambda: compared(planted(prompts=12, layers=94, experts=128, top_k=8)),
}


@pytest.fixture(scope="module", params=SCENES, ids=list(SCENES))
def comparison(request) -> Comparison:
    return SCENES[request.param]()


@pytest.fixture(scope="module")
def paired() -> Comparison:
    return SCENES["paired"]()


def every_figure(found: Comparison, words: Words, theme: style.Theme) -> list[go.Figure]:
    shares = found.contrast.shares
    loads = {group: mean_load(shares, side) for side, group in enumerate(found.plan.groups)}
    return [
        figures.dumbbell(found, words, theme),
        figures.difference_map(found, words, theme),
        figures.volcano(found, words, theme),
        figures.group_js(found, words, theme),
        figures.sorted_load(loads, words, theme),
        figures.sorted_load(loads, words, theme, shares.spec.layer_numbers[-1]),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_can_be_drawn_and_says_its_sample(comparison, language):
    for theme in ("light", "dark"):
        for figure in every_figure(comparison, Words(language), theme):
            assert figure.layout.height >= 150
            assert "n = " in figure.layout.title.text
            assert figure.data or figure.layout.annotations
            assert "nan" not in said(figure).lower().split()


def test_the_dumbbell_shows_the_most_different_significant_experts(paired):
    c = paired.contrast
    figure = figures.dumbbell(paired, EN, "light", most=3)
    first, second, difference = (trace for trace in figure.data if trace.customdata is not None)
    size = np.where(c.significant, np.abs(c.difference), 0)
    best = np.argsort(-size.ravel())[:3]
    at = np.unravel_index(best, size.shape)
    np.testing.assert_allclose(first.x, 100 * c.shares.first.mean(axis=0)[at])
    np.testing.assert_allclose(second.x, 100 * c.shares.second.mean(axis=0)[at])
    np.testing.assert_allclose(difference.x, 100 * c.difference[at])
    np.testing.assert_allclose(difference.x + difference.error_x.array, 100 * c.high[at])
    np.testing.assert_allclose(difference.x - difference.error_x.arrayminus, 100 * c.low[at])
    np.testing.assert_array_equal(first.customdata[:, 1], at[1])
    assert list(figure.layout.yaxis.ticktext) == [f"L{layer} E{expert}" for layer, expert in zip(*at, strict=True)]
    chance = next(trace for trace in figure.data if trace.name == "uniform")
    assert set(np.asarray(chance.x)[np.isfinite(chance.x)]) == {100 / c.shares.spec.num_experts}


def test_pictures_say_when_nothing_is_significant_or_could_be():
    none = SCENES["few prompts"]()
    assert not none.contrast.significant.any()
    for draw in (figures.dumbbell, figures.difference_map, figures.volcano):
        text = said(draw(none, EN, "light"))
        assert "too few prompts for any of" in text and "few prompts, read with care" in text
    equal = compared(planted(planted=0, effect=0.0))
    text = said(figures.dumbbell(equal, EN, "light"))
    assert not equal.contrast.significant.any() and "these differences may be chance" in text


def test_nothing_tested_is_said_in_the_picture():
    found = SCENES["nothing tested"]()
    for draw in (figures.dumbbell, figures.volcano):
        figure = draw(found, EN, "light")
        assert not figure.data and "often enough" in figure.layout.annotations[0].text


def test_only_significant_cells_of_the_map_have_a_colour(comparison):
    c = comparison.contrast
    ground, *coloured = figures.difference_map(comparison, EN, "light").data
    present = np.arange(c.shares.spec.num_experts) < np.array([r.num_experts for r in c.shares.spec.layers])[:, None]
    np.testing.assert_array_equal(np.isnan(np.array(ground.z, float)), ~present)
    assert len(coloured) == int(c.significant.any())
    for heat in coloured:
        np.testing.assert_allclose(heat.z, np.where(c.significant, 100 * c.difference, np.nan))
        assert heat.zmin == -heat.zmax


def test_the_volcano_has_every_tested_expert_once_and_its_lines(paired):
    c, figure = paired.contrast, figures.volcano(paired, EN, "dark")
    drawn = np.concatenate([np.stack([t.x, t.y], -1) for t in figure.data])
    expected = np.stack([100 * c.difference[c.tested], c.q[c.tested]], -1)
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    assert {s.y0 for s in figure.layout.shapes} >= {RATE, c.test.smallest_p}
    by_name = {t.name: t for t in figure.data}
    assert by_name["more in thinking"].marker.color == style.PAIR["dark"]["a"]
    assert (np.asarray(by_name["more in thinking"].x) > 0).all() and (by_name["not significant"].y >= RATE).all()


def test_divergence_has_its_band_and_the_floors_that_exist(paired):
    c = paired.contrast
    band, line = figures.group_js(paired, EN, "light").data
    low, high = c.divergence.band.T
    np.testing.assert_allclose(band.x, np.concatenate([high, low[::-1]]))
    np.testing.assert_allclose(line.x, c.divergence.values)
    assert "no A/A′ floor" in figures.group_js(paired, EN, "light").layout.title.text
    floor = np.array([0.01, 0.02])
    figure = figures.group_js(replace(paired, contrast=replace(c, floors=(None, floor))), EN, "light")
    assert "floor" not in figure.layout.title.text and len(figure.data) == 3
    np.testing.assert_allclose(figure.data[1].x, floor)
    assert figure.data[1].line.color == style.PAIR["light"]["b"]


def test_loads_are_sorted_each_by_itself_against_the_uniform_share():
    found = SCENES["uneven"]()
    loads = {group: mean_load(found.contrast.shares, side) for side, group in enumerate(found.plan.groups)}
    for layer, experts in ((3, 4), (7, 32)):
        figure = figures.sorted_load(loads, EN, "light", layer)
        for trace, load in zip(figure.data, loads.values(), strict=True):
            values = load.values[load.along("layer").index(layer)]
            np.testing.assert_allclose(trace.y, 100 * np.sort(values[np.isfinite(values)])[::-1])
            assert len(trace.x) == experts and sum(trace.y) == pytest.approx(100)
        assert figure.layout.shapes[0].y0 == pytest.approx(100 / experts)


def test_names_of_groups_are_text():
    found = compared(planted(), ("<b>x</b>", "y"), by="label")
    for figure in every_figure(found, EN, "light"):
        assert "<b>x" not in said(figure)
