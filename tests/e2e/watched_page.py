"""The page as a visitor uses it: by what stands on it. Keeps every error, dialog and request to elsewhere."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from playwright.sync_api import ConsoleMessage, Frame, Locator, Page, Request, expect

LOCAL = ("127.0.0.1", "localhost")
SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"
WANTED = bool(os.environ.get("SCREENSHOTS") or os.environ.get("UPDATE_PICTURES"))
"""Whether pictures of the page are wanted: no test looks at them."""


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether ``condition``, which no page shows, comes to hold in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
    return condition()


def screenshot(part: Page | Locator, name: str, wait: float = 0, **options: bool) -> None:
    """Where the environment asks for screenshots: one of ``part``, ``wait`` milliseconds later."""
    if WANTED:
        (part if isinstance(part, Page) else part.page).wait_for_timeout(wait)
        part.screenshot(path=SCREENSHOTS / f"{name}.png", **options)


class WatchedPage:
    """Wraps a Playwright page; ``problems`` must be empty at the end."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", self._on_console)
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)

    def go(self, url: str) -> None:
        self.page.goto(url)
        expect(self.box).to_be_visible(timeout=60_000)
        expect(self.page.locator("#live-view .xs-live")).to_be_attached(timeout=60_000)

    def reload(self) -> None:
        """Load the page anew."""
        with self._left():
            self.page.reload()
        expect(self.box).to_be_visible(timeout=20_000)

    def follow(self, link: str) -> None:
        """Leave by a link for another page of the program."""
        with self._left(), self.page.expect_navigation():
            self.page.get_by_role("link", name=link).click()
        expect(self.box).to_be_visible(timeout=20_000)

    @contextmanager
    def _left(self) -> Iterator[None]:
        """What the page that is left says of its requests that were cut off is no problem; what the next says is."""
        before = len(self.problems)

        def forget(frame: Frame) -> None:
            if frame == self.page.main_frame:
                del self.problems[before:]
                self.page.remove_listener("framenavigated", forget)

        self.page.on("framenavigated", forget)
        yield

    @property
    def box(self) -> Locator:
        return self.page.locator("#box textarea")

    @property
    def status(self) -> Locator:
        return self.page.locator("#status .status")

    @property
    def answers(self) -> Locator:
        """The answers in the chat, without the thinking panels."""
        return self.page.locator('#chat [data-testid="bot"]:not(:has(.thought-group))')

    @property
    def thinking(self) -> Locator:
        return self.page.locator("#chat .thought-group")

    @property
    def tokens(self) -> Locator:
        return self.page.locator("#live-view .xs-token")

    def send(self, text: str) -> None:
        self.box.fill(text)
        self.page.locator("#send").click()

    def wait_done(self, turns: int = 1, timeout: float = 60_000) -> None:
        """Until turn number ``turns`` was started and is over."""
        expect(self.page.locator('#chat [data-testid="user"]')).to_have_count(turns, timeout=timeout)
        expect(self.page.locator("#status .over")).to_contain_text(re.compile("/(s|秒)"), timeout=timeout)
        expect(self.page.locator("#send")).to_be_enabled()

    def live(self) -> dict[str, Any]:
        """The live view's own counters."""
        return dict(self.page.evaluate("() => ({...window.__expertscope_live})"))

    def wait_live(self, condition: str, timeout: float = 30_000) -> None:
        """Until the JavaScript ``condition`` over ``live`` holds."""
        script = f"() => {{ const live = window.__expertscope_live; return live && ({condition}); }}"
        self.page.wait_for_function(script, timeout=timeout)

    def token(self, index: int) -> Locator:
        """A token of the strip; it must be in view."""
        return self.page.locator(f'#live-view .xs-token[data-i="{index}"]')

    def tab(self, name: str) -> None:
        """Open a tab below; on a narrow page it may stand in the menu of those that do not fit."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        listed = self.page.locator("#below .overflow-dropdown button", has_text=re.compile(f"^{re.escape(name)}$"))
        expect(tab.or_(listed).first).to_be_attached(timeout=60_000)
        self.frames()
        self.page.wait_for_timeout(300)  # which tabs fit is measured once they stand
        if listed.count():
            listed.locator("xpath=../../button").click()
            listed.click()
        else:
            tab.click()
        self.frames()  # what was written into a field of a tab that comes up would be lost

    def frames(self) -> None:
        """Until what was begun has been drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def still(self, selector: str, ms: int = 500) -> None:
        """Until a part has stood in one place for a while."""
        self.page.evaluate("() => { window.__still = {}; }")
        self.page.wait_for_function(
            """([selector, ms]) => {
                const [part, seen, now] = [document.querySelector(selector), window.__still, performance.now()];
                const at = part && JSON.stringify(part.getBoundingClientRect());
                if (!at || seen.at !== at) [seen.at, seen.since] = [at, now];
                return !!at && now - seen.since > ms;
            }""",
            arg=[selector, ms],
            timeout=60_000,
        )

    def fits(self, width: int) -> None:
        """Until nothing is wider than the window."""
        self.page.wait_for_function("(width) => document.documentElement.scrollWidth <= width", arg=width)

    def shot(self, name: str, full: bool = False, wait: float = 0) -> None:
        screenshot(self.page, name, wait, full_page=full)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text[:300]}")

    def _on_dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        address = urlparse(request.url)
        if address.scheme not in ("data", "blob") and address.hostname not in LOCAL:
            self.problems.append(f"request to {request.url[:200]}")
