"""Traces as files: one ``.safetensors`` file a trace, written whole or not at all, and believed only after checking.

The tensors are the arrays of ``RoutingTrace`` under their own names; its texts are ``piece_bytes`` (all joined) and
``piece_ends`` (where each one ends). The file's metadata has one key, ``expertscope``: JSON with ``format_version``,
``spec``, ``row_start`` and ``provenance``. Does not know who asks for a file or whether they may.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import safetensors
import safetensors.numpy

from analysis.errors import TraceError
from analysis.trace import ROW_ARRAYS, RouterSpec, RoutingTrace

FORMAT_VERSION = 1
HEADER_KEY = "expertscope"
MAX_LAYERS = 1_000
MAX_EXPERTS = 2_048  # in a layer; every table of pairs is as large as its square
MAX_TOP_K = 512  # pairs are counted rank by rank
MAX_LAYER_EXPERTS = 200_000  # layers × experts; every figure of a trace is at least this large

_DTYPES: dict[str, Any] = {
    "token_ids": np.int32,
    "phase": np.uint8,
    "origin": np.uint8,
    "turn": np.uint16,
    "step": np.uint8,
    "expert_weights": np.float16,
    "router_scores": np.float16,
    "entropy": np.float32,
    "margin": np.float32,
    **dict.fromkeys(("top_k_mass", "contribution", "output_max", "shared_gate"), np.float32),
    "piece_bytes": np.uint8,
    "piece_ends": np.int64,
}
_OPTIONAL = frozenset(ROW_ARRAYS[1:])
_SPEC_TYPES: dict[str, type | tuple[type, ...]] = {
    "layer": int,
    "num_experts": int,
    "top_k": int,
    "scoring": str,
    "renormalised": bool,
    "scale": (int, float),
    "shared_experts": int,
    "shared_gate": bool,
}


def save(trace: RoutingTrace, path: str | os.PathLike[str]) -> Path:
    """Write ``trace`` to ``path``, which afterwards holds the whole trace or what it held before.

    Raises:
        TraceError: the trace cannot be stored, or the file cannot be written (a full disk, a missing folder).
    """
    path = Path(path)
    data = to_bytes(trace)
    try:
        write_whole(path, data)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise TraceError(f"{_shown(path)} could not be written: {_reason(error)}.") from None
    return path


def write_whole(path: Path, data: bytes) -> None:
    """``path`` afterwards holds ``data`` or what it held before.

    Raises:
        OSError, ValueError: it cannot be written; ValueError for a name no file can have.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> RoutingTrace:
    """Read the trace that ``save`` wrote.

    Raises:
        TraceError: there is no such file, or it is not a trace, damaged, or of another format version.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise TraceError(f"{_shown(path)} could not be read: {_reason(error)}.") from None
    return from_bytes(data, _shown(path))


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a trace file says of where it comes from; its arrays are not read.

    Raises:
        TraceError: as ``load``, as far as the file was read.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = file.read(8)
            data = size + file.read(min(int.from_bytes(size, "little"), path.stat().st_size) + 2)
        found = _read_header(data).get("provenance")
    except (OSError, ValueError) as error:
        raise TraceError(f"{_shown(path)} could not be read: {_reason(error)}.") from None
    except TraceError as error:
        raise TraceError.said("cannot_open", name=_shown(path), why=error) from None
    return found if isinstance(found, dict) else {}


def to_bytes(trace: RoutingTrace) -> bytes:
    """The content of a trace file.

    Raises:
        TraceError: an array has the wrong type or a value that ``from_bytes`` would refuse, or the provenance is not
            JSON.
    """
    tensors = {name: getattr(trace, name) for name in _DTYPES if hasattr(trace, name)}
    tensors["expert_ids"] = trace.expert_ids
    tensors["piece_bytes"] = np.frombuffer(b"".join(trace.pieces), np.uint8)
    tensors["piece_ends"] = np.cumsum([len(piece) for piece in trace.pieces], dtype=np.int64)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items() if array is not None}
    _check_tensors(tensors, trace.spec)
    header = {
        "format_version": FORMAT_VERSION,
        "spec": trace.spec.to_json(),
        "row_start": int(trace.row_start),
        "provenance": trace.provenance,
    }
    check_spec(header["spec"])
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TraceError(f"The trace's provenance cannot be written as JSON: {error}.") from None
    return safetensors.numpy.save(tensors, metadata={HEADER_KEY: text})


def from_bytes(data: bytes, name: str = "The file") -> RoutingTrace:
    """The trace in the content of a trace file.

    Args:
        data: what ``to_bytes`` gave.
        name: what to call the file in an error.

    Raises:
        TraceError: one sentence beginning with ``name``.
    """
    try:
        return _decode(data)
    except TraceError as error:
        raise TraceError.said("cannot_open", name=name, why=error) from None


def _decode(data: bytes) -> RoutingTrace:
    header = _read_header(data)
    version = header.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise TraceError.said("format_version", found=_brief(version), known=FORMAT_VERSION)
    row_start, provenance = header.get("row_start"), header.get("provenance")
    if type(row_start) is not int or row_start < 0:
        raise TraceError(f"Its row_start is {_brief(row_start)}; expected a whole number.")
    if not isinstance(provenance, dict):
        raise TraceError(f"Its provenance is {_brief(provenance)}; expected a JSON object.")
    check_spec(header.get("spec"))
    spec = RouterSpec.from_json(header["spec"])
    try:
        tensors = safetensors.numpy.load(data)
    except Exception as error:  # the library raises its own, KeyError, TypeError and ValueError on foreign content
        raise TraceError.said("cut_short" if _cut_short(data) else "arrays_damaged") from error
    missing = [name for name in (*_DTYPES, "expert_ids") if name not in tensors and name not in _OPTIONAL]
    if missing:
        raise TraceError(f"It lacks {', '.join(missing)}.")
    _check_tensors(tensors, spec)
    joined, ends = tensors["piece_bytes"].tobytes(), tensors["piece_ends"]
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    return RoutingTrace(
        spec=spec,
        pieces=tuple(joined[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)),
        row_start=row_start,
        provenance=provenance,
        **{name: tensors[name] for name in ("token_ids", "phase", "origin", "turn", "step")},
        **{name: tensors.get(name) for name in ROW_ARRAYS},  # type: ignore[arg-type]
    )


def _cut_short(data: bytes) -> bool:
    """Whether the file ends before the last of its arrays does, as its table of contents has it."""
    start = 8 + int.from_bytes(data[:8], "little")
    places = [entry.get("data_offsets") for entry in json.loads(data[8:start]).values() if isinstance(entry, dict)]
    ends = [place[1] for place in places if isinstance(place, list) and len(place) == 2 and type(place[1]) is int]
    return bool(ends) and max(ends) > len(data) - start


def _read_header(data: bytes) -> dict[str, Any]:
    """The JSON under ``HEADER_KEY``; the file begins with the length of a JSON table of contents, in 8 bytes."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= size <= len(data) - 8 or data[8:9] != b"{":
        raise TraceError.said("not_safetensors")
    contents = _parse_json(data[8 : 8 + size], "table of contents")
    metadata = contents.get("__metadata__")
    text = metadata.get(HEADER_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise TraceError.said("not_a_trace")
    return _parse_json(text, "header")


def _parse_json(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise TraceError(f"Its {what} is not readable JSON.") from None
    if not isinstance(value, dict):
        raise TraceError(f"Its {what} is {_brief(value)}; expected a JSON object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def check_spec(data: Any) -> None:
    """Whether JSON of a file may become a ``RouterSpec``.

    Raises:
        TraceError: it lacks a key, or claims what no model has.
    """
    if not isinstance(data, list) or len(data) > MAX_LAYERS:
        raise TraceError(f"Its router specification must be a list of at most {MAX_LAYERS} layers.")
    last = -1
    for item in data:
        if not isinstance(item, dict):
            raise TraceError(f"Its router specification has {_brief(item)} where a layer was expected.")
        for key, kind in _SPEC_TYPES.items():
            value = item.get(key)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise TraceError(f"Its router specification has {key} = {_brief(value)}.")
        most = min(MAX_EXPERTS, MAX_LAYER_EXPERTS // len(data))
        if not 0 < item["top_k"] <= min(MAX_TOP_K, item["num_experts"]) or item["num_experts"] > most:
            raise TraceError(f"It claims {len(data)} layers with top-{item['top_k']} of {item['num_experts']} experts.")
        if not last < item["layer"] <= 10 * MAX_LAYERS or not 0 <= item["shared_experts"] <= MAX_LAYER_EXPERTS:
            raise TraceError(f"Its router specification has layer {item['layer']} after layer {last}.")
        if not abs(item["scale"]) <= 1e6 or not math.isfinite(item["scale"]):
            raise TraceError(f"Its router specification has scale = {_brief(item['scale'])}.")
        last = item["layer"]


def _check_tensors(tensors: dict[str, np.ndarray], spec: RouterSpec) -> None:
    """Types and values; how the shapes fit together is checked by ``RoutingTrace``."""
    for name, dtype in {**_DTYPES, "expert_ids": spec.id_dtype}.items():
        array = tensors.get(name)
        if array is None:
            continue
        if array.ndim == 0:
            raise TraceError(f"The trace's {name} is a single value.")
        if array.dtype != dtype:
            raise TraceError(f"The trace's {name} is {array.dtype}; expected {np.dtype(dtype)}.")
        known = np.isfinite(array) if name != "shared_gate" else ~np.isinf(array)  # a layer may have no shared gate
        if not known.all():
            raise TraceError(f"The trace's {name} holds a value that is not a number.")
        if name in ("token_ids", "expert_weights") and array.size and array.min() < 0:
            raise TraceError(f"The trace's {name} holds a negative value.")
    ends, size = tensors["piece_ends"], tensors["piece_bytes"].size
    bounds = np.concatenate(([0], ends, [size])) if ends.ndim == 1 else np.zeros(0)
    if ends.ndim != 1 or tensors["piece_bytes"].ndim != 1 or (bounds[1:] < bounds[:-1]).any() or bounds[-2] != size:
        raise TraceError("The trace's text does not fit its tokens.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _shown(path: Path) -> str:
    """A path as it can be printed, whatever bytes it holds."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
