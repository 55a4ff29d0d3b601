"""Which tab is open: the one selected last, in whatever order the selections arrive."""

from __future__ import annotations

import math

import gradio as gr
import pytest

from app.ui.selecting import selected
from tests.ui.tab_page import is_skipped


def test_the_selection_made_last_wins_in_any_order() -> None:
    assert selected("library", 20, 0.0) == ("library", 20.0)
    assert selected("load", 30.5, 20.0) == ("load", 30.5)
    assert all(map(is_skipped, selected("token", 10, 20.0)))


@pytest.mark.parametrize("time", [None, "soon", math.nan, math.inf, True, [1]])
def test_a_time_that_is_none_stops_nothing_later(time: object) -> None:
    name, latest = selected("load", time, 20.0)
    assert name == "load" and latest == gr.skip()
