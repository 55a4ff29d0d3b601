"""The links between the parts of the page: one selection everywhere, the turn that is shown, addresses, and the way
from a token to an expert and back.

Knows components and states of several parts. Does not know how they are built.
"""

from __future__ import annotations

import functools
import html
import secrets
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.expert_card import checked_expert
from analysis.show import edits_of
from analysis.token_metrics import token_gates
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.server.store import TraceStore
from app.ui import experts_tab, library_tab, token_tab
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import EXAMPLE, Services, Shared
from app.ui.conversation import Conversation
from app.ui.experiment_parts import ExperimentTab
from app.ui.experiment_plan import ExperimentView
from app.ui.experts_pool import Session, beside, pool_of
from app.ui.following import SO_FAR, ActiveRuns
from app.ui.live.view import expert_asked, selection
from app.ui.live.wire import pointer
from app.ui.quiet import HEARING, QUIET
from app.ui.shelves.links import Target, target
from app.ui.shelves.shelf import Shelf


def wire_selection(services: Services, runs: ActiveRuns, shared: Shared) -> None:
    """A token selected in the live view is selected everywhere. While a run streams, what has arrived of it is kept
    under an id of its own, so that the tabs have something to show."""

    def on_token(event: gr.EventData) -> tuple[Any, ...]:
        chosen = selection(event)
        if chosen is None:
            return (gr.skip(),) * 3
        run_id, index, layer = chosen
        active = None if run_id in services.store else runs.get(run_id)
        try:
            trace = active.trace() if active is not None else services.store.get(run_id)
        except UserError:
            return (gr.skip(),) * 3
        if index >= trace.num_tokens:
            return (gr.skip(),) * 3
        shown = run_id if active is None else services.store.put(trace, run_id + SO_FAR)
        if shown != run_id and run_id in services.store:  # it ended meanwhile
            services.store.drop(shown)
            shown = run_id
        return shown, index, layer if layer in trace.spec.layer_numbers else gr.skip()

    shared.live.token(on_token, None, [shared.trace_id, shared.token, shared.layer], **HEARING)  # type: ignore[attr-defined]


def leads_away(runs: ActiveRuns, run_id: Any, trace_id: str | None, words: Words) -> bool:
    """Whether the live view, which follows the run ``run_id``, would have to leave it for ``trace_id``; the visitor is
    told that it does not."""
    if runs.get(run_id) is None or (trace_id or "").removesuffix(SO_FAR) == run_id:
        return False
    gr.Info(words("page.still_running"))
    return True


def wire_turns(
    services: Services,
    runs: ActiveRuns,
    conversation: gr.State,
    shelf: gr.State,
    shared: Shared,
    row: tuple[gr.Button, gr.HTML, gr.Button, gr.Button],
    words: Words,
) -> None:
    """Earlier turns can be looked at again, and what is shown is always named."""
    earlier, which, later, link = row

    def on_trace(trace_id: str | None, turns: Conversation, run_id: str, items: Shelf) -> tuple[Any, ...]:
        n, total, label = turn_position(trace_id, turns, items, services, words)
        if run_id:
            label = words("page.turn_running")
        elif trace_id and trace_id in services.store:
            edited = edited_label(services.store.get(trace_id), words)
            label = " · ".join(part for part in (label if n else "", edited) if part) if edited else label
        address = "" if run_id else next((r.link for r in services.recordings if r.id == trace_id), "")
        back = n > 1 or (n == 0 and total > 0)  # from a file or pasted text back to the last turn
        return (
            gr.update(interactive=back and not run_id),
            turn_label(label, address),
            gr.update(interactive=0 < n < total and not run_id),
            gr.update(visible=bool(address)),
        )

    def go(step: int, trace_id: str | None, turns: Conversation, run_id: Any) -> tuple[Any, ...]:
        kept = kept_turns(turns, services.store)
        at = kept.index(trace_id) + step if trace_id in kept else len(kept) - 1
        if not 0 <= at < len(kept) or leads_away(runs, run_id, kept[at], words):
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
            [shared.trace_id, conversation, shared.run_id],
            [shared.trace_id, shared.token, shared.live],
            **HEARING,
        )


def wire_session(services: Services, shared: Shared, conversation: gr.State, pair: gr.State) -> None:
    """Which recordings are the visitor's: answers, pasted texts, opened files and comparisons."""

    def on_recording(trace_id: Any, turns: Conversation, compared: Any, session: Session) -> Session:
        ids = tuple(turn.trace_id for turn in turns if turn.trace_id)
        others = (one for one in (*(compared or ()), trace_id) if one and not services.store.is_permanent(one))
        return session.seen(ids, tuple(others))

    inputs = [shared.trace_id, conversation, pair, shared.session]
    gr.on([shared.trace_id.change, pair.change], on_recording, inputs, shared.session, **QUIET)


def wire_experts(
    services: Services,
    runs: ActiveRuns,
    shared: Shared,
    tabs: gr.Tabs,
    experts: experts_tab.ExpertsTab,
    token: token_tab.TokenTab,
    words: Words,
) -> None:
    """From a token on an expert's card to the tab Token, and from an expert of a token, or of the live view, to its
    card."""

    def to_token(
        event: gr.EventData, trace_id: Any, session: Session, pool: Any, chosen: Any, run_id: Any
    ) -> tuple[Any, ...]:
        number, index = common.event_pair(event)
        try:
            found = pool_of(services.store, pool, trace_id, session, words)
        except UserError:
            return (gr.skip(),) * 6
        other = beside(services.store, found, trace_id, words)
        if other is not None and number >= len(found.ids):
            found, number = other, number - len(found.ids)
        if not (0 <= number < len(found.ids) and 0 <= index < found.traces[number].num_tokens):
            return (gr.skip(),) * 6
        shown = found.ids[number]
        if leads_away(runs, run_id, shown, words):
            return (gr.skip(),) * 6
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
        return shown_card(trace, gates.layers[row], int(gates.ids[row, rank]), trace_id, session, pool)

    def from_table(event: gr.EventData, trace_id: Any, session: Session, pool: Any) -> tuple[Any, ...]:
        return asked_card(common.event_pair(event), trace_id, session, pool)

    def from_live(event: gr.EventData, trace_id: Any, session: Session, pool: Any, open_tab: Any) -> tuple[Any, ...]:
        anew = secrets.token_hex(4) if open_tab == experts_tab.NAME else gr.skip()
        return *asked_card(expert_asked(event), trace_id, session, pool), anew

    def asked_card(asked: tuple[int, int] | None, trace_id: Any, session: Session, pool: Any) -> tuple[Any, ...]:
        """The card of a (layer, expert) of the recording that is shown; nothing where it has none such."""
        try:
            trace = common.trace_to_show(services.store, trace_id, words)
            if asked is None:
                return (gr.skip(),) * 4
            checked_expert(trace.spec, *asked)
        except UserError:
            return (gr.skip(),) * 4
        return shown_card(trace, *asked, trace_id, session, pool)

    def shown_card(
        trace: RoutingTrace, layer: int, expert: int, trace_id: Any, session: Session, pool: Any
    ) -> tuple[Any, ...]:
        """The card of an expert of ``trace``, over the recordings that were picked if they are of its model."""
        try:
            same = pool_of(services.store, pool, trace_id, session, words).traces[0].spec == trace.spec
        except UserError:
            same = False
        tab = experts_tab.NAME
        return (layer, expert), gr.skip() if same else "answer", gr.update(selected=tab), tab

    asked = [shared.trace_id, shared.session, experts.pool, experts.chosen, shared.run_id]
    shown = [shared.trace_id, shared.token, shared.layer, shared.live, tabs, shared.open_tab]
    experts.card.token(to_token, asked, shown, **HEARING)  # type: ignore[attr-defined]
    given = [shared.trace_id, shared.token, shared.session, experts.picked]
    linked = [experts.chosen, experts.picked, tabs, shared.open_tab]
    token.bridge.cell(to_card, given, linked, **HEARING)  # type: ignore[attr-defined]
    token.table.expert(from_table, [shared.trace_id, shared.session, experts.picked], linked, **HEARING)  # type: ignore[attr-defined]
    asked_live = [shared.trace_id, shared.session, experts.picked, shared.open_tab]
    shared.live.expert(from_live, asked_live, [*linked, experts.anew], **HEARING)  # type: ignore[attr-defined]


def wire_experiment(
    services: Services, runs: ActiveRuns, shared: Shared, experiment: ExperimentTab, words: Words
) -> None:
    """From an answer of an experiment to its routing in every view."""

    def on_show(number: int, result: Any, run_id: Any) -> tuple[Any, ...]:
        arms = result.arms if isinstance(result, ExperimentView) else ()
        trace_id = arms[number].trace_id if number < len(arms) else ""
        if not trace_id or trace_id not in services.store or leads_away(runs, run_id, trace_id, words):
            return (gr.skip(),) * 3
        return trace_id, None, pointer(trace_id)

    shown = [shared.trace_id, shared.token, shared.live]
    for number, arm in enumerate(experiment.arms):
        arm.show.click(functools.partial(on_show, number), [experiment.result, shared.run_id], shown, **QUIET)


def kept_turns(turns: Conversation, store: TraceStore) -> list[str]:
    """Ids of the turns that can still be shown: not those that were deleted or had to make room."""
    return [turn.trace_id for turn in turns if turn.trace_id and turn.trace_id in store]


def turn_position(
    trace_id: str | None, turns: Conversation, shelf: Shelf, services: Services, words: Words
) -> tuple[int, int, str]:
    """Number of the turn shown (0 for none), how many there are, and what to call what is shown."""
    kept = kept_turns(turns, services.store)
    if trace_id in kept:
        n = kept.index(trace_id) + 1
        return n, len(kept), words("page.turn_of", n=n, all=len(kept))
    if trace_id and trace_id.endswith(SO_FAR):
        return 0, len(kept), words("page.turn_running")
    if trace_id and trace_id != EXAMPLE:
        return 0, len(kept), library_tab.label_of(trace_id, shelf, services, words)
    return 0, len(kept), words("page.turn_example" if trace_id else "page.turn_none")


def edited_label(trace: RoutingTrace, words: Words) -> str:
    """What stands beside the views of a trace of an experiment, or of one whose routing was edited; "" for others."""
    words_of = "page.turn_edited" if "experiment" in trace.provenance else "page.turn_edited_chat"
    if edits := edits_of(trace.provenance):
        shown = ", ".join(edits)
        return words(words_of, edits=shown if len(shown) <= 60 else shown[:59] + "…")
    return words("page.turn_unedited") if isinstance(trace.provenance.get("experiment"), dict) else ""


def wire_link(
    blocks: gr.Blocks, services: Services, shared: Shared, status: gr.HTML, link: gr.Button, words: Words
) -> None:
    """The address may name a recording that comes along, and a token of it; ``link`` copies such an address."""

    def on_load(query: Any) -> tuple[Any, ...]:
        wanted = target(query, services.recordings, words)
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


def turn_label(text: str, link: str = "") -> str:
    """``text`` may quote a prompt; ``link`` is the address of what is shown, where it has one."""
    return f'<span class="turn-label" data-link="{html.escape(link)}">{html.escape(text)}</span>'
