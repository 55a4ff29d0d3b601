"""The tab "Experiment": change the routing, and see one prompt answered without the change, with it, and with the same
done to random experts. Its listeners; ``experiment_parts`` has the components.

One prompt is an anecdote, and the tab says so. Nothing that arrives from the browser is trusted.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Generator
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.trace import Phase, RoutingTrace
from analysis.words import Words
from app.engine.catalogue import BUNDLED_CARD
from app.ui import experiment_edits as editing
from app.ui import experiment_view as view
from app.ui import tabs_common as common
from app.ui.arms import Stops
from app.ui.chat import status_html
from app.ui.context import EXAMPLE, Services, Shared
from app.ui.experiment_edits import History
from app.ui.experiment_parts import FIGURES, MOST_ARMS, NAME, ExperimentTab, build
from app.ui.experiment_plan import ExperimentView, Options, parting
from app.ui.experiment_run import run_experiment
from app.ui.quiet import CHOOSING, DRAWING, HEARING, QUIET
from app.ui.turn import recommended

__all__ = ["NAME", "build", "wire"]

log = logging.getLogger("expertscope")


def wire(tab: ExperimentTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    _wire_edits(tab, services, shared)
    _wire_prompt(tab, services, shared)
    _wire_run(tab, services, shared)
    _wire_result(tab, shared)


def evidence(services: Services, trace_id: Any) -> RoutingTrace | None:
    """The trace that is shown, else the example that comes along; None where there is neither."""
    for name in (trace_id, EXAMPLE):
        if name and name in services.store:
            return services.store.get(name)
    return None


def _wire_edits(tab: ExperimentTab, services: Services, shared: Shared) -> None:
    parts, spec = tab.edits, services.engine.spec
    outputs = [
        parts.history,
        parts.chips,
        parts.text,
        parts.undo,
        parts.clear,
        parts.use,
        parts.message,
        tab.run,
        tab.status,
    ]

    def shown(words: Words, history: History, running: Any, line: str = "") -> tuple[Any, ...]:
        ready = bool(history.edits)
        status = status_html("" if ready else words("tabs.experiment.need_edit"))
        return (
            history,
            view.chips_html(history.edits, words),
            editing.to_text(history.edits),
            gr.update(interactive=bool(history.past)),
            gr.update(interactive=ready),
            gr.update(interactive=ready),
            status_html(line),
            gr.skip() if running else gr.update(interactive=ready),
            gr.skip() if running else status,
        )

    def guarded(change: Callable[..., tuple[History, str]]) -> Callable[..., tuple[Any, ...]]:
        """``change`` is called with (words, history, …) and gives the new history and a line; what it refuses
        becomes the line, and nothing is lost."""

        def run(language: Any, history: Any, running: Any, *values: Any) -> tuple[Any, ...]:
            words = Words(language)
            try:
                changed, line = change(words, history if isinstance(history, History) else History(), *values)
                return shown(words, changed, running, line)
            except UserError as error:
                refused = error.in_words(words)
            except Exception:
                log.exception("An edit could not be made.")
                refused = words("tabs.fault")
            kept: list[Any] = [gr.skip()] * len(outputs)
            kept[6] = status_html(refused, problem=True)
            return tuple(kept)

        return run

    def on_preset(words: Words, history: History, trace_id: Any, layer: Any, *, name: str) -> tuple[History, str]:
        edits, line = editing.preset(name, evidence(services, trace_id), layer, spec, words)
        return history.changed(edits), line

    def on_add(
        words: Words, history: History, kind: Any, layers: Any, experts: Any, amount: Any
    ) -> tuple[History, str]:
        added = editing.from_fields(kind, layers, experts, amount, spec, words)
        return history.changed(editing.checked((*history.edits, *added), spec, words)), ""

    def on_text(words: Words, history: History, text: Any) -> tuple[History, str]:
        return history.changed(editing.checked(editing.from_text(text), spec, words)), ""

    def on_undo(words: Words, history: History) -> tuple[History, str]:
        return history.undone(), ""

    def on_clear(words: Words, history: History) -> tuple[History, str]:
        return history.changed(()), ""

    def on_remove(event: gr.EventData, language: Any, history: Any, running: Any) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        take = guarded(lambda words, before: (before.without(data.get("i")), ""))
        return take(language, history, running)

    def on_kind(kind: Any, language: Any) -> tuple[Any, ...]:
        label = Words(language)(f"tabs.experiment.amount_{'top_k' if kind == 'top_k' else 'boost'}")
        usual = max(1, spec.top_k // 2) if kind == "top_k" else 2
        return (
            gr.update(visible=kind != "top_k"),
            gr.update(visible=kind in ("boost", "top_k"), label=label, value=usual),
        )

    def on_layer(layer: Any, language: Any) -> Any:
        known = layer if layer in spec.layer_numbers and not isinstance(layer, bool) else "?"
        return Words(language)("tabs.experiment.preset.busiest", layer=known)

    common_inputs = [shared.language, parts.history, tab.run_id]
    for name, button in parts.presets.items():
        chosen = guarded(functools.partial(on_preset, name=name))
        button.click(chosen, [*common_inputs, shared.trace_id, parts.layer], outputs, **QUIET)
    fields = [parts.kind, parts.layers, parts.experts, parts.amount]
    added = [parts.add.click, parts.experts.submit, parts.amount.submit]
    gr.on(added, guarded(on_add), [*common_inputs, *fields], outputs, **QUIET)
    parts.text.submit(guarded(on_text), [*common_inputs, parts.text], outputs, **QUIET)
    parts.undo.click(guarded(on_undo), common_inputs, outputs, **HEARING)
    parts.clear.click(guarded(on_clear), common_inputs, outputs, **QUIET)
    parts.chips.remove(on_remove, common_inputs, outputs, **QUIET)  # type: ignore[attr-defined]
    parts.kind.input(on_kind, [parts.kind, shared.language], [parts.experts, parts.amount], **CHOOSING)
    parts.layer.input(on_layer, [parts.layer, shared.language], parts.presets["busiest"], **CHOOSING)


def _wire_prompt(tab: ExperimentTab, services: Services, shared: Shared) -> None:
    """The prompt follows the visitor's own trace that is shown, until they write one or take a suggestion."""

    def fill(open_tab: Any, trace_id: Any, prompt: Any, filled: Any) -> tuple[Any, ...]:
        if open_tab != NAME or not trace_id or trace_id == EXAMPLE or (prompt and prompt != filled):
            return gr.skip(), gr.skip()
        try:
            text = services.store.get(trace_id).prompt
        except UserError:
            text = ""
        return (text, text) if text and len(text) <= services.settings.max_chars else (gr.skip(), gr.skip())

    def on_mode(mode: Any, temperature: Any, top_p: Any) -> tuple[Any, Any]:
        modes = services.engine.capabilities.modes
        others = [recommended(services, other) for other in modes if other != mode]
        stands = any((temperature, top_p) == (o.temperature, o.top_p) for o in others)
        if mode not in modes or not stands:
            return temperature, top_p
        usual = recommended(services, mode)
        return usual.temperature, usual.top_p

    gr.on(
        [shared.trace_id.change, shared.open_tab.change],
        fill,
        [shared.open_tab, shared.trace_id, tab.options.prompt, tab.filled],
        [tab.options.prompt, tab.filled],
        **QUIET,
    )
    for button in tab.suggestions:
        button.click(lambda text: text, button, tab.options.prompt, **QUIET)
    sampled = [tab.options.temperature, tab.options.top_p]
    tab.options.mode.input(on_mode, [tab.options.mode, *sampled], sampled, **CHOOSING)


def _wire_run(tab: ExperimentTab, services: Services, shared: Shared) -> None:
    stops = Stops()
    model = "" if services.engine.card is BUNDLED_CARD else services.engine.card.name

    def on_run(language: Any, history: Any, *values: Any) -> Generator[tuple[Any, ...], None, None]:
        run_id, words, options = secrets.token_urlsafe(16), Words(language), Options(*values)
        edits = history.edits if isinstance(history, History) else ()
        try:
            for seen in run_experiment(services, edits, options, stops.open(run_id), words):
                yield updates(seen, run_id, options.control_seed, model, words)
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    boxes = [box for arm in tab.arms for box in (arm.column, arm.head, arm.fold, arm.thinking, arm.answer, arm.show)]
    tab.run.click(
        on_run,
        [shared.language, tab.edits.history, *tab.options.in_order()],
        [tab.run_id, tab.status, tab.run, tab.stop, tab.out.command, tab.result, *boxes],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    tab.stop.click(on_stop, tab.run_id, None, queue=False, **QUIET)


def updates(seen: ExperimentView, run_id: str, seed: Any, model: str, words: Words) -> tuple[Any, ...]:
    """One tuple of updates per view, in the order of ``_wire_run``'s outputs; arms that did not change are left."""
    running = seen.running
    result: Any = None if running else seen
    if not seen.arms:
        result = gr.skip()  # refused before anything ran: what was there stays
    return (
        run_id if running else "",
        status_html(seen.status, seen.problem, over=not running),
        gr.update(interactive=not running),
        gr.update(interactive=running),
        editing.command(seen.request, model) if seen.finished and seen.request else gr.skip(),
        result,
        *(box for number in range(MOST_ARMS) for box in _arm_updates(seen, number, seed, words)),
    )


def _arm_updates(seen: ExperimentView, number: int, seed: Any, words: Words) -> tuple[Any, ...]:
    """Column, head, fold, thinking, answer and button of one arm."""
    if not seen.arms:
        return (gr.skip(),) * 6
    if number >= len(seen.arms):
        hidden = 0 in seen.changed  # the beginning of an experiment takes away the columns of the last
        return (gr.update(visible=False) if hidden else gr.skip(), *(gr.skip(),) * 5)
    if number not in seen.changed and seen.running:
        return (gr.skip(),) * 6
    base, arm = seen.arms[0], seen.arms[number]
    mark = parting(base, seen.arms[1]) if number == 0 else parting(base, arm)
    thinking = view.said_html(arm, Phase.THINKING, mark, words)
    fold: dict[str, Any] = {"visible": bool(thinking)}
    marked = "<mark" in thinking
    if seen.running and number == seen.changed[-1]:  # the arm under way: open while it thinks
        fold["open"] = marked or not (arm.reason or arm.count(Phase.ANSWER))
    elif not seen.running:  # once more: the browser may drop an update that another follows at once
        fold["open"] = marked
    return (
        gr.update(visible=True),
        view.head_html(arm, base, int(seed) if isinstance(seed, int | float) else 0, words),
        gr.update(**fold),
        thinking,
        view.answer_html(arm, mark, words),
        gr.update(visible=bool(arm.trace_id) and not seen.running),
    )


def _wire_result(tab: ExperimentTab, shared: Shared) -> None:
    out = tab.out
    outputs = [out.message, out.drawn, out.found, *(out.figures[name] for name in FIGURES)]

    def draw(words: Words, result: Any, phase: Any, theme: Any) -> tuple[Any, ...]:
        if not isinstance(result, ExperimentView) or not result.finished:
            return "", gr.update(visible=False), *(gr.skip(),) * (len(outputs) - 2)
        drawn = view.draw(result.arms, result.measured, str(phase), words, theme)
        return (
            "",
            gr.update(visible=True),
            view.found_html(drawn.sentences),
            *(common.shown(getattr(drawn, name)) for name in FIGURES),
        )

    inputs = [shared.open_tab, shared.language, tab.result, out.phase, shared.theme]
    changes = [tab.result.change, shared.open_tab.change, shared.theme.change, out.phase.input]
    gr.on(changes, common.guarded(NAME, len(outputs))(draw), inputs, outputs, **DRAWING)
