"""A recorded folder as ``record`` leaves it, of random traces: for tests of comparisons. Knows no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from analysis import storage
from analysis.trace import RoutingTrace


def write_recording(
    folder: Path, lines: Iterable[dict[str, Any]], trace: Callable[[int, dict[str, Any]], RoutingTrace]
) -> Path:
    """Write one trace a line; ``trace`` makes it from the line's number and the line (``prompt``, ``mode``, labels)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({"model": folder.name, "quantization": "none"}))
    with open(folder / "index.jsonl", "w", encoding="utf-8") as index:
        for number, line in enumerate(lines):
            file = f"{number:05d}-{line.get('mode', 'thinking')}-{line.get('sample', 0)}.safetensors"
            storage.save(trace(number, line), folder / file)
            entry = {"file": file, "mode": "thinking", "digest": f"digest of {line['prompt']}", **line}
            index.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return folder


def both_modes(prompts: int, **labels: Any) -> list[dict[str, Any]]:
    """Lines for every prompt in both modes."""
    modes = ("thinking", "non-thinking")
    return [{"prompt": f"prompt {p}", "mode": mode, **labels} for p in range(prompts) for mode in modes]
