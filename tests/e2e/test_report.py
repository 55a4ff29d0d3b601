"""A report in a real browser, without a network: nothing goes wrong, pictures are drawn, the table can be searched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from analysis.report import Options, write_report
from tests.e2e.watched_page import screenshot
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace

pytestmark = pytest.mark.e2e
HOSTILE = '</script><script>hacked = 1</script><a href="https://example.org">x</a><img src=x onerror="hacked = 1">'


def trace(number: int, line: dict[str, Any]) -> Any:
    made = make_trace(rows=100, layers=2, experts=40, seed=number, thinking=line["mode"] == "thinking", skew=0)
    ids = made.expert_ids.copy()
    if line["mode"] != "thinking":
        ids[::2, 1] = [3, 5]
    return type(made)(**{**made.__dict__, "expert_ids": ids}).with_provenance(model=HOSTILE)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    lines = both_modes(8)
    for line in lines:
        line |= {"prompt": line["prompt"] + HOSTILE, "kind": f"{line['mode']} {HOSTILE}"}
    write_recording(folder / "rec", lines, trace)
    write_report([folder / "rec"], folder / "report.html", Options(by="kind", permutations=1000))
    return folder / "report.html"


@pytest.fixture
def read(chromium: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """``read(width=…, dark=…)`` → the report, opened from disk without a network; nothing may go wrong in it."""
    problems: list[str] = []
    pages: list[Page] = []

    def run(width: int = 1100, dark: bool = False, **options: Any) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True, **options
        )
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or problems.append(r.url))
        page.goto(report.as_uri())
        return page

    yield run
    for page in pages:
        page.context.close()
    assert problems == []


def drawn(page: Page) -> list[int]:
    """How many marks each picture has."""
    script = """() => [...document.querySelectorAll('.plot')].map(
        (plot) => plot.querySelectorAll('.plot .trace, .heatmaplayer image, .points path, .point').length)"""
    page.wait_for_function("() => [...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))")
    return page.evaluate(script)


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (400, False)])
def test_pictures_are_drawn_at_every_width_and_in_the_dark(read: Callable[..., Page], width: int, dark: bool) -> None:
    page = read(width, dark)
    marks = drawn(page)
    assert len(marks) >= 6 and min(marks) > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.plot')].map((p) => p.getBoundingClientRect().right))"
    )
    assert wide <= width
    colour = page.evaluate("getComputedStyle(document.querySelector('.plot .xtick text, .plot .xtitle')).fill")
    bright = np.mean([int(part) for part in colour[4:-1].split(",")]) > 128
    assert bright == dark, "the pictures' ink is that of the theme"
    screenshot(page, f"report-{width}-{'dark' if dark else 'light'}", full_page=True)


def test_hostile_text_is_text(read: Callable[..., Page]) -> None:
    page = read()
    drawn(page)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img").count() == 0 and page.locator("a[href^=http], a[*|href^=http]").count() == 0
    expect(page.locator("h1")).to_contain_text(HOSTILE[:60])
    page.locator("summary").first.click()
    expect(page.locator("details[open] tbody th + td").first).to_contain_text(HOSTILE)


def test_the_theme_follows_the_reader_and_paper_is_light(read: Callable[..., Page]) -> None:
    page = read(dark=True)
    drawn(page)
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    dark = page.evaluate(ink)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"(before) => {ink} !== before", arg=dark)
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(now) => {ink} === now", arg=dark)
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(f"(now) => {ink} === now", arg=light)
    assert page.locator("nav").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function(f"(now) => {ink} === now", arg=dark)


def test_the_table_is_searched_and_sorted_by_keyboard(read: Callable[..., Page]) -> None:
    page = read()
    rows = page.locator("#experts-table tbody tr:visible")
    expect(rows).to_have_count(50)
    expect(page.locator("#experts-count")).to_have_text("50 of 80 experts shown")
    page.get_by_role("button", name="Show all").press("Enter")
    expect(rows).to_have_count(80)
    page.locator("#experts-layer").select_option("1")
    expect(rows).to_have_count(40)
    page.get_by_label("Expert", exact=True).fill("5")
    expect(rows).to_have_count(1)
    assert rows.first.locator("th, td").nth(1).inner_text() == "5"
    page.get_by_label("Expert", exact=True).fill("")
    page.get_by_label("only q").press("Space")
    few = rows.count()
    assert 0 < few < 40 and rows.locator("td:nth-last-child(2) strong").count() == few
    heading = page.get_by_role("columnheader").filter(has_text="Difference").last
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    values = [float(t.replace("−", "-")) for t in rows.locator("td:nth-child(6)").all_inner_texts()]
    assert values == sorted(values)
    heading.get_by_role("button").press("Enter")
    values = [float(t.replace("−", "-")) for t in rows.locator("td:nth-child(6)").all_inner_texts()]
    assert values == sorted(values, reverse=True) and heading.get_attribute("aria-sort") == "descending"


def test_without_javascript_every_number_is_there(read: Callable[..., Page]) -> None:
    page = read(java_script_enabled=False)
    expect(page.locator("#experts-table tbody tr")).to_have_count(80)
    assert page.locator("#experts-filter").is_hidden() and page.locator("noscript p").is_visible()
    assert page.locator(".plot:visible, button:visible").count() == 0


def test_a_picture_is_saved_as_a_file(read: Callable[..., Page], tmp_path: Path) -> None:
    page = read(accept_downloads=True)
    drawn(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").first.click()
    download.value.save_as(tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()[:200]
