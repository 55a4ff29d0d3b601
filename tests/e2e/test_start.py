"""The ways to start the page: each prints its address and answers there; a user's mistake is one line."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(*command: str, **environ: str) -> Iterator[str]:
    """The address that ``command`` prints in time."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # `gradio app.py` starts the server in a process of its own
    )
    killer = threading.Timer(200, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            found = re.search(r"ExpertScope shows .* at (http://\S+)", line)
            if found:
                yield found[1]
                return
        pytest.fail("no address was printed:\n" + "".join(said))
    finally:
        killer.cancel()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("command", [("app.py",), ("-m", "app", "serve"), ("-m", "gradio", "app.py")])
def test_the_page_is_served_in_each_way(command: tuple[str, ...]) -> None:
    with started(*command, EXPERTSCOPE_PORT="0") as url:
        assert httpx.get(url, timeout=60).status_code == 200
        config = httpx.get(f"{url}/config", timeout=60).json()
        assert {d["api_name"] for d in config["dependencies"]} >= {"chat", "route_text"}


def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPERTSCOPE_MODEL", "/no/such/folder")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    said = capsys.readouterr()
    assert stopped.value.code == 2 and said.out == ""
    assert "/no/such/folder" in said.err and said.err.count("\n") == 1
