"""The picture of a trace's routing as SVG: well-formed, complete, and of the values that the trace holds."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis import metrics
from analysis.figures.load import levels
from analysis.figures.routing_picture import routing_picture
from analysis.figures.style import LOAD
from analysis.trace import RoutingTrace
from analysis.words import LANGUAGES, Words
from tests.make_traces import make_mixed_trace, make_trace, without_rows

SVG = "{http://www.w3.org/2000/svg}"


def draw(trace: RoutingTrace, title: str = "What is 8 + 4?", language: str = "en") -> ElementTree.Element:
    return ElementTree.fromstring(routing_picture(trace, title, "model · Thinking", Words(language)))


def squares(root: ElementTree.Element) -> int:
    return sum(path.attrib["d"].count("M") for path in root.iter(f"{SVG}path"))


def words_in(root: ElementTree.Element) -> str:
    return "\n".join(text.text or "" for text in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("shape", [(3, 8, 2), (48, 128, 8), (94, 128, 8), (1, 1, 1)])
def test_every_cell_of_both_phases_is_drawn(shape: tuple[int, int, int]) -> None:
    layers, experts, _ = shape
    assert squares(draw(make_trace(40, *shape))) == 2 * layers * experts


def test_experts_that_a_layer_lacks_are_not_drawn() -> None:
    assert squares(draw(make_mixed_trace())) == 2 * (8 + 16 + 4)


def test_colours_are_the_loads_own() -> None:
    """The busiest and the idlest cells have the colours of the ends of the scale, as many as there are of them."""
    trace = make_trace(60, skew=3.0, thinking=False)
    level = levels(metrics.expert_load(trace, "answer"))
    root = draw(trace)
    drawn = {path.attrib["fill"]: path.attrib["d"].count("M") for path in root.iter(f"{SVG}path")}
    assert drawn[LOAD["light"][0]] == np.count_nonzero(level <= -2 + 2 / 63)
    assert drawn[LOAD["light"][-1]] == np.count_nonzero(level >= 2 - 2 / 63) > 0


def test_phase_sample_size_and_chance_stand_on_it() -> None:
    trace = make_trace(200)
    shown = words_in(draw(trace))
    for phase in ("thinking", "answer"):
        assert f"{phase}, n = {np.count_nonzero(trace.rows_in(phase))} tokens · uniform 12.5 %" in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language(language: str) -> None:
    assert Words(language)("figures.axis.expert") in words_in(draw(make_trace(), language=language))


@pytest.mark.parametrize(
    "title", ["<script>alert(1)</script>", "a & b \x00\x1b]", "x" * 5000, "", "\ud800", "日本" * 300]
)
def test_any_title_is_text(title: str) -> None:
    root = draw(make_trace(), title)
    assert not list(root.iter(f"{SVG}script")) and len(words_in(root)) < 1500
    assert root.find(f"{SVG}title") is not None


@pytest.mark.parametrize("trace", [make_trace(6, 0), without_rows(make_trace(6))])
def test_without_routing_there_is_no_map_and_no_error(trace: RoutingTrace) -> None:
    assert squares(draw(trace)) == 0


def test_it_stands_alone() -> None:
    text = routing_picture(make_trace(), "t", "f", Words("en"))
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]
