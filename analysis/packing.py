"""Recordings → a collection: every trace read once, one at a time, and written to Parquet whole or not at all.

Knows recorded folders (``index.jsonl`` and trace files) and ``collection_format``. Does not know how a collection is
read. Memory holds one trace and one row group, whatever the size of the recording.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.collection_format import (
    COUNTS,
    COUNTS_SCHEMA,
    MANIFEST,
    SUMMARIES,
    TOKENS,
    TRACES,
    TRACES_SCHEMA,
    Manifest,
    read_manifest,
    tokens_schema,
)
from analysis.errors import BadValue, TraceError
from analysis.metrics import expert_counts
from analysis.recordings import INDEX, NO_LABELS, read_index
from analysis.sources import load_recorded
from analysis.trace import Origin, Phase, RouterSpec, RoutingTrace, Step

ROW_GROUP = 16_384  # tokens; 19 MB of ids and weights at 48 layers × top-8
PART = 1_000_000  # tokens a file, about


def pack(folders: Path | Sequence[Path], out: Path, summaries: bool = False) -> dict[str, Any]:
    """Write the recordings in ``folders``, the shards of one or several of their own, to the new folder ``out``.

    Traces are numbered in the order of their file names, so shards give the collection that one recording would have
    given. Where ``out`` holds this very collection, nothing is done.

    Args:
        summaries: also keep entropy, margin and top-k mass.

    Returns:
        ``{"out", "traces", "rows", "bytes", "trace_bytes", "written"}``; ``written`` is False where it was there.

    Raises:
        BadValue: a folder is no recording, two hold a file of the same name, or ``out`` holds something else.
        TraceError: a trace is damaged, or its routers are not those of the others.
    """
    entries = list(_entries([folders] if isinstance(folders, Path) else list(folders)))
    source = _digest(entries, summaries)
    trace_bytes = sum(path.stat().st_size for path, _ in entries)
    written = not _is_there(out, source)
    if written:
        partial = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
        try:
            partial.mkdir(parents=True)
            _write(entries, partial, summaries, source)
            os.rename(partial, out)
        except (OSError, pa.ArrowInvalid) as error:
            raise BadValue(f"{out} cannot be written: {getattr(error, 'strerror', None) or error}.") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    manifest = read_manifest(out)
    size = sum((out / file).stat().st_size for file in manifest.files)
    return {
        "out": str(out),
        "traces": manifest.traces,
        "rows": manifest.rows,
        "bytes": size,
        "trace_bytes": trace_bytes,
        "written": written,
    }


def _entries(folders: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Trace file and index line, in the order of the files' names."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        for entry in read_index(folder, whole_lines=True):
            name = entry["file"]
            if not (folder / name).is_file():
                raise BadValue(f"{folder / INDEX} names {name}, which is not there; resume the recording first.")
            if name in found:
                raise BadValue(f"{found[name][0]} and {folder / name} have the same name; pack them apart.")
            found[name] = folder / name, entry
    if not found:
        raise BadValue(f"{', '.join(map(str, folders))} holds no recorded trace.")
    for name in sorted(found):
        yield found[name]


def _digest(entries: list[tuple[Path, dict[str, Any]]], summaries: bool) -> str:
    said = [[entry, path.stat().st_size, path.stat().st_mtime_ns] for path, entry in entries]
    return hashlib.blake2b(json.dumps([said, summaries], sort_keys=True).encode(), digest_size=16).hexdigest()


def _is_there(out: Path, source: str) -> bool:
    if not out.exists():
        return False
    if (out / MANIFEST).is_file() and read_manifest(out).source == source:
        return True
    raise BadValue(f"{out} exists and holds something else; choose another folder, or remove it.")


def _write(entries: list[tuple[Path, dict[str, Any]]], out: Path, summaries: bool, source: str) -> None:
    spec: RouterSpec | None = None
    (out / TOKENS).mkdir()
    (out / COUNTS).mkdir()
    tokens: _Table | None = None
    files: dict[str, int] = {}
    traces = _Table(out, TRACES, TRACES_SCHEMA, 256)
    counts = _Table(out, COUNTS + "/part-{:05d}.parquet", COUNTS_SCHEMA, 1 << 18, 1 << 25)
    try:
        for number, (path, entry) in enumerate(entries):
            trace = load_recorded(path, entry)
            if spec is None or tokens is None:
                spec = trace.spec
                if not spec.layers:
                    raise TraceError(f"{path} comes from a dense model: there is no routing to pack.")
                tokens = _Table(out, TOKENS + "/part-{:05d}.parquet", tokens_schema(spec, summaries), ROW_GROUP, PART)
            if trace.spec != spec:
                raise TraceError(f"{path} comes from other routers than {entries[0][0]}; pack them apart.")
            for start in range(0, trace.num_rows, ROW_GROUP):
                tokens.add(_token_rows(number, trace, tokens.schema, start, start + ROW_GROUP))
            counts.add(_count_rows(number, trace))
            traces.add(_trace_row(number, trace, entry))
    finally:
        for table in (tokens, traces, counts):
            if table is not None:
                files |= table.close()
    assert spec is not None and tokens is not None
    manifest = Manifest(spec, len(entries), tokens.rows, files, summaries, source)
    (out / MANIFEST).write_text(manifest.to_text(), encoding="utf-8")


class _Table:
    """Parquet files of one schema, written by row groups of at most ``group`` rows, a new file after ``part`` rows."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, group: int, part: int = 1 << 62) -> None:
        self.schema, self.rows = schema, 0
        self._folder, self._name, self._group, self._part = folder, name, group, part
        self._kept: list[pa.Table] = []
        self._waiting = 0
        self._files: dict[str, int] = {}
        self._writer: pq.ParquetWriter | None = None
        self._file = ""

    def add(self, table: pa.Table) -> None:
        self._kept.append(table)
        self._waiting += len(table)
        while self._waiting >= self._group:
            self._flush(self._group)

    def _flush(self, rows: int) -> None:
        whole = pa.concat_tables(self._kept)
        if self._writer is None:
            self._file = self._name.format(len(self._files))
            self._files[self._file] = 0
            plain = [c.name for c in self.schema if pa.types.is_dictionary(c.type)]
            self._writer = pq.ParquetWriter(
                self._folder / self._file, self.schema, compression="zstd", use_dictionary=[*plain, "piece"]
            )
        written = whole.slice(0, rows)
        self._writer.write_table(written, row_group_size=self._group)
        self._files[self._file] += len(written)
        self.rows += len(written)
        rest = whole.slice(rows)
        self._kept, self._waiting = ([rest] if len(rest) else []), len(rest)
        if self._files[self._file] >= self._part:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def close(self) -> dict[str, int]:
        if self._waiting or not self._files:
            self._kept = self._kept or [self.schema.empty_table()]
            self._flush(max(1, self._waiting))
        self._close_file()
        return self._files


def _token_rows(number: int, trace: RoutingTrace, schema: pa.Schema, start: int, stop: int) -> pa.Table:
    stop = min(stop, trace.num_rows)
    chosen = slice(trace.row_start + start, trace.row_start + stop)
    n = stop - start
    mode = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([_mode(trace)]))
    columns: dict[str, Any] = {
        "trace": np.full(n, number, np.int32),
        "mode": mode,
        "phase": _named(trace.phase[chosen], Phase),
        "origin": _named(trace.origin[chosen], Origin),
        "step": _named(trace.step[start:stop], Step),
        "turn": trace.turn[chosen].astype(np.int32),
        "position": np.arange(chosen.start, chosen.stop, dtype=np.int32),
        "token_id": trace.token_ids[chosen],
        "piece": list(trace.pieces[chosen]),
        "expert_ids": _binary(trace.expert_ids[start:stop]),
    }
    for name in ("expert_weights", *SUMMARIES):
        if name in schema.names:
            array = getattr(trace, name)
            columns[name] = pa.nulls(n, schema.field(name).type) if array is None else _binary(array[start:stop])
    arrays = [v if isinstance(v, pa.Array) else pa.array(v) for v in (columns[name] for name in schema.names)]
    return pa.table(arrays, schema=schema)


def _binary(array: np.ndarray) -> pa.Array:
    """(n, …) numbers as n little-endian byte strings of one length."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    size = array[0].nbytes if len(array) else int(np.prod(array.shape[1:])) * array.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(array), [None, pa.py_buffer(array.tobytes())])


def _named(codes: np.ndarray, names: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array([name.label for name in names]))


def _count_rows(number: int, trace: RoutingTrace) -> pa.Table:
    found = np.stack([expert_counts(trace, trace.row_phase == phase) for phase in Phase])
    phase, layer, expert = np.nonzero(found)
    numbers = np.array(trace.spec.layer_numbers, np.int32)
    columns = [
        np.full(len(phase), number, np.int32),
        _named(phase, Phase),
        numbers[layer],
        expert.astype(np.int32),
        found[phase, layer, expert].astype(np.int32),
    ]
    return pa.table([c if isinstance(c, pa.Array) else pa.array(c) for c in columns], schema=COUNTS_SCHEMA)


def _trace_row(number: int, trace: RoutingTrace, entry: dict[str, Any]) -> pa.Table:
    labels = {k: v if isinstance(v, str) else _json(v) for k, v in entry.items() if k not in NO_LABELS}
    sample = entry.get("sample")
    row: dict[str, Any] = {
        "trace": number,
        "file": entry["file"],
        "prompt": str(entry.get("prompt", trace.prompt)),
        "digest": str(entry.get("digest", "")),
        "mode": _mode(trace),
        "sample": sample if isinstance(sample, int) else None,
        "labels": list(labels.items()),
        "tokens": trace.num_tokens,
        "rows": trace.num_rows,
        **{f"rows_{phase.label}": int(np.count_nonzero(trace.row_phase == phase)) for phase in Phase},
        "row_start": trace.row_start,
        "index_entry": _json(entry),
        "provenance": _json(trace.provenance),
    }
    return pa.Table.from_pylist([row], schema=TRACES_SCHEMA)


def _mode(trace: RoutingTrace) -> str:
    return str(trace.provenance.get("mode") or "")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
