"""Two recordings beside each other and the lesson on training, in a real browser: every way that leads there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage
from tests.fake_engine import FakeEngine
from tests.make_stages import write_stages

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
Serve = Callable[..., Served]
STAGES = ("pretraining", "cold-start", "general-rl")
SLOW = 60_000


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings of training stages."""
    return write_stages(tmp_path_factory.mktemp("recorded"), STAGES)


def drawn(page: Page, plot: str) -> None:
    expect(page.locator(f"#{plot} .main-svg").first).to_be_visible(timeout=SLOW)


def chosen(page: Page, side: str, name: str) -> None:
    expect(page.locator(f"#pair-{side} input")).to_have_value(name, timeout=SLOW)


def test_a_card_leads_to_two_recordings_that_are_chosen_swapped_and_linked(
    serve: Serve, open_page: Open, stages: Path
) -> None:
    served = serve(FakeEngine(), traces=stages)
    visit = open_page(served.url)
    page = visit.page
    visit.tab("Library")
    card = page.locator(".lib-card", has_text="Pretraining").filter(has_text="sums")
    card.get_by_role("button", name=re.compile("^Compare with another recording")).click(timeout=SLOW)

    chosen(page, "first", "Pretraining · sums")
    chosen(page, "second", "Long-CoT cold start · sums")
    for plot in ("pair-shared", "pair-load-a", "pair-load-b", "pair-divergence", "pair-difference"):
        drawn(page, plot)
    facts = page.locator("#pair-facts")
    expect(facts).to_contain_text("What they differ in")
    expect(page.locator("#pair-text")).to_contain_text("random routing would give 25 %")
    expect(page.locator("#pair-text .lean span")).to_have_count(41)
    expect(page.get_by_text(re.compile("One pair of recordings describes and proves nothing"))).to_be_visible()

    second, option = page.locator("#pair-second input"), page.get_by_role("option", name="General RL · sums")
    for _ in range(5):  # what is still being drawn may set the field back
        second.click()
        second.fill("general rl · su")  # it can be searched
        with suppress(TimeoutError):
            option.click(timeout=5000)
            break
    expect(facts.locator("td", has_text="General RL")).to_be_visible(timeout=SLOW)
    page.locator("#pair-swap").click()
    chosen(page, "first", "General RL · sums")
    chosen(page, "second", "Pretraining · sums")
    link = facts.locator("[data-link]")
    address = "stages/general-rl/00000-forced-0,stages/pretraining/00000-forced-0"
    expect(link).to_have_attribute("data-link", address, timeout=SLOW)


def test_an_address_opens_two_recordings_on_a_phone(serve: Serve, open_page: Open, stages: Path) -> None:
    served = serve(FakeEngine(), traces=stages)
    address = "stages/general-rl/00000-forced-0,stages/pretraining/00000-forced-0"
    visit = open_page(f"{served.url}/?compare={address}", width=400, height=800, dark=True)
    page = visit.page
    drawn(page, "pair-shared")
    chosen(page, "first", "General RL · sums")
    chosen(page, "second", "Pretraining · sums")
    visit.fits(400)


def test_an_address_of_recordings_that_are_not_there_is_said(serve: Serve, open_page: Open, stages: Path) -> None:
    served = serve(FakeEngine(), traces=stages)
    visit = open_page(f"{served.url}/?compare=stages/fusion/00000-forced-0,x")
    expect(visit.status).to_contain_text("does not come along", timeout=SLOW)


def test_the_lesson_on_training_follows_a_token(serve: Serve, open_page: Open, stages: Path) -> None:
    served = serve(FakeEngine(), traces=stages)
    visit = open_page(served.url)
    page = visit.page
    visit.tab("Learn")
    page.get_by_role("button", name=re.compile("How training formed the routing")).click()
    for plot in ("saturation", "balance", "experts"):
        drawn(page, f"lesson-training-{plot}")
    expect(page.locator("#lesson-training-said")).to_contain_text("random routing would give 25 %")
    page.locator('#lesson-training-tokens button[data-token="0,5"]').click()
    expect(page.locator("#lesson-training-experts .gtitle")).to_contain_text("token 5", timeout=SLOW)
    expect(page.locator('#lesson-training-tokens button[aria-pressed="true"]')).to_have_count(1)


def test_an_answered_set_is_taken_along(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    served = serve(FakeEngine())
    visit = open_page(served.url)
    page = visit.page
    visit.tab("Compare")
    page.get_by_role("tab", name="Many prompts: test").click()
    prompts = [f"How much is {n} + 4, if one counts it out slowly?" for n in range(4)]
    page.locator("#set-prompts textarea").fill("\n".join(prompts))
    page.locator("#set-run").click()
    expect(page.locator("#set-status")).to_contain_text("Done: 4 prompts", timeout=SLOW)
    for kind in ("zip", "html"):
        button = page.locator(f"#set-save-{kind}")
        expect(button).to_be_visible(timeout=SLOW)
        with page.expect_download(timeout=SLOW) as begun:
            button.click()
        assert begun.value.suggested_filename == f"compared-prompts.{kind}"
        begun.value.save_as(tmp_path / f"set.{kind}")
    with ZipFile(tmp_path / "set.zip") as archive:
        assert sum(name.endswith(".safetensors") for name in archive.namelist()) == 8
    assert "<!doctype html>" in (tmp_path / "set.html").read_text(encoding="utf-8").lower()
