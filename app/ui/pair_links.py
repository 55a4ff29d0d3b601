"""The ways into the comparison of two recordings: an address that names both, and "compare with" on a library's card.

Knows components of several parts. Does not know how they are built, nor what is drawn of two recordings.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from analysis.words import Words
from app.ui import compare_tab, library_tab
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.pair_tab import KIND
from app.ui.quiet import HEARING, QUIET
from app.ui.shelves.links import pair_target
from app.ui.shelves.names import partner
from app.ui.shelves.view import action


def wire(
    blocks: gr.Blocks,
    services: Services,
    shared: Shared,
    tabs: gr.Tabs,
    compare: compare_tab.CompareTab,
    library: library_tab.LibraryTab,
    status: gr.HTML,
    words: Words,
) -> None:
    """Every listener of these ways. ``status`` says why an address leads nowhere."""
    pair = compare.two.pair
    opened = [pair, tabs, shared.open_tab, compare.kinds, compare.kind]

    def on_load(query: Any) -> tuple[Any, ...]:
        wanted = pair_target(query, services.recordings, words)
        if wanted is None:
            return (gr.skip(),) * (len(opened) + 1)
        if wanted.problem:
            return *(gr.skip(),) * len(opened), status_html(wanted.problem, True)
        return *_open(wanted.ids), gr.skip()

    def on_act(event: gr.EventData, known: Any) -> tuple[Any, ...]:
        chosen = action(event)
        if chosen is None or chosen[0] != "compare":
            return (gr.skip(),) * len(opened)
        if chosen[1] not in services.store:
            gr.Info(words("errors.not_in_memory"))
            return (gr.skip(),) * len(opened)
        first = chosen[1]
        before = [one for one in known if one != first]
        return _open((first, partner(first, services) or (before[-1] if before else "")))

    def on_copied(how: Any) -> None:
        gr.Info(words(f"library.page.link_{'copied' if how == 'copied' else 'failed'}"), duration=4)

    asked = gr.Textbox(visible=False)
    blocks.load(on_load, asked, [*opened, status], js="() => [location.search]", **QUIET)
    library.listing.act(on_act, pair, opened, **HEARING)  # type: ignore[attr-defined]
    compare.two.link.click(on_copied, asked, None, js="async () => [await window.expertscope.copyPair()]", **QUIET)


def _open(pair: tuple[str, str]) -> tuple[Any, ...]:
    """The pair, and everything that brings it to the eye."""
    return pair, gr.update(selected=compare_tab.NAME), compare_tab.NAME, gr.update(selected=KIND), KIND
