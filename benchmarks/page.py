"""How soon the page shows what the model does: `python -m benchmarks.page [--turns N] [--json]`.

A real browser opens the page as a visitor does who was never there: when the first text or picture stands (first
contentful paint), when the largest does, and when the example's first picture is drawn on the canvas. Then it sends the
suggested prompts to the bundled model, one turn after the other: the time from the click to the first generated token
on the page, and from the moment a routing row is handed to the page to its picture. Knows the page from outside only.
"""

from __future__ import annotations

import argparse
import io
import statistics
from contextlib import redirect_stdout
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from app.engine.catalogue import SUGGESTIONS
from app.engine.opening import open_engine
from app.server.serve import launch_demo, make_demo, make_services
from app.settings import Settings
from benchmarks.common import machine, report
from tests.browser import LAUNCH_ARGS, find_chromium

WATCH = """() => {
  const marks = (window.__first = { sent: performance.now(), chat: null, strip: null });
  const look = () => {
    const text = document.querySelector("#chat .thought-group .content, #chat [data-testid='bot']");
    if (marks.chat === null && text && text.textContent.trim()) marks.chat = performance.now() - marks.sent;
    const token = document.querySelector("#live-view .xs-thinking.xs-token, #live-view .xs-answer.xs-token");
    if (marks.strip === null && token) marks.strip = performance.now() - marks.sent;
    if (marks.chat === null || marks.strip === null) requestAnimationFrame(look);
  };
  look();
}"""
VISITS = 5
PAINTED = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => resolve({
    first: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    largest: list.getEntries().at(-1).startTime,
    canvas: window.__drawn,
  })).observe({ type: "largest-contentful-paint", buffered: true });
})"""
FIRST_PICTURE = """() => {
  const look = () => {
    if (window.__expertscope_live?.frames > 0) window.__drawn = performance.now();
    else requestAnimationFrame(look);
  };
  look();
}"""
OVER = "() => { const s = document.querySelector('#status .over'); return s && s.textContent.includes(' s · '); }"


def one_visit(browser: Browser, url: str) -> dict[str, float]:
    """Seconds from the request to the ``first`` and the ``largest`` contentful paint and to the picture on the
    ``canvas``, with nothing in the browser's cache."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(f"({FIRST_PICTURE})()")
    page.goto(url)
    page.wait_for_function("() => window.__drawn !== undefined", timeout=60_000)
    page.wait_for_timeout(1000)  # something larger may still come
    found = page.evaluate(PAINTED)
    page.context.close()
    return {name: moment / 1000 for name, moment in found.items()}


def one_turn(page: Page, prompt: str) -> tuple[float, float, list[float]]:
    """(seconds to the first token in the chat, seconds to it in the strip, milliseconds of every drawn row)."""
    page.reload()
    page.wait_for_selector("#box textarea")
    page.wait_for_function("() => window.__expertscope_live && window.__expertscope_live.run === 'example'")
    page.wait_for_timeout(2500)  # what the tab below draws first stands, too
    page.evaluate("() => { window.__expertscope_live.latencies = []; }")
    page.fill("#box textarea", prompt)
    page.evaluate("() => document.querySelectorAll('#live-view .xs-token').forEach((token) => token.remove())")
    page.evaluate(WATCH)
    page.click("#send")
    page.wait_for_function(OVER, timeout=60_000)
    page.wait_for_function("() => window.__first.chat !== null && window.__first.strip !== null")
    marks = page.evaluate("() => window.__first")
    return marks["chat"] / 1000, marks["strip"] / 1000, page.evaluate("() => window.__expertscope_live.latencies")


def measure(turns: int) -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    services = make_services(open_engine(), Settings(port=0))
    with redirect_stdout(io.StringIO()):
        served = launch_demo(make_demo(services), services, block=False)
    chat, strip, latencies = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH_ARGS)
        visits = [one_visit(browser, served.url) for _ in range(VISITS)]
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(served.url)
        for turn in range(turns):
            first_chat, first_strip, drawn = one_turn(page, SUGGESTIONS[turn % 4])
            chat.append(first_chat)
            strip.append(first_strip)
            latencies += drawn
        browser.close()
    with redirect_stdout(io.StringIO()):
        served.close()
    rows = []
    for name, values, unit in (
        ("first_contentful_paint", [visit["first"] for visit in visits], "s"),
        ("largest_contentful_paint", [visit["largest"] for visit in visits], "s"),
        ("first_picture", [visit["canvas"] for visit in visits], "s"),
        ("first_token_chat", chat, "s"),
        ("first_token_live", strip, "s"),
        ("row_to_picture", latencies, "ms"),
    ):
        ordered = sorted(values)
        rows += [
            {"name": f"{name}_p50", "value": round(statistics.median(ordered), 3), "unit": unit, "n": len(ordered)},
            {"name": f"{name}_p95", "value": round(ordered[int(0.95 * (len(ordered) - 1))], 3), "unit": unit},
            {"name": f"{name}_max", "value": round(ordered[-1], 3), "unit": unit},
        ]
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="turns to send (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    if given.turns < 1:
        parser.error(f"--turns must be at least 1, not {given.turns}")
    result = {"benchmark": "page", "machine": machine(), "rows": measure(given.turns)}
    report(result, as_json=given.json)


if __name__ == "__main__":
    main()
