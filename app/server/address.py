"""The address under which others reach this page, and the QR code of an address.

Knows addresses, and which of them lead to other machines. Does not know the page nor how it is launched.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import segno

from analysis.errors import BadValue

MOST = 500  # characters of an address
EVERYWHERE = ("0.0.0.0", "::", "")
"""Hosts to listen on that stand for every network of the machine."""


@dataclass(frozen=True)
class Invitation:
    """Where others find the page.

    Attributes:
        address: what to type; "" where it leads nowhere but to this machine and no other is known.
        kind: "open": as the visitor sees it; "network": this machine's address in its network; "closed": the server
            listens to this machine alone; "unknown": it listens to everyone, but its address is not known.
    """

    address: str
    kind: str


def invitation(seen: object, host: str, network: str | None) -> Invitation:
    """Where others find the page that a browser has under ``seen``, without what follows its path.

    Args:
        seen: the address in the visitor's browser; it comes from outside.
        host: what the server listens on.
        network: the machine's address in its network, where that is known and may be told.

    Raises:
        BadValue: it is no address of a page.
    """
    text = seen if isinstance(seen, str) and len(seen) <= MOST else ""
    try:
        parts = urlsplit(text)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    if not name or not text.startswith(("http://", "https://")):
        raise BadValue(
            f"{text[:60]!r} is not the address of a page; expected one that begins with http:// or https://."
        )
    if not is_this_machine(name):
        return Invitation(_address(parts.scheme, name, port, parts.path), "open")
    if host not in EVERYWHERE:
        return Invitation("", "closed")
    if network is None:
        return Invitation("", "unknown")
    return Invitation(_address(parts.scheme, network, port, parts.path), "network")


def is_this_machine(name: str) -> bool:
    """Whether a host's name or number leads every machine to itself."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified


def network_address() -> str | None:
    """This machine's address in the network it would reach others by; None where it has none. Nothing is sent: a
    socket for datagrams is only pointed at an address that is set aside for documentation (RFC 5737)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if is_this_machine(found) else found


def qr_code(address: str) -> str:
    """The QR code of ``address`` as an SVG element without text: black on white whatever surrounds it, with the four
    modules of quiet zone that ISO/IEC 18004 asks for, at error correction M (15 %)."""
    code = segno.make(address, error="m", micro=False)
    return str(code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True))


def _address(scheme: str, host: str, port: int | None, path: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{f':{port}' if port else ''}{path or '/'}"
