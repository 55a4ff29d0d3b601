"""Finds the Chromium that drives the page in tests; run as a script, installs one where there is none.

Knows where browsers live on a machine. Does not know the page or what is tested on it. Usage in a test::

    browser = playwright.chromium.launch(executable_path=find_chromium(), args=LAUNCH_ARGS)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LAUNCH_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOT_FOUND = (
    "The browser tests need a Chromium and none could be installed: put `chromium` or `google-chrome` on the PATH, "
    "or name one by the variable CHROMIUM."
)


def find_chromium() -> str:
    """Path of a Chromium that runs: the one named by ``CHROMIUM``, one on the PATH, or Playwright's own.

    Raises:
        FileNotFoundError: there is none; the message says what to do.
    """
    named = os.environ.get("CHROMIUM")
    for candidate in [named] if named else _candidates():
        if candidate and _runs(candidate):
            return candidate
    raise FileNotFoundError(f"CHROMIUM={named} does not run." if named else NOT_FOUND)


def install_chromium() -> str:
    """Path of a Chromium, installed if need be: by the machine's package manager, else by Playwright.

    Raises:
        FileNotFoundError: there is none and none could be installed.
    """
    installers: tuple[Callable[[], None], ...] = (lambda: None, _install_by_apt, _install_by_playwright)
    for install in installers:
        install()
        try:
            return find_chromium()
        except FileNotFoundError:
            if os.environ.get("CHROMIUM"):
                raise
    raise FileNotFoundError(NOT_FOUND)


def _install_by_apt() -> None:
    """Only where that asks no one for a password."""
    if not shutil.which("apt-get"):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and (not shutil.which("sudo") or not _succeeds(["sudo", "-n", "true"], 10)):
        return
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    print("Installing the package chromium for the browser tests …", flush=True)
    _succeeds([*apt, "update"], 300)
    _succeeds([*apt, "install", "-y", "--no-install-recommends", "chromium"], 900)


def _install_by_playwright() -> None:
    print("Installing Playwright's Chromium for the browser tests …", flush=True)
    _succeeds([sys.executable, "-m", "playwright", "install", "chromium"], 900)


def _candidates() -> Iterator[str | None]:
    yield from map(shutil.which, NAMES)
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    # In a process of its own: a test that already drives Playwright cannot start it twice.
    run = subprocess.run([sys.executable, "-c", ask], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    yield run.stdout.strip() or None


def _runs(path: str) -> bool:
    """A package may install a program that only says that another must be installed."""
    return _succeeds([path, "--version", "--no-sandbox"], 60, quiet=True)


def _succeeds(command: list[str], seconds: float, quiet: bool = False) -> bool:
    output = subprocess.DEVNULL if quiet else None
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


if __name__ == "__main__":
    try:
        print(f"Browser for the tests: {install_chromium()}")
    except FileNotFoundError as error:
        sys.exit(str(error))
