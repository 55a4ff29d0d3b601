"""A visitor in a real browser, on the bundled model: the main path, and what visitors do besides."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from analysis import storage
from analysis.trace import Phase
from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]


def test_the_main_path(bundled: Served, open_page: Open, tmp_path: Path) -> None:
    """Suggested prompt → thinking panel → live view → click a token → the tabs → save → reopen → other languages."""
    visit = open_page(bundled.url, accept_downloads=True)
    page = visit.page
    expect(page.locator("#header")).to_contain_text("mini-qwen3-moe")
    expect(page.locator("#header .about")).to_contain_text("not Qwen")
    expect(page.locator("#header .badge")).to_contain_text("100%")

    visit.wait_live("live.run === 'example'", timeout=30_000)  # drawn while it grows is only what is there to draw
    fetched = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    modules = sorted(name for name in fetched if "/live/web/" in name)
    assert len(modules) > 20 and len(modules) == len(set(modules))  # those fetched early are those that are used
    page.locator(".suggestion").first.click()
    expect(visit.thinking).to_be_visible(timeout=30_000)
    visit.wait_done()
    visit.wait_live("live.run !== 'example' && live.rows > 20 && live.rows === live.tokens - 1")
    expect(visit.answers.last).to_contain_text(re.compile(r"\d"))
    expect(visit.thinking).to_contain_text(re.compile(r"Thinking · \d+ tokens"))

    trace = bundled.services.store.get(visit.live()["run"])
    visit.wait_live(f"live.rows === {trace.num_rows}")
    assert len(visit.live()["latencies"]) > 1  # it was drawn while it grew; how soon, benchmarks/page.py measures
    assert page.locator("#live-view .xs-token.xs-thinking").count() > 5

    answer = int((trace.phase == Phase.ANSWER).nonzero()[0][0])
    visit.token(answer).click()
    expect(page.locator("#token-text textarea, #token-text input")).to_have_value(
        re.compile(re.escape(trace.texts()[answer].strip()))
    )
    expect(page.locator("#token-about")).to_contain_text(str(answer))
    expect(page.locator("#token-ladder .main-svg").first).to_be_visible(timeout=30_000)
    visit.shot("token-tab-light", full=True)
    for name in ("Load", "Gates"):
        visit.tab(name)
        expect(page.locator(f"#tab-{name.lower()} .main-svg").first).to_be_visible(timeout=30_000)
        visit.shot(f"tab-{name.lower()}", full=True)

    visit.tab("Library")
    save = page.locator("#save-trace")
    expect(save).to_be_enabled(timeout=30_000)
    with page.expect_download() as download:
        save.click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    saved = storage.load(file)
    assert saved.num_rows == trace.num_rows and (saved.expert_ids == trace.expert_ids).all()

    again = open_page(bundled.url)
    again.tab("Library")
    again.page.locator("#open input[type=file]").set_input_files(file)
    again.wait_live(f"live.run !== 'example' && live.rows === {trace.num_rows}")
    expect(again.page.locator("#open-status")).to_contain_text("opened")
    again.page.get_by_role("button", name="Where it comes from").click()
    expect(again.page.locator("#about-recording")).to_contain_text("mini-qwen3-moe")

    again.follow("日本語")
    expect(again.page.locator("#send")).to_have_text("送信")
    assert again.page.evaluate("document.documentElement.lang") == "ja"
    again.send("What is 5 + 6?")
    expect(again.thinking).to_contain_text("思考", timeout=30_000)
    expect(again.status).to_contain_text("完了", timeout=20_000)
    again.shot("japanese", full=True)
    chinese = open_page(f"{bundled.url}/?lang=zh-CN")
    expect(chinese.page.locator("#send")).to_have_text("发送")


def test_before_the_first_message_an_example_plays_and_can_be_clicked(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    expect(page.locator("#turn-label")).to_contain_text("An example")
    visit.wait_live("live.run === 'example' && live.token > 5 && live.token < live.rows - 1")  # it moves by itself
    visit.token(30).click()
    expect(page.locator("#token-about")).to_contain_text("Token 30 of")
    expect(page.locator("#token-ladder .main-svg").first).to_be_visible(timeout=30_000)
    visit.send("What is 5 + 6?")
    visit.wait_done()
    expect(page.locator("#turn-label")).to_have_text("Turn 1 of 1")
    visit.wait_live("live.run !== 'example'")


def test_the_mode_switch_changes_what_is_generated(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#top_p input")).to_have_value("0.95")
    page.get_by_label("Non-thinking").check()
    expect(page.locator("#top_p input")).to_have_value("0.8")
    visit.send("What is 12 + 30?")
    visit.wait_done()
    expect(visit.thinking).to_have_count(0)
    expect(visit.answers.last).to_contain_text(re.compile(r"\d"))
    expect(visit.status).to_contain_text("0 thinking")
    page.get_by_label("Thinking", exact=True).check()
    expect(page.locator("#top_p input")).to_have_value("0.95")
    visit.send("What is 12 + 30?")
    visit.wait_done(2)
    expect(visit.thinking).to_have_count(1)


def test_pasted_text_is_routed(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    visit.tab("Route text")
    visit.page.get_by_role("button", name="def square(x): return x * x").click()
    expect(visit.page.locator("#forced-text textarea")).to_have_value("def square(x): return x * x")
    visit.page.locator("#forced-text textarea").fill("Eight and four is twelve.")
    visit.page.locator("#forced-go").click()
    expect(visit.page.locator("#forced-status")).to_contain_text("Done", timeout=30_000)
    visit.wait_live("live.run !== 'example' && live.rows > 5 && live.rows === live.tokens")
    expect(visit.page.locator("#turn-label")).to_contain_text("Pasted text · “Eight and four")


def test_retry_edit_undo_and_clear(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.send("What is 2*3?")
    visit.wait_done()
    visit.send("What is 5 + 6?")
    visit.wait_done(2)
    expect(page.locator("#turn-label")).to_have_text("Turn 2 of 2")
    page.locator("#turn-previous").click()
    expect(page.locator("#turn-label")).to_have_text("Turn 1 of 2")

    page.locator("#chat").get_by_role("button", name="Retry").last.click()
    expect(page.locator("#turn-label")).to_have_text("Turn 2 of 2", timeout=30_000)
    visit.wait_done(2)

    page.locator("#chat").get_by_role("button", name="Edit").first.click()
    editor = page.locator("#chat textarea")
    expect(editor).to_have_value(re.compile("What is"))
    editor.fill("What is 4 + 9?")
    page.locator("#chat").get_by_role("button", name="Submit").click()
    visit.wait_done()
    expect(page.locator('#chat [data-testid="user"]')).to_contain_text("4 + 9")

    page.locator("#chat").get_by_role("button", name="Undo").click()
    expect(visit.box).to_have_value("What is 4 + 9?", timeout=30_000)
    expect(page.locator('#chat [data-testid="user"]')).to_have_count(0)

    visit.send("Hello")
    visit.wait_done()
    page.locator("#clear").click()
    expect(page.locator('#chat [data-testid="user"]')).to_have_count(0)


def test_dark_and_light(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url, dark=True)
    assert visit.page.evaluate("window.expertscope.theme()") == "dark"
    visit.send("What is 538 + 274?")
    visit.wait_done()
    visit.wait_live("live.run !== 'example' && live.rows > 20")
    visit.page.locator("#live-view .xs-token.xs-thinking").nth(4).click()
    expect(visit.page.locator("#token-ladder .main-svg").first).to_be_visible(timeout=30_000)
    visit.shot("desktop-dark", full=True)
    visit.page.locator("#theme").click()
    assert visit.page.evaluate("window.expertscope.theme()") == "light"
    visit.shot("desktop-light", full=True, wait=600)
    visit.reload()
    visit.page.wait_for_function("window.expertscope.theme() === 'light'")
    visit.wait_live("live.rows > 20")  # a page that is left while it loads complains


def test_four_hundred_pixels(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url, width=400, height=800)
    page = visit.page
    visit.shot("phone-start")
    visit.send("What is 538 + 274?")
    visit.wait_done()
    visit.wait_live("live.run !== 'example' && live.rows > 20")
    visit.shot("phone", full=True)
    visit.fits(400)
    chat, live = page.locator("#chat").bounding_box(), page.locator("#live-view").bounding_box()
    assert chat and live and chat["y"] < live["y"] and chat["width"] > 340 and live["width"] > 340


def test_the_keyboard_reaches_everything(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.wait_live("live.rows > 20")
    page.evaluate("document.activeElement.blur()")
    seen: set[str] = set()
    for _ in range(300):  # once around, from wherever the browser begins
        if {"theme", "send", "clear"} <= seen:
            break
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "() => { const e = document.activeElement; const own = e.closest('[id]'); "
                "return (own && own.id) || e.textContent.trim(); }"
            )
        )
    assert {"theme", "send", "clear"} <= seen, seen
    assert any("日本語" in text or text == "header-text" for text in seen)
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('button, a[href], input, textarea, select')].filter(e => e.offsetParent "
        "&& !(e.getAttribute('aria-label') || e.title || e.textContent.trim() || e.labels?.length || e.placeholder "
        "|| e.getAttribute('aria-labelledby'))).map(e => e.outerHTML.slice(0, 120))"
    )
    assert unnamed == []
