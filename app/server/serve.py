"""Serving the page: services and page are made, hardened and launched. Knows addresses and ports, and no component.

``demo.launch`` is called with everything Gradio leaves open closed: no request around the queue, no monitoring page,
no large request, no analytics, no fonts or scripts from elsewhere.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from analysis import storage
from analysis.errors import BadValue, TraceError
from analysis.trace import RoutingTrace
from app.engine.base import Engine
from app.engine.catalogue import BUNDLED_CARD, TRACES, Shipped, shipped
from app.engine.catalogue import EXAMPLE as EXAMPLE_FILE
from app.engine.scheduler import Scheduler
from app.server.requests import Present, RequestLimit
from app.server.store import TraceStore
from app.settings import Settings
from app.ui.context import EXAMPLE, Services
from app.ui.page import build_page
from app.ui.shelves.files import MOST_FILES
from app.ui.theme import STYLE, head, make_theme

log = logging.getLogger("expertscope")

PORTS_TRIED = 100
SESSIONS = 500
"""Visits whose components' values Gradio keeps; the one that was idle longest makes room."""
REQUEST_BYTES = 8_000_000
"""Of a request that uploads no file."""


@dataclass(frozen=True)
class Served:
    """A running server. ``close()`` ends it."""

    demo: gr.Blocks
    services: Services
    url: str

    def close(self) -> None:
        self.demo.close(verbose=False)


def make_services(engine: Engine, settings: Settings, traces: Path = TRACES) -> Services:
    """One engine, one queue, one store. The store has the recordings that come along, in ``traces``, and the bundled
    model's holds its example."""
    store = TraceStore(settings.kept_traces, settings.kept_megabytes)
    if engine.card is BUNDLED_CARD:
        store.keep(storage.load(EXAMPLE_FILE), EXAMPLE)
    recordings = shipped(traces)
    for recording in recordings:
        store.offer(recording.id, functools.partial(_open, recording))
    scheduler = Scheduler(running=1, waiting=settings.max_waiting)
    return Services(engine, scheduler, store, settings, recordings=recordings)


def _open(recording: Shipped) -> RoutingTrace:
    """What comes along. Its path is for the log, not for visitors."""
    try:
        return storage.load(recording.path)
    except TraceError as error:
        log.warning("%s", error)
        raise TraceError.said("shipped_lost", link=recording.link) from None


def make_demo(services: Services) -> gr.Blocks:
    """The page behind its queue, which keeps no statistics of its events: it would sum them up anew at every one."""
    for name, value in (("ENABLED", "False"), ("MAX_EVENTS", "1"), ("CACHE_FREQUENCY", str(10**9))):
        os.environ.setdefault(f"GRADIO_ANALYTICS_{name}", value)
    demo = build_page(services)
    return demo.queue(api_open=False, max_size=2 * services.settings.followed, default_concurrency_limit=8)


def launch_options(settings: Settings) -> dict[str, Any]:
    """What ``demo.launch`` is given, address apart."""
    uploaded = 1_000_000 * settings.upload_megabytes * MOST_FILES
    return {
        "theme": make_theme(),
        "css_paths": [STYLE],
        "head": head(),
        "max_file_size": f"{2 * settings.upload_megabytes}mb",  # the library refuses sooner, in the visitor's language
        "app_kwargs": {"middleware": [Middleware(RequestLimit, REQUEST_BYTES, uploaded), Middleware(Present)]},
        "state_session_capacity": SESSIONS,
        "max_threads": settings.followed + 40,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "share": False,
        "pwa": False,
        "mcp_server": False,
        "footer_links": [],
        "show_error": False,
        "quiet": True,
    }


def launch_demo(demo: gr.Blocks, services: Services, *, block: bool = True, open_browser: bool = False) -> Served:
    """Launch ``demo`` (of ``make_demo``) and print its address; with ``block``, serve until interrupted.

    Raises:
        BadValue: no free port was found, or the host's name means nothing here.
    """
    settings = services.settings
    host = settings.host
    port = free_port(host, settings.port)
    name = f"[{host}]" if ":" in host else host
    demo.launch(server_name=name, server_port=port, prevent_thread_lock=True, **launch_options(settings))
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, name)
    url = f"http://{shown}:{port}"
    if port != settings.port and settings.port:
        print(f"Port {settings.port} is in use.", flush=True)
    print(f"ExpertScope shows {services.engine.card.title} at {url}", flush=True)
    if open_browser:
        _open_browser(url)
    if block:
        demo.block_thread()
    return Served(demo, services, url)


def environment() -> dict[str, str]:
    """The environment; a Space listens where Gradio's own variable says, unless another host is set."""
    return {"EXPERTSCOPE_HOST": os.environ.get("GRADIO_SERVER_NAME") or Settings.host, **os.environ}


def free_port(host: str, port: int) -> int:
    """``port``, or the next free one; any free one for 0.

    Raises:
        BadValue: there is none among the next ``PORTS_TRIED``, one may not be used, or ``host`` means nothing here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [0] if port == 0 else range(port, min(port + PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except (OSError, UnicodeError) as error:
                number = getattr(error, "errno", None)
                if number == errno.EADDRINUSE:
                    continue
                if number == errno.EACCES:
                    raise BadValue(f"Port {candidate} may not be used here; choose another with --port.") from None
                raise BadValue(f"The host {host!r} is not an address of this machine.") from None
            return int(probe.getsockname()[1])
    raise BadValue(f"No free port from {port} to {port + PORTS_TRIED - 1}; choose another with --port.")


def _open_browser(url: str) -> None:
    """Open a browser where there is a screen to show it on."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    webbrowser.open(url)


def launch(settings: Settings, open_browser: bool = False) -> None:
    """Load the model named in ``settings`` and serve its page until interrupted.

    Raises:
        UserError: the model cannot be loaded, or no port is free.
    """
    from app.engine.opening import open_engine

    services = make_services(open_engine(settings.model, settings.quantize, bool(settings.compile)), settings)
    launch_demo(make_demo(services), services, open_browser=open_browser)
