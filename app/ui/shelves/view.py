"""The library as a Gradio component: a fixed template, the modules of ``web/``, and one function to call back.

Beside it two components without a face: one carries the cards to it, one a written file to the visitor. No text of
models and users ever enters a template; it travels in their values.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.figures.style import LOAD
from analysis.words import LANGUAGES, Words, locale
from app.ui.live.view import RUN_ID, module_file

WEB = Path(__file__).parent / "web"
PREFIX = "library.page."

TEMPLATE = '<div class="lib" role="region"></div>'

ADDRESS = (
    "const u = new URL(props.module.url, location.href);"
    " const address = u.hostname === location.hostname ? location.origin + u.pathname : u.href;"
)

LOADER = ADDRESS + (
    " const act = (chosen) => trigger('act', chosen);"
    " import(address).then((m) => m.mount(element, {props, server, act}))"
    ".catch((error) => { console.error(error); element.textContent = props.failed; });"
)

CARRIER = ADDRESS + (
    " watch('value', () => props.value && import(address).then((m) => m.take(props.value))"
    ".catch((error) => console.error(error)));"
)

ACTIONS = ("open", "delete", "undo", "compare")


def build_library(thumbnails: Callable[[Any], dict[str, dict[str, Any]]], words: Words) -> gr.HTML:
    """The cards, drawn of what the feed carries. ``library.act(handler)`` hears of what was pressed: see ``action``.

    It is never an output of a listener: what is sent to an HTML component of a tab that is not open is lost, and its
    other properties with it.

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
        module=module_file(WEB / "main.js"),
        words=library_words(words),
        languages=dict(LANGUAGES),
        colours={theme: list(colours) for theme, colours in LOAD.items()},
        failed=words("live.failed"),
    )


def build_carriers() -> tuple[gr.HTML, gr.HTML]:
    """The feed and the courier, of which nothing is seen, to be rendered outside the tabs. The feed's value is what the
    library draws (``cards``), the courier's a ``parcel``; each fetches its module with its first value."""
    feed, courier = (
        gr.HTML(
            value=None,
            html_template="<span></span>",
            js_on_load=CARRIER,
            apply_default_css=False,
            elem_id=f"library-{name}",
            visible="hidden",
            render=False,
            module=module_file(WEB / f"{name}.js"),
        )
        for name in ("feed", "courier")
    )
    return feed, courier


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


def _file(path: Path) -> dict[str, Any]:
    return {"path": path.as_posix(), "meta": {"_type": "gradio.FileData"}}
