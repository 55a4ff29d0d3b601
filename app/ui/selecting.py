"""Which tab is open, kept in a state.

Selections travel to the server each on its own and may overtake one another, most of all while the page comes up: the
browser's clock says which was the last. Knows tabs and one state; what a tab shows is its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.ui.quiet import HEARING


def wire_selected(tabs: Mapping[str, gr.Tab], state: gr.State) -> None:
    """Keep in ``state`` the name of the tab that was selected last."""
    clock, latest = gr.Number(visible=False), gr.State(0.0)
    for name, tab in tabs.items():
        tab.select(
            functools.partial(selected, name),
            [clock, latest],
            [state, latest],
            js="(clock, latest) => [performance.now(), latest]",
            concurrency_id="selections",  # one at a time, else two could read the same ``latest``
            **HEARING,
        )


def selected(name: str, at: Any, latest: float) -> tuple[Any, Any]:
    """The tab's name and when it was selected (ms of the browser's clock), or nothing new if a later one was heard of
    before. A time that is none counts as the latest."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        return name, gr.skip()
    return (name, float(at)) if at >= latest else (gr.skip(), gr.skip())
