"""What a comparison reads of one trace: from its file, or from a collection, where no trace is opened.

Knows recorded folders and collections. Does not know what is computed (``shares``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from analysis.collection import Collection
from analysis.collection_format import MANIFEST, TRACES
from analysis.collection_rows import CollectionRows
from analysis.errors import BadValue, TraceError
from analysis.metrics import expert_counts
from analysis.recordings import INDEX, PHASES, Entry, Plan, model_name, read_entries
from analysis.storage import load, read_provenance
from analysis.trace import PHASE_GROUPS, RouterSpec, RoutingTrace

DRAWING = ("top_p", "top_k", "min_p")
PENALTIES = ("presence_penalty", "repetition_penalty")


class Reading(Protocol):
    """One trace, as far as a comparison needs it. ``phase`` is a name of ``PHASE_GROUPS``."""

    @property
    def spec(self) -> RouterSpec: ...

    def rows(self, phase: str) -> int:
        """How many rows are in the phase."""
        ...

    def counts(self, phase: str) -> np.ndarray:
        """(L, E) selections in the phase."""
        ...

    def routed(self, phase: str) -> tuple[np.ndarray, np.ndarray]:
        """(n,) token ids and (n, L, K) expert ids of the rows in the phase, in order."""
        ...

    def texts(self, phase: str) -> dict[int, bytes]:
        """Token id → its text, of the rows in the phase."""
        ...


class TraceReading:
    """A trace in memory."""

    def __init__(self, trace: RoutingTrace) -> None:
        self.trace, self.spec = trace, trace.spec

    def rows(self, phase: str) -> int:
        return int(np.count_nonzero(self.trace.rows_in(phase)))

    def counts(self, phase: str) -> np.ndarray:
        return expert_counts(self.trace, self.trace.rows_in(phase))

    def routed(self, phase: str) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(self.trace.rows_in(phase))
        return self.trace.token_ids[self.trace.row_start + rows], self.trace.expert_ids[rows]

    def texts(self, phase: str) -> dict[int, bytes]:
        places = self.trace.row_start + np.flatnonzero(self.trace.rows_in(phase))
        return {int(self.trace.token_ids[i]): self.trace.pieces[i] for i in places}


class CollectedReading:
    """A trace of a collection: counts from its counts table, tokens only where a control asks for them."""

    def __init__(self, rows: CollectionRows, number: int) -> None:
        self._rows, self._number, self.spec = rows, number, rows.spec

    def rows(self, phase: str) -> int:
        return self._rows.counts(self._number, phase)[1]

    def counts(self, phase: str) -> np.ndarray:
        return self._rows.counts(self._number, phase)[0]

    def routed(self, phase: str) -> tuple[np.ndarray, np.ndarray]:
        phases, token_ids, expert_ids = self._rows.rows(self._number)
        chosen = np.isin(phases, PHASE_GROUPS[phase])
        return token_ids[chosen], expert_ids[chosen]

    def texts(self, phase: str) -> dict[int, bytes]:
        return self._rows.texts(self._number)


class Sources:
    """Opens what entries stand for. ``with Sources() as sources: sources.open(entry).counts("answer")``."""

    def __init__(self) -> None:
        self._collections: dict[Path, CollectionRows] = {}

    def open(self, entry: Entry) -> Reading:
        """
        Raises:
            TraceError: the file or the collection is missing or damaged; it is named.
        """
        if entry.number is None:
            return TraceReading(load_recorded(entry.path, entry.line))
        folder = entry.path.parent
        if folder not in self._collections:
            self._collections[folder] = CollectionRows(Collection.open(folder))
        return CollectedReading(self._collections[folder], entry.number)

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        for rows in self._collections.values():
            rows.collection.__exit__()
        self._collections.clear()


def load_recorded(path: Path, line: Mapping[str, Any]) -> RoutingTrace:
    """The trace of a line of an index.

    Raises:
        TraceError: as ``storage.load``; or it holds another answer than the line says.
    """
    trace = load(path)
    if any(line.get(phase, said := trace.text_of(phase)) != said for phase in PHASES):
        raise TraceError(f"{path} holds another answer than {INDEX} says; it was replaced, or mixed up with another.")
    return trace


def find_entries(folders: Sequence[Path]) -> list[Entry]:
    """Every trace of recorded folders and collections, in the order of the file names (then of the folders), so that a
    recording and its collection give the same numbers. What is named twice is read once.

    Raises:
        BadValue: a folder is neither, an index is damaged, or two places hold the same recording.
        TraceError: a collection is damaged.
    """
    entries: list[Entry] = []
    for folder in folders:
        entries += _collected(folder) if (folder / MANIFEST).is_file() else read_entries([folder])
    if not entries:
        raise BadValue(f"{', '.join(map(str, folders))} holds no trace yet.")
    once = {(entry.path.resolve(), entry.number): entry for entry in entries}
    return sorted(_refuse_copies(list(once.values())), key=lambda entry: entry.path.name)


def _refuse_copies(entries: list[Entry]) -> list[Entry]:
    """``entries``, if no two of them are one recording in two places: it would count twice."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        others = found.setdefault(json.dumps(entry.line, sort_keys=True), [])
        for other in others:
            if _provenance(other) == _provenance(entry):
                raise BadValue(
                    f"{other.path.parent} and {entry.path.parent} hold the same recording ({entry.path.name}); "
                    "name one of them."
                )
        others.append(entry)
    return entries


def sampled_apart(made: Plan) -> bool:
    """Whether the two sides were sampled with different settings, as far as their traces say so.

    Raises:
        TraceError: a file is missing or damaged.
    """
    sides = [{_sampling(entry) for unit in made.units for entry in unit.sides[side]} - {""} for side in range(2)]
    return all(sides) and sides[0] != sides[1]


def _sampling(entry: Entry) -> str:
    """The settings that had an effect, as text; "" where the trace names none. Greedy decoding draws nothing."""
    found = _provenance(entry).get("sampling")
    if not isinstance(found, dict):
        return ""
    of_drawing = () if found.get("temperature") == 0 else DRAWING
    return json.dumps([found.get(name) for name in ("temperature", *of_drawing, *PENALTIES)])


def _provenance(entry: Entry) -> dict[str, Any]:
    return read_provenance(entry.path) if entry.provenance is None else entry.provenance


def _collected(folder: Path) -> list[Entry]:
    with Collection.open(folder) as collection:
        found = collection.query("SELECT trace, file, prompt, index_entry, provenance FROM traces ORDER BY trace")
    entries = []
    try:
        for number, file, prompt, line, provenance in zip(*found.values(), strict=True):
            data, facts = json.loads(line), json.loads(provenance)
            model = model_name(str(facts.get("model") or folder), facts.get("quantization"))
            digest = str(data.get("digest", prompt))
            entries.append(Entry(folder / file, prompt, digest, model, data, int(number), facts))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise TraceError(f"{folder} is damaged: {TRACES} does not describe its traces.") from None
    return entries
