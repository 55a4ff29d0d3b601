"""A collection read where it lies, by DuckDB: load, co-activation and the counts by prompt, over any number of traces.

Knows ``collection_format``. Loads no trace and holds no more than a batch of rows; DuckDB spills to disk by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import counts
from analysis.coactivation import coactivation_of, count_pairs
from analysis.collection_format import COUNTS, TOKENS, TRACES, Manifest, read_manifest
from analysis.errors import BadValue, TraceError
from analysis.metrics import absent_experts
from analysis.statistic import Statistic
from analysis.trace import PHASE_GROUPS, RouterSpec

BATCH = 8192  # rows in memory at a time


@dataclass(frozen=True)
class PromptCounts:
    """What a comparison needs: counts by trace.

    Attributes:
        trace: (P,) number of the trace in the collection.
        prompt, digest, mode: P texts; ``digest`` tells prompts apart.
        rows: (P,) rows in the phase.
        counts: (P, L, E) int32 selections in the phase.
    """

    trace: np.ndarray
    prompt: list[str]
    digest: list[str]
    mode: list[str]
    rows: np.ndarray
    counts: np.ndarray


class Collection:
    """A packed recording. ``with Collection.open(path) as collection: collection.load("thinking")``.

    Everywhere, ``phase`` is a name of ``analysis.trace.PHASE_GROUPS``, ``mode`` one mode or None for all, and
    ``labels`` the labels a trace must have, as text. A phase, mode or label that no trace has is a ``BadValue``.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self.db = duckdb.connect()
        for name in (TOKENS, "traces", COUNTS):
            files = [
                str(path / f) for f in manifest.files if f == TRACES and name == "traces" or f.startswith(name + "/")
            ]
            self.db.from_parquet(files).create_view(name)

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """
        Raises:
            TraceError: the folder is not a collection, or a file of it is missing, damaged or another's.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if not {TRACES, TOKENS, COUNTS} <= {Path(file).parts[0] for file in manifest.files}:
            raise TraceError(f"{path} is damaged: its list of files is not whole.")
        for file, rows in manifest.files.items():
            try:
                footer = pq.ParquetFile(path / file)
                schema, found = footer.schema_arrow, footer.metadata.num_rows
                footer.close()
            except FileNotFoundError:
                raise TraceError(f"{path} is damaged: {file} is missing.") from None
            except (OSError, pa.ArrowException):
                raise TraceError(f"{path} is damaged: {file} is not a readable Parquet file.") from None
            if not _same(schema, manifest.schema_of(file)) or found != rows:
                raise TraceError(f"{path} is damaged: {file} is not the file that was packed.")
        return cls(path, manifest)

    @property
    def spec(self) -> RouterSpec:
        return self.manifest.spec

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def counts(
        self, phase: str = "all", mode: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[np.ndarray, int]:
        """(L, E) int64 selections, and the number of rows they come from."""
        where, values = self._traces_where(mode, labels)
        found = self.query(
            f"SELECT layer, expert, sum(count)::BIGINT AS count FROM counts WHERE {_phase_in(phase)} "
            f"AND trace IN (SELECT trace FROM traces WHERE {where}) GROUP BY layer, expert",
            values,
        )
        total = self.query(
            f"SELECT coalesce(sum({_phase_rows(phase)}), 0)::BIGINT AS n FROM traces WHERE {where}", values
        )
        counts = np.zeros((self.spec.num_moe_layers, self.spec.num_experts), np.int64)
        counts[self._positions(found["layer"]), found["expert"]] = found["count"]
        return counts, int(total["n"][0])

    def load(self, phase: str = "all", mode: str | None = None, labels: Mapping[str, str] | None = None) -> Statistic:
        """Share of a layer's slots that went to each expert; as ``metrics.expert_load`` over all traces chosen."""
        selected, n = self.counts(phase, mode, labels)
        found = selected.astype(np.float64)
        found[absent_experts(self.spec)] = np.nan
        return counts.load(found, [r.top_k for r in self.spec.layers], self.spec.layer_numbers, n, phase)

    def coactivation(
        self, phase: str = "all", mode: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Statistic:
        """As ``coactivation.coactivation`` over all traces chosen."""
        spec, n = self.spec, 0
        both = np.zeros((spec.num_moe_layers, spec.num_experts, spec.num_experts), np.int64)
        for ids in self.batches(phase, mode, labels):
            n += len(ids)
            both += count_pairs(ids, spec.num_experts)
        return coactivation_of(both, n, spec, phase)

    def prompt_counts(
        self,
        phase: str = "generated",
        mode: str | None = None,
        labels: Mapping[str, str] | None = None,
        traces: range | None = None,
    ) -> PromptCounts:
        """Counts by trace, in the order of the collection; 4 L E bytes a trace. ``traces`` limits them to these
        numbers."""
        where, values = self._traces_where(mode, labels)
        near = ""
        if traces is not None:
            near = f"AND trace BETWEEN {traces.start} AND {traces.stop - 1}"
            where = f"{where} {near}"
        chosen = self.query(
            f"SELECT trace, prompt, digest, mode, {_phase_rows(phase)} AS n FROM traces WHERE {where} ORDER BY trace",
            values,
        )
        counts = np.zeros((len(chosen["trace"]), self.spec.num_moe_layers, self.spec.num_experts), np.int32)
        found = self._stream(
            f"SELECT trace, layer, expert, count FROM counts WHERE {_phase_in(phase)} "
            f"AND trace IN (SELECT trace FROM traces WHERE {where}) {near}",
            values,
        )
        for batch in found:
            trace, layer, expert, count = (batch.column(i).to_numpy() for i in range(4))
            place = np.searchsorted(chosen["trace"], trace), self._positions(layer), expert
            np.add.at(counts, place, count)
        texts = {name: [str(v) for v in chosen[name]] for name in ("prompt", "digest", "mode")}
        return PromptCounts(np.asarray(chosen["trace"]), rows=np.asarray(chosen["n"]), counts=counts, **texts)

    def batches(
        self, phase: str = "all", mode: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Iterator[np.ndarray]:
        """The expert ids chosen, as (n, L, K) arrays of at most ``BATCH`` rows; in no order."""
        where, values = self._traces_where(mode, labels)
        spec = self.spec
        for batch in self._stream(
            f"SELECT expert_ids FROM tokens WHERE {_phase_in(phase)} "
            f"AND trace IN (SELECT trace FROM traces WHERE {where})",
            values,
        ):
            joined = b"".join(batch.column(0).to_pylist())
            ids = np.frombuffer(joined, spec.id_dtype.newbyteorder("<"))
            yield ids.reshape(-1, spec.num_moe_layers, spec.top_k)

    def query(self, sql: str, values: Sequence[Any] = ()) -> dict[str, np.ndarray]:
        """The columns of a query over the views ``tokens``, ``traces`` and ``counts``.

        Raises:
            TraceError: a file is damaged.
        """
        try:
            return self.db.execute(sql, values).fetchnumpy()
        except duckdb.Error as error:
            raise TraceError(f"{self.path} is damaged: {_first_line(error)}") from None

    def _traces_where(self, mode: str | None, labels: Mapping[str, str] | None) -> tuple[str, list[Any]]:
        """A condition on ``traces``, and the values of its question marks."""
        parts, values = ["true"], []
        if mode is not None:
            _expect(mode, self.query("SELECT DISTINCT mode FROM traces ORDER BY mode")["mode"].tolist(), "mode")
            parts.append("mode = ?")
            values.append(mode)
        for name, value in (labels or {}).items():
            found = self.query("SELECT DISTINCT unnest(map_keys(labels)) AS name FROM traces ORDER BY name")
            _expect(name, found["name"].tolist(), "label")
            parts.append("labels[?] = ?")
            values += [name, value]
        return " AND ".join(parts), values

    def _stream(self, sql: str, values: list[Any]) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.db.sql(sql, params=values).to_arrow_reader(BATCH)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise TraceError(f"{self.path} is damaged: {_first_line(error)}") from None

    def _positions(self, layers: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.spec.layer_numbers, layers)


def _phases(phase: str) -> list[str]:
    if phase not in PHASE_GROUPS:
        raise BadValue(f"Unknown phase {phase!r}; choose from {', '.join(PHASE_GROUPS)}.")
    return [p.label for p in PHASE_GROUPS[phase]]


def _phase_in(phase: str) -> str:
    return "phase IN (" + ", ".join(f"'{name}'" for name in _phases(phase)) + ")"


def _phase_rows(phase: str) -> str:
    return " + ".join(f"rows_{name}" for name in _phases(phase))


def _expect(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        raise BadValue(f"No trace has the {kind} {name!r}; there are {', '.join(map(str, known)) or 'none'}.")


def _same(found: pa.Schema, wanted: pa.Schema) -> bool:
    """Equal columns; how texts are encoded does not matter."""
    return found.names == wanted.names and all(
        f.type == w.type or pa.types.is_dictionary(w.type) and pa.types.is_string(f.type)
        for f, w in zip(found, wanted, strict=True)
    )


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200]
