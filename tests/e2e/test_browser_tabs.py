"""The tabs below the chat in a real browser: what is clicked there is what is drawn there."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]


def drawn(page: Page, plot: str) -> None:
    expect(page.locator(f"#{plot} .main-svg").first).to_be_visible(timeout=15_000)


def titled(page: Page, plot: str, text: str) -> None:
    expect(page.locator(f"#{plot} .gtitle")).to_contain_text(text, timeout=15_000)


def choose(page: Page, dropdown: str, option: str) -> None:
    page.locator(f"#{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_token_load_and_gates(serve: Serve, open_page: Open) -> None:
    served = serve(FakeEngine(layers=4, experts=32, top_k=4))
    visit = open_page(served.url)
    page = visit.page
    expect(page.locator("#token-message")).to_contain_text("Send a message")
    visit.send("Hello, how are you?")
    visit.wait_done()

    drawn(page, "token-ladder")
    about = page.locator("#token-about")
    before = about.inner_text()
    page.locator("#token-previous").click()
    expect(about).not_to_have_text(before, timeout=10_000)
    choose(page, "token-layer", "Layer 2")
    titled(page, "token-heat", "Layer 2")
    for _ in range(2):  # to the last token, which was never routed
        page.locator("#token-next").click()
        page.wait_for_timeout(300)
    expect(about).to_contain_text("never fed back", timeout=10_000)
    expect(page.locator("#token-next")).to_be_disabled()
    expect(page.locator("#token-ladder")).to_be_hidden()

    visit.tab("Load")
    titled(page, "load-map", "Load of every expert")
    titled(page, "load-sorted", "Layer 2")  # the chosen layer is chosen in every tab
    drawn(page, "load-balance")
    choose(page, "load-phase", "prompt")
    titled(page, "load-map", "prompt, n =")

    visit.tab("Gates")
    titled(page, "gates-ranks", "Layer 2")
    drawn(page, "gates-layers")
    choose(page, "gates-layer", "Layer 0")
    titled(page, "gates-ranks", "Layer 0")


def test_compare_runs_both_modes_and_can_be_stopped(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.01)
    served = serve(engine)
    visit = open_page(served.url)
    page = visit.page
    visit.send("What is 8 + 4?")
    visit.wait_done()
    visit.tab("Compare")
    prompt, status = page.locator("#compare-prompt textarea"), page.locator("#compare-status")
    expect(prompt).to_have_value("What is 8 + 4?", timeout=10_000)
    prompt.fill("Say <b>12</b> ![](http://example.org/x.png) ${x}")
    engine.enqueue("let me think", "<b>12</b> ![](http://example.org/x.png) ${x}")
    engine.enqueue("", "It is 12.")
    page.locator("#compare-run").click()
    expect(status).to_contain_text("Done.", timeout=15_000)
    expect(page.locator("#compare-answer-a textarea")).to_have_value("<b>12</b> ![](http://example.org/x.png) ${x}")
    expect(page.locator("#compare-answer-b textarea")).to_have_value("It is 12.")
    for plot in ("compare-load-a", "compare-load-b", "compare-divergence", "compare-difference"):
        drawn(page, plot)
    expect(page.get_by_text(re.compile("proves nothing"))).to_be_visible()

    engine.enqueue("so " * 2000, "12")
    page.locator("#compare-run").click()
    expect(status).to_contain_text(re.compile(r"A · thinking: [1-9]"), timeout=10_000)
    page.locator("#compare-stop").click()
    expect(status).to_contain_text("Stopped", timeout=5_000)
    expect(page.locator("#compare-run")).to_be_enabled()
    expect(page.locator("#compare-counts-a")).to_contain_text("stopped")
    assert served.services.scheduler.length == 0


@pytest.mark.parametrize(("path", "tabs"), [("", ("Load", "Gates")), ("ja", ("負荷", "ゲート"))])
def test_a_phone_has_no_sideways_scroll(serve: Serve, open_page: Open, path: str, tabs: tuple[str, ...]) -> None:
    served = serve(FakeEngine(layers=4, experts=32, top_k=4))
    visit = open_page(f"{served.url}/{path}", width=400, height=800)
    page = visit.page
    visit.send("Hello")
    visit.wait_done()
    for tab, plot in zip(("", *tabs), ("token-ladder", "load-map", "gates-ranks"), strict=True):
        if tab:
            visit.tab(tab)
        drawn(page, plot)
        box = page.locator(f"#{plot} .main-svg").first.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 400
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
