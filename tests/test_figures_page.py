"""docs/figures.md: every figure that there is, as it is called, with pictures that exist and are small."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from analysis import figures
from tests.figure_list import CHAPTERS
from tests.make_figures import FIGURES, IMAGES, PAGE, THEMES, page

PIECES = {"style", "by_layer", "ratio", "tested"}  # of pictures, no pictures


def public_figures() -> set[str]:
    """ "module.function" of everything in ``analysis.figures`` that returns a figure."""
    found = set()
    for module in pkgutil.iter_modules(figures.__path__):
        if module.name in PIECES:
            continue
        loaded = importlib.import_module(f"analysis.figures.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            own = function.__module__ == loaded.__name__ and not name.startswith("_")
            if own and inspect.signature(function).return_annotation == "go.Figure":
                found.add(f"{module.name}.{name}")
    return found


def test_the_page_has_every_figure_and_no_other() -> None:
    listed = [drawn.function for drawn in FIGURES]
    assert set(listed) == public_figures() and len(listed) == len(set(listed)) > 20


def test_the_page_is_what_the_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.make_figures"


def test_every_call_names_its_function() -> None:
    for drawn in FIGURES:
        assert drawn.call.startswith(drawn.function.split(".")[1] + "("), drawn.name
    assert all(chapter and drawn for chapter, drawn in CHAPTERS.items())


def test_pictures_exist_for_both_themes_and_are_small() -> None:
    wanted = {f"{drawn.name}-{theme}.png" for drawn in FIGURES for theme in THEMES}
    found = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert set(found) == wanted
    assert sum(found.values()) < 2_500_000 and max(found.values()) < 150_000
