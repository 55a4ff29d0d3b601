"""The traces of a collection one at a time, in any order, without a query for each: rows by where they lie in the
files, counts by blocks of traces.

Knows that tokens lie in the order of their traces. Holds a few row groups and blocks of counts, whatever the size of
the collection; reading in the order of the traces reads everything once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.collection import Collection
from analysis.collection_format import TOKENS
from analysis.errors import TraceError
from analysis.trace import Phase

BLOCK = 256  # traces whose counts are read together
_COLUMNS = ["trace", "phase", "token_id", "piece", "expert_ids"]
Group = tuple[np.ndarray, np.ndarray, np.ndarray, pa.Array, np.ndarray]


class CollectionRows:
    """Random access to the traces of ``collection``."""

    def __init__(self, collection: Collection) -> None:
        self.collection, self.spec = collection, collection.spec
        sizes = collection.query("SELECT rows FROM traces ORDER BY trace")["rows"]
        self._ends = np.cumsum(np.asarray(sizes, np.int64))
        self._groups: list[tuple[str, int]] = []
        group_sizes: list[int] = []
        for file in (f for f in collection.manifest.files if f.startswith(TOKENS + "/")):
            footer = pq.read_metadata(collection.path / file)
            self._groups += [(file, i) for i in range(footer.num_row_groups)]
            group_sizes += [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        self._group_ends = np.cumsum(np.asarray(group_sizes, np.int64))
        self._block = lru_cache(maxsize=4)(self._read_block)
        self._group = lru_cache(maxsize=4)(self._read_group)

    def counts(self, number: int, phase: str) -> tuple[np.ndarray, int]:
        """(L, E) int32 selections of a trace in a phase, and its rows there."""
        rows, counts = self._block(number // BLOCK, phase)
        return counts[number % BLOCK], int(rows[number % BLOCK])

    def rows(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) ``Phase`` codes, (n,) token ids and (n, L, K) expert ids of a trace's rows, in order.

        Raises:
            TraceError: the tokens are not those of this trace.
        """
        _, phases, token_ids, _, expert_ids = (
            np.concatenate(columns) for columns in zip(*self._pieces(number), strict=True)
        )
        return phases, token_ids, expert_ids

    def texts(self, number: int) -> dict[int, bytes]:
        """Token id → its text."""
        return {
            int(i): text
            for _, _, ids, pieces, _ in self._pieces(number)
            for i, text in zip(ids, pieces.tolist(), strict=True)
        }

    def _pieces(self, number: int) -> list[tuple[np.ndarray, ...]]:
        """A trace's rows, by the row groups that they lie in."""
        stop = int(self._ends[number])
        start = int(self._ends[number - 1]) if number else 0
        found: list[tuple[np.ndarray, ...]] = []
        for index in range(int(np.searchsorted(self._group_ends, start, side="right")), len(self._groups)):
            first = int(self._group_ends[index - 1]) if index else 0
            if first >= stop and found:
                break
            here = slice(max(start - first, 0), max(stop - first, 0))
            traces, phases, ids, pieces, experts = self._group(index)
            if (traces[here] != number).any():
                raise TraceError(f"{self.collection.path} is damaged: its tokens are not in the order of its traces.")
            texts = pieces[here.start : here.stop].to_numpy(zero_copy_only=False)
            found.append((traces[here], phases[here], ids[here], texts, experts[here]))
        if not found:
            spec = self.spec
            none = np.zeros(0, np.int32)
            shape = (0, spec.num_moe_layers, spec.top_k)
            found.append((none, none, none, none, np.zeros(shape, spec.id_dtype)))
        return found

    def _read_group(self, index: int) -> Group:
        file, group = self._groups[index]
        try:
            with pq.ParquetFile(self.collection.path / file) as opened:
                table = opened.read_row_group(group, columns=_COLUMNS)
        except (OSError, pa.ArrowException) as error:
            raise TraceError(f"{self.collection.path} is damaged: {str(error).splitlines()[0][:200]}") from None
        joined = {name: _one(table.column(name)) for name in _COLUMNS}
        phases = pc.index_in(joined["phase"].cast(pa.string()), value_set=pa.array([p.label for p in Phase]))
        experts, spec = joined["expert_ids"], self.spec
        ids = np.frombuffer(experts.buffers()[1], spec.id_dtype.newbyteorder("<"))
        ids = ids.reshape(-1, spec.num_moe_layers, spec.top_k)[experts.offset : experts.offset + len(experts)]
        codes = np.array(list(Phase))[phases.to_numpy(zero_copy_only=False)]
        return joined["trace"].to_numpy(), codes, joined["token_id"].to_numpy(), joined["piece"], ids

    def _read_block(self, block: int, phase: str) -> tuple[np.ndarray, np.ndarray]:
        found = self.collection.prompt_counts(phase, traces=range(block * BLOCK, (block + 1) * BLOCK))
        return found.rows, found.counts


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.unify_dictionaries().chunks)
