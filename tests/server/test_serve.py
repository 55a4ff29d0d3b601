"""Ports, and what is closed before anyone can connect."""

from __future__ import annotations

import errno
import io
import os
import runpy
import socket
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest

from analysis.errors import BadValue, TraceError
from analysis.words import LANGUAGES, Words
from app.cli import main
from app.server.serve import REQUEST_BYTES, Served, free_port, launch_demo, launch_options, make_demo, make_services
from app.settings import Settings
from tests.fake_engine import FakeEngine
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace


def test_a_port_in_use_gives_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port("127.0.0.1", port)
    assert port < found <= port + 100


def test_port_zero_means_any() -> None:
    assert free_port("127.0.0.1", 0) > 1023


def test_a_host_that_is_no_address_is_named() -> None:
    with pytest.raises(BadValue, match="no-such-host"):
        free_port("no-such-host.invalid", 7860)


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70])
def test_an_address_of_another_machine_is_no_lack_of_ports(host: str) -> None:
    with pytest.raises(BadValue, match="is not an address of this machine"):
        free_port(host, 7860)


def test_a_port_that_may_not_be_used_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(self: socket.socket, address: Any) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(BadValue, match="Port 1000 may not be used"):
        free_port("127.0.0.1", 1000)


@pytest.mark.parametrize(
    ("options", "ours", "host"),
    [((), None, "0.0.0.0"), (("--host", "127.0.0.1"), None, "127.0.0.1"), ((), "127.0.0.1", "127.0.0.1")],
)
def test_a_host_that_was_asked_for_comes_before_the_spaces_own(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], ours: str | None, host: str
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    if ours:
        monkeypatch.setenv("EXPERTSCOPE_HOST", ours)
    seen: list[Settings] = []
    monkeypatch.setattr("app.server.serve.launch", lambda settings, open_browser: seen.append(settings))
    assert main(["serve", *options]) == 0 and seen[0].host == host


def test_a_space_follows_the_settings_and_says_what_is_wrong_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setenv("EXPERTSCOPE_COMPILE", "1")
    monkeypatch.setenv("EXPERTSCOPE_HOST", "no-such-host.invalid")
    monkeypatch.setattr("app.engine.opening.open_engine", lambda *given: asked.append(given) or FakeEngine())
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(Path(__file__).parents[2] / "app.py"), run_name="__main__")
    assert asked == [("", "", True)] and stopped.value.code == 2
    assert capsys.readouterr().err == "app.py: The host 'no-such-host.invalid' is not an address of this machine.\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_that_is_gone_is_named_by_its_link(tmp_path: Path, language: str) -> None:
    write_recording(tmp_path / "gallery", both_modes(1), lambda number, line: make_trace())
    services = make_services(FakeEngine(), Settings(), tmp_path)
    (one, *_), words = services.recordings, Words(language)
    one.path.unlink()
    with pytest.raises(TraceError) as raised:
        services.store.get(one.id)
    said = raised.value.in_words(words)
    assert said == words("errors.shipped_lost", link=one.link) and str(tmp_path) not in said


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_served(host: str) -> None:
    services = make_services(FakeEngine(), Settings(host=host, port=0))
    with redirect_stdout(io.StringIO()) as said:
        served = launch_demo(make_demo(services), services, block=False)
    try:
        assert served.url.startswith("http://[::1]:") and served.url in said.getvalue()
        assert httpx.get(served.url, timeout=30).status_code == 200
    finally:
        served.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    services = make_services(FakeEngine(), Settings(port=0))
    with redirect_stdout(io.StringIO()):
        served = launch_demo(make_demo(services), services, block=False)
    yield served
    served.close()


def test_a_request_may_be_large_but_not_huge(served: Served) -> None:
    def status(content: Any, path: str = "queue/join") -> int:
        url, kind = f"{served.url}/gradio_api/{path}", {"content-type": "application/json"}
        return httpx.post(url, content=content, headers=kind, timeout=60).status_code

    text = b"{}" + b" " * (REQUEST_BYTES - 100)
    no_such_event = status(b"{}")
    assert no_such_event not in (413, 500)
    assert status(text) == no_such_event
    assert status(text + b" " * 200) == 413
    assert status(text[i : i + 1_000_000] for i in range(0, len(text), 1_000_000)) == no_such_event
    assert status(b" " * 1_000_000 for _ in range(9)) == 413  # it does not say its length
    assert status(text + b" " * 200, "upload") != 413


def test_a_visitor_who_asks_is_there(served: Served) -> None:
    sessions = served.demo.app.state_holder
    sessions["someone"].is_closed = sessions["other"].is_closed = True
    with httpx.stream("GET", f"{served.url}/gradio_api/queue/data?session_hash=someone", timeout=30) as answer:
        assert answer.status_code == 200
    assert not sessions["someone"].is_closed and sessions["other"].is_closed


def test_events_are_not_summed_up(served: Served) -> None:
    queue = served.demo._queue
    assert queue.ANALYTICS_MAX_EVENTS == 1 and queue.ANAYLTICS_CACHE_FREQUENCY > 10**6


def test_nothing_is_left_open() -> None:
    options = launch_options(Settings(upload_megabytes=7))
    assert options["max_file_size"] == "14mb"
    for name in ("enable_monitoring", "run_history", "ssr_mode", "share", "mcp_server", "pwa", "show_error"):
        assert options[name] is False
    demo = make_demo(make_services(FakeEngine(), Settings()))
    assert demo._queue.max_size == 2 * Settings().followed
    assert demo.api_open is False


def test_only_two_endpoints_are_public() -> None:
    demo = make_demo(make_services(FakeEngine(), Settings()))
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert public == {"chat", "route_text"}
