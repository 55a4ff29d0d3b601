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
from analysis.show import edit_text
from analysis.token_metrics import token_gates
from analysis.trace import RoutingTrace
from analysis.words import LANGUAGES, Words
from app.engine.catalogue import BUNDLED_CARD
from app.engine.models import offered_models
from app.ui import (
    api,
    chat,
    compare_tab,
    experiment_tab,
    experts_tab,
    files_tab,
    forced_tab,
    gates_tab,
    learn_tab,
    load_tab,
    token_tab,
)
from app.ui import tabs_common as common
from app.ui.context import EXAMPLE, Services, Shared
from app.ui.conversation import Conversation, Say
from app.ui.experts_pool import Session, pool_of
from app.ui.following import SO_FAR, ActiveRuns, pull
from app.ui.header import PATHS, header_html
from app.ui.live.view import build_live, selection
from app.ui.live.wire import pointer

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

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
    shared = Shared(
        trace_id=gr.State(None),
        token=gr.State(None),
        layer=gr.State(None),
        theme=gr.State("light"),
        language=gr.State(language),
        run_id=gr.State(""),
        open_tab=gr.State("token"),
        set_id=gr.State(""),
        session=gr.State(Session()),
        live=live,
    )
    built: dict[str, Any] = {}
    with gr.Tabs(elem_id="below") as tabs:
        for name, module in TABS.items():
            with gr.Tab(say(f"tab_{name}"), id=name, elem_id=f"tab-{name}") as tab:
                built[name] = module.build(services, words)
            tab.select(functools.partial(str, name), None, shared.open_tab, **QUIET)
        with gr.Tab(say("tab_forced"), id="forced", elem_id="tab-forced") as tab:
            forced = forced_tab.build(services, say)
        tab.select(functools.partial(str, "forced"), None, shared.open_tab, **QUIET)
        with gr.Tab(say("tab_recording"), id=files_tab.NAME, elem_id="tab-recording") as tab:
            files = files_tab.build(services, say)
        tab.select(functools.partial(str, files_tab.NAME), None, shared.open_tab, **QUIET)
    chat.wire(talk, services, runs, shared, say, language)
    forced_tab.wire(forced, services, runs, shared, say, language)
    files_tab.wire(files, services, shared, say, words)
    for name, module in TABS.items():
        module.wire(built[name], services, shared)
    names = {"theme": "theme", "turn-previous": "previous_turn", "turn-next": "next_turn"}
    signs = {element: say(key) for element, key in names.items()}
    signs |= {f"experts-{side}": words(f"tabs.experts.{side}") for side in ("previous", "next")}
    _wire_theme(blocks, theme_button, shared, signs)
    _wire_selection(services, runs, shared)
    _wire_turns(services, talk.conversation, shared, earlier, which, later, say)
    _wire_session(shared, talk.conversation, built["compare"].pair)
    _wire_experts(services, shared, tabs, built["experts"], built["token"], words)


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
    shared: Shared,
    earlier: gr.Button,
    which: gr.HTML,
    later: gr.Button,
    say: Say,
) -> None:
    """Earlier turns can be looked at again."""

    def on_trace(trace_id: str | None, turns: Conversation, run_id: str) -> tuple[Any, ...]:
        n, total, label = turn_position(trace_id, turns, say)
        if run_id:
            label = say("turn_running")
        elif trace_id and trace_id in services.store:
            label = edited_label(services.store.get(trace_id), say) or label
        back = n > 1 or (n == 0 and total > 0)  # from a file or pasted text back to the last turn
        return gr.update(interactive=back and not run_id), _turn_label(label), gr.update(interactive=0 < n < total)

    def go(step: int, trace_id: str | None, turns: Conversation) -> tuple[Any, ...]:
        kept = [turn.trace_id for turn in turns if turn.trace_id]
        at = kept.index(trace_id) + step if trace_id in kept else len(kept) - 1
        if not 0 <= at < len(kept):
            return (gr.skip(),) * 3
        return kept[at], None, pointer(kept[at])

    gr.on(
        [shared.trace_id.change, shared.run_id.change],
        on_trace,
        [shared.trace_id, conversation, shared.run_id],
        [earlier, which, later],
        **QUIET,
    )
    for button, step in ((earlier, -1), (later, 1)):
        button.click(
            functools.partial(go, step),
            [shared.trace_id, conversation],
            [shared.trace_id, shared.token, shared.live],
            **QUIET,
        )


def _wire_session(shared: Shared, conversation: gr.State, pair: gr.State) -> None:
    """Which recordings are the visitor's: answers, pasted texts, opened files and comparisons."""

    def on_recording(trace_id: Any, turns: Conversation, compared: Any, session: Session) -> Session:
        ids = tuple(turn.trace_id for turn in turns if turn.trace_id)
        return session.seen(ids, (*(compared or ()), trace_id or ""))

    inputs = [shared.trace_id, conversation, pair, shared.session]
    gr.on([shared.trace_id.change, pair.change], on_recording, inputs, shared.session, **QUIET)


def _wire_experts(
    services: Services,
    shared: Shared,
    tabs: gr.Tabs,
    experts: experts_tab.ExpertsTab,
    token: token_tab.TokenTab,
    words: Words,
) -> None:
    """From a token on an expert's card to the tab Token, and from an expert of a token to its card."""

    def to_token(event: gr.EventData, trace_id: Any, session: Session, pool: Any, chosen: Any) -> tuple[Any, ...]:
        number, index = common.event_pair(event)
        try:
            found = pool_of(services.store, pool, trace_id, session, words)
        except UserError:
            return (gr.skip(),) * 6
        if not (0 <= number < len(found.ids) and 0 <= index < found.traces[number].num_tokens):
            return (gr.skip(),) * 6
        shown = found.ids[number]
        if found.name == "gallery":
            services.store.put(found.traces[number], shown)
        layer = chosen[0] if chosen else None
        live = pointer(shown.removesuffix(SO_FAR), index, layer)
        return shown, index, layer, live, gr.update(selected=token_tab.NAME), token_tab.NAME

    def to_card(event: gr.EventData, trace_id: Any, index: Any, session: Session, pool: Any) -> tuple[Any, ...]:
        row, rank = common.event_pair(event)
        try:
            trace = common.trace_to_show(services.store, trace_id, words)
            gates = token_gates(trace, token_tab.chosen_token(trace, index, words))
        except UserError:
            return (gr.skip(),) * 4
        if gates is None or not (0 <= row < len(gates.layers) and 0 <= rank < gates.ids.shape[1]):
            return (gr.skip(),) * 4
        chosen = (gates.layers[row], int(gates.ids[row, rank]))
        try:
            same = pool_of(services.store, pool, trace_id, session, words).traces[0].spec == trace.spec
        except UserError:
            same = False
        return chosen, gr.skip() if same else "answer", gr.update(selected=experts_tab.NAME), experts_tab.NAME

    asked = [shared.trace_id, shared.session, experts.pool, experts.chosen]
    shown = [shared.trace_id, shared.token, shared.layer, shared.live, tabs, shared.open_tab]
    experts.card.token(to_token, asked, shown, **QUIET)  # type: ignore[attr-defined]
    given = [shared.trace_id, shared.token, shared.session, experts.picked]
    linked = [experts.chosen, experts.picked, tabs, shared.open_tab]
    token.bridge.cell(to_card, given, linked, **QUIET)  # type: ignore[attr-defined]


def turn_position(trace_id: str | None, turns: Conversation, say: Say) -> tuple[int, int, str]:
    """Number of the turn shown (0 for none), how many there are, and a label."""
    kept = [turn.trace_id for turn in turns if turn.trace_id]
    if trace_id in kept:
        n = kept.index(trace_id) + 1
        return n, len(kept), say("turn_of", n=n, all=len(kept))
    if trace_id and trace_id.endswith(SO_FAR):
        return 0, len(kept), say("turn_running")
    return 0, len(kept), say("turn_example" if trace_id == EXAMPLE else "turn_file" if trace_id else "turn_none")


def edited_label(trace: RoutingTrace, say: Say) -> str:
    """What stands beside the views of a trace of an experiment, or of one whose routing was edited; "" for others."""
    edits, experiment = trace.provenance.get("edits"), trace.provenance.get("experiment")
    if isinstance(edits, list) and edits:
        shown = ", ".join(edit_text(edit) for edit in edits)
        return say("turn_edited", edits=shown if len(shown) <= 60 else shown[:59] + "…")
    return say("turn_unedited") if isinstance(experiment, dict) else ""


def _turn_label(text: str) -> str:
    return f'<span class="turn-label">{html.escape(text)}</span>'
