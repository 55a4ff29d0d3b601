"""The pace of an answer, in a browser: step by step with what each token was drawn from, and changed while it runs."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]


def held(visit: WatchedPage) -> int:
    """How many tokens there are, once none has come for a while."""
    visit.page.wait_for_function(
        """() => {
            const [live, now] = [window.__expertscope_live, performance.now()];
            if (live.tokens !== window.seenTokens) [window.seenTokens, window.seenAt] = [live.tokens, now];
            return now - window.seenAt > 800;
        }"""
    )
    return int(visit.live()["tokens"])


def test_step_by_step_and_then_on_at_once(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    expect(page.locator("#next-token")).to_be_hidden()
    page.get_by_label("step by step").first.check()
    expect(page.locator("#next-token")).to_be_visible()
    expect(page.locator("#drawn")).to_contain_text("each press shows one token")
    expect(page.locator("#next-token")).to_be_disabled()  # there is no answer yet
    visit.send("What is 38 + 27?")
    visit.wait_live("live.run !== 'example' && live.tokens > 5")
    before = held(visit)  # nothing comes by itself
    page.locator("#next-token").click()
    visit.wait_live(f"live.tokens === {before + 1}")
    expect(page.locator("#drawn caption")).to_contain_text("was drawn from these")
    expect(page.locator("#drawn tr.taken")).to_have_count(1)
    page.locator("#turn-label").click()
    for more in (2, 3, 4):
        page.keyboard.press("n")
        visit.wait_live(f"live.tokens === {before + more}")
    visit.wait_live("live.rows === live.tokens")  # the token's own routing is there with it
    visit.shot("pace-step-light")
    page.locator("#box textarea").fill("n")  # written, not pressed
    page.wait_for_timeout(300)
    assert visit.live()["tokens"] == before + 4
    page.get_by_label("real time").first.check()
    visit.wait_done()
    expect(page.locator("#next-token")).to_be_hidden()
    expect(visit.answers.last).to_contain_text(re.compile(r"\d"))
    trace = bundled.services.store.get(visit.live()["run"])
    assert trace.num_rows == trace.num_tokens - 1 and trace.provenance["finish_reason"] == "stop"


def test_the_pace_may_be_changed_to_a_step_while_it_runs(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url, dark=True)
    page = visit.page
    page.get_by_label("3/s", exact=True).first.check()
    visit.send("What is 74 × 6?")
    visit.wait_live("live.run !== 'example' && live.rows > 14")
    page.get_by_label("step by step").first.check()
    expect(page.locator("#next-token")).to_be_visible()
    before = held(visit)
    page.keyboard.press("n")
    visit.wait_live(f"live.tokens === {before + 1}")
    expect(page.locator("#drawn tr.taken")).to_have_count(1)
    visit.shot("pace-step-dark")
    page.locator("#stop").click()
    visit.wait_done()
    expect(page.locator("#next-token")).to_be_disabled()
    assert visit.live()["tokens"] <= before + 2
