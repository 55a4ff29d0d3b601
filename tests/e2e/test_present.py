"""The view for a class in a real browser: one picture at a time, by keys and by address, then the page as it was."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from app.server import address
from app.server.serve import Served
from tests.e2e.test_accessibility import settled
from tests.e2e.watched_page import WatchedPage
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]
SLOW = 40_000


def where(page: Page, text: str) -> None:
    expect(page.locator(".pr-where")).to_contain_text(text, timeout=SLOW)


def drawn(page: Page, plot: str) -> None:
    expect(page.locator(f"#{plot} .main-svg").first).to_be_visible(timeout=SLOW)


def seen(page: Page) -> list[str]:
    """Ids of what can be seen of some parts of the page."""
    parts = ("header", "chat", "ask", "live-view", "turns", "below", "load-map", "load-sorted", "gates-ranks")
    script = "(ids) => ids.filter((id) => document.getElementById(id)?.checkVisibility({ visibilityProperty: true }))"
    return list(page.evaluate(script, list(parts)))


@pytest.mark.timeout(240)
def test_one_picture_at_a_time_and_the_page_as_it_was(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4, experts=32, top_k=4)).url)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.tab("Load")
    for plot in ("load-map", "load-sorted", "load-balance"):
        drawn(page, plot)
    visit.still("#load-map")
    page.evaluate("window.scrollTo(0, 120)")
    before = seen(page)
    size = page.locator("#load-map").bounding_box()
    page.locator(".pr-open").evaluate("(button) => button.click()")  # a click would scroll to it

    where(page, "1 of 7Live")
    assert seen(page) == ["ask", "live-view"]
    assert "present=1" in page.url
    expect(page.locator(".pr-next")).to_be_focused()
    strip = page.locator("#live-view .xs-token.xs-selected")
    index = int(str(strip.get_attribute("data-i")))
    visit.token(index - 3).click()
    page.keyboard.press("ArrowLeft")  # among the tokens, the arrows go from token to token
    expect(page.locator("#live-view .xs-token.xs-selected")).to_have_attribute("data-i", str(index - 4))
    where(page, "1 of 7Live")
    page.keyboard.press("PageDown")
    where(page, "2 of 7Token")
    drawn(page, "token-ladder")
    expect(page.locator(".pr-next")).to_be_focused()
    page.keyboard.press("ArrowRight")
    where(page, "3 of 7Load")
    drawn(page, "load-map")
    assert seen(page) == ["below", "load-map"] and "present=3" in page.url
    visit.still("#load-map")
    large, least = page.locator("#load-map").bounding_box(), page.viewport_size
    assert size and large and least and large["height"] > 1.3 * size["height"] and large["x"] + large["width"] <= 1440
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight")
    visit.shot("present-load")
    page.keyboard.press("PageDown")
    where(page, "4 of 7Gates")
    drawn(page, "gates-ranks")
    page.keyboard.press("ArrowLeft")
    where(page, "3 of 7Load")

    page.keyboard.press("Escape")
    expect(page.locator("#header")).to_be_visible()
    expect(page.locator(".pr-bar")).to_be_hidden()
    assert seen(page) == before and page.locator("[data-present]").count() == 0
    assert "present" not in page.url and page.evaluate("window.scrollY") == 120
    expect(page.locator("#tab-load-button")).to_have_attribute("aria-selected", "true")
    page.wait_for_function(  # figures fit themselves to the page again
        "(size) => { const b = document.getElementById('load-map').getBoundingClientRect();"
        " return Math.abs(b.width - size.width) < 1 && Math.abs(b.height - size.height) < 1; }",
        arg=size,
    )
    visit.still("#load-map")
    assert page.locator("#load-map").bounding_box() == size


@pytest.mark.timeout(240)
def test_who_presses_before_its_modules_are_there_gets_it_when_they_are(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine()).url)
    page = visit.page
    held: list[Route] = []
    page.route("**/presenter.js", lambda route: held.append(route))
    visit.reload()
    button = page.locator(".pr-open")
    before = button.bounding_box()
    button.click()
    expect(page.locator("#live-view .xs-live")).to_be_attached(timeout=SLOW)
    assert held and page.locator(".pr-bar").count() == 0
    for route in held:
        route.continue_()
    where(page, "1 of 7Live")
    page.keyboard.press("Escape")
    expect(page.locator("#header")).to_be_visible()
    assert button.bounding_box() == before  # its looks do not come late


@pytest.mark.timeout(240)
def test_by_address_with_what_is_missing_said_and_a_prompt_sent(serve: Serve, open_page: Open) -> None:
    served = serve(FakeEngine(layers=4, experts=32, top_k=4))
    visit = open_page(f"{served.url}/?present=5")
    page = visit.page
    where(page, "5 of 7Compare")
    expect(page.locator(".pr-empty p")).to_contain_text("Nothing was compared yet", timeout=SLOW)
    page.locator(".pr-previous").click()
    page.locator(".pr-previous").click()
    where(page, "3 of 7Load")
    expect(page.locator(".pr-empty p")).to_contain_text("Send a message", timeout=SLOW)
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    where(page, "1 of 7Live")
    expect(page.locator(".pr-previous")).to_be_disabled()
    page.locator("#box textarea").fill("What is 8 + 4?")
    page.keyboard.press("ArrowLeft")  # while one writes, the arrows move the cursor
    page.keyboard.press("Enter")
    where(page, "1 of 7Live")
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1", timeout=SLOW)
    expect(page.locator("#live-view .xs-canvas")).to_be_visible()
    expect(page.locator("#status .over")).to_contain_text("/s", timeout=SLOW)
    visit.still("#live-view .xs-canvas")
    page.mouse.move(5, 5)
    visit.shot("present-live")
    # A cell is found where it is seen, although the view is enlarged.
    row = page.evaluate(
        "() => { const c = document.querySelector('#live-view .xs-canvas'), b = c.getBoundingClientRect(); "
        "return { x: b.left + b.width * 0.5, y: b.top + b.height * 0.3, scale: b.width / c.clientWidth, "
        "sharp: c.width / b.width } }"
    )
    assert row["scale"] > 1.05 and row["sharp"] > 0.98
    bar, send = page.locator(".pr-bar").bounding_box(), page.locator("#send").bounding_box()
    assert bar and send and send["y"] + send["height"] <= bar["y"]  # all of it is in sight
    page.mouse.click(row["x"], row["y"])
    expect(page.locator("#live-view .xs-highlight")).to_contain_text(re.compile(r"Layer 1, expert 1[56]:"))

    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    drawn(page, "load-map")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.locator(".pr-go").click()  # leads to the tab that is to be filled
    expect(page.locator("#tab-compare-button")).to_have_attribute("aria-selected", "true", timeout=SLOW)
    expect(page.locator("#compare-run")).to_be_visible()
    assert page.locator("[data-present]").count() == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("layers", "experts", "heights"), [(6, 64, (720, 768)), (48, 128, (720,))])
def test_on_a_projector_all_of_the_first_slide_stands_above_the_bar(
    serve: Serve, open_page: Open, layers: int, experts: int, heights: tuple[int, ...]
) -> None:
    engine = FakeEngine(layers=layers, experts=experts, top_k=8)
    visit = open_page(f"{serve(engine).url}/?present=1", width=1280, height=heights[0])
    page = visit.page
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    where(page, "1 of 7Live")
    visit.send("Hello, how are you?")
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1", timeout=SLOW)
    expect(page.locator("#status .over")).to_contain_text("/s", timeout=SLOW)
    for height in heights:
        page.set_viewport_size({"width": 1280, "height": height})
        for part in (".xs-canvas", "#send"):  # the slide fits itself to what came
            visit.still(part, 1000)
        bar = page.locator(".pr-bar").bounding_box()
        assert bar and bar["y"] + bar["height"] == height
        last = 0.0
        for part in (".xs-canvas", ".xs-legend", ".xs-controls", "#send"):
            box = page.locator(part).bounding_box()
            assert box and box["y"] >= last, part  # nothing overlaps
            last = box["y"] + box["height"] - 1
        assert last <= bar["y"]
        if layers == 6:
            assert page.locator(".xs-ladder").evaluate("(list) => list.scrollHeight <= list.clientHeight + 1")
    page.keyboard.press("PageDown")
    drawn(page, "token-ladder")
    page.keyboard.press("PageUp")  # the address changes under a picture that was drawn
    page.keyboard.press("PageDown")
    drawn(page, "token-ladder")
    fill = page.locator("#token-ladder .cbfill").first
    expect(fill).to_have_attribute("style", re.compile(r"url\(.?#"), timeout=SLOW)
    assert [text for text in said if "keyframe" in text] == []


@pytest.mark.timeout(180)
def test_how_to_join(serve: Serve, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "network_address", lambda: "192.0.2.7")
    visit = open_page(f"{serve(FakeEngine()).url}/?present=1")
    page = visit.page
    where(page, "1 of 7")
    page.locator(".pr-join").click()
    dialog = page.locator(".pr-dialog")
    expect(dialog).to_contain_text('make demo ARGS="--host 0.0.0.0"', timeout=SLOW)
    expect(dialog.locator("svg")).to_have_count(0)  # a code that leads nowhere helps nobody
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    where(page, "1 of 7")  # the slides stay

    served = serve(FakeEngine(), host="0.0.0.0")
    port = served.url.rsplit(":", 1)[1]
    for dark in (False, True):
        joined = open_page(f"{served.url}/zh?present=1", dark=dark)
        other = joined.page
        other.locator(".pr-join").click()
        expect(other.locator(".pr-address")).to_have_text(f"http://192.0.2.7:{port}/zh", timeout=SLOW)
        code = other.locator(".pr-code svg")
        expect(code).to_be_visible()
        assert other.locator(".pr-code").get_attribute("aria-label") == f"QR: http://192.0.2.7:{port}/zh"
        assert code.locator("path").first.get_attribute("fill") == "#fff"
        joined.shot(f"present-join-{'dark' if dark else 'light'}")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("width", "dark", "path"), [(400, False, "ja"), (1440, True, "")])
def test_it_fits_a_phone_and_the_dark_and_axe_is_content(
    serve: Serve, open_page: Open, width: int, dark: bool, path: str
) -> None:
    visit = open_page(f"{serve(FakeEngine()).url}/{path}", width=width, dark=dark)
    page = visit.page
    visit.send("Hello")
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1", timeout=SLOW)
    visit.shot(f"present-page-{width}")
    page.locator(".pr-open").click()
    expect(page.locator(".pr-bar")).to_be_visible(timeout=SLOW)
    for slide in ("live-view", "token-ladder", "load-map"):
        expect(page.locator(f"#{slide}")).to_be_visible(timeout=SLOW)
        if slide != "live-view":
            drawn(page, slide)
        visit.shot(f"present-{slide}-{width}", wait=600)
        visit.fits(width)
        assert settled(page) == []
        page.keyboard.press("PageDown")
    page.keyboard.press("Escape")
    expect(page.locator("#chat")).to_be_visible(timeout=SLOW)
    visit.fits(width)
    tabs = page.locator("#below > .tab-wrapper [role=tab]:visible")
    if width == 400:
        expect(tabs.nth(1)).to_be_visible()
    else:
        expect(tabs).to_have_count(9)
