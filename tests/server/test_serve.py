"""Ports, and what is closed before anyone can connect."""

from __future__ import annotations

import io
import socket
from contextlib import redirect_stdout

import httpx
import pytest

from analysis.errors import BadValue
from app.server.serve import free_port, launch_demo, launch_options, make_demo, make_services
from app.settings import Settings
from tests.fake_engine import FakeEngine


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


def test_nothing_is_left_open() -> None:
    options = launch_options(Settings(upload_megabytes=7))
    assert options["max_file_size"] == "7mb"
    for name in ("enable_monitoring", "run_history", "ssr_mode", "share", "mcp_server", "pwa", "show_error"):
        assert options[name] is False
    demo = make_demo(make_services(FakeEngine(), Settings()))
    assert demo._queue.max_size == 2 * Settings().followed
    assert demo.api_open is False


def test_only_two_endpoints_are_public() -> None:
    demo = make_demo(make_services(FakeEngine(), Settings()))
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert public == {"chat", "route_text"}
