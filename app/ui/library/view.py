"""The library as a Gradio component: a fixed template, the modules of ``web/``, and one function to call back.

The cards travel in the component's value (``cards``), and no text of models and users ever enters the template.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.figures.style import LOAD
from analysis.words import LANGUAGES, Words, locale
from app.ui.live.view import RUN_ID

WEB = Path(__file__).parent / "web"
PREFIX = "library.page."

TEMPLATE = '<div class="lib" role="region"></div>'

LOADER = (
    "const u = new URL(props.module.url, location.href);"
    " import(u.hostname === location.hostname ? location.origin + u.pathname : u.href)"
    ".then((m) => m.mount(element, {props, server, watch, act: (chosen) => trigger('act', chosen)}))"
    ".catch((error) => { console.error(error); element.textContent = props.failed; });"
)

COURIER = (
    "const u = new URL(props.module.url, location.href);"
    " import(u.hostname === location.hostname ? location.origin + u.pathname : u.href)"
    ".then((m) => m.deliver(props, watch)).catch((error) => console.error(error));"
)

ACTIONS = ("open", "delete", "undo")


def build_library(thumbnails: Callable[[Any], dict[str, dict[str, Any]]], words: Words) -> gr.HTML:
    """The cards; the value is ``{"groups", "own", "shown"}`` of ``cards``, or None before the tab was first opened.

    ``library.act(handler)`` hears of what was pressed: see ``action``.

    Args:
        thumbnails: ids → thumbnails by id. Called outside the queue, for anyone: keep it cheap.
    """
    gr.set_static_paths([WEB])

    def pull(ids: Any) -> dict[str, dict[str, Any]]:
        return thumbnails(ids)

    pull.__name__ = "thumbnails"
    return gr.HTML(
        value=None,
        html_template=TEMPLATE,
        js_on_load=LOADER,
        apply_default_css=False,
        elem_id="library",
        server_functions=[pull],
        module=_module("main.js"),
        words=library_words(words),
        languages=dict(LANGUAGES),
        colours={theme: list(colours) for theme, colours in LOAD.items()},
        failed=words("live.failed"),
    )


def build_courier() -> gr.HTML:
    """What brings a written file to the visitor; the value is ``parcel``, and nothing is seen of it."""
    return gr.HTML(
        value=None, html_template="<span></span>", js_on_load=COURIER, apply_default_css=False, elem_id="courier",
        module=_module("courier.js"), visible="hidden",
    )  # fmt: skip


def parcel(path: Path, kind: str, nonce: str) -> dict[str, Any]:
    """A value that makes the browser save the file at ``path``, once."""
    return {"kind": kind, "name": path.name, "nonce": nonce, "file": _file(path)}


def library_words(words: Words) -> dict[str, str]:
    """The words of the locale section "library.page", in the visitor's language or else in English."""
    tables = (locale("en"), locale(words.language))
    return {k.removeprefix(PREFIX): text for table in tables for k, text in table.items() if k.startswith(PREFIX)}


def action(event: gr.EventData) -> tuple[str, str] | None:
    """What was pressed on which recording, or None if it is neither. It comes from outside."""
    data = event._data if isinstance(event._data, dict) else {}
    what, trace_id = data.get("what"), data.get("id")
    if what not in ACTIONS or not isinstance(trace_id, str) or not RUN_ID.fullmatch(trace_id):
        return None
    return what, trace_id


def _module(name: str) -> dict[str, Any]:
    """A module of ``web/``, marked as a file, so that Gradio puts the address the page was asked under before it."""
    path = WEB / name
    return {**_file(path), "url": f"/gradio_api/file={path.as_posix()}"}


def _file(path: Path) -> dict[str, Any]:
    return {"path": path.as_posix(), "meta": {"_type": "gradio.FileData"}}
