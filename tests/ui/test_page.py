"""The page as it is built: in every language, from hostile cards, for models of every kind."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import Mock

import gradio as gr
import pytest

from analysis.words import Words
from app.engine.base import Capabilities, ModelCard
from app.server.serve import make_services
from app.settings import Settings
from app.ui.context import EXAMPLE
from app.ui.conversation import Turn
from app.ui.following import SO_FAR, ActiveRuns
from app.ui.header import badge, header_html
from app.ui.live.view import WEB
from app.ui.page import build_page, checked_theme
from app.ui.page_links import leads_away, linked, turn_position, wire_turns
from app.ui.shelves.links import Target
from app.ui.theme import head
from tests.fake_engine import FakeEngine
from tests.make_traces import make_trace
from tests.ui.tab_page import is_skipped, listener, shared_of


def say(key: str, **values: object) -> str:
    return Words("en")(f"page.{key}", **values)


def components(engine: FakeEngine) -> dict[str, list[dict[str, Any]]]:
    """Page path → its components."""
    config = build_page(make_services(engine, Settings())).get_config_file()
    by_id = {c["id"]: c for c in config["components"]}
    return {path: [by_id[i] for i in page["components"]] for path, page in config["page"].items()}


def test_there_is_a_page_for_every_language() -> None:
    pages = components(FakeEngine())
    assert set(pages) == {"", "ja", "zh"}
    sent = {path: next(c for c in found if c["props"].get("elem_id") == "send") for path, found in pages.items()}
    assert {path: c["props"]["value"] for path, c in sent.items()} == {"": "Send", "ja": "送信", "zh": "发送"}


def test_no_listener_has_its_progress_looked_up_all_over_the_page() -> None:
    config = build_page(make_services(FakeEngine(), Settings())).get_config_file()
    listeners = [on for on in config["dependencies"] if on["api_visibility"] == "private"]
    assert len(listeners) > 300 and all(on["show_progress_on"] is not None for on in listeners)
    assert max(len(on["show_progress_on"]) for on in listeners) == 1


def test_every_module_of_the_first_picture_is_fetched_early() -> None:
    early = re.findall(r'<link rel="modulepreload" href="\./gradio_api/file=([^"]+)">', head())
    assert early == [path.as_posix() for path in sorted(WEB.glob("*.js"))]


@pytest.mark.parametrize("modes", [("thinking",), ("non-thinking",), ("thinking", "non-thinking")])
def test_only_the_models_own_modes_are_offered(modes: tuple[str, ...]) -> None:
    found = components(FakeEngine(capabilities=Capabilities(modes=modes)))[""]
    radio = next(c for c in found if c["props"].get("elem_id") == "mode")
    assert tuple(value for _, value in radio["props"]["choices"]) == modes


def test_the_header_says_what_the_model_is_and_escapes_it() -> None:
    engine = FakeEngine(6, 64, 8)
    engine.card = ModelCard("x", "<b>model</b>", "About <script>", ())
    shown = header_html(engine, say, "en")
    assert "&lt;b&gt;model" in shown and "<script" not in shown
    assert "6 layers × 64 experts, each token uses 8" in shown
    assert 'href="./ja"' in shown and 'aria-current="page">EN' in shown


def test_a_machine_with_a_large_gpu_is_offered_a_large_model() -> None:
    assert "--model Qwen/Qwen3-30B-A3B" in header_html(FakeEngine(), say, "en", ["Qwen/Qwen3-30B-A3B"])
    assert "--model" not in header_html(FakeEngine(), say, "en")


def test_a_dense_model_is_called_dense() -> None:
    assert "dense" in header_html(FakeEngine(layers=0), say, "en")


@pytest.mark.parametrize(
    ("check", "shown"),
    [
        ({"ok": True, "ids_match": 1.0, "layers_captured": 6}, "✓ Capture verified 100%"),
        ({"ok": True, "ids_match": 0.9987}, "99.87%"),
        ({"ok": False, "ids_match": 1.0}, "Capture not verified"),
        ({}, "Capture not verified"),
    ],
)
def test_the_badge_says_what_the_check_found(check: dict[str, Any], shown: str) -> None:
    assert shown in badge(check, say)


def test_without_a_check_there_is_no_badge() -> None:
    assert badge(None, say) == ""


def test_the_position_among_turns() -> None:
    services, words = make_services(FakeEngine(), Settings()), Words("en")
    for trace_id in ("1", "3", "other"):
        services.store.put(make_trace(), trace_id)
    turns = (Turn("a", trace_id="1"), Turn("b"), Turn("c", trace_id="3"))
    assert turn_position("1", turns, (), services, words) == (1, 2, "Turn 1 of 2")
    assert turn_position("3", turns, (), services, words) == (2, 2, "Turn 2 of 2")
    assert turn_position("other", turns, (), services, words) == (0, 2, "From a file · Thinking · “What is 8 + 4?”")
    assert turn_position(None, (), (), services, words) == (0, 0, "No recording yet")
    assert "example" in turn_position(EXAMPLE, (), (), services, words)[2]
    services.store.discard("1")
    assert turn_position("3", turns, (), services, words) == (1, 1, "Turn 1 of 1")


def test_while_a_run_streams_no_way_leads_away_from_it() -> None:
    services, runs, words = make_services(FakeEngine(), Settings()), ActiveRuns(), Words("en")
    runs.add("run", Mock())
    assert [leads_away(runs, "run", i, words) for i in ("1", None, "run", "run" + SO_FAR)] == [True, True, False, False]
    assert not leads_away(runs, "over", "1", words) and not leads_away(runs, "", "1", words)
    for trace_id in ("1", "2"):
        services.store.put(make_trace(), trace_id)
    turns = (Turn("a", trace_id="1"), Turn("b", trace_id="2"))
    with gr.Blocks() as blocks:
        shared, row = shared_of("token"), (gr.Button(), gr.HTML(), gr.Button(), gr.Button())
        wire_turns(services, runs, gr.State(()), gr.State(()), shared, row, words)
    earlier, later = (listener(blocks, button, "click").fn for button in (row[0], row[2]))
    on_trace = listener(blocks, shared.run_id, "change").fn
    for run_id, leads in (("run", False), ("", True)):
        assert on_trace("1", turns, run_id, ())[2]["interactive"] == on_trace("2", turns, run_id, ())[0]["interactive"]
        assert on_trace("1", turns, run_id, ())[2]["interactive"] == leads
        assert is_skipped(later("1", turns, run_id)[0]) != leads and is_skipped(earlier("2", turns, run_id)[0]) != leads
    assert later("1", turns, "")[:2] == ("2", None)


def test_an_address_is_followed_or_refused_in_one_sentence() -> None:
    store, words = make_services(FakeEngine(), Settings()).store, Words("en")
    trace_id, token, live, status = linked(Target("gallery-00000-thinking-0", 12), store, words)
    assert (trace_id, token, live["select"]) == ("gallery-00000-thinking-0", 12, {"index": 12, "layer": None})
    assert "problem" not in status
    trace_id, token, live, status = linked(Target("gallery-00000-thinking-0", 5000), store, words)
    assert trace_id and token is None and live["play"] and f"tokens 0 to {store.get(trace_id).num_tokens - 1}" in status
    refused = linked(Target(problem="No."), store, words)
    assert [is_skipped(value) for value in refused] == [True] * 3 + [False] and "No." in refused[3]


@pytest.mark.parametrize("theme", [None, "", "DARK", "<b>", 7, ["dark"]])
def test_an_unknown_theme_is_light(theme: Any) -> None:
    assert checked_theme(theme) == "light"
