"""The tabs below the chat in a real browser: what is clicked there is what is drawn there."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage, wait_until
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]


def drawn(page: Page, plot: str) -> None:
    expect(page.locator(f"#{plot} .main-svg").first).to_be_visible(timeout=30_000)


def titled(page: Page, plot: str, text: str) -> None:
    expect(page.locator(f"#{plot} .gtitle")).to_contain_text(text, timeout=30_000)


def test_behind_a_picture_stands_its_table(serve: Serve, open_page: Open) -> None:
    served = serve(FakeEngine(layers=4, experts=32, top_k=4))
    visit = open_page(served.url)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.tab("Load")
    drawn(page, "load-map")
    table = page.locator("#load-map details.plot-table")
    expect(table).to_have_count(1)
    expect(page.locator("#load-map .main-svg").first).to_have_attribute(
        "aria-label", re.compile("Load of every expert")
    )
    table.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(table.locator("caption")).to_contain_text("Load of every expert")
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table.locator("tbody tr").first.locator("td")).to_have_count(32)
    expect(table.locator("thead th").first).to_contain_text("expert")
    before = table.locator("caption").inner_text()
    choose(page, "load-phase", "prompt")
    expect(table.locator("caption")).not_to_have_text(before, timeout=30_000)  # it follows the picture
    visit.shot("plot-table", full=True)


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
    expect(about).not_to_have_text(before, timeout=30_000)
    choose(page, "token-layer", "Layer 2")
    titled(page, "token-heat", "Layer 2")
    for _ in range(2):  # to the last token, which was never routed
        page.locator("#token-next").click()
        page.wait_for_timeout(300)
    expect(about).to_contain_text("never fed back", timeout=30_000)
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


def test_compare_runs_both_modes(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.01)
    served = serve(engine)
    visit = open_page(served.url)
    page = visit.page
    visit.send("What is 8 + 4?")
    visit.wait_done()
    visit.tab("Compare")
    prompt, status = page.locator("#compare-prompt textarea"), page.locator("#compare-status")
    expect(prompt).to_have_value("What is 8 + 4?", timeout=30_000)
    prompt.fill("Say <b>12</b> ![](http://example.org/x.png) ${x}")
    engine.enqueue("let me think", "<b>12</b> ![](http://example.org/x.png) ${x}")
    engine.enqueue("", "It is 12.")
    page.locator("#compare-run").click()
    expect(status).to_contain_text("Done.", timeout=30_000)
    expect(page.locator("#compare-answer-a textarea")).to_have_value("<b>12</b> ![](http://example.org/x.png) ${x}")
    expect(page.locator("#compare-answer-b textarea")).to_have_value("It is 12.")
    for plot in ("compare-load-a", "compare-load-b", "compare-divergence", "compare-difference"):
        drawn(page, plot)
    expect(page.get_by_text(re.compile("proves nothing"))).to_be_visible()


def test_both_answers_stream_at_once_and_are_stopped_together(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.01)
    served = serve(engine)
    visit = open_page(served.url)
    page = visit.page
    visit.tab("Compare")
    status = page.locator("#compare-status")
    page.locator("#compare-prompt textarea").fill("Count")
    engine.enqueue("so " * 2000, "12")
    engine.enqueue("", "so " * 2000)
    page.locator("#compare-run").click()
    expect(status).to_contain_text(
        re.compile(r"A · thinking: [1-9].*B · non-thinking: 0 thinking \+ [1-9]"), timeout=30_000
    )
    for letter in "ab":
        expect(page.locator(f"#compare-counts-{letter}")).to_contain_text("so far")
    page.locator("#compare-stop").click()
    expect(status).to_contain_text("Stopped", timeout=30_000)
    expect(page.locator("#compare-run")).to_be_enabled()
    for letter in "ab":
        expect(page.locator(f"#compare-counts-{letter}")).to_contain_text("stopped")
    assert wait_until(lambda: served.services.scheduler.length == 0)


def test_a_token_pressed_while_another_is_on_its_way_is_the_one_shown(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine()).url)
    page, held = visit.page, []
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1")

    def hold(route: Route) -> None:
        event = (route.request.post_data_json or {}).get("event_data") or {}
        if event.get("index") == 2 and "run" in event:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/queue/join*", hold)
    with page.expect_request(lambda request: '"index":2,' in (request.post_data or "")):
        visit.token(2).click()
    visit.token(4).click()
    expect(page.locator("#token-about")).to_contain_text("Token 4 of", timeout=30_000)
    ((route, response),) = held
    route.fulfill(response=response)
    page.wait_for_timeout(500)
    expect(page.locator("#token-about")).to_contain_text("Token 4 of")


@pytest.mark.parametrize(("layers", "experts"), [(6, 64), (48, 128)])
def test_a_low_window_shows_the_tab_bar_and_a_tab_that_is_opened(
    serve: Serve, open_page: Open, layers: int, experts: int
) -> None:
    visit = open_page(serve(FakeEngine(layers=layers, experts=experts, top_k=8)).url, width=1280, height=720)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.wait_live("live.rows > 5 && live.rows === live.tokens - 1")
    page.wait_for_timeout(500)
    bar = page.locator("#below > .tab-wrapper")

    def top() -> float:
        return float(bar.evaluate("(tabs) => tabs.getBoundingClientRect().top"))

    boxes = [page.locator(part).bounding_box() for part in (".xs-controls", "#turns", "#below > .tab-wrapper")]
    assert all(boxes)
    controls, turns, tabs = (box for box in boxes if box)
    settings = page.locator("#options").bounding_box()
    assert settings and settings["y"] + settings["height"] <= tabs["y"]
    assert controls["y"] + controls["height"] <= turns["y"] and turns["y"] + turns["height"] <= tabs["y"]
    assert tabs["y"] + tabs["height"] <= 720
    visit.token(2).click()  # what follows of itself moves nothing
    page.wait_for_timeout(500)
    assert page.evaluate("window.scrollY") == 0
    visit.tab("Load")
    drawn(page, "load-map")
    page.wait_for_function("Math.abs(document.getElementById('below').getBoundingClientRect().top - 6) < 2")
    page.wait_for_function(
        "() => new Promise((done) => {"
        " const at = window.scrollY; setTimeout(() => done(window.scrollY === at), 500); })"
    )  # it glides to its end
    at = page.evaluate("window.scrollY")
    page.locator("#tab-gates-button").focus()
    page.keyboard.press("Enter")
    drawn(page, "gates-ranks")
    page.wait_for_timeout(500)
    assert page.evaluate("window.scrollY") == at and 4 < top() < 8  # it is in sight: nothing moves
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("#tab-load-button").evaluate("(tab) => tab.click()")  # not a visitor's doing
    drawn(page, "load-map")
    page.wait_for_timeout(500)
    assert page.evaluate("window.scrollY") == 0


@pytest.mark.parametrize(
    ("path", "tabs"),
    [("", ("Load", "Gates", "Compare")), ("ja", ("負荷", "ゲート", "比較")), ("zh", ("负载", "门控", "比较"))],
    ids=["en", "ja", "zh"],
)
def test_on_a_phone_a_button_leads_to_the_experts_and_nothing_scrolls_sideways(
    serve: Serve, open_page: Open, path: str, tabs: tuple[str, str, str]
) -> None:
    url = serve(FakeEngine(layers=4, experts=32, top_k=4)).url.rstrip("/")
    visit = open_page(f"{url}/{path}", width=400, height=800)
    page = visit.page
    page.locator("#suggestions button").first.click()
    visit.wait_done()
    button = page.locator("#to-live button")
    expect(page.locator("#token-ladder .main-svg").first).to_be_visible()
    for part in ("#to-live", "#live-view"):
        visit.still(part)
    box = button.bounding_box()
    assert box and box["y"] + box["height"] <= 800
    button.click()
    page.wait_for_function("Math.abs(document.querySelector('#live-view').getBoundingClientRect().top) < 12")
    visit.shot(f"phone-live-{path or 'en'}")
    *with_pictures, compare = tabs
    for tab, plot in zip(("", *with_pictures), ("token-ladder", "load-map", "gates-ranks"), strict=True):
        if tab:
            visit.tab(tab)
        drawn(page, plot)
        visit.fits(400)
        visit.still(f"#{plot} .main-svg")
        box = page.locator(f"#{plot} .main-svg").first.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 400
    visit.tab(compare)
    expect(page.locator("#compare-kinds > .tab-wrapper [role=tab]:visible")).to_have_count(3)
    visit.fits(400)
    visit.shot(f"phone-compare-{path or 'en'}")


def test_a_title_takes_the_width_there_is_and_the_picture_follows_the_window(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4, experts=32, top_k=4)).url)
    page = visit.page
    visit.send("Hello, how are you?")
    visit.wait_done()
    visit.tab("Load")
    drawn(page, "load-balance")
    lines = page.locator("#load-balance .gtitle tspan.line")
    expect(lines).to_have_count(2, timeout=30_000)  # title and facts
    for width, count in ((400, 3), (1440, 2)):
        page.set_viewport_size({"width": width, "height": 900})
        expect(lines).to_have_count(count, timeout=30_000)
        inside = (
            "([plot]) => Math.abs(plot.querySelector('.main-svg').getBoundingClientRect().width - plot.clientWidth) < 2"
        )
        page.wait_for_function(f"() => ({inside})(document.querySelectorAll('#load-balance .js-plotly-plot'))")


def test_without_https_there_is_no_clipboard_and_text_is_copied_all_the_same(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=4, experts=32, top_k=4)).url)
    page = visit.page
    page.add_init_script("delete Navigator.prototype.clipboard")
    visit.reload()

    def pasted(beginning: str) -> None:
        visit.box.fill("")
        visit.box.press("Control+V")
        expect(visit.box).to_have_value(re.compile(re.escape(beginning)))

    visit.send("Is 3 < 5?")
    visit.wait_done()
    page.locator("#chat").get_by_role("button", name="Copy").first.click()
    pasted("Is 3 < 5?")
    visit.tab("Load")
    drawn(page, "load-map")
    table = page.locator("#load-map details.plot-table")
    table.locator("summary").click()
    table.get_by_role("button").click()
    expect(table.get_by_role("button")).to_have_text("Copied")
    pasted("layer \\ expert,0,1,2")
