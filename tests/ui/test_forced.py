"""Routing pasted text."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from analysis.errors import UserError
from analysis.trace import Origin
from analysis.words import Words
from app.engine.base import Capabilities
from app.server.serve import make_services
from app.settings import Settings
from app.ui.following import ActiveRuns
from app.ui.forced_tab import build, route, wire
from tests.fake_engine import FakeEngine, experts_of
from tests.ui.tab_page import is_skipped, listener, shared_of


def test_a_text_is_routed_and_nothing_is_generated() -> None:
    engine = FakeEngine()
    services = make_services(engine, Settings())
    last = list(route(services, ActiveRuns(), "To be, or not to be", True, "run-1"))[-1]
    trace = services.store.get(last.trace_id)
    assert trace.text_of("prompt") == "To be, or not to be" and trace.num_rows == trace.num_tokens
    assert (trace.origin == Origin.FORCED).all() and trace.router_scores is not None
    assert (trace.expert_ids == experts_of("To be, or not to be", engine.spec)).all()
    assert services.scheduler.length == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "empty"), (" \x00\n", "empty"), (None, "must be text"), ("x" * 20_001, "20,001"), ("a " * 5_000, "4096")],
)
def test_what_cannot_be_routed_is_refused(text: Any, sentence: str) -> None:
    services = make_services(FakeEngine(), Settings())
    with pytest.raises(UserError, match=sentence):
        list(route(services, ActiveRuns(), text, False, "run-1"))
    assert services.scheduler.length == 0 and len(services.store) == 0


def test_an_engine_that_cannot_says_so() -> None:
    services = make_services(FakeEngine(capabilities=Capabilities(forced_text=False)), Settings())
    with pytest.raises(UserError, match="cannot route"):
        list(route(services, ActiveRuns(), "hello", False, "run-1"))


def test_a_token_that_is_chosen_while_a_text_is_routed_stays_chosen() -> None:
    services = make_services(FakeEngine(delay=0.01), Settings(updates_per_second=60.0))
    say = lambda key, **values: Words("en")(f"page.{key}", **values)  # noqa: E731
    with gr.Blocks() as blocks:
        shared = shared_of("forced")
        tab = build(services, say)
        wire(tab, services, ActiveRuns(), shared, say, "en")
    fn = listener(blocks, tab.go, "click")
    at = fn.outputs.index(shared.token)
    first, *later = [update[at] for update in fn.fn("To be, or not to be, that is the question", True, "")]
    assert first is None and later and all(map(is_skipped, later))
    (refused,) = fn.fn("", True, "")
    assert is_skipped(refused[at])
