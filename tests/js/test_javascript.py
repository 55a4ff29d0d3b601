"""The JavaScript of the page, module by module, in the browser that the tests have: ``*.test.js`` beside this file.

Every test of those files is one here. A file runs once, in an empty page that is served the repository's own files and
nothing else.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = sorted(path.name for path in HERE.glob("*.test.js"))
TESTED = ("app/ui/live/web", "app/ui/shelves/web")
SITE = "http://localhost"
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
EMPTY = "<!doctype html><html><head><meta charset='utf-8'></head><body></body></html>"

Results = dict[str, str | None]


@cache
def names_in(file: str) -> tuple[str, ...]:
    """The names of the tests in a file, in its order."""
    return tuple(re.findall(r'^test\("([^"]+)"', (HERE / file).read_text(encoding="utf-8"), re.M))


def serve(route: Route) -> None:
    path = ROOT / route.request.url.removeprefix(SITE).split("?")[0].lstrip("/")
    if path == ROOT:
        route.fulfill(body=EMPTY, content_type="text/html")
    elif path.is_file() and path.suffix in KINDS:
        route.fulfill(body=path.read_bytes(), content_type=f"{KINDS[path.suffix]}; charset=utf-8")
    else:
        route.fulfill(status=404, body="")


@pytest.fixture(scope="session")
def outcomes(chromium: Browser) -> dict[str, Results]:
    """File → name of a test → what went wrong, or None; a file's results are added when they are first asked for."""
    return {}


@pytest.fixture
def results(request: pytest.FixtureRequest, chromium: Browser, outcomes: dict[str, Results]) -> Results:
    file = request.param
    if file not in outcomes:
        page = chromium.new_page(viewport={"width": 1000, "height": 800})
        page.route("**/*", serve)
        page.goto(f"{SITE}/")
        script = "async (file) => { await import(file); return (await import('/tests/js/harness.js')).runAll(); }"
        found = page.evaluate(script, f"/tests/js/{file}")
        page.close()
        outcomes[file] = {one["name"]: one["problem"] for one in found}
    return outcomes[file]


CASES = [
    pytest.param(file, name, id=f"{file.removesuffix('.test.js')}: {name}") for file in FILES for name in names_in(file)
]


@pytest.mark.parametrize(("results", "name"), CASES, indirect=["results"])
def test_js(results: Results, name: str) -> None:
    assert name in results, f"it did not run; those that did: {sorted(results)}"
    if results[name] is not None:
        pytest.fail(str(results[name]), pytrace=False)


@pytest.mark.parametrize(("results", "file"), [(file, file) for file in FILES], ids=FILES, indirect=["results"])
def test_every_test_of_a_file_is_reported(results: Results, file: str) -> None:
    assert list(results) == list(names_in(file))


def test_every_module_is_tested() -> None:
    """A module of the page is imported by a test file."""
    text = "".join((HERE / file).read_text(encoding="utf-8") for file in FILES)
    modules = [path.relative_to(ROOT).as_posix() for folder in TESTED for path in (ROOT / folder).glob("*.js")]
    modules += [path.relative_to(ROOT).as_posix() for path in (ROOT / "app/ui").glob("*.js")]
    assert sorted(module for module in modules if f"/{module}" not in text) == []
