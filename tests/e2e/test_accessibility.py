"""What axe finds on every tab, in every language and theme: nothing serious."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.server.serve import Served
from tests.e2e.watched_page import WatchedPage

pytestmark = pytest.mark.e2e
Open = Callable[..., WatchedPage]
TABS = "#below > .tab-wrapper [role=tab]"
PANEL = "#below > [role=tabpanel]:visible"
STARTED = ", ".join(f"{PANEL} {part}:visible" for part in (".js-plotly-plot", "table", ".status", "textarea"))


def settled(page: Page) -> list[tuple[str, str]]:
    """Serious findings that stay: what is being drawn anew is pale for a moment."""
    for _ in range(8):
        problems = [p for p in Axe().run(page).response["violations"] if p["impact"] in ("serious", "critical")]
        if not problems:
            return []
        page.wait_for_timeout(2500)
    return [(problem["id"], str([node["target"] for node in problem["nodes"][:3]])) for problem in problems]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["", "ja", "zh"], ids=["en", "ja", "zh"])
def test_no_serious_finding_on_any_tab(bundled: Served, open_page: Open, path: str, dark: bool) -> None:
    visit = open_page(f"{bundled.url.rstrip('/')}/{path}", dark=dark)
    page = visit.page
    visit.wait_live("live.rows > 20")
    tabs = page.locator(TABS)
    found = []
    for number in range(tabs.count()):
        if not tabs.nth(number).is_visible():
            continue
        name = tabs.nth(number).inner_text()
        tabs.nth(number).click()
        expect(page.locator(STARTED).first).to_be_visible(timeout=20_000)
        expect(page.locator(".empty:visible")).to_have_count(0, timeout=20_000)  # plots that are on their way
        found += [(name, *problem) for problem in settled(page)]
    assert not found
