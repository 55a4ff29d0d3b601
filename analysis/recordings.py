"""Recorded folders: their index, and which traces of it make the two sides of a comparison.

Knows ``index.jsonl`` and its keys. Opens no file of a trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import BadValue, NoComparison
from analysis.trace import RoutingTrace

INDEX = "index.jsonl"
SETTINGS = "settings.json"
NO_LABELS = frozenset(
    ("file", "prompt", "messages", "mode", "hard_switch", "sample", "seed", "answer", "thinking", "thinking_tokens",
     "answer_tokens", "finish_reason", "digest")
)  # fmt: skip
"""Keys of an index line that are not labels."""
PHASES = ("thinking", "answer")
"""The sides of a comparison by phase; an index line has the text of either."""


@dataclass(frozen=True)
class Entry:
    """One trace of a recorded folder.

    Attributes:
        path: its file.
        prompt: the text that was asked.
        digest: tells prompts (with their messages and labels) apart.
        model: name of the model, with the quantization where there was one.
        line: everything the index says of it, labels included.
        number: of the trace in the collection that ``path`` lies in; None for a trace file.
        provenance: what the trace says of itself, where it was read already; else None.
    """

    path: Path
    prompt: str
    digest: str
    model: str
    line: dict[str, Any]
    number: int | None = None
    provenance: dict[str, Any] | None = None

    def label(self, name: str) -> str | None:
        """The value of a label (or of ``mode``, ``model`` …) as text; None where the trace has none."""
        value = self.model if name == "model" and "model" not in self.line else self.line.get(name)
        return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Unit:
    """A prompt: its traces on either side; one side is empty where the comparison is not paired."""

    key: str
    cluster: str
    sides: tuple[tuple[Entry, ...], tuple[Entry, ...]]


@dataclass(frozen=True)
class Plan:
    """Which traces are compared with which.

    Attributes:
        groups: names of the two sides.
        phases: the phase counted on either side.
        units: prompts; all with both sides, or each with one.
        paired: every unit has both sides.
        unpaired_out: prompts left out of a paired comparison because they have one side only.
        clustered: the units are clusters of prompts, since too few prompts are on both sides.
    """

    groups: tuple[str, str]
    phases: tuple[str, str]
    units: tuple[Unit, ...]
    paired: bool
    unpaired_out: int = 0
    clustered: bool = False


def read_entries(folders: Sequence[Path]) -> list[Entry]:
    """Every trace of recorded folders, in the order of their indexes.

    Raises:
        BadValue: a folder is not a recording, or a line of its index is damaged.
    """
    entries = []
    for folder in folders:
        model = _model(folder)
        for data in read_index(folder, needed=("prompt",)):
            prompt = str(data["prompt"])
            entries.append(Entry(folder / data["file"], prompt, str(data.get("digest", prompt)), model, data))
    if not entries:
        raise BadValue(f"{', '.join(map(str, folders))} holds no trace yet.")
    return entries


def read_index(folder: Path, needed: Sequence[str] = (), whole_lines: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of a recorded folder's index, each with a ``file`` of the folder and the keys ``needed``. A last line
    that was left unfinished is passed over: the recording was stopped there, or goes on. ``whole_lines`` takes any last
    line without its end for unfinished, as the recording itself does when it is resumed.

    Raises:
        BadValue: the folder is not a recording, or a line is damaged.
    """
    path = folder / INDEX
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        from analysis.collection_format import MANIFEST  # and with it pyarrow: only here

        if (folder / MANIFEST).is_file():
            raise BadValue(f"{folder} is a collection; give the recorded folder that it was packed from.") from None
        raise BadValue(f"{folder} is not a recording: it has no readable {INDEX}.") from None
    for number, line in enumerate(lines[:-1] if whole_lines else lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if Path(data["file"]).name != data["file"] or any(key not in data for key in needed):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            if number == len(lines):
                return
            raise BadValue(f"{path}, line {number} is damaged; mend or remove it.") from None
        yield data


def index_entry(
    file: str, trace: RoutingTrace, prompt: str, digest: str, sample: int = 0, labels: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The line of the index for a recorded ``trace``."""
    counts, facts = trace.phase_counts(), trace.provenance
    return {
        "file": file,
        "prompt": prompt,
        "mode": facts["mode"],
        "hard_switch": facts.get("hard_switch"),
        "answer": trace.text_of("answer"),
        "thinking": trace.text_of("thinking"),
        "thinking_tokens": counts["thinking"],
        "answer_tokens": counts["answer"],
        "sample": sample,
        "seed": facts.get("seed"),
        "finish_reason": facts.get("finish_reason"),
        "digest": digest,
        **(labels or {}),
    }


def plan(
    entries: Sequence[Entry],
    by: str = "mode",
    phase: str = "generated",
    groups: Sequence[str] = (),
    cluster: str | None = None,
) -> Plan:
    """Two sides, and the pairs between them: by the prompt with all its messages and labels; where that pairs nothing
    (the label compared is part of it), by the prompt's text; where that does not either, by cluster. Else, or where
    less than half of the smaller side would find a partner, unpaired.

    Args:
        by: "mode", "phase" (thinking against answer of the same trace), "model" or a label.
        phase: rows that count; not used with ``by="phase"``.
        groups: the two values to compare; needed where there are more than two.
        cluster: a label; its values are flipped or permuted as wholes.

    Raises:
        BadValue: a label that no trace has, or more than two groups.
        NoComparison: only one group, or traces that do not say their mode.
    """
    labels = {c: _clusters(entries, c) for c in ([cluster] if cluster else [])}
    by_phase = by == "phase"
    names = PHASES if by_phase else _two_groups(entries, by, groups)
    sides: list[list[Entry]] = [[e for e in entries if by_phase or e.label(by) == name] for name in names]
    clusters = labels[cluster] if cluster else {}
    by_cluster = lambda e: clusters[e.path]  # noqa: E731
    keys: list[Any] = [
        (lambda e: f"{e.digest} {e.label('mode')}") if by_phase else (lambda e: e.digest),
        *([] if by_phase else [lambda e: e.prompt]),
        *([by_cluster] if cluster and not by_phase else []),
    ]
    for key in keys:
        units = _units(sides, key, lambda e: clusters.get(e.path, ""))
        both = [u for u in units if all(u.sides)]
        smaller = min(sum(bool(u.sides[side]) for u in units) for side in range(2))
        if by_phase or (len(both) >= 2 and 2 * len(both) >= smaller):
            phases = names if by_phase else (phase, phase)
            return Plan(names, phases, tuple(both), True, len(units) - len(both), clustered=key is by_cluster)
    units = _units(sides, keys[0], lambda e: clusters.get(e.path, ""))
    alone = [Unit(u.key, u.cluster, s) for u in units for s in ((u.sides[0], ()), ((), u.sides[1])) if any(s)]
    return Plan(names, (phase, phase), tuple(alone), False)


def _two_groups(entries: Sequence[Entry], by: str, groups: Sequence[str]) -> tuple[str, str]:
    found = list(dict.fromkeys(value for e in entries if (value := e.label(by)) is not None))
    if not found and by == "mode":
        raise NoComparison.said("no_mode")
    if not found:
        known = sorted({k for e in entries for k in e.line} - {"file", "prompt", "answer", "thinking", "digest"})
        raise BadValue(f"No trace has a label {by!r}; there are {', '.join(['phase', 'model', *known])}.")
    if groups:
        absent = [name for name in groups if name not in found]
        if absent:
            raise BadValue(f"No trace has {by} {absent[0]!r}; there are {_listed(found)}.")
        if len(set(groups)) != 2:
            raise BadValue(f"Two different groups are compared, not {_listed(groups)}.")
        return groups[0], groups[1]
    if len(found) == 1:
        raise NoComparison.said("one_group", by=by, value=repr(found[0]))
    if len(found) > 2:
        raise BadValue(f"{by} has {len(found)} values ({_listed(found)}); choose two by --groups A B.")
    if by == "mode":
        found.sort(key=lambda mode: mode != "thinking")
    return found[0], found[1]


def _units(sides: Sequence[Sequence[Entry]], key: Any, cluster: Any) -> list[Unit]:
    made: dict[str, tuple[list[Entry], list[Entry]]] = {}
    for position, side in enumerate(sides):
        for entry in side:
            made.setdefault(key(entry), ([], []))[position].append(entry)
    return [Unit(k, cluster((*a, *b)[0]), (tuple(a), tuple(b))) for k, (a, b) in made.items()]


def _clusters(entries: Sequence[Entry], name: str) -> dict[Path, str]:
    found = {e.path: e.label(name) for e in entries}
    missing = [path for path, value in found.items() if value is None]
    if missing:
        raise BadValue(f"{missing[0]} has no label {name!r} to cluster by.")
    return {path: str(value) for path, value in found.items()}


def _listed(values: Sequence[str]) -> str:
    shown = [str(v)[:40] for v in values[:8]]
    return ", ".join(shown) + (", …" if len(values) > 8 else "")


def _model(folder: Path) -> str:
    """What the folder's settings name; its own name where there are none."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return model_name(str(settings["model"]), settings.get("quantization"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return str(folder)


def model_name(name: str, quantization: Any) -> str:
    """A model's name, with the quantization where there was one."""
    return name if quantization in (None, "", "none") else f"{name} {quantization}"
