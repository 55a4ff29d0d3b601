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

from analysis.errors import UserError
from analysis.words import LANGUAGES, Words
from app.engine.catalogue import BUNDLED_CARD
from app.engine.models import offered_models
from app.server.store import TraceStore
from app.ui import api, chat, compare_tab, forced_tab, gates_tab, library_tab, load_tab, token_tab
from app.ui.chat import status_html
from app.ui.context import EXAMPLE, Services, Shared
from app.ui.conversation import Conversation, Say
from app.ui.following import SO_FAR, ActiveRuns, pull
from app.ui.header import PATHS, header_html
from app.ui.library.cards import SHIPPED
from app.ui.library.links import Target, target
from app.ui.library.shelf import Shelf
from app.ui.live.view import build_live, selection
from app.ui.live.wire import pointer

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

TABS: dict[str, ModuleType] = {"token": token_tab, "load": load_tab, "gates": gates_tab, "compare": compare_tab}
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
        offered = offered_models() if services.engine.card is BUNDLED_CARD else []
        gr.HTML(header_html(services.engine, say, language, offered), js_on_load=None, elem_id="header-text")
        theme_button = gr.Button("◐", elem_id="theme", size="sm", min_width=0, scale=0)
    with gr.Row(elem_id="main", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="chat-column"):
            talk = chat.build(services, say, language)
        with gr.Column(scale=7, min_width=320, elem_id="live-column"):
            live = build_live(
                functools.partial(pull, services, runs, language=language),
                lang=language,
                value=pointer(EXAMPLE) if example else None,
            )
            with gr.Row(elem_id="turns"):
                earlier = gr.Button("‹", elem_id="turn-previous", size="sm", min_width=36, scale=0, interactive=False)
                which = gr.HTML(
                    _turn_label(say("turn_example" if example else "turn_none")), elem_id="turn-label", js_on_load=None
                )
                later = gr.Button("›", elem_id="turn-next", size="sm", min_width=36, scale=0, interactive=False)
                link = gr.Button(
                    words("library.page.copy_link"), elem_id="turn-link", size="sm", scale=0, visible=False
                )
    shared = Shared(
        trace_id=gr.State(EXAMPLE if example else None),
        token=gr.State(None),
        layer=gr.State(None),
        theme=gr.State("light"),
        language=gr.State(language),
        run_id=gr.State(""),
        open_tab=gr.State("token"),
        live=live,
    )
    built: list[tuple[Any, Any]] = []
    with gr.Tabs(elem_id="below"):
        for name, module in TABS.items():
            with gr.Tab(say(f"tab_{name}"), id=name, elem_id=f"tab-{name}") as tab:
                built.append((module, module.build(services, words)))
            tab.select(functools.partial(str, name), None, shared.open_tab, **QUIET)
        with gr.Tab(say("tab_forced"), id="forced", elem_id="tab-forced") as tab:
            forced = forced_tab.build(services, say)
        tab.select(functools.partial(str, "forced"), None, shared.open_tab, **QUIET)
        with gr.Tab(say("tab_library"), id=library_tab.NAME, elem_id="tab-library") as tab:
            library = library_tab.build(services, words)
        tab.select(functools.partial(str, library_tab.NAME), None, shared.open_tab, **QUIET)
    library.feed.render()
    library.courier.render()
    chat.wire(talk, services, runs, shared, say, language)
    forced_tab.wire(forced, services, runs, shared, say, language)
    library_tab.wire(library, services, runs, shared, talk.conversation, words)
    for module, part in built:
        module.wire(part, services, shared)
    names = {"theme": "theme", "turn-previous": "previous_turn", "turn-next": "next_turn"}
    _wire_theme(blocks, theme_button, shared, {element: say(key) for element, key in names.items()})
    _wire_selection(services, runs, shared)
    _wire_turns(services, talk.conversation, library.shelf, shared, (earlier, which, later, link), words)
    _wire_link(blocks, services, shared, talk.status, link, words)


def _wire_theme(blocks: gr.Blocks, button: gr.Button, shared: Shared, names: dict[str, str]) -> None:
    """The browser tells how it shows the page: once it stands, when it is also told the names of buttons that show
    only a sign, and whenever the button is pressed."""
    seen = gr.Textbox(visible=False)
    blocks.load(checked_theme, seen, shared.theme, js=f"() => [window.expertscope.start({json.dumps(names)})]", **QUIET)
    button.click(checked_theme, seen, shared.theme, js="() => [window.expertscope.toggle()]", **QUIET)


def checked_theme(theme: Any) -> str:
    """ "dark" or "light"; anything else is light."""
    return "dark" if theme == "dark" else "light"


def _wire_selection(services: Services, runs: ActiveRuns, shared: Shared) -> None:
    """A token selected in the live view is selected everywhere. While a run streams, what has arrived of it is kept
    under an id of its own, so that the tabs have something to show."""

    def on_token(event: gr.EventData) -> tuple[Any, ...]:
        chosen = selection(event)
        if chosen is None:
            return (gr.skip(),) * 3
        run_id, index, layer = chosen
        active = runs.get(run_id)
        try:
            trace = active.trace() if active is not None else services.store.get(run_id)
        except UserError:
            return (gr.skip(),) * 3
        if index >= trace.num_tokens:
            return (gr.skip(),) * 3
        shown = run_id if active is None else services.store.put(trace, run_id + SO_FAR)
        return shown, index, layer if layer in trace.spec.layer_numbers else gr.skip()

    shared.live.token(on_token, None, [shared.trace_id, shared.token, shared.layer], **QUIET)  # type: ignore[attr-defined]


def _wire_turns(
    services: Services,
    conversation: gr.State,
    shelf: gr.State,
    shared: Shared,
    row: tuple[gr.Button, gr.HTML, gr.Button, gr.Button],
    words: Words,
) -> None:
    """Earlier turns can be looked at again, and what is shown is always named."""
    earlier, which, later, link = row

    def on_trace(trace_id: str | None, turns: Conversation, run_id: str, items: Shelf) -> tuple[Any, ...]:
        n, total, label = turn_position(trace_id, turns, items, services.store, words)
        if run_id:
            label = words("page.turn_running")
        address = "" if run_id else next((r.link for r in SHIPPED if r.id == trace_id), "")
        back = n > 1 or (n == 0 and total > 0)  # from a file or pasted text back to the last turn
        return (
            gr.update(interactive=back and not run_id),
            _turn_label(label, address),
            gr.update(interactive=0 < n < total),
            gr.update(visible=bool(address)),
        )

    def go(step: int, trace_id: str | None, turns: Conversation) -> tuple[Any, ...]:
        kept = kept_turns(turns, services.store)
        at = kept.index(trace_id) + step if trace_id in kept else len(kept) - 1
        if not 0 <= at < len(kept):
            return (gr.skip(),) * 3
        return kept[at], None, pointer(kept[at])

    gr.on(
        [shared.trace_id.change, shared.run_id.change, shelf.change],
        on_trace,
        [shared.trace_id, conversation, shared.run_id, shelf],
        [earlier, which, later, link],
        **QUIET,
    )
    for button, step in ((earlier, -1), (later, 1)):
        button.click(
            functools.partial(go, step),
            [shared.trace_id, conversation],
            [shared.trace_id, shared.token, shared.live],
            **QUIET,
        )


def kept_turns(turns: Conversation, store: TraceStore) -> list[str]:
    """Ids of the turns that can still be shown: not those that were deleted or had to make room."""
    return [turn.trace_id for turn in turns if turn.trace_id and turn.trace_id in store]


def turn_position(
    trace_id: str | None, turns: Conversation, shelf: Shelf, store: TraceStore, words: Words
) -> tuple[int, int, str]:
    """Number of the turn shown (0 for none), how many there are, and what to call what is shown."""
    kept = kept_turns(turns, store)
    if trace_id in kept:
        n = kept.index(trace_id) + 1
        return n, len(kept), words("page.turn_of", n=n, all=len(kept))
    if trace_id and trace_id.endswith(SO_FAR):
        return 0, len(kept), words("page.turn_running")
    if trace_id and trace_id != EXAMPLE:
        return 0, len(kept), library_tab.label_of(trace_id, shelf, store, words)
    return 0, len(kept), words("page.turn_example" if trace_id else "page.turn_none")


def _wire_link(
    blocks: gr.Blocks, services: Services, shared: Shared, status: gr.HTML, link: gr.Button, words: Words
) -> None:
    """The address may name a recording that comes along, and a token of it; ``link`` copies such an address."""

    def on_load(query: Any) -> tuple[Any, ...]:
        wanted = target(query, SHIPPED, words)
        if wanted is None:
            return (gr.skip(),) * 4
        return linked(wanted, services.store, words)

    asked = gr.Textbox(visible=False)
    outputs = [shared.trace_id, shared.token, shared.live, status]
    blocks.load(on_load, asked, outputs, js="() => [location.search]", **QUIET)

    def on_copied(how: Any) -> None:
        gr.Info(words(f"library.page.link_{'copied' if how == 'copied' else 'failed'}"), duration=4)

    link.click(on_copied, asked, None, js="async () => [await window.expertscope.copyShown()]", **QUIET)


def linked(wanted: Target, store: TraceStore, words: Words) -> tuple[Any, ...]:
    """Shown trace, token, value of the live view and status line for an address."""
    if not wanted.id:
        return *(gr.skip(),) * 3, status_html(wanted.problem, True)
    token, problem = wanted.token, wanted.problem
    try:
        last = store.get(wanted.id).num_tokens - 1
    except UserError as error:
        return *(gr.skip(),) * 3, status_html(error.in_words(words), True)
    if token is not None and token > last:
        token, problem = None, words("library.token_gone", token=token, last=last)
    value = pointer(wanted.id, token) if token is not None else pointer(wanted.id, play=True)
    return wanted.id, token, value, status_html(problem, bool(problem))


def _turn_label(text: str, link: str = "") -> str:
    """``text`` may quote a prompt; ``link`` is the address of what is shown, where it has one."""
    return f'<span class="turn-label" data-link="{html.escape(link)}">{html.escape(text)}</span>'
