"""What a collection is on disk: its files, the columns of each, and the JSON that says what they hold.

Knows names and types; docs/collections.md says the same to people. Does not know recordings (``packing``) or queries
(``collection``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.errors import TraceError
from analysis.storage import check_spec
from analysis.trace import RouterSpec

FORMAT_VERSION = 1
MANIFEST = "collection.json"
TOKENS, TRACES, COUNTS = "tokens", "traces.parquet", "counts"
SUMMARIES = ("entropy", "margin", "top_k_mass")
_NAMES = pa.dictionary(pa.int8(), pa.string())


def tokens_schema(spec: RouterSpec, summaries: bool = False) -> pa.Schema:
    """Columns of ``tokens/``: one row a token that has routing.

    ``expert_ids`` are L × K little-endian ids of ``spec.id_dtype``, ``expert_weights`` L × K float16 or null, the
    summaries L float32 each or null; all of fixed length.
    """
    slots = spec.num_moe_layers * spec.top_k
    columns = [
        ("trace", pa.int32()),
        ("mode", _NAMES),
        ("phase", _NAMES),
        ("origin", _NAMES),
        ("step", _NAMES),
        ("turn", pa.int32()),
        ("position", pa.int32()),
        ("token_id", pa.int32()),
        ("piece", pa.binary()),
        ("expert_ids", pa.binary(slots * spec.id_dtype.itemsize)),
        ("expert_weights", pa.binary(slots * 2)),
        *((name, pa.binary(spec.num_moe_layers * 4)) for name in SUMMARIES if summaries),
    ]
    return pa.schema(columns)


TRACES_SCHEMA = pa.schema(
    [
        ("trace", pa.int32()),
        ("file", pa.string()),
        ("prompt", pa.string()),
        ("digest", pa.string()),
        ("mode", pa.string()),
        ("sample", pa.int32()),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("tokens", pa.int32()),
        ("rows", pa.int32()),
        *((f"rows_{phase}", pa.int32()) for phase in ("prompt", "thinking", "answer", "marker")),
        ("row_start", pa.int32()),
        ("index_entry", pa.string()),
        ("provenance", pa.string()),
    ]
)
"""One row a trace. ``labels`` holds text values as they are and others as JSON; ``index_entry`` and ``provenance`` are
JSON objects."""

COUNTS_SCHEMA = pa.schema(
    [("trace", pa.int32()), ("phase", _NAMES), ("layer", pa.int32()), ("expert", pa.int32()), ("count", pa.int32())]
)
"""How often a trace selected an expert in a phase, zero counts left out; ``layer`` is the model's own number."""


@dataclass(frozen=True)
class Manifest:
    """What ``collection.json`` says.

    Attributes:
        spec: the routers, the same in every trace.
        traces, rows: how many.
        files: Parquet file, relative to the folder → its number of rows.
        summaries: entropy, margin and top-k mass are kept.
        source: tells the packed recording from another.
    """

    spec: RouterSpec
    traces: int
    rows: int
    files: dict[str, int]
    summaries: bool
    source: str

    def to_text(self) -> str:
        data = {
            "format": "expertscope collection",
            "format_version": FORMAT_VERSION,
            "traces": self.traces,
            "rows": self.rows,
            "files": self.files,
            "summaries": self.summaries,
            "source": self.source,
            "id_dtype": self.spec.id_dtype.name,
            "no_expert": self.spec.no_expert,
            "ids_shape": [self.spec.num_moe_layers, self.spec.top_k],
            "schema": {
                name: {column.name: str(column.type) for column in schema} for name, schema in self.schemas().items()
            },
            "spec": self.spec.to_json(),
        }
        return json.dumps(data, indent=2) + "\n"

    def schemas(self) -> dict[str, pa.Schema]:
        return {TOKENS: tokens_schema(self.spec, self.summaries), "traces": TRACES_SCHEMA, COUNTS: COUNTS_SCHEMA}

    def schema_of(self, file: str) -> pa.Schema:
        return self.schemas()["traces" if file == TRACES else Path(file).parts[0]]


def read_manifest(folder: Path) -> Manifest:
    """
    Raises:
        TraceError: the folder is not a collection, or one of another format version.
    """
    try:
        data: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise TraceError(f"{folder} is not a collection: it has no readable {MANIFEST}.") from None
    except (ValueError, RecursionError):
        raise TraceError(f"{folder / MANIFEST} is damaged: it is not readable JSON.") from None
    if not isinstance(data, dict) or data.get("format") != "expertscope collection":
        raise TraceError(f"{folder} is not a collection of this program.")
    if data.get("format_version") != FORMAT_VERSION:
        version = str(data.get("format_version"))[:20]
        raise TraceError(f"{folder} has format version {version}; this program reads version {FORMAT_VERSION}.")
    try:
        traces, rows, files = data["traces"], data["rows"], data["files"]
        if any(type(number) is not int for number in (traces, rows, *files.values())):
            raise ValueError
        if any(Path(n).is_absolute() or ".." in Path(n).parts or not _known(n) for n in files):
            raise ValueError
        check_spec(data["spec"])
        spec = RouterSpec.from_json(data["spec"])
        manifest = Manifest(spec, traces, rows, files, bool(data["summaries"]), str(data["source"]))
    except (LookupError, TypeError, ValueError, AttributeError, TraceError):
        raise TraceError(f"{folder / MANIFEST} is damaged: it does not describe a collection.") from None
    return manifest


def _known(file: str) -> bool:
    return file == TRACES or Path(file).parts[0] in (TOKENS, COUNTS)
