"""The page as a whole: header, chat on the left, live view on the right, the tabs below, and the links between them.

One page per language inside one ``gr.Blocks`` (``/``, ``/ja``, ``/zh``). Knows which parts there are and what they
share; each part knows itself.
"""

from __future__ import annotations

import functools
import html
import json
from types import ModuleType
from typing import Any

import gradio as gr

from analysis.words import LANGUAGES, Words
from app.engine.catalogue import BUNDLED_CARD, offers
from app.engine.models import gpu_gib
from app.ui import (
    api,
    chat,
    chat_edits,
    compare_tab,
    experiment_tab,
    experts_tab,
    forced_tab,
    gates_tab,
    learn_tab,
    library_tab,
    load_tab,
    pair_links,
    pair_tab,
    set_tab,
    token_tab,
)
from app.ui import page_links as links
from app.ui.context import EXAMPLE, Services, Shared
from app.ui.conversation import Say
from app.ui.experts_pool import Session
from app.ui.following import ActiveRuns, pull
from app.ui.header import PATHS, header_html
from app.ui.live.view import build_live
from app.ui.live.wire import pointer
from app.ui.present.view import build_present, wire_present
from app.ui.quiet import QUIET
from app.ui.selecting import wire_selected

TABS: dict[str, ModuleType] = {
    "token": token_tab,
    "load": load_tab,
    "gates": gates_tab,
    "compare": compare_tab,
    "experts": experts_tab,
    "experiment": experiment_tab,
    "learn": learn_tab,
}
"""Tabs that draw the trace that is shown; each has ``build(services, words)`` and ``wire(tab, services, shared)``."""


def build_page(services: Services) -> gr.Blocks:
    """The page in every language, ready to be launched by ``app.server.serve``."""
    runs = ActiveRuns()
    blocks = gr.Blocks(title="ExpertScope", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True)
    for language in LANGUAGES:
        if PATHS[language]:
            with blocks.route(LANGUAGES[language], f"/{PATHS[language]}", show_in_navbar=False):
                _build_language(blocks, services, runs, language)
        else:
            with blocks:
                _build_language(blocks, services, runs, language)
                api.build(services, runs)
    return blocks


def _build_language(blocks: gr.Blocks, services: Services, runs: ActiveRuns, language: str) -> None:
    words = Words(language)
    say: Say = lambda key, **values: words(f"page.{key}", **values)  # noqa: E731
    example = EXAMPLE in services.store
    gr.Navbar(visible=False)
    with gr.Row(elem_id="header"):
        offered = offers(gpu_gib()) if services.engine.card is BUNDLED_CARD else []
        gr.HTML(header_html(services.engine, say, language, offered), js_on_load=None, elem_id="header-text")
        present = build_present(services, words)
        theme_button = gr.Button("◐", elem_id="theme", size="sm", min_width=0, scale=0)
    with gr.Row(elem_id="main", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="chat-column"):
            talk = chat.build(services, say, language)
            if services.engine.spec.layers:
                gr.HTML(
                    f'<button type="button">{html.escape(say("to_live"))}</button>',
                    elem_id="to-live",
                    js_on_load=None,
                )  # on a phone
        with gr.Column(scale=7, min_width=320, elem_id="live-column"):
            live = build_live(
                functools.partial(pull, services, runs, language=language),
                lang=language,
                value=pointer(EXAMPLE) if example else None,
            )
            with gr.Row(elem_id="turns"):
                earlier = gr.Button("‹", elem_id="turn-previous", size="sm", min_width=36, scale=0, interactive=False)
                which = gr.HTML(
                    links.turn_label(say("turn_example" if example else "turn_none")),
                    elem_id="turn-label",
                    js_on_load=None,
                )
                later = gr.Button("›", elem_id="turn-next", size="sm", min_width=36, scale=0, interactive=False)
                link = gr.Button(
                    words("library.page.copy_link"), elem_id="turn-link", size="sm", scale=0, visible=False
                )
    shared = Shared(
        trace_id=gr.State(EXAMPLE if example else None),
        token=gr.State(None),
        layer=gr.State(None),
        theme=gr.State(""),
        language=gr.State(language),
        run_id=gr.State(""),
        open_tab=gr.State("token"),
        set_id=gr.State(""),
        session=gr.State(Session()),
        live=live,
    )
    built: dict[str, Any] = {}
    opened: dict[str, gr.Tab] = {}
    with gr.Tabs(elem_id="below") as tabs:
        for name, module in TABS.items():
            with gr.Tab(say(f"tab_{name}"), id=name, elem_id=f"tab-{name}") as opened[name]:
                built[name] = module.build(services, words)
        with gr.Tab(say("tab_forced"), id="forced", elem_id="tab-forced") as opened["forced"]:
            forced = forced_tab.build(services, say)
        with gr.Tab(say("tab_library"), id=library_tab.NAME, elem_id="tab-library") as opened[library_tab.NAME]:
            library = library_tab.build(services, words)
    wire_selected(opened, shared.open_tab)
    library.feed.render()
    library.courier.render()
    chat.wire(talk, services, runs, shared, say, language)
    forced_tab.wire(forced, services, runs, shared, say, language)
    library_tab.wire(library, services, runs, shared, talk.conversation, words)
    for name, module in TABS.items():
        module.wire(built[name], services, shared)
    names = {"theme": "theme", "turn-previous": "previous_turn", "turn-next": "next_turn", "pace": "pace_info"}
    signs = {element: say(key) for element, key in names.items()}
    signs |= {f"experts-{side}": words(f"tabs.experts.{side}") for side in ("previous", "next")}
    _wire_theme(blocks, theme_button, shared, signs)
    links.wire_selection(services, runs, shared)
    links.wire_turns(services, runs, talk.conversation, library.shelf, shared, (earlier, which, later, link), words)
    compare = built["compare"]
    set_tab.wire_downloads(compare.many, services, shared, library.courier)
    pair_tab.wire(compare.two, compare.kind, services, shared, library.shelf, compare_tab.NAME)
    pair_links.wire(blocks, services, shared, tabs, compare, library, talk.status, words)
    links.wire_session(services, shared, talk.conversation, compare.pair)
    links.wire_experts(services, runs, shared, tabs, built["experts"], built["token"], words)
    links.wire_experiment(services, runs, shared, built["experiment"], words)
    wire_present(present, tabs, shared.open_tab, tuple(opened))
    chat_edits.wire(talk.edits, built["experiment"].edits.use, built["experiment"].edits.history, words)
    links.wire_link(blocks, services, shared, talk.status, link, words)


def _wire_theme(blocks: gr.Blocks, button: gr.Button, shared: Shared, names: dict[str, str]) -> None:
    """The browser tells how it shows the page: once it stands, when it is also told the names of buttons that show
    only a sign, and whenever the button is pressed."""
    seen = gr.Textbox(visible=False)
    blocks.load(checked_theme, seen, shared.theme, js=f"() => [window.expertscope.start({json.dumps(names)})]", **QUIET)
    button.click(checked_theme, seen, shared.theme, js="() => [window.expertscope.toggle()]", **QUIET)


def checked_theme(theme: Any) -> str:
    """ "dark" or "light"; anything else is light."""
    return "dark" if theme == "dark" else "light"
