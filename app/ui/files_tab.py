"""The tab "Recording": save the trace that is shown, open a saved one, and read where it comes from.

Knows files and the store. A file is prepared only while this tab is open; Gradio deletes it an hour later.
"""

from __future__ import annotations

import html
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from analysis import storage
from analysis.errors import BadValue, TraceError, UserError
from analysis.show import edit_text
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.catalogue import recordings
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.conversation import Say
from app.ui.live.wire import pointer

NAME = "recording"
RECORDINGS = recordings()

SHOWN = (
    "model",
    "mode",
    "edits",
    "seed",
    "thinking_budget",
    "sampling",
    "finish_reason",
    "capture_check",
    "created",
    "revision",
    "dtype",
    "quantization",
    "engine",
    "device",
    "versions",
)
"""Keys of a provenance that are shown, in this order."""


@dataclass(frozen=True)
class FilesTab:
    """Components of the tab."""

    save: gr.DownloadButton
    ready: gr.HTML
    upload: gr.File
    shipped: gr.Dropdown
    opened: gr.HTML
    about: gr.HTML


def build(services: Services, say: Say) -> FilesTab:
    megabytes = services.settings.upload_megabytes
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            ready = gr.HTML(status_html(say("save_none")), elem_id="save-status", js_on_load=None)
            save = gr.DownloadButton(say("save"), elem_id="save", interactive=False, variant="primary")
            upload = gr.File(
                label=say("open", megabytes=megabytes),
                file_types=[".safetensors"],
                file_count="single",
                elem_id="open",
                height=140,
            )
            shipped = gr.Dropdown(
                list(RECORDINGS), value=None, label=say("shipped"), visible=bool(RECORDINGS), elem_id="shipped"
            )
            opened = gr.HTML(status_html(), elem_id="open-status", js_on_load=None)
        with gr.Column(scale=2, min_width=280):
            about = gr.HTML("", elem_id="about-recording", js_on_load=None)
    return FilesTab(save, ready, upload, shipped, opened, about)


def wire(tab: FilesTab, services: Services, shared: Shared, say: Say, words: Words) -> None:
    """Every listener of the tab."""
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    cache = Path(tab.save.GRADIO_CACHE)

    def refresh(trace_id: str | None, open_tab: str) -> tuple[Any, ...]:
        if open_tab != NAME:
            return gr.skip(), gr.skip(), gr.skip()
        if not trace_id:
            return gr.update(value=None, interactive=False), status_html(say("save_none")), ""
        try:
            trace = services.store.get(trace_id)
        except UserError as error:
            return gr.update(value=None, interactive=False), status_html(error.in_words(words), True), ""
        ready = status_html(say("save_ready", tokens=trace.num_tokens, rows=trace.num_rows))
        return gr.update(value=str(write(trace, cache)), interactive=True), ready, provenance_html(trace, say, words)

    def on_upload(path: Any) -> tuple[Any, ...]:
        return show(lambda: read(path, services.settings.upload_megabytes, say)) if path else (gr.skip(),) * 4

    def on_choice(name: Any) -> tuple[Any, ...]:
        return show(lambda: storage.load(RECORDINGS[name])) if name in RECORDINGS else (gr.skip(),) * 4

    def show(opened: Callable[[], RoutingTrace]) -> tuple[Any, ...]:
        try:
            trace_id = services.store.put(opened())
        except UserError as error:
            return gr.skip(), gr.skip(), gr.skip(), status_html(error.in_words(words), True)
        return trace_id, None, pointer(trace_id), status_html(say("opened"))

    views = [shared.trace_id, shared.token, shared.live, tab.opened]
    tab.upload.upload(on_upload, tab.upload, views, **quick)
    tab.shipped.input(on_choice, tab.shipped, views, **quick)
    gr.on(
        [shared.trace_id.change, shared.open_tab.change],
        refresh,
        [shared.trace_id, shared.open_tab],
        [tab.save, tab.ready, tab.about],
        **quick,
    )


def write(trace: RoutingTrace, folder: Path) -> Path:
    """Save ``trace`` under a name that says what it is, in a folder of its own inside ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix="trace-", dir=folder))
    return storage.save(trace, own / file_name(trace))


def file_name(trace: RoutingTrace) -> str:
    """Such as ``mini-qwen3-moe-thinking-64-tokens.safetensors``."""
    model = re.sub(r"[^A-Za-z0-9.]+", "-", Path(str(trace.provenance.get("model", "trace"))).name).strip("-.")[:48]
    parts = [model or "trace", str(trace.provenance.get("mode", "")), f"{trace.num_tokens}-tokens"]
    return re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(p for p in parts if p)) + ".safetensors"


def read(path: Any, megabytes: int, say: Say) -> RoutingTrace:
    """The trace in an uploaded file.

    Raises:
        BadValue: the file is too large.
        TraceError: it is no trace, or a broken one.
    """
    file = Path(str(path))
    try:
        size = file.stat().st_size
    except OSError:
        raise TraceError("The file could not be read; choose it again.") from None
    if size > megabytes * 1e6:
        raise BadValue(say("too_large", size=f"{size / 1e6:.1f}", most=megabytes))
    return storage.from_bytes(file.read_bytes(), file.name)


def provenance_html(trace: RoutingTrace, say: Say, words: Words) -> str:
    """A table of where the trace comes from. Files are foreign: every value is escaped."""
    counts = {phase: n for phase, n in trace.phase_counts().items() if n}
    rows = [
        (say("tokens_by_phase"), ", ".join(f"{words(f'figures.phase.{phase}')} {n}" for phase, n in counts.items()))
    ]
    for key in SHOWN:
        value = trace.provenance.get(key)
        if value not in (None, "", [], {}):
            if key == "edits" and isinstance(value, list):
                value = ", ".join(edit_text(edit) for edit in value)
            rows.append((say(f"key_{key}"), _check(value, say) if key == "capture_check" else _readable(value)))
    cells = "".join(f"<tr><th scope='row'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
    return f"<h4>{html.escape(say('about_recording'))}</h4><table class='facts'>{cells}</table>"


def _check(value: Any, say: Say) -> str:
    if isinstance(value, dict) and value.get("ok") is True:
        match = value.get("ids_match")
        return say("verified", match=f"{100 * match:g}" if isinstance(match, int | float) else "?")
    return say("unverified")


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{k} {_readable(v)}" for k, v in value.items())
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:299] + "…"
