"""The live view as a Gradio component: a fixed template, the modules of ``web/``, and one function to call back.

Knows how the page loads the view and what it may ask for. Does not know what is drawn (``web/``), nor where traces
are kept: ``pull`` is given. Text of models and users never enters the template; it travels in the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import gradio as gr

from analysis.errors import UserError
from analysis.words import section

WEB = Path(__file__).parent / "web"
"""The modules and the style sheet; the only files of the program that the server hands out."""

TEMPLATE = '<div class="xs-live" role="region"></div>'

LOADER = (
    "const u = new URL(props.module.url, location.href);"
    " import(u.hostname === location.hostname ? location.origin + u.pathname : u.href)"
    ".then((m) => m.mount(element, {props, server, watch, select: (chosen) => trigger('token', chosen),"
    " elsewhere: (chosen) => trigger('expert', chosen)}))"
    ".catch((error) => { console.error(error); element.textContent = props.failed; });"
)

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def build_live(
    pull: Callable[[str], dict[str, Any] | None],
    words: Mapping[str, Mapping[str, str]] | None = None,
    *,
    lang: str = "en",
    value: dict[str, Any] | None = None,
) -> gr.HTML:
    """Make the component; its value is a chunk, ``wire.pointer`` or ``wire.snapshot``, or None for the empty state.

    Args:
        pull: run id → everything known of that run as one chunk (``wire.snapshot`` or ``LiveFeed.snapshot``), or None
            for an id that is not known. Called outside the queue, for anyone: keep it cheap.
        words: language → the view's words; None for those of the locale section "live".
        lang: language until a run's header or ``data-lang`` on the page's root element says otherwise.

    ``live.token(handler)`` hears of a token that was selected: ``event.run``, ``event.index`` and ``event.layer`` (the
    model's number of the highlighted layer, or None) of its ``gr.EventData``; check them with ``selection``.
    ``live.expert(handler)`` of an expert whose other tokens are asked for: see ``expert_asked``.
    """
    gr.set_static_paths([WEB])
    words = section("live") if words is None else words

    def pull_run(run: Any) -> dict[str, Any] | None:
        return checked_pull(pull, run)

    pull_run.__name__ = "pull"
    return gr.HTML(
        value=value,
        html_template=TEMPLATE,
        js_on_load=LOADER,
        apply_default_css=False,
        elem_id="live-view",
        server_functions=[pull_run],
        module=module_file(WEB / "main.js"),
        words={language: dict(table) for language, table in words.items()},
        failed=words.get(lang, words["en"])["failed"],
        lang=lang,
    )


def module_file(path: Path) -> dict[str, Any]:
    """A module of the page's own JavaScript, for a component's properties: marked as a file, so that Gradio puts the
    address the page was asked under (a proxy's, a Space's) before it."""
    name = path.as_posix()
    return {"path": name, "url": f"/gradio_api/file={name}", "meta": {"_type": "gradio.FileData"}}


def checked_pull(pull: Callable[[str], dict[str, Any] | None], run: Any) -> dict[str, Any] | None:
    """What ``pull`` gives for a well-formed id that it knows, else None. ``run`` comes from outside."""
    if not isinstance(run, str) or not RUN_ID.fullmatch(run):
        return None
    try:
        return pull(run)
    except UserError:
        return None


def selection(event: gr.EventData) -> tuple[str, int, int | None] | None:
    """The run's id, the token and the layer number (or None) of a ``token`` event; None if it is not one. It comes
    from outside: there may be no such run, the index may lie beyond it, the layer may have no router."""
    data = event._data if isinstance(event._data, dict) else {}
    run, index, layer = data.get("run"), data.get("index"), data.get("layer")
    if not isinstance(run, str) or not RUN_ID.fullmatch(run):
        return None
    if not _is_index(index) or not (layer is None or _is_index(layer)):
        return None
    return run, index, layer


def expert_asked(event: gr.EventData) -> tuple[int, int] | None:
    """The layer's number and the expert of an ``expert`` event; None if it is not one. It comes from outside: there
    may be no such layer or expert."""
    data = event._data if isinstance(event._data, dict) else {}
    layer, expert = data.get("layer"), data.get("expert")
    return (layer, expert) if _is_index(layer) and _is_index(expert) else None


def _is_index(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
