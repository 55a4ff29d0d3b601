"""Servers and a browser for the end-to-end tests: fake engines to provoke trouble, else the bundled model."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.engine.catalogue import TRACES
from app.server.serve import Served, launch_demo, make_demo, make_services
from app.settings import Settings
from tests.e2e.watched_page import WatchedPage, wait_until
from tests.fake_engine import FakeEngine

expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of the whole page that fails on a busy machine is tried once more; the summary says that it was."""
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.flaky(reruns=1))
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(300, func_only=True))  # of each try


def start(engine: Any, traces: Path = TRACES, **settings: Any) -> Served:
    services = make_services(engine, Settings(**{"port": 0, **settings}), traces)
    with redirect_stdout(io.StringIO()):
        return launch_demo(make_demo(services), services, block=False)


class Current:
    """The engine of a server that tests use one after the other: that of the test that runs."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


@pytest.fixture(scope="session")
def shared() -> Iterator[dict[Any, tuple[Served, Current]]]:
    """Servers that were started, by what the page shows of an engine and by what comes along."""
    kept: dict[Any, tuple[Served, Current]] = {}
    yield kept
    for served, _ in kept.values():
        served.close()


@pytest.fixture
def serve(shared: dict[Any, tuple[Served, Current]]) -> Iterator[Callable[..., Served]]:
    """``serve(engine, max_waiting=…)`` → a running server; what comes along is in ``traces``.

    A start takes seconds, so tests share the servers of fake engines that look alike: another engine does not make
    another page. Settings, ``own``, and a second one in a test give a server that is closed after the test.
    """
    mine: list[Served] = []
    taken: set[Any] = set()

    def run(engine: Any, traces: Path = TRACES, own: bool = False, **settings: Any) -> Served:
        look = engine.spec, engine.capabilities, traces
        if own or settings or look in taken:
            mine.append(start(engine, traces, **settings))
            return mine[-1]
        taken.add(look)
        if look in shared and not wait_until(lambda: shared[look][0].services.scheduler.length == 0):
            shared.pop(look)[0].close()  # something runs on that a test left behind
        if look not in shared:
            current = Current(engine)
            shared[look] = start(current, traces), current
        served, current = shared[look]
        current.engine = engine
        return served

    yield run
    for one in mine:
        one.close()


@pytest.fixture(scope="session")
def bundled() -> Iterator[Served]:
    """The page on the bundled checkpoint."""
    from app.engine.opening import open_engine

    served = start(open_engine())
    yield served
    served.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., WatchedPage]]:
    """``open_page(url, width=…, height=…, dark=…)`` → a page in a context of its own. At the end of the test no page
    may have seen an error, a dialog or a request to elsewhere."""
    opened: list[tuple[Page, WatchedPage]] = []

    def run(url: str, *, width: int = 1440, height: int = 900, dark: bool = False, **options: Any) -> WatchedPage:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        page = context.new_page()
        watched = WatchedPage(page)
        opened.append((page, watched))
        watched.go(url)
        return watched

    yield run
    problems = [problem for _, watched in opened for problem in watched.problems]
    for page, _ in opened:
        page.context.close()
    assert problems == []
