"""What every benchmark prints: the machine, and its rows as a table or as JSON. Knows nothing of what is measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from typing import Any


def machine(*more: str) -> str:
    """One line: cores, processor and Python, and what a benchmark adds."""
    return ", ".join(
        (f"{os.cpu_count()} cores", platform.machine(), f"Python {platform.python_version()}", *filter(None, more))
    )


def report(result: dict[str, Any], *, as_json: bool, about: Sequence[str] = ()) -> None:
    """Print ``result``: ``benchmark``, ``machine`` and ``rows`` of ``name``, ``value`` (None where it could not be
    measured), ``unit``, and where they apply ``ratio``, ``ratio_iqr`` (its quartiles) and ``note``.

    Args:
        about: sentences above the table.
    """
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    print(result["machine"])
    for line in about:
        print(line)
    width = max(len(row["name"]) for row in result["rows"])
    for row in result["rows"]:
        value = (
            "–" if row["value"] is None else f"{row['value']:,.3f}" if row["value"] < 100 else f"{row['value']:,.1f}"
        )
        ratio = f"{row['ratio']:6.3f}" if row.get("ratio") is not None else " " * 6
        spread = "[{:.3f}, {:.3f}]".format(*row["ratio_iqr"]) if row.get("ratio_iqr") else ""
        line = f"{row['name']:{width}s} {value:>11s} {row['unit']:9s} {ratio} {spread:16s} {row.get('note', '')}"
        print(line.rstrip())
