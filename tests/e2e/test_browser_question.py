"""From the first page to "which experts changed when it thought, and is that real?", by clicks; and the lessons."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.server.serve import Served
from tests.e2e.watched_page import SCREENSHOTS, WatchedPage

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "images" / "question"


def picture(visit: WatchedPage, name: str, about: str) -> None:
    """A screenshot with ``about`` in view; also in docs/ where the environment asks for that (see docs/question.md)."""
    visit.page.locator(about).evaluate("(part) => part.scrollIntoView({block: 'start'})")
    visit.shot(f"question-{name}", wait=400)
    if os.environ.get("UPDATE_PICTURES"):
        DOCS.mkdir(parents=True, exist_ok=True)
        shutil.copy(SCREENSHOTS / f"question-{name}.png", DOCS / f"{name}.png")


@pytest.mark.timeout(480)
def test_four_clicks_to_what_changed_and_whether_it_is_real(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url, width=1280, height=860)
    page = visit.page
    visit.tab("Compare")
    picture(visit, "1-compare", "#compare-kinds")
    visit.tab("Many prompts: test")
    picture(visit, "2-many-prompts", "#compare-kinds")
    page.locator("#set-run").click()
    finding = page.locator("#set-finding .finding p:not(.hint)")
    expect(page.locator("#set-status")).to_contain_text(re.compile(r"Prompt \d+ of 24"), timeout=60_000)
    picture(visit, "3-answering", "#set-run")
    expect(finding).to_have_count(3, timeout=300_000)
    first = finding.first.inner_text()
    assert "tested experts" in first and "thinking" in first
    for plot in ("set-dumbbell", "set-divergence", "set-map"):
        expect(page.locator(f"#{plot} .main-svg").first).to_be_visible(timeout=20_000)
    visit.shot("compare-many", full=True)
    picture(visit, "4-finding", "#set-finding")
    page.locator("#set-control").get_by_text("Same tokens").click()
    expect(finding.first).to_contain_text("still differ among the same tokens", timeout=30_000)
    expect(page.locator("#set-dumbbell .gtitle")).to_be_visible()
    picture(visit, "5-same-tokens", "#set-finding")
    visit.shot("compare-many-control", full=True)


def test_a_set_can_be_stopped_and_what_is_there_is_tested(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.tab("Compare")
    visit.tab("Many prompts: test")
    page.locator("#set-run").click()
    expect(page.locator("#set-status")).to_contain_text(re.compile(r"Prompt ([4-9]|1\d) of 24"), timeout=60_000)
    page.locator("#set-stop").click()
    expect(page.locator("#set-status .over")).to_contain_text("Stopped", timeout=20_000)
    expect(page.locator("#set-finding .finding p").first).to_be_visible(timeout=20_000)
    expect(page.locator("#set-run")).to_be_enabled()


@pytest.mark.timeout(300)
def test_lessons_use_the_live_model(bundled: Served, open_page: Open) -> None:
    visit = open_page(bundled.url)
    page = visit.page
    visit.wait_live("live.rows > 20")
    visit.tab("Learn")
    expect(page.locator("#lesson-router-steps table")).to_be_visible(timeout=30_000)
    expect(page.locator("#lesson-router-steps tr.marked")).to_have_count(8)
    for lesson in ("balance", "contexts", "budget", "architecture", "literature"):
        page.locator(f"#lesson-{lesson} > button").click()
    expect(page.locator("#lesson-balance-figure .main-svg").first).to_be_visible(timeout=30_000)
    page.locator("#lesson-contexts-go").click()
    expect(page.locator("#lesson-contexts-figure .main-svg").first).to_be_visible(timeout=20_000)
    page.locator("#lesson-budget-run").click()
    expect(page.locator("#lesson-budget-answers tbody tr")).to_have_count(7, timeout=60_000)
    expect(page.locator("#lesson-architecture .tower")).to_contain_text("64 experts")
    visit.shot("learn", full=True)
