"""The notebooks in ``examples/`` run from top to bottom, show what they say, and are kept without their outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def said(cell: Any) -> str:
    """What a cell printed, and its value as text."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_explained_and_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and "code" in kinds
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown" and before.source.strip().endswith((".", "`"))
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.timeout(600)
def test_compare_modes_runs() -> None:
    notebook = nbformat.read(EXAMPLES / "compare_modes.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}})
    client.execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    assert "6 layers, 64 experts each, 8 used per token" in said(cells["engine"])
    assert "'recorded': 40" in said(cells["record"]) and "'failed': []" in said(cells["record"])
    for name in ("compare", "control"):
        assert said(cells[name]).count("\n") == 3
        counted = re.search(r"(\d+) prompts on both sides", said(cells[name]))
        assert counted and 12 <= int(counted[1]) <= 20  # an answer of few tokens cannot be counted
    assert "among the same tokens" in said(cells["control"])
    for name in ("dumbbell", "depth"):
        figure = cells[name].outputs[0].data["application/vnd.plotly.v1+json"]
        assert len(figure["data"]) > 1 and "<b>" in figure["layout"]["title"]["text"]
    assert "share of slots" in said(cells["pack"])
    busiest = eval(said(cells["sql"]))
    assert len(busiest) == 12 and {row[0] for row in busiest} == {"thinking", "non-thinking"}
    assert all(100 / 64 < row[3] < 100 / 8 for row in busiest)
    assert "'compared': True" in said(cells["report"])
