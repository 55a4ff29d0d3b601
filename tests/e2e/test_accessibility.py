"""What axe finds on the page and on every tab of it, in every language and in the dark: nothing serious."""

from __future__ import annotations

import time
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


def settled(page: Page, part: str | None = None) -> list[tuple[str, str]]:
    """Serious findings in ``part`` of the page that stay: what is being drawn anew is pale for a moment."""
    end = time.monotonic() + 20
    while True:
        found = Axe().run(page, context=part).response
        assert found["passes"], f"nothing was looked at in {part}"
        problems = [p for p in found["violations"] if p["impact"] in ("serious", "critical")]
        if not problems or time.monotonic() > end:
            return [(problem["id"], str([node["target"] for node in problem["nodes"][:3]])) for problem in problems]
        page.wait_for_timeout(500)


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    ("path", "dark"), [("", False), ("ja", False), ("zh", False), ("", True)], ids=["en", "ja", "zh", "en-dark"]
)
def test_no_serious_finding_on_any_tab(bundled: Served, open_page: Open, path: str, dark: bool) -> None:
    visit = open_page(f"{bundled.url.rstrip('/')}/{path}", dark=dark)
    page = visit.page
    visit.wait_live("live.rows > 20")
    found = [("page", *problem) for problem in settled(page)]
    tabs = page.locator(TABS)
    seen = 0
    for number in range(tabs.count()):
        if not tabs.nth(number).is_visible():
            continue
        name, seen = tabs.nth(number).inner_text(), seen + 1
        tabs.nth(number).click()
        expect(tabs.nth(number)).to_have_attribute("aria-selected", "true")  # the panel is no longer that of the last
        expect(page.locator(STARTED).first).to_be_visible(timeout=20_000)
        expect(page.locator(".empty:visible")).to_have_count(0, timeout=20_000)  # plots that are on their way
        found += [(name, *problem) for problem in settled(page, "#below")]
    assert seen == 9 and not found
