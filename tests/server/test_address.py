"""The address that a class joins under: what a browser sees, where that leads, and its QR code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from analysis.errors import BadValue
from app.server.address import Invitation, invitation, is_this_machine, network_address, qr_code


@pytest.mark.parametrize(
    ("seen", "address"),
    [
        ("https://somebody-expertscope.hf.space/?present=2#x", "https://somebody-expertscope.hf.space/"),
        ("http://192.168.1.20:7860/ja?trace=a", "http://192.168.1.20:7860/ja"),
        ("https://school.example/tools/expertscope/", "https://school.example/tools/expertscope/"),
        ("http://user:secret@school.example:80", "http://school.example:80/"),
        ("http://[2001:db8::7]:7860/", "http://[2001:db8::7]:7860/"),
    ],
)
def test_others_join_under_the_address_in_the_browser(seen: str, address: str) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        assert invitation(seen, host, "192.0.2.7") == Invitation(address, "open")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "demo.localhost", "0.0.0.0", "127.3.2.1"])
def test_an_address_of_this_machine_alone_is_told_apart(name: str) -> None:
    seen = f"http://{name}:7861/zh?present=1"
    assert invitation(seen, "127.0.0.1", "192.0.2.7") == Invitation("", "closed")
    assert invitation(seen, "0.0.0.0", "192.0.2.7") == Invitation("http://192.0.2.7:7861/zh", "network")
    assert invitation(seen, "0.0.0.0", None) == Invitation("", "unknown")


@pytest.mark.parametrize("name", ["192.168.0.1", "localhost.example", "school.example", "fe80::1", "", "127.0.0"])
def test_other_names_are_not(name: str) -> None:
    assert not is_this_machine(name)


@pytest.mark.parametrize(
    "seen", [None, 7, "", "school.example", "javascript:alert(1)", "file:///etc", "http://", "http://a:b/", "x" * 501]
)
def test_what_is_no_address_is_refused(seen: object) -> None:
    with pytest.raises(BadValue):
        invitation(seen, "127.0.0.1", None)


def test_the_address_in_the_network_is_a_number_or_nothing() -> None:
    found = network_address()
    assert found is None or (re.fullmatch(r"\d+(\.\d+){3}", found) and not is_this_machine(found))


def test_the_code_is_black_on_white_with_a_quiet_zone() -> None:
    drawn = ElementTree.fromstring(qr_code("http://192.168.1.20:7860/"))
    size = [int(x) for x in str(drawn.get("viewBox")).split()]
    ground, dots = drawn.iter("path")
    assert size == [0, 0, 33, 33]  # version 2: 25 modules, and four on each side
    assert ground.get("fill") == "#fff" and str(ground.get("d")) == "M0 0h33v33h-33z"
    assert dots.get("stroke") == "#000" and str(dots.get("d")).startswith("M4 4.5h7")  # the first finder pattern
    assert not [text for text in drawn.itertext() if text.strip()]
    assert qr_code("http://192.168.1.21:7860/") != qr_code("http://192.168.1.20:7860/")
