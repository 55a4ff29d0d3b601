"""Tests run apart from the user's home and the network, on few threads. Read by pytest before any test is imported."""

from __future__ import annotations

import functools
import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # a slow moment is no fault of what is tested
settings.load_profile("shared machine")

THREADS = "1"


def isolate(environ: Any, home: Path) -> None:
    """Point every cache and setting in ``environ`` at ``home``, and switch off what would use the network."""
    user_home = Path(environ.get("HOME") or Path.home())
    caches = {"darwin": "Library/Caches"}.get(sys.platform, ".cache")
    environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(user_home / caches / "ms-playwright"))
    for name in [name for name in environ if name.startswith(("EXPERTSCOPE_", "GRADIO_", "HF_", "TRANSFORMERS_"))]:
        del environ[name]
    environ.update(
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_CONFIG_HOME=str(home / "config"),
        XDG_DATA_HOME=str(home / "data"),
        HF_HOME=str(home / "huggingface"),
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TRANSFORMERS_OFFLINE="1",
        GRADIO_ANALYTICS_ENABLED="False",
        GRADIO_TEMP_DIR=str(home / "gradio"),
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS=THREADS,
        MKL_NUM_THREADS=THREADS,
        OPENBLAS_NUM_THREADS=THREADS,
    )


HOME = Path(tempfile.mkdtemp(prefix="expertscope-tests-"))
isolate(os.environ, HOME)  # libraries read these when they are imported, before any fixture runs


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Connections leave this process only for addresses of this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(original: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(str(address[0])):
                raise OSError(f"tests may not connect to {address[0]}")
            return original(self, address)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(connect))
        patch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
        yield


def is_local(host: str) -> bool:
    """Whether ``host`` is a loopback name or address."""
    if host in ("localhost", "", "0.0.0.0", "::"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser of all tests that need one: Playwright starts once in a process."""
    from playwright.sync_api import sync_playwright

    from tests.browser import LAUNCH_ARGS, find_chromium

    try:
        path = find_chromium()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=LAUNCH_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is read once in the test, however often it is opened."""
    from app.engine import opening

    monkeypatch.setattr(opening, "load_model", functools.cache(opening.load_model))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """The command line in this process: arguments → exit code, standard output, standard error."""
    from app.cli import main

    def call(*arguments: Any) -> tuple[Any, str, str]:
        try:
            code: Any = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call
