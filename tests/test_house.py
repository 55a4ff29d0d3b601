"""The house: imports only go down, and every floor stands without the one above it."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from app import __version__

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"training", "benchmarks", "tests"}
MODELS = {"torch", "transformers", "accelerate", "bitsandbytes"}
ABOVE_ENGINE = {"gradio", "app.ui", "app.server", "app.cli", "app.cli_files"}
FORBIDDEN: dict[str, set[str]] = {
    "analysis": MODELS | BESIDE | {"gradio", "app"},
    "app/engine": ABOVE_ENGINE | BESIDE,
    "app/server": MODELS | BESIDE,
    "app/ui": MODELS | BESIDE,
    "app": BESIDE,
    "app.py": BESIDE,
}
"""Folder or file → modules that may not be imported in it, with all that is inside them."""


def imported(source: str, package: str) -> set[str]:
    """Absolute names that ``source``, a module in ``package``, imports anywhere: at its top, in functions, for types
    only, relatively, or by name through ``import_module``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return names


def code_in(place: Path) -> list[Path]:
    """The Python files in a folder, or the file itself."""
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def violations(root: Path) -> list[str]:
    """ "file imports name" for every import under ``root`` that goes up or sideways out of the house."""
    found = set()
    for folder, forbidden in FORBIDDEN.items():
        for path in code_in(root / folder):
            where = path.relative_to(root)
            for name in imported(path.read_text(encoding="utf-8"), ".".join(where.parent.parts)):
                if any(name == module or name.startswith(module + ".") for module in forbidden):
                    found.add(f"{where.as_posix()} imports {name}")
    return sorted(found)


def test_imports_only_go_down() -> None:
    for folder in FORBIDDEN:
        assert code_in(ROOT / folder), f"{folder} has no code: the rule would hold for nothing"
    assert violations(ROOT) == []


VIOLATING = {
    "analysis/a.py": ("import torch.nn as nn", "torch.nn"),
    "analysis/b.py": ("def f():\n    from app.engine import base", "app.engine"),
    "analysis/figures/c.py": ("from ...app import settings", "app.settings"),
    "app/engine/d.py": ("from app import ui", "app.ui"),
    "app/engine/e.py": ("from ..server.store import TraceStore", "app.server.store"),
    "app/engine/f.py": ("import importlib\nimportlib.import_module('gradio')", "gradio"),
    "app/ui/g.py": ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", "torch"),
    "app/h.py": ("from training import model", "training"),
    "app.py": ("import benchmarks.decode", "benchmarks.decode"),
}
INNOCENT = {
    "analysis/ok.py": "import numpy as np\nfrom analysis import trace\nimport torchless, application",
    "app/engine/ok.py": "import torch\nfrom app.settings import Settings\nfrom .base import Engine",
    "app/ui/ok.py": "import gradio as gr\nfrom app.server.store import TraceStore\nfrom app.engine import base",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source + "\n", encoding="utf-8")


def test_the_rule_catches_every_way_to_import(tmp_path: Path) -> None:
    write(tmp_path, {name: source for name, (source, _) in VIOLATING.items()} | INNOCENT)
    found = violations(tmp_path)
    for name, (_, module) in VIOLATING.items():
        assert f"{name} imports {module}" in found
    assert not any("ok.py" in line for line in found)


@pytest.mark.parametrize(
    ("folder", "allowed", "banned"),
    [
        ("analysis", "numpy", "torch"),
        ("analysis", "analysis.trace", "app.settings"),
        ("analysis/figures", "plotly", "gradio"),
        ("app/engine", "torch", "gradio"),
        ("app/engine", "app.settings", "app.ui.context"),
        ("app/ui", "gradio", "torch"),
        ("app", "app.ui", "training.model"),
    ],
)
def test_the_linter_catches_it_too(folder: str, allowed: str, banned: str) -> None:
    def lint(module: str) -> str:
        command = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--select",
            "TID251",
            "--output-format",
            "concise",
        ]
        source = f"import {module}\n"
        file = f"{folder}/not_a_file.py"
        run = subprocess.run(
            [*command, "--stdin-filename", file, "-"], input=source, cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode in (0, 1), run.stderr
        return run.stdout

    assert "TID251" in lint(banned)
    assert "TID251" not in lint(allowed)


WITHOUT = textwrap.dedent(
    """
    import importlib, pkgutil, sys

    package, forbidden = sys.argv[1], set(sys.argv[2].split(","))

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if any(name == module or name.startswith(module + ".") for module in forbidden):
                raise ModuleNotFoundError(f"{name} is absent in this test", name=name)

    sys.meta_path.insert(0, Absent())
    top = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(top.__path__, package + ".")]
    for name in names:
        importlib.import_module(name)
    print(len(names))
    """
)


@pytest.mark.parametrize("package", ["analysis", "app.engine"])
def test_a_floor_stands_without_the_one_above(package: str) -> None:
    """Every module of the floor can be imported where what it must not know is not installed."""
    forbidden = ",".join(sorted(FORBIDDEN[package.replace(".", "/")]))
    run = subprocess.run([sys.executable, "-c", WITHOUT, package, forbidden], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) >= 2


def test_absence_is_felt() -> None:
    """The test above would fail for a floor that needs what is absent."""
    run = subprocess.run([sys.executable, "-c", WITHOUT, "analysis", "numpy"], cwd=ROOT, capture_output=True, text=True)
    assert "numpy is absent in this test" in run.stderr


def test_the_map_shows_what_is_there() -> None:
    """docs/architecture.md names every room, and no path that does not exist."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([^`\n]+)`", text))
    rooms = {path for folder in ("analysis", "app/engine", "app/server") for path in (ROOT / folder).glob("[!_]*.py")}
    assert sorted(path.name for path in rooms if path.stem not in words) == []
    today = text.split("Planned, and absent today")[0] + text.split("## Invariants")[1]
    paths = re.findall(r"`((?:analysis|app|assets|docs|tests|training)/[\w./-]*|[\w-]+/[\w-]+\.py)`", today)
    tops = (ROOT, ROOT / "analysis")
    assert [path for path in paths if not any((top / path).exists() for top in tops)] == []


def test_the_readme_names_what_is_there() -> None:
    """Its links and the paths of its commands exist, its folders are all there, and its Space can be built."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    linked = [path for path in re.findall(r"\]\(([^)#]+)\)", body) if not path.startswith("http")]
    tree = re.findall(r"^([\w/.]+)  +", body.split("## The folders")[1], re.M)
    assert len(linked) > 5 and len(tree) > 8
    assert [path for path in [*linked, *tree] if not (ROOT / path).exists()] == []
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py")) and path.name[0] != "."}
    assert tops <= {path.split("/")[0] for path in tree}
    key = dict(line.split(": ", 1) for line in front.splitlines())
    assert key["sdk"] == "gradio" and (ROOT / key["app_file"]).is_file() and len(key["short_description"]) <= 60
    assert f"gradio>={key['sdk_version'].rsplit('.', 1)[0]},<7" in (ROOT / "requirements.txt").read_text(
        encoding="utf-8"
    )
    assert set(re.findall(r"-m app (\w+)", body)) <= {
        "serve",
        "check",
        "record",
        "compare",
        "report",
        "noise",
        "show",
        "pack",
        "import",
    }


def test_the_readmes_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    monkeypatch.chdir(ROOT)
    for code in snippets:
        exec(code, names)
    assert names["rows"].expert_ids.shape == (3, 6, 8)
    assert names["load"].phase == "thinking" and names["load"].n > 0


def test_what_comes_along_is_small() -> None:
    sizes = [path.stat().st_size for path in (ROOT / "assets").rglob("*") if path.is_file()]
    assert max(sizes) <= 10_000_000 and sum(sizes) <= 25_000_000


def test_one_version() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.+)"', project, re.M) == [__version__]
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_tests_stay_on_this_machine() -> None:
    """An address set aside for documentation (RFC 5737), refused before anything is sent; this machine's own is not."""
    with socket.socket() as outward, pytest.raises(OSError, match="tests may not connect to 192.0.2.1"):
        outward.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5) as inward:
        assert inward.getpeername() == server.getsockname()


def test_tests_leave_the_home_of_the_user_alone() -> None:
    homes = [os.environ[name] for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "GRADIO_TEMP_DIR")]
    assert all("expertscope-tests-" in home for home in homes)
