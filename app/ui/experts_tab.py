"""The tab "Experts": all experts of a pool on one map, and for each a card with the evidence of what it does.

Knows the components and their listeners. Pools are in ``experts_pool``, which expert is meant in ``experts_choice``,
what a card holds in ``expert_card_view``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from analysis.expert_card import checked_expert
from analysis.figures.load import load_map
from analysis.figures.style import percent, theme_of
from analysis.words import Words
from app.ui import expert_card_view as cards
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.experts_choice import Chosen, asked_expert, at_cell, busiest, mark_of, pool_phase, stepped, still_there
from app.ui.experts_pool import (
    POOLS,
    SORTS,
    Overview,
    Pool,
    Remembered,
    Session,
    beside,
    has_gallery,
    overview,
    pool_of,
)
from app.ui.quiet import CHOOSING, DRAWING

NAME = "experts"
TABLE_PLACES = 8


@dataclass(frozen=True)
class ExpertsTab:
    """Components of the tab.

    Attributes:
        picked: state, the pool the visitor chose; None while the page chooses.
        chosen: state, (layer, expert) of the card; None before the first.
        anew: state, another value of which has the tab drawn anew, for an expert chosen elsewhere while it is open.
        shown: state, what the card shows, so that the slow part of it follows.
        body: hidden while there is nothing to draw.
        bridge: hands clicks on the map on, and outlines the chosen cell.
    """

    picked: gr.State
    chosen: gr.State
    anew: gr.State
    shown: gr.State
    pool: gr.Dropdown
    phase: gr.Dropdown
    sort: gr.Dropdown
    status: gr.HTML
    body: gr.Column
    about: gr.HTML
    search: gr.Textbox
    go: gr.Button
    found: gr.HTML
    map: gr.Plot
    bridge: gr.HTML
    table: gr.Dataframe
    previous: gr.Button
    layer_box: gr.Number
    expert_box: gr.Number
    next: gr.Button
    card: gr.HTML
    sensitivity: gr.HTML


def build(services: Services, words: Words) -> ExpertsTab:
    say = functools.partial(_say, words)
    picked, chosen, anew, shown = gr.State(None), gr.State(None), gr.State(None), gr.State(None)
    common.hint(say("intro"))
    with gr.Row():
        offered = [name for name in POOLS if name != "gallery" or has_gallery()]
        pool = gr.Dropdown(
            [(say(f"pool_{name}"), name) for name in offered],
            value=offered[-1],
            label=say("pool"),
            filterable=False,
            min_width=150,
            elem_id="experts-pool",
        )
        phase = common.phase_dropdown(words, elem_id="experts-phase")
        sort = gr.Dropdown(
            [(say(f"sort_{name}"), name) for name in SORTS],
            value=SORTS[0],
            label=say("sort"),
            filterable=False,
            min_width=150,
            elem_id="experts-sort",
        )
    status = gr.HTML(status_html(words("tabs.loading")), elem_id="experts-message", js_on_load=None)
    with gr.Column(visible=False) as body:
        about = gr.HTML(elem_id="experts-about", js_on_load=None)
        with gr.Row(elem_id="experts-find", equal_height=True):
            search = gr.Textbox(
                label=say("search"),
                placeholder=say("search_hint"),
                show_label=False,
                container=False,
                max_lines=1,
                max_length=200,
                scale=6,
                min_width=160,
                elem_id="experts-search",
            )
            go = gr.Button(say("find"), elem_id="experts-go", min_width=96, scale=0)
        found = gr.HTML(
            "", elem_id="experts-found", elem_classes="xp-card", apply_default_css=False, js_on_load=common.links()
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=300, elem_id="experts-left"):
                load = common.plot(words, elem_id="experts-map")
                bridge = common.bridge("experts-map", elem_id="experts-bridge")
                common.hint(say("map_hint"))
                with gr.Accordion(say("table"), open=False):
                    table = gr.Dataframe(
                        interactive=False,
                        datatype="str",
                        wrap=False,
                        max_height=420,
                        elem_id="experts-table",
                        show_label=False,
                    )
            with gr.Column(scale=6, min_width=300):
                with gr.Row(elem_id="experts-step", equal_height=True):
                    back = gr.Button("‹", elem_id="experts-previous", min_width=34, scale=0, size="sm")
                    layer = gr.Number(label=words("tabs.layer"), precision=0, min_width=80, elem_id="experts-layer")
                    expert = gr.Number(label=say("expert"), precision=0, min_width=80, elem_id="experts-expert")
                    forth = gr.Button("›", elem_id="experts-next", min_width=34, scale=0, size="sm")
                card = gr.HTML(
                    "",
                    elem_id="experts-card",
                    elem_classes="xp-card",
                    apply_default_css=False,
                    js_on_load=common.links(),
                )
                slow = gr.HTML(
                    "", elem_id="experts-sensitivity", elem_classes="xp-card", apply_default_css=False, js_on_load=None
                )
    parts = (
        picked,
        chosen,
        anew,
        shown,
        pool,
        phase,
        sort,
        status,
        body,
        about,
        search,
        go,
        found,
        load,
        bridge,
        table,
    )
    return ExpertsTab(*parts, back, layer, expert, forth, card, slow)


def layer_table(seen: Overview, sort: str, words: Words) -> dict[str, Any]:
    """What stands first in each layer of the map, as text."""
    order = seen.order("load" if sort == "layer" else sort)
    assert order is not None
    places = min(TABLE_PLACES, order.shape[1])
    lines = []
    for row, layer in enumerate(seen.load.along("layer")):
        cells = [
            _say(words, "table_cell", expert=expert, share=percent(float(seen.load.values[row, expert])))
            for expert in order[row, :places].tolist()
            if np.isfinite(seen.load.values[row, expert])
        ]
        lines.append([str(layer), *cells, *[""] * (places - len(cells))])
    heads = [words("tabs.layer"), *(_say(words, "table_place", place=place + 1) for place in range(places))]
    return {"headers": heads, "data": lines}


def wire(tab: ExpertsTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    overviews, contrasts = Remembered(), Remembered()

    def pool_in(words: Words, trace_id: Any, session: Any, picked: Any) -> Pool:
        seen = session if isinstance(session, Session) else Session()
        return pool_of(services.store, picked, trace_id, seen, words)

    def seen_in(pool: Pool, phase: str) -> Overview:
        return overviews.get((*pool.key, phase), lambda: overview(pool, phase))

    def card_of(
        pool: Pool, seen: Overview, phase: str, sort: str, chosen: Chosen, trace_id: Any, words: Words
    ) -> tuple[Any, ...]:
        other = beside(services.store, pool, trace_id, words)
        card = cards.card(pool, *chosen, phase, words, other)
        return {"mark": mark_of(seen, sort, chosen)}, chosen, card, (pool.key, chosen)

    def draw(
        words: Words, trace_id: Any, session: Any, picked: Any, phase: Any, sort: Any, chosen: Any, theme: Any,
        *, insist: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        pool = pool_in(words, trace_id, session, picked)
        phase, sort = pool_phase(pool, phase, insist=insist), sort if sort in SORTS else SORTS[0]
        seen = seen_in(pool, phase)
        chosen = still_there(pool, chosen) or busiest(seen)
        mark, chosen, card, shown = card_of(pool, seen, phase, sort, chosen, trace_id, words)
        figure = load_map(seen.load, words, theme_of(theme), _say(words, f"pool_{pool.name}"), seen.order(sort))
        return (
            "", gr.update(visible=True), pool.name, phase, cards.about(pool, words), common.shown(figure), mark,
            layer_table(seen, sort, words), chosen[0], chosen[1], chosen, card, shown,
        )  # fmt: skip

    def pick(words: Words, *values: Any) -> tuple[Any, ...]:
        return draw(words, *values)

    def choose(
        words: Words, trace_id: Any, session: Any, picked: Any, phase: Any, sort: Any, chosen: Any,
        *asked: Any, by: int = 0, cell: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        """The card of another expert: the one asked for, the one in a cell, or the one ``by`` further."""
        pool = pool_in(words, trace_id, session, picked)
        phase, sort = pool_phase(pool, phase), sort if sort in SORTS else SORTS[0]
        seen = seen_in(pool, phase)
        if by:
            wanted = stepped(pool, still_there(pool, chosen) or busiest(seen), by)
        elif cell:
            wanted = at_cell(seen, sort, asked[0])
        else:
            wanted = common.whole(asked[0]), common.whole(asked[1])
        checked_expert(pool.traces[0].spec, *wanted)
        mark, chosen, card, shown = card_of(pool, seen, phase, sort, wanted, trace_id, words)
        return "", mark, *wanted, chosen, card, shown

    def find(
        words: Words, trace_id: Any, session: Any, picked: Any, phase: Any, sort: Any, chosen: Any, text: Any
    ) -> tuple[Any, ...]:
        asked = asked_expert(text)
        if asked:
            status, *rest = choose(words, trace_id, session, picked, phase, sort, chosen, *asked)
            return status, "", *rest
        pool = pool_in(words, trace_id, session, picked)
        return "", cards.found(pool, pool_phase(pool, phase), text, words), *[gr.skip()] * 6

    def test(words: Words, trace_id: Any, session: Any, picked: Any, chosen: Any) -> tuple[Any, ...]:
        pool = pool_in(words, trace_id, session, picked)
        there = still_there(pool, chosen)
        if there is None:
            return gr.skip(), ""
        return gr.skip(), cards.sensitivity(pool, *there, words, contrasts)

    states = [shared.open_tab, shared.language, shared.trace_id, shared.session]
    view = [tab.phase, tab.sort, tab.chosen]
    drawn = [tab.status, tab.body, tab.pool, tab.phase, tab.about, tab.map, tab.bridge, tab.table]
    drawn += [tab.layer_box, tab.expert_box, tab.chosen, tab.card, tab.shown]
    guard = common.guarded(NAME, len(drawn))
    changes = [s.change for s in (shared.trace_id, shared.session, shared.open_tab, shared.theme, tab.anew)]
    gr.on(changes, guard(draw), [*states, tab.picked, *view, shared.theme], drawn, **DRAWING)
    tab.pool.input(guard(pick), [*states, tab.pool, *view, shared.theme], drawn, **DRAWING)
    tab.pool.input(lambda pool: pool, tab.pool, tab.picked, **CHOOSING)
    again = guard(functools.partial(draw, insist=True))
    gr.on([tab.phase.input, tab.sort.input], again, [*states, tab.pool, *view, shared.theme], drawn, **DRAWING)

    inputs = [*states, tab.pool, *view]
    outputs = [tab.status, tab.bridge, tab.layer_box, tab.expert_box, tab.chosen, tab.card, tab.shown]
    quick = common.guarded(NAME, len(outputs), containers=0)
    for button, by in ((tab.previous, -1), (tab.next, 1)):
        button.click(quick(functools.partial(choose, by=by)), inputs, outputs, **DRAWING)

    def typed(*values: Any) -> tuple[Any, ...]:
        made = list(quick(choose)(*values))
        made[2:4] = gr.skip(), gr.skip()  # the visitor is writing in them
        return tuple(made)

    gr.on(
        [tab.layer_box.input, tab.expert_box.input],
        typed,
        [*inputs, tab.layer_box, tab.expert_box],
        outputs,
        **DRAWING,
    )

    def on_cell(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        return quick(functools.partial(choose, cell=True))(*values, common.event_pair(event))

    def on_expert(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        return quick(choose)(*values, *common.event_pair(event))

    hearing = DRAWING | {"trigger_mode": "multiple"}  # each event brings what was pressed
    tab.bridge.cell(on_cell, inputs, outputs, **hearing)  # type: ignore[attr-defined]
    for component in (tab.card, tab.found):
        component.expert(on_expert, inputs, outputs, **hearing)  # type: ignore[attr-defined]
    search = common.guarded(NAME, len(outputs) + 1, containers=0)(find)
    searched = [tab.status, tab.found, *outputs[1:]]
    gr.on([tab.search.submit, tab.go.click], search, [*inputs, tab.search], searched, **DRAWING)
    tab.shown.change(
        common.guarded(NAME, 2, containers=0)(test),
        [*states, tab.pool, tab.chosen],
        [tab.status, tab.sensitivity],
        **(DRAWING | {"show_progress": "minimal", "show_progress_on": tab.sensitivity}),
    )


def _say(words: Words, key: str, **values: Any) -> str:
    return words(f"tabs.experts.{key}", **values)
