"""The view for a class: its slides are parts of the page that exist, and what the server tells of joining it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from analysis.trace import RouterSpec
from analysis.words import LANGUAGES, Words
from app.engine.base import Capabilities
from app.server import address
from app.server.serve import make_demo, make_services
from app.settings import Settings
from app.ui.present.slides import SLIDES, described, slides_of
from app.ui.present.view import _network, joined, wanted
from tests.fake_engine import FakeEngine


def test_every_part_of_a_slide_is_on_the_page_once_in_every_language() -> None:
    demo = make_demo(make_services(FakeEngine(), Settings()))
    ids = [block.elem_id for block in demo.blocks.values() if getattr(block, "elem_id", None)]
    for slide in SLIDES:
        wanted_ids = {part for parts in slide.parts for part in parts} | ({slide.message} - {""})
        assert {part: ids.count(part) for part in wanted_ids} == dict.fromkeys(wanted_ids, len(LANGUAGES))
        assert slide.name == "live" or f"tab-{slide.name}" in ids


def test_slides_that_can_never_show_anything_are_passed_over() -> None:
    engine = FakeEngine()
    names = [slide.name for slide in slides_of(engine)]
    assert names == ["live", "token", "load", "gates", "compare", "experts", "experiment"]
    engine.capabilities = Capabilities(modes=("thinking",), edits=False)
    assert [slide.name for slide in slides_of(engine)] == ["live", "token", "load", "gates", "experts"]
    engine.spec = RouterSpec(())
    assert [slide.name for slide in slides_of(engine)] == ["live"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_slide_has_a_title_a_question_and_a_word_for_when_it_is_empty(language: str) -> None:
    for slide in SLIDES:
        told = described(slide, Words(language))
        assert all(told[key] for key in ("title", "question", "empty")) and told["name"] == slide.name


@pytest.mark.parametrize(
    ("data", "name"),
    [({"name": "load"}, "load"), ({"name": "live"}, ""), ({"name": ["load"]}, ""), ({}, ""), (None, ""), ("load", "")],
)
def test_only_tabs_that_exist_are_opened(data: Any, name: str) -> None:
    event = gr.EventData(None, data)
    assert wanted(event, ("token", "load")) == name


def test_what_is_said_of_joining() -> None:
    words = Words("en")
    there = joined("http://10.0.0.4:7860/ja?present=2", "0.0.0.0", None, words)
    assert there["address"] == "http://10.0.0.4:7860/ja" and there["code"].startswith("<svg")
    closed = joined("http://127.0.0.1:7860/", "127.0.0.1", "10.0.0.4", words)
    assert closed["address"] == closed["code"] == "" and 'ARGS="--host 0.0.0.0"' in closed["note"]
    network = joined("http://localhost:7860/", "0.0.0.0", "10.0.0.4", words)
    assert network["address"] == "http://10.0.0.4:7860/" and "same network" in network["note"]
    assert "means this computer alone" in joined("http://localhost:7860/", "0.0.0.0", None, words)["note"]
    refused = joined("javascript:alert(1)", "0.0.0.0", None, words)
    assert refused["address"] == refused["code"] == "" and refused["note"]


@pytest.mark.parametrize(
    ("client", "headers", "told"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, False),
        ("203.0.113.9", {}, False),
        (None, {}, False),
    ],
)
def test_the_machines_own_address_is_told_only_to_those_who_sit_at_it(
    monkeypatch: pytest.MonkeyPatch, client: str | None, headers: dict[str, str], told: bool
) -> None:
    monkeypatch.setattr(address, "network_address", lambda: "10.0.0.4")
    request: Any = SimpleNamespace(client=SimpleNamespace(host=client) if client else None, headers=headers)
    assert _network(request) == ("10.0.0.4" if told else None)
