"""Dumps of SGLang's expert distribution recorder (``.pt``): tensors, lists and numbers are read, code never.

Knows the recorder's per-token mode. Its other modes count selections only, from which no trace can be made.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.errors import BadValue
from analysis.imports import Arrays, Tokens


def read_dump(path: Path) -> tuple[Arrays, Tokens | None]:
    """The rows of the one request that was recorded, in the order of its tokens.

    Raises:
        BadValue: the file is missing or not a per-token dump of one request.
    """
    if not path.is_file():
        raise BadValue(f"There is no file {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dump: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # pickle's, zipfile's and torch's own, on foreign content
        raise BadValue(f"{path} is not a dump that can be read without running code.") from None
    if isinstance(dump, dict) and "logical_count" in dump:
        raise BadValue(f"{path} holds counts only (recorder mode stat); record with mode per_token.")
    records = dump.get("records") if isinstance(dump, dict) else None
    if not isinstance(records, list) or not records:
        raise BadValue(f"{path} holds no records of SGLang's expert distribution recorder.")
    _expect_unmoved(dump.get("last_physical_to_logical_map"), path)
    parts = [_part(record, path) for record in records]
    ids = np.concatenate([part for part, _, _ in parts])
    if any(positions is None for _, positions, _ in parts):
        return Arrays(ids), None
    positions = np.concatenate([p for _, p, _ in parts if p is not None])
    order = np.argsort(positions, kind="stable")
    start = int(positions.min()) if len(positions) else 0
    if not np.array_equal(positions[order], np.arange(len(ids)) + start):
        raise BadValue(f"{path} holds several requests or ranks; record one request at a time on one rank.")
    tokens = [t for _, _, part in parts for t in part]
    known = start == 0 and len(tokens) == len(ids)
    return Arrays(ids[order], start=start), Tokens([tokens[i] for i in order]) if known else None


def _part(record: Any, path: Path) -> tuple[np.ndarray, np.ndarray | None, list[int]]:
    """(tokens, L, k) ids, positions and token ids of one forward pass."""
    ids = record.get("topk_ids_of_layer") if isinstance(record, dict) else None
    if not isinstance(ids, torch.Tensor) or ids.dim() != 3 or ids.is_floating_point():
        raise BadValue(f"{path} has no topk_ids_of_layer of [layers, tokens, k]; record with mode per_token.")
    rows = ids.permute(1, 0, 2).numpy()
    positions, tokens = (_list(record.get(name)) for name in ("positions", "input_ids"))
    if positions is None or len(positions) > len(rows):
        return rows, None, []
    return rows[: len(positions)], np.array(positions, np.int64), (tokens or [])[: len(positions)]


def _list(value: Any) -> list[int] | None:
    if isinstance(value, torch.Tensor):
        value = value.flatten().tolist()
    return value if isinstance(value, list) and all(isinstance(v, int) for v in value) else None


def _expect_unmoved(mapping: Any, path: Path) -> None:
    """Physical ids are the model's own only where no expert was moved or copied."""
    if isinstance(mapping, torch.Tensor) and not bool((mapping == torch.arange(mapping.shape[-1])).all()):
        raise BadValue(f"{path} was recorded with experts moved between devices, so its ids are not the model's own.")
