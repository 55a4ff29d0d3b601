"""Recordings as files: what can be downloaded of one, reading what was uploaded, and where a recording comes from.

Knows traces, files and words. Does not know components. Gradio deletes written files an hour later.
"""

from __future__ import annotations

import html
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis import storage
from analysis.errors import BadValue, TraceError
from analysis.figures.routing_picture import routing_picture
from analysis.report import Options, write_report
from analysis.show import edits_of
from analysis.trace import RoutingTrace
from analysis.trace_csv import csv_blocks
from analysis.words import Words
from app import __version__
from app.server.limits import sendable
from app.ui.shelves.cards import fact, mode_of, model_of, shape, title_of

log = logging.getLogger("expertscope")

MOST_FILES = 20
"""Files opened at once; further ones are not."""

DEEPEST = 16
"""Levels of a file's provenance that are read; what lies deeper is left out."""

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


def write_trace(trace: RoutingTrace, path: Path, words: Words) -> None:
    storage.save(trace, path)


def write_csv(trace: RoutingTrace, path: Path, words: Words) -> None:
    with open(path, "x", encoding="utf-8", newline="") as file:
        file.writelines(csv_blocks(trace))


def write_picture(trace: RoutingTrace, path: Path, words: Words) -> None:
    facts = " · ".join(filter(None, (model_of(trace), words(f"library.mode.{mode_of(trace)}"), shape(trace, words))))
    path.write_text(routing_picture(trace, title_of(trace)[:300], facts, words), encoding="utf-8")


def write_html(trace: RoutingTrace, path: Path, words: Words) -> None:
    if not trace.spec.layers:
        raise BadValue(words("tabs.dense"))
    saved = path.with_suffix(".safetensors")
    storage.save(trace, saved)
    try:
        write_report([saved], path, Options(language=words.language, places=(saved.name,)), __version__)
    finally:
        saved.unlink()


Writer = Callable[[RoutingTrace, Path, Words], None]
KINDS: dict[str, tuple[str, Writer]] = {
    "trace": (".safetensors", write_trace),
    "csv": (".csv", write_csv),
    "html": (".html", write_html),
    "svg": (".svg", write_picture),
    "png": (".svg", write_picture),
}
"""What can be downloaded: the written file's suffix, and what writes it. The browser makes the PNG of the SVG."""


def write(trace: RoutingTrace, kind: str, folder: Path, words: Words) -> Path:
    """Write a download under a name that says what it is, in a folder of its own inside ``folder``.

    Raises:
        BadValue: there is no such kind of file.
        TraceError: it cannot be written.
    """
    if kind not in KINDS:
        raise BadValue(words("library.no_such_kind", kind=str(kind)[:40]))
    suffix, writer = KINDS[kind]
    with new_folder(folder, "trace-") as own:
        path = own / (file_name(trace) + suffix)
        writer(trace, path, words)
    return path


@contextmanager
def new_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A folder of a download's own inside ``place``; what fails in the block removes it.

    Raises:
        TraceError: it cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise TraceError.said("not_written", why=error.strerror or str(error)) from None


def file_name(trace: RoutingTrace) -> str:
    """Such as ``mini-qwen3-moe-thinking-64-tokens``, without a suffix."""
    model = re.sub(r"[^A-Za-z0-9.]+", "-", Path(str(trace.provenance.get("model", "trace"))).name).strip("-.")[:48]
    parts = [model or "trace", str(trace.provenance.get("mode", ""))[:40], f"{trace.num_tokens}-tokens"]
    return re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join(p for p in parts if p))


def read(path: Any, megabytes: int, words: Words) -> RoutingTrace:
    """The trace in an uploaded file.

    Raises:
        BadValue: the file is too large, or there is nothing in it to show.
        TraceError: it is no trace, or a broken one.
    """
    file = Path(str(path))
    try:
        size = file.stat().st_size
    except OSError:
        raise TraceError.said("upload_lost") from None
    if size > megabytes * 1e6:
        raise BadValue(words("library.too_large", name=file.name, size=f"{size / 1e6:.1f}", most=megabytes))
    try:
        trace = storage.from_bytes(file.read_bytes(), file.name)
    except TraceError as error:
        if error.values["why"].key:
            raise
        log.warning("%s", error)
        raise TraceError.said("cannot_open", name=file.name, why=TraceError.said("contents_unfit")) from None
    if not trace.num_tokens:
        raise BadValue(words("library.no_tokens", name=file.name))
    return replace(trace, provenance=_plain(trace.provenance))


def _plain(value: Any, deepest: int = DEEPEST) -> Any:
    """JSON of a foreign file that can be sent, and is not nested deeper than is ever looked."""
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, dict | list) and not deepest:
        return "…"
    if isinstance(value, dict):
        return {_plain(key): _plain(inner, deepest - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, deepest - 1) for inner in value]
    return value


def opened_line(trace: RoutingTrace, name: str, own_model: str, words: Words) -> str:
    """One sentence about a file that was opened: what it holds, and what it lacks."""
    values = {"name": name, "tokens": trace.num_tokens, "model": model_of(trace) or "?", "shape": shape(trace, words)}
    if not trace.spec.layers:
        return words("library.opened_dense", **values)
    if not trace.num_rows:
        return words("library.opened_empty", **values)
    return words("library.opened" if model_of(trace) == own_model else "library.opened_other", **values)


def provenance_html(trace: RoutingTrace, words: Words) -> str:
    """A table of where the trace comes from. Files are foreign: every value is escaped."""
    counts = {phase: n for phase, n in trace.phase_counts().items() if n}
    rows = [
        (
            words("page.tokens_by_phase"),
            ", ".join(f"{words(f'figures.phase.{phase}')} {n}" for phase, n in counts.items()),
        ),
        (words("library.routers"), shape(trace, words)),
    ]
    for key in SHOWN:
        value = trace.provenance.get(key)
        if value not in (None, "", [], {}):
            shown = _check(value, words) if key == "capture_check" else fact(key, _readable(value), words)
            if key == "edits":
                shown = ", ".join(edits_of(trace.provenance))
            rows.append((words(f"page.key_{key}"), shown))
    cells = "".join(f"<tr><th scope='row'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
    return f"<table class='facts'>{cells}</table>"


def _check(value: Any, words: Words) -> str:
    if isinstance(value, dict) and value.get("ok") is True:
        match = value.get("ids_match")
        share = f"{100 * match:g}" if isinstance(match, int | float) and 0 <= match <= 1 else "?"
        return words("page.verified", match=share)
    return words("page.unverified")


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{k} {_readable(v)}" for k, v in value.items())
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else text[:299] + "…"
