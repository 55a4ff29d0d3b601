"""A set of answered prompts as files to take along: its recordings as ``record`` leaves them, and the report on them.

Knows pairs of traces, folders and files. Does not know components. Gradio deletes written files an hour later.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from analysis import storage
from analysis.pairs import GROUPS, PairSet
from analysis.recordings import INDEX, index_entry
from analysis.report import Options, write_report
from app import __version__
from app.engine.base import Message
from app.engine.prompts import Prompt
from app.ui.shelves.files import new_folder

NAME = "compared-prompts"
KINDS = ("zip", "html")


def write_folder(pairs: PairSet, folder: Path) -> None:
    """Every answer and an index of them, in a new ``folder``."""
    folder.mkdir()
    lines = []
    for number, pair in enumerate(pairs.pairs):
        prompt = Prompt(number, (Message("user", pair[0].prompt),), {})
        for mode, trace in zip(GROUPS, pair, strict=True):
            file = f"{number:05d}-{mode}-0.safetensors"
            storage.save(trace, folder / file)
            lines.append(index_entry(file, trace, prompt.text, prompt.digest))
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    (folder / INDEX).write_text(text, encoding="utf-8")


def write(pairs: PairSet, kind: str, cache: Path, language: str, phase: Any, control: Any) -> Path:
    """Write a download in a folder of its own inside ``cache``: "zip", the recordings, or "html", the report on what
    was found in ``phase`` under ``control``.

    Raises:
        BadValue: there is no such phase or control.
        TraceError: it cannot be written.
    """
    with new_folder(cache, "set-") as own, recorded(pairs) as folder:
        path = own / f"{NAME}.{kind}"
        if kind == "zip":
            with ZipFile(path, "w", ZIP_DEFLATED) as archive:
                for file in sorted(folder.iterdir()):
                    archive.write(file, f"{NAME}/{file.name}")
        else:
            options = Options(phase=str(phase), control=str(control), language=language, places=(NAME,))
            write_report([folder], path, options, __version__)
    return path


@contextmanager
def recorded(pairs: PairSet) -> Iterator[Path]:
    """The pairs as a recorded folder, as long as the block lasts."""
    place = Path(tempfile.mkdtemp(prefix="set-"))
    try:
        write_folder(pairs, place / NAME)
        yield place / NAME
    finally:
        shutil.rmtree(place, ignore_errors=True)
