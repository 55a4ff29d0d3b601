"""From an expert, wherever it is seen, to its card and the tokens it serves elsewhere: by mouse and by keyboard."""

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
SLOW = 40_000


def heading(page: Page, layer: int, expert: int) -> None:
    expect(page.locator("#experts-card h3")).to_contain_text(f"Layer {layer}, expert {expert}", timeout=SLOW)


def chosen(page: Page) -> tuple[int, int]:
    """(layer, expert) of the live view's highlight."""
    named = re.compile(r"Layer (\d+), expert (\d+):")
    highlight = page.locator("#live-view .xs-highlight")
    expect(highlight).to_have_text(named)
    found = named.match(highlight.inner_text())
    assert found
    return int(found[1]), int(found[2])


def beside_it(page: Page, key: str, layer: int, expert: int) -> None:
    """`key` moves the highlight to `expert` of `layer`; the words under the canvas follow at the next frame."""
    page.keyboard.press(key)
    expect(page.locator("#live-view .xs-highlight")).to_contain_text(f"Layer {layer}, expert {expert}:")


@pytest.mark.timeout(300)
def test_from_a_lit_cell_to_its_tokens_here_and_in_the_gallery(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.send("What is 538 + 274?")
    visit.wait_done(timeout=60_000)
    more = page.locator("#live-view .xs-more")
    expect(more).to_be_hidden()
    box = page.locator("#live-view .xs-canvas").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.3)
    layer, expert = chosen(page)
    expect(more).to_have_text(f"Where else does L{layer}·E{expert} fire?")
    more.click()
    expect(page.get_by_role("tab", name="Experts", exact=True)).to_have_attribute("aria-selected", "true", timeout=SLOW)
    heading(page, layer, expert)
    expect(page.locator("#experts-about")).to_contain_text("The answer shown")
    beside = page.locator("#experts-card section", has_text="And in the gallery that comes along")
    expect(beside).to_be_visible(timeout=SLOW)

    # By keyboard, while the tab is open already: the strongest expert of the layer below.
    page.locator("#live-view .xs-canvas").focus()
    page.keyboard.press("Escape")
    expect(more).to_be_hidden()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    expect(more).to_be_visible()
    expect(page.locator("#live-view .xs-highlight")).to_contain_text("Layer 1, expert ")
    first = chosen(page)
    page.keyboard.press("Enter")
    heading(page, *first)
    to_second, back = ("Shift+ArrowLeft", "Shift+ArrowRight") if first[1] else ("Shift+ArrowRight", "Shift+ArrowLeft")
    second = (1, first[1] - 1 if first[1] else 1)
    beside_it(page, to_second, *second)
    page.keyboard.press("Tab")
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    heading(page, *second)

    # Back to the strongest one, which serves tokens in the gallery: one of those is opened.
    page.locator("#live-view .xs-canvas").focus()
    beside_it(page, back, *first)
    page.keyboard.press("Enter")
    heading(page, *first)
    snippet = beside.locator("button[data-token]").first
    expect(snippet).to_be_visible(timeout=SLOW)
    visit.shot("elsewhere", full=True)
    number = re.search(r"token (\d+) of", beside.locator(".xp-facts").first.inner_text())
    assert number is not None
    snippet.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#token-about")).to_contain_text(f"Token {number[1]} of", timeout=SLOW)
    assert visit.live()["run"].startswith("gallery-")


@pytest.mark.timeout(240)
def test_from_the_gate_weights_of_a_token_to_a_card_by_keyboard(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4, experts=32, top_k=4)).url, width=400)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    expect(page.locator("#token-ladder .main-svg").first).to_be_visible(timeout=SLOW)
    fold = page.get_by_role("button", name=re.compile("Gate weights as a table"))
    fold.focus()
    page.keyboard.press("Enter")
    cells = page.locator("#token-table button")
    expect(cells).to_have_count(16)
    page.keyboard.press("Tab")
    expect(cells.first).to_be_focused()
    visit.fits(400)
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    expect(cells.nth(2 * 4 + 2)).to_be_focused()
    assert page.locator("#token-table button[tabindex='0']").count() == 1
    wanted = str(cells.nth(10).get_attribute("data-expert")).split(",")
    page.keyboard.press("Enter")
    heading(page, int(wanted[0]), int(wanted[1]))
