"""The tab "Experiment" in a real browser: two clicks from the first look to three answers and what they differ in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage, screenshot, wait_until
from tests.fake_engine import FakeEngine

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]

FIGURES = ("changed", "moved", "touched", "log_prob")


def drawn(page: Page) -> None:
    expect(page.locator("#experiment-result")).to_be_visible(timeout=60_000)
    for name in FIGURES:
        expect(page.locator(f"#experiment-{name} .main-svg").first).to_be_visible(timeout=20_000)


def test_two_clicks_give_three_answers_by_day_by_night_and_on_a_phone(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.tab("Experiment")
    expect(page.locator("#experiment-run")).to_be_disabled()
    page.locator("#experiment-preset-every").click()
    expect(page.locator("#experiment-chips .chip")).to_have_count(6, timeout=30_000)
    page.locator("#experiment-run").click()
    drawn(page)
    arms = page.locator("#experiment-arms .arm:visible")
    expect(arms).to_have_count(3)
    for number in range(3):
        expect(page.locator(f"#experiment-arm-{number} .said.answer")).to_contain_text(re.compile(r"538 \+ 274 = \d+"))
    expect(page.locator("#experiment-found li")).to_have_count(5)
    expect(page.locator("#experiment-run")).to_be_enabled()
    expect(page.locator("#experiment-command textarea")).to_have_value(re.compile("--edit ablate:"))
    visit.fits(1440)
    screenshot(page.locator("#experiment-body"), "experiment-light", 500)
    ink = (
        "getComputedStyle(document.querySelector('#experiment-changed .xtick text, #experiment-changed .xtitle')).fill"
    )
    light = page.evaluate(ink)
    page.locator("#theme").click()
    page.wait_for_function(f"(light) => {ink} !== light", arg=light)
    drawn(page)
    screenshot(page.locator("#experiment-body"), "experiment-dark", 500)
    page.set_viewport_size({"width": 400, "height": 850})
    visit.fits(400)
    drawn(page)
    screenshot(page.locator("#experiment-body"), "experiment-phone", 500)
    page.set_viewport_size({"width": 1440, "height": 900})

    for name in FIGURES:
        table = page.locator(f"#experiment-{name} details.plot-table")
        expect(table).to_have_count(1)
        table.locator("summary").click()
        expect(table.locator("tbody tr").nth(1)).to_be_visible(timeout=30_000)
    expect(page.locator("#experiment-result .label-wrap")).to_have_count(0)  # no second way to the same numbers
    page.locator("#experiment-arm-1 button.suggestion").click()
    label = page.locator("#turn-label")
    expect(label).to_contain_text("ablate:0:", timeout=30_000)
    visit.wait_live("live.rows > 0")


@pytest.mark.parametrize(("path", "tab", "chip"), [("ja", "実験", "層"), ("zh", "实验", "层")])
def test_in_other_languages_it_fits_a_phone(bundled: Served, open_page: Open, path: str, tab: str, chip: str) -> None:
    visit = open_page(f"{bundled.url}/{path}", width=400, height=850)
    page = visit.page
    visit.tab(tab)
    page.locator("#experiment-preset-every").click()
    expect(page.locator("#experiment-chips .chip")).to_have_count(6, timeout=30_000)
    expect(page.locator("#experiment-chips .chip").first).to_contain_text(chip)
    expect(page.locator("#experiment-run")).to_be_enabled()
    visit.fits(400)


def test_edits_by_hand_by_keyboard_and_back(serve: Serve, open_page: Open) -> None:
    visit = open_page(serve(FakeEngine(layers=3, experts=16, top_k=4)).url)
    page = visit.page
    visit.tab("Experiment")
    page.locator("#experiment-preset-busiest").click()
    expect(page.locator("#experiment-message")).to_contain_text("no answer of this model yet", timeout=30_000)
    page.locator("#experiment-preset-half").click()
    chips = page.locator("#experiment-chips .chip")
    expect(chips).to_have_text([re.compile("every layer: 2 experts a token")], timeout=30_000)

    page.get_by_role("button", name="Choose by hand").click()
    visit.frames()
    experts = page.locator("#experiment-experts input, #experiment-experts textarea")
    experts.fill("40")
    experts.press("Enter")
    expect(page.locator("#experiment-message")).to_contain_text("Layer 1 has no expert 40", timeout=30_000)
    expect(experts).to_have_value("40")
    experts.fill("3, 5-6")
    experts.press("Enter")
    expect(chips).to_have_count(2, timeout=30_000)
    expect(page.locator("#experiment-text textarea")).to_have_value("top_k:all:2 mask:1:3,5,6")

    remove = page.get_by_role("button", name="Remove: every layer: 2 experts a token")
    remove.focus()
    page.keyboard.press("Enter")
    expect(chips).to_have_text([re.compile("layer 1: experts 3, 5, 6 masked")], timeout=30_000)
    expect(page.get_by_role("button", name="Remove: layer 1: experts 3, 5, 6 masked")).to_be_focused()
    page.keyboard.press("Enter")
    expect(chips).to_have_count(0, timeout=30_000)
    expect(page.locator("#experiment-run")).to_be_disabled()
    page.locator("#experiment-undo").click()
    expect(chips).to_have_count(1, timeout=30_000)
    expect(page.locator("#experiment-run")).to_be_enabled()
    box = page.locator("#experiment-text textarea")
    box.fill("--edit ablate:0:1 --edit boost:2:7:-2")
    box.press("Enter")
    expect(chips).to_have_count(2, timeout=30_000)
    visit.shot("experiment-by-hand", full=True)


@pytest.mark.timeout(240)
def test_edits_are_used_in_the_chat_and_taken_off_again(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(layers=3, experts=16, top_k=4)
    visit = open_page(serve(engine).url)
    page = visit.page
    row, chips = page.locator("#chat-edits"), page.locator("#chat-edits .chip")
    expect(row).to_be_hidden()
    visit.tab("Experiment")
    use = page.locator("#experiment-use")
    expect(use).to_be_disabled()
    page.locator("#experiment-preset-half").click()
    expect(page.locator("#experiment-chips .chip")).to_have_count(1)
    page.get_by_role("button", name="Choose by hand").click()
    visit.frames()
    experts = page.locator("#experiment-experts input, #experiment-experts textarea")
    experts.fill("3")
    experts.press("Enter")
    expect(page.locator("#experiment-chips .chip")).to_have_count(2, timeout=20_000)
    use.click()
    expect(chips).to_have_count(2, timeout=20_000)
    expect(row).to_contain_text("next answers are made under these edits")

    visit.send("Hello")
    visit.wait_done()
    assert [edit.kind for edit in engine.requests[-1].edits] == ["top_k", "mask"]
    expect(page.locator("#chat")).to_contain_text("Answered with edited routing: every layer: 2 experts a token")
    expect(page.locator("#turn-label")).to_have_text(re.compile(r"Turn 1 of 1 · Routing edited: top_k:all:2"))
    visit.wait_live("live.rows > 3 && live.rows === live.tokens - 1")
    visit.shot("chat-edits", full=True)

    remove = row.get_by_role("button", name="Remove: every layer: 2 experts a token")
    remove.focus()
    page.keyboard.press("Enter")
    expect(chips).to_have_count(1, timeout=20_000)
    expect(row.get_by_role("button", name="Remove: layer 1: expert 3 masked")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row).to_contain_text("made without edits", timeout=20_000)
    expect(page.locator("#chat-edits-undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(chips).to_have_text([re.compile("layer 1: expert 3 masked")], timeout=20_000)
    row.get_by_role("button", name="Remove: layer 1: expert 3 masked").click()
    expect(chips).to_have_count(0, timeout=20_000)
    visit.send("Hello again")
    visit.wait_done(2)
    assert engine.requests[-1].edits == ()
    expect(page.locator("#turn-label")).to_have_text("Turn 2 of 2")


def test_answers_are_text_and_a_run_can_be_stopped(serve: Serve, open_page: Open) -> None:
    engine = FakeEngine(delay=0.01)
    served = serve(engine)
    visit = open_page(served.url)
    page = visit.page
    visit.tab("Experiment")
    box = page.locator("#experiment-text")
    page.get_by_role("button", name="Choose by hand").click()
    visit.frames()
    box.locator("textarea").fill("mask:1:3")
    box.locator("textarea").press("Enter")
    expect(page.locator("#experiment-run")).to_be_enabled(timeout=30_000)
    engine.enqueue("let me <b>think</b>", "<img src=x onerror=alert(1)> ${x} 12")
    engine.enqueue("let me <b>think</b>", "<img src=x onerror=alert(1)> ${x} 13")
    page.locator("#experiment-run").click()
    drawn(page)
    expect(page.locator("#experiment-arm-0 .said.answer")).to_contain_text("<img src=x onerror=alert(1)> ${x}")
    expect(page.locator("#experiment-arm-1 .said.answer mark")).to_contain_text("13")
    assert page.locator("#experiment-arms img, #experiment-arms b").count() == 0

    engine.enqueue("so", "12")
    engine.enqueue("so " * 3000, "12")
    page.locator("#experiment-run").click()
    expect(page.locator("#experiment-status")).to_contain_text(re.compile(r"Edited: [1-9]"), timeout=30_000)
    expect(page.locator("#experiment-result")).to_be_hidden()
    page.locator("#experiment-stop").click()
    expect(page.locator("#experiment-status")).to_contain_text("Stopped", timeout=30_000)
    expect(page.locator("#experiment-run")).to_be_enabled()
    assert wait_until(lambda: served.services.scheduler.length == 0)
