"""Compare, with two recordings that are there: what they share, what they differ in, and how their routing differs.

Knows components; what is drawn of a pair is in ``pair_view`` and ``pair_facts``, which recordings there are in
``shelves.names``. One pair describes and proves nothing; the tab says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.figures.overlap import shared_by_layer
from analysis.figures.style import theme_of
from analysis.overlap import token_overlap
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.pair_facts import facts_html, same_text, shared_html
from app.ui.pair_view import PairPlots, build_plots, pair_figures, tinted_html
from app.ui.quiet import CHOOSING, DRAWING, HEARING, QUIET
from app.ui.shelves.cards import mode_of, shape, stage_name
from app.ui.shelves.links import pair_link
from app.ui.shelves.names import choices, example_pair

KIND = "two"
"""Name of this part among the kinds of the tab."""
MEAN = -1
NONE = ("", "")


@dataclass(frozen=True)
class PairTab:
    """Components of this part of the tab.

    Attributes:
        first, second: which recordings; a choice is heard, what is set otherwise is not.
        example: chooses two that come along.
        pair: state, the ids of the two; "" where none is chosen.
        whole: what is hidden until both are chosen; ``routed`` in it, until both have routing that can be compared.
        same: hidden unless both read the same text.
    """

    first: gr.Dropdown
    second: gr.Dropdown
    swap: gr.Button
    example: gr.Button
    link: gr.Button
    pair: gr.State
    message: gr.HTML
    whole: gr.Column
    facts: gr.HTML
    routed: gr.Column
    same: gr.Column
    layer: gr.Dropdown
    shared: gr.Plot
    text: gr.HTML
    view: PairPlots
    tinted: tuple[gr.HTML, gr.HTML]


def build(services: Services, words: Words) -> PairTab:
    pair = gr.State(NONE)
    common.hint(words("tabs.pair.intro"))
    with gr.Row(elem_id="pair-choice"):
        first = _chooser("first", words)
        swap = gr.Button(words("tabs.pair.swap"), size="sm", min_width=90, scale=0, elem_id="pair-swap")
        second = _chooser("second", words)
    example = gr.Button(
        words("tabs.pair.example"),
        size="sm",
        min_width=160,
        elem_id="pair-example",
        visible=all(example_pair(services.recordings)),
    )
    message = gr.HTML(status_html(words("tabs.pair.choose")), elem_id="pair-message", js_on_load=None)
    with gr.Column(visible=False) as whole:
        facts = gr.HTML(elem_id="pair-facts", js_on_load=None)
        link = gr.Button(words("tabs.pair.copy_link"), size="sm", min_width=120, elem_id="pair-link", visible=False)
        with gr.Column(visible=False) as routed:
            common.hint(words("tabs.pair.caution"))
            with gr.Column(visible=False) as same:
                shared = common.plot(words, elem_id="pair-shared", min_width=300)
                layer = gr.Dropdown(
                    [], label=words("tabs.pair.layer"), filterable=False, min_width=150, elem_id="pair-layer"
                )
                text = gr.HTML(elem_id="pair-text", js_on_load=None)
            view = build_plots(words, "pair", common.PHASE_CHOICES)
            with gr.Row():
                tinted = (_text("a"), _text("b"))
    return PairTab(
        first=first,
        second=second,
        swap=swap,
        example=example,
        link=link,
        pair=pair,
        message=message,
        whole=whole,
        facts=facts,
        routed=routed,
        same=same,
        layer=layer,
        shared=shared,
        text=text,
        view=view,
        tinted=tinted,
    )


def _chooser(side: str, words: Words) -> gr.Dropdown:
    return gr.Dropdown(
        [], value=None, label=words(f"tabs.pair.{side}"), filterable=True, min_width=260, elem_id=f"pair-{side}"
    )


def _text(letter: str) -> gr.HTML:
    with gr.Column(min_width=300):
        return gr.HTML(elem_id=f"pair-tinted-{letter}", js_on_load=None)


def pair_of(first: Any, second: Any) -> tuple[str, str]:
    """Two ids as they came from the browser, "" for what is none."""
    a, b = (one if isinstance(one, str) else "" for one in (first, second))
    return a, b


def common_phases(a: RoutingTrace, b: RoutingTrace) -> list[str]:
    """The phases in which both have rows."""
    return [name for name in common.PHASE_CHOICES if a.rows_in(name).any() and b.rows_in(name).any()]


def side_name(letter: str, trace: RoutingTrace, other: RoutingTrace, words: Words) -> str:
    """Such as "A · thinking", or "B · Pretraining" where the other side is another checkpoint."""
    revision = trace.provenance.get("revision")
    if isinstance(revision, str) and revision and revision != other.provenance.get("revision"):
        return f"{letter} · {stage_name(revision, words)[:40]}"
    return f"{letter} · {words(f'library.mode.{mode_of(trace)}')}"


def why_not(a: RoutingTrace, b: RoutingTrace, words: Words) -> str:
    """Why the routing of two recordings cannot be compared; "" where it can."""
    for letter, trace in (("A", a), ("B", b)):
        if not trace.spec.layers:
            return words("tabs.pair.dense", name=letter)
    if a.spec != b.spec:
        return words("tabs.pair.routers", a=shape(a, words), b=shape(b, words))
    return "" if common_phases(a, b) else words("tabs.compare.no_overlap")


def wire(tab: PairTab, kind: gr.State, services: Services, shared: Shared, shelf: gr.State, name: str) -> None:
    """Every listener of this part. ``kind`` is the state that names the part of the tab ``name`` that is open,
    ``shelf`` the session's recordings."""
    drawn = [tab.whole, tab.routed, tab.facts, tab.link, tab.same, tab.layer, tab.shared, tab.text, tab.view.phase]
    outputs = [tab.message, *drawn, *tab.view.plots, *tab.tinted]

    @common.guarded(name, len(outputs))
    def draw(words: Words, pair: Any, phase: Any, layer: Any, theme: Any) -> tuple[Any, ...]:
        first, second = pair
        if not first or not second:
            raise common.Nothing(words("tabs.pair.choose_other" if first or second else "tabs.pair.choose"))
        a, b = services.store.get(first), services.store.get(second)
        link = pair_link(pair, services.recordings)
        about = (facts_html(a, b, link, words), gr.update(visible=bool(link)))
        shown = gr.update(visible=True)
        if problem := why_not(a, b, words):
            rest = (gr.skip(),) * (len(outputs) - 5)
            return status_html(problem), shown, gr.update(visible=False), *about, *rest
        line = words("tabs.pair.same_one") if first == second else ""
        phases = common_phases(a, b)
        phase = phase if phase in phases else phases[0]
        named = gr.update(choices=[(words(f"figures.phase.{p}"), p) for p in phases], value=phase)
        names = side_name("A", a, b, words), side_name("B", b, a, words)
        figures = pair_figures(a, b, names, phase, words, theme).shown()
        both = read_alike(a, b, layer, words, theme)
        texts = ("", "")
        if not same_text(a, b):
            texts = (
                tinted_html(a, b, "a", words, phase, names[0]),
                tinted_html(b, a, "b", words, phase, names[1]),
            )
        return status_html(line), shown, shown, *about, *both, named, *figures, *texts

    def show(
        open_tab: Any, language: Any, open_kind: Any, items: Any, session: Any, pair: Any, *chosen: Any
    ) -> tuple[Any, ...]:
        """What can be chosen, and what is."""
        if open_tab != name or open_kind != KIND:
            return (gr.skip(),) * (2 + len(outputs))
        found = choices(services, items, session.every, Words(language))
        known = {one for _, one in found}
        offered = (gr.update(choices=found, value=one if one in known else None) for one in pair)
        return *offered, *draw(open_tab, language, pair, *chosen)

    def swapped(pair: Any) -> Any:
        return tuple(reversed(pair))

    for chooser in (tab.first, tab.second):
        chooser.input(pair_of, [tab.first, tab.second], tab.pair, **CHOOSING)
    tab.example.click(lambda: example_pair(services.recordings), None, tab.pair, **QUIET)
    tab.swap.click(swapped, tab.pair, tab.pair, **HEARING)
    inputs = [shared.open_tab, shared.language, kind, shelf, shared.session]
    inputs += [tab.pair, tab.view.phase, tab.layer, shared.theme]
    states = [shared.open_tab, kind, tab.pair, shelf, shared.theme]
    changes = [*(state.change for state in states), tab.view.phase.input, tab.layer.input]
    gr.on(changes, show, inputs, [tab.first, tab.second, *outputs], **DRAWING)


def read_alike(a: RoutingTrace, b: RoutingTrace, layer: Any, words: Words, theme: Any) -> tuple[Any, ...]:
    """Updates for the part on one text that both read: its column, layer, figure and text."""
    overlap = token_overlap(a, b)
    if overlap is None or not overlap.n:
        return gr.update(visible=False), gr.skip(), common.shown(None), ""
    numbers = a.spec.layer_numbers
    chosen = layer if layer in numbers else MEAN
    offered = [(words("tabs.pair.mean"), MEAN), *((words("tabs.layer_name", layer=n), n) for n in numbers)]
    return (
        gr.update(visible=True),
        gr.update(choices=offered, value=chosen),
        common.shown(shared_by_layer(overlap, words, theme_of(theme))),
        shared_html(b, overlap, chosen, words),
    )
