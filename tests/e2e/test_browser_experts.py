"""The tab "Experts" in a real browser: from the map to a card, from the card to a token, and back."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.server.serve import Served
from app.ui.experts_pool import gallery
from tests.e2e.watched_page import WatchedPage
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]
SLOW = 30_000


def heading(page: Page, text: str) -> None:
    expect(page.locator("#experts-card h3")).to_contain_text(text, timeout=SLOW)


def click_cell(visit: WatchedPage, plot: str, row: float, column: float) -> None:
    """Click at a place of a heatmap, in parts of its height and width."""
    page = visit.page
    ground = page.locator(f"#{plot} .nsewdrag").first
    expect(page.locator(f"#{plot} details.plot-table")).to_have_count(1, timeout=SLOW)
    ground.scroll_into_view_if_needed()
    visit.still(f"#{plot} .nsewdrag")
    box = ground.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * column, box["y"] + box["height"] * row - 3)
    page.mouse.click(box["x"] + box["width"] * column, box["y"] + box["height"] * row)


def test_from_the_map_to_a_card_to_a_token_and_back(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4, experts=32, top_k=4)).url)
    page = visit.page
    visit.tab("Experts")
    expect(page.locator("#experts-map .main-svg").first).to_be_visible(timeout=SLOW)
    expect(page.locator("#experts-about")).to_contain_text(f"{len(gallery().traces)} recordings")
    click_cell(visit, "experts-map", 3.5 / 6, 12.5 / 64)
    heading(page, "Layer 3, expert 12")
    expect(page.locator("#experts-expert input")).to_have_value("12")
    page.wait_for_function(
        "() => { const [map, outline] = ['#experts-map .nsewdrag', '.xp-outline'].map((s) => document.querySelector(s)"
        "?.getBoundingClientRect()); return map && outline && "
        "Math.abs(outline.x + outline.width / 2 - map.x - map.width * 12.5 / 64) < 3; }"
    )
    expect(page.locator("#experts-sensitivity")).to_contain_text(f"{len(gallery().traces) // 2} prompts", timeout=SLOW)

    page.locator("#experts-next").focus()  # by keyboard
    page.keyboard.press("Enter")
    heading(page, "Layer 3, expert 13")
    page.locator("#experts-layer input").fill("5")
    heading(page, "Layer 5, expert 13")
    search = page.locator("#experts-search input, #experts-search textarea")
    search.fill("layer 5 expert 45")
    search.press("Enter")
    heading(page, "Layer 5, expert 45")
    search.fill("=")
    search.press("Enter")
    expect(page.locator("#experts-found")).to_contain_text("“=” occurs", timeout=SLOW)
    found = page.locator("#experts-found button[data-expert]").first
    layer, expert = str(found.get_attribute("data-expert")).split(",")
    found.click()
    heading(page, f"Layer {layer}, expert {expert}")
    expect(page.locator("#experts-card")).to_contain_text("=", timeout=SLOW)
    visit.shot("experts", full=True)

    snippet = page.locator("#experts-card .xp-snippet").first
    number = re.search(r"token (\d+)", page.locator("#experts-card .xp-facts").first.inner_text())
    text = snippet.locator("mark").inner_text()
    assert number is not None
    snippet.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Token", exact=True)).to_have_attribute("aria-selected", "true", timeout=SLOW)
    expect(page.locator("#token-about")).to_contain_text(f"Token {number[1]} of", timeout=SLOW)
    expect(page.locator("#token-text textarea, #token-text input")).to_have_value(text)
    rests_on = page.locator("#live-view .xs-token.xs-selected")
    expect(rests_on).to_have_attribute("data-i", number[1], timeout=SLOW)

    expect(page.locator("#token-ladder .nsewdrag").first).to_be_visible(timeout=SLOW)
    click_cell(visit, "token-ladder", 2.5 / 6, 0.5 / 8)
    heading(page, "Layer 2, expert")
    expect(page.get_by_role("tab", name="Experts", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#experts-about")).to_contain_text(f"{len(gallery().traces)} recordings")


def test_an_answer_of_ones_own_is_looked_at_as_text(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(layers=4, experts=32, top_k=4)
    visit = open_page(serve(engine).url)
    page = visit.page
    engine.enqueue("so so so", "<b>x</b> ${1+1} <img src=x onerror=alert(1)> {{value}} " * 3)
    visit.send("<i>Hello</i> ${1+1}")
    visit.wait_done()
    visit.tab("Experts")
    expect(page.locator("#experts-about")).to_contain_text("The answer shown", timeout=SLOW)
    expect(page.locator("#experts-sensitivity")).to_contain_text("One answer cannot show this", timeout=SLOW)
    expect(page.locator("#experts-card")).to_contain_text("<i>Hello</i> ${1+1}")
    assert page.locator("#experts-card :is(img, i, b)").count() == 0
    before = page.locator("#experts-card h3").inner_text()
    page.locator("#experts-next").click()
    expect(page.locator("#experts-card h3")).not_to_have_text(before, timeout=SLOW)
    assert page.locator("#experts-card :is(img, i, b)").count() == 0

    about = page.locator("#experts-about")
    one = about.inner_text()
    visit.send("And again")
    visit.wait_done(2)
    expect(about).not_to_have_text(one, timeout=SLOW)
    for pool, says in (("This conversation", "answers: 2"), ("All recordings of this visit", "recordings: 2")):
        page.locator("#experts-pool input").click()
        page.get_by_role("option", name=pool, exact=True).click()
        expect(about).to_contain_text(says, timeout=SLOW)
    page.locator("#experts-sort input").click()
    page.get_by_role("option", name="by shift: thinking before answer", exact=True).click()
    expect(page.locator("#experts-map .xtitle")).to_have_text("place", timeout=SLOW)
    expect(page.locator("#experts-sensitivity")).to_contain_text("Too few prompts", timeout=SLOW)
    expect(page.locator("#experts-map .xp-outline")).to_be_visible(timeout=SLOW)  # of a figure that was drawn anew
    visit.shot("experts-own", full=True)


@pytest.mark.parametrize(
    ("width", "dark", "path", "name"), [(400, False, "ja", "エキスパート"), (1440, True, "zh", "专家")]
)
def test_it_fits_a_phone_and_the_dark(
    serve: Serve, open_page: Open, width: int, dark: bool, path: str, name: str
) -> None:
    visit = open_page(f"{serve(FakeEngine()).url}/{path}", width=width, dark=dark)
    page = visit.page
    visit.tab(name)
    expect(page.locator("#experts-map .main-svg").first).to_be_visible(timeout=SLOW)
    expect(page.locator("#experts-sensitivity section")).to_be_visible(timeout=SLOW)
    visit.fits(width)
    for part in ("#experts-card table", "#experts-step", "#experts-map .main-svg"):
        box = page.locator(part).first.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    visit.shot(f"experts-{path}", full=True)
