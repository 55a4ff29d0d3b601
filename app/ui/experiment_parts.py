"""The components of the tab "Experiment", in the order of its three steps: choose an edit, run, read what came out.

Knows components and their words. Does not know what they do: ``experiment_tab`` holds the listeners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.words import Words
from app.engine.base import EDITS
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services
from app.ui.experiment_edits import ALL, PRESETS, History
from app.ui.experiment_plan import MOST_CONTROLS, PHASES
from app.ui.experiment_view import chips_html, chips_script
from app.ui.turn import recommended

NAME = "experiment"
MOST_ARMS = 2 + MOST_CONTROLS
FIGURES = ("changed", "moved", "touched", "log_prob")


@dataclass(frozen=True)
class ArmParts:
    """Components of one answer."""

    column: gr.Column
    head: gr.HTML
    fold: gr.Accordion
    thinking: gr.HTML
    answer: gr.HTML
    show: gr.Button


@dataclass(frozen=True)
class EditParts:
    """Components that choose the edits.

    Attributes:
        history: state, a ``History``.
    """

    history: gr.State
    presets: dict[str, gr.Button]
    layer: gr.Dropdown
    chips: gr.HTML
    undo: gr.Button
    clear: gr.Button
    use: gr.Button
    message: gr.HTML
    kind: gr.Dropdown
    layers: gr.Dropdown
    experts: gr.Textbox
    amount: gr.Number
    add: gr.Button
    text: gr.Textbox


@dataclass(frozen=True)
class OptionParts:
    """Components of how it is run, named as the fields of ``experiment_run.Options`` and in that order."""

    prompt: gr.Textbox
    mode: gr.Radio
    temperature: gr.Number
    top_p: gr.Number
    max_tokens: gr.Number
    seed: gr.Number
    controls: gr.Slider
    control_seed: gr.Number

    def in_order(self) -> list[Any]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


@dataclass(frozen=True)
class ResultParts:
    """Components of what came out; ``drawn`` is hidden until the answers are there."""

    message: gr.HTML
    drawn: gr.Column
    found: gr.HTML
    phase: gr.Dropdown
    figures: dict[str, gr.Plot]
    command: gr.Textbox


@dataclass(frozen=True)
class ExperimentTab:
    """Components of the tab.

    Attributes:
        filled: state, the prompt that was taken from the trace and may be replaced by the next trace's.
        run_id: state, the experiment under way; "" for none.
        result: state, the last ``ExperimentView`` of an experiment that is over; None for none.
    """

    edits: EditParts
    options: OptionParts
    suggestions: list[gr.Button]
    filled: gr.State
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    run_id: gr.State
    result: gr.State
    arms: tuple[ArmParts, ...]
    out: ResultParts


def able(services: Services) -> bool:
    """Whether the routing of this engine's model can be edited."""
    return services.engine.capabilities.edits and bool(services.engine.spec.layers)


def build(services: Services, words: Words) -> ExperimentTab:
    say = lambda key, **values: words(f"tabs.experiment.{key}", **values)  # noqa: E731
    can, card = able(services), services.engine.card
    offered = card.translated.get(words.language, card.suggestions)[:3]
    prefilled = offered[0] if offered else ""
    filled, run_id, result = gr.State(prefilled), gr.State(""), gr.State(None)
    common.hint(say("intro"))
    if not can:
        common.hint(say("unable") if services.engine.spec.layers else words("tabs.dense"))
    with gr.Column(visible=can, elem_id="experiment-body"):
        edits = _build_edits(services, words)
        gr.HTML(f"<h4 class='step'>{say('step_run')}</h4>", js_on_load=None)
        prompt = gr.Textbox(
            value=prefilled,
            label=say("prompt"),
            lines=1,
            max_lines=6,
            elem_id="experiment-prompt",
        )
        with gr.Row(elem_classes="experiment-suggestions"):
            suggestions = [gr.Button(text, size="sm", elem_classes="suggestion", min_width=0) for text in offered]
        with gr.Row():
            run = gr.Button(say("run"), variant="primary", min_width=160, elem_id="experiment-run", interactive=False)
            stop = gr.Button(say("stop"), interactive=False, min_width=80, elem_id="experiment-stop")
        options = _build_options(services, words, prompt)
        status = gr.HTML(status_html(say("need_edit")), elem_id="experiment-status", js_on_load=None)
        with gr.Row(elem_id="experiment-arms", equal_height=False):
            arms = tuple(_build_arm(number, words) for number in range(MOST_ARMS))
        out = _build_result(words)
    return ExperimentTab(edits, options, suggestions, filled, run, stop, status, run_id, result, arms, out)


def _build_edits(services: Services, words: Words) -> EditParts:
    say = lambda key, **values: words(f"tabs.experiment.{key}", **values)  # noqa: E731
    numbers = services.engine.spec.layer_numbers
    layers = [(words("tabs.layer_name", layer=number), number) for number in numbers]
    first = numbers[len(numbers) // 2] if numbers else None
    history = gr.State(History())
    gr.HTML(f"<h4 class='step'>{say('step_edit')}</h4>", js_on_load=None)
    with gr.Row(elem_id="experiment-presets"):
        layer = gr.Dropdown(
            layers, value=first, label=words("tabs.layer"), filterable=False, min_width=120, elem_id="experiment-layer"
        )
        presets = {
            name: gr.Button(
                say(f"preset.{name}", layer=first),
                size="sm",
                min_width=150,
                elem_id=f"experiment-preset-{name}",
                elem_classes="suggestion",
            )
            for name in PRESETS
        }
    script = chips_script("experiment-undo")
    chips = gr.HTML(chips_html((), words), elem_id="experiment-chips", elem_classes="edit-chips", js_on_load=script)
    message = gr.HTML(status_html(), elem_id="experiment-message", js_on_load=None)
    with gr.Row(elem_id="experiment-undo-row"):
        undo = gr.Button(say("undo"), size="sm", min_width=90, interactive=False, elem_id="experiment-undo")
        clear = gr.Button(say("clear"), size="sm", min_width=90, interactive=False, elem_id="experiment-clear")
        use = gr.Button(say("use"), size="sm", min_width=160, interactive=False, elem_id="experiment-use")
    with gr.Accordion(say("by_hand"), open=False, elem_id="experiment-by-hand"):
        with gr.Row():
            kinds = [(say(f"kind.{kind}"), kind) for kind in EDITS]
            kind = gr.Dropdown(
                kinds, value="mask", label=say("what"), filterable=False, min_width=200, elem_id="experiment-kind"
            )
            many = gr.Dropdown(
                [(say("all_layers"), ALL), *layers],
                value=[first] if numbers else [],
                multiselect=True,
                label=say("layers"),
                min_width=180,
                elem_id="experiment-layers",
            )
            experts = gr.Textbox(
                label=say("experts"),
                info=say("experts_info", last=max(0, services.engine.spec.num_experts - 1)),
                max_lines=1,
                min_width=160,
                elem_id="experiment-experts",
            )
            amount = gr.Number(2, label=say("amount_boost"), visible=False, min_width=120, elem_id="experiment-amount")
            add = gr.Button(say("add"), size="sm", min_width=90, elem_id="experiment-add")
        text = gr.Textbox(
            label=say("as_text"),
            info=say("as_text_info"),
            placeholder="mask:3:12 top_k:all:4",
            max_lines=3,
            elem_id="experiment-text",
        )
    return EditParts(history, presets, layer, chips, undo, clear, use, message, kind, many, experts, amount, add, text)


def _build_options(services: Services, words: Words, prompt: gr.Textbox) -> OptionParts:
    say = lambda key, **values: words(f"tabs.experiment.{key}", **values)  # noqa: E731
    modes, settings = list(services.engine.capabilities.modes), services.settings
    usual = recommended(services, modes[0])
    labels = {"thinking": words("page.mode_thinking"), "non-thinking": words("page.mode_direct")}
    with gr.Accordion(say("settings"), open=False, elem_id="experiment-settings"):
        with gr.Row():
            mode = gr.Radio([(labels[m], m) for m in modes], value=modes[0], label=words("page.mode"), min_width=200)
            controls = gr.Slider(1, MOST_CONTROLS, 1, step=1, label=say("controls"), min_width=160)
            control_seed = gr.Number(0, precision=0, label=say("control_seed"), min_width=120)
        with gr.Row():
            seed = gr.Number(0, precision=0, label=say("seed"), min_width=100)
            temperature = gr.Number(usual.temperature, label=words("tabs.compare.temperature"), step=0.1, min_width=100)
            top_p = gr.Number(usual.top_p, label=words("tabs.compare.top_p"), step=0.05, min_width=100)
            most = min(1024, settings.max_new_tokens)
            max_tokens = gr.Number(most, precision=0, label=words("tabs.compare.max_tokens"), min_width=120)
    return OptionParts(prompt, mode, temperature, top_p, max_tokens, seed, controls, control_seed)


def _build_arm(number: int, words: Words) -> ArmParts:
    with gr.Column(min_width=260, visible=False, elem_id=f"experiment-arm-{number}", elem_classes="arm") as column:
        head = gr.HTML("", elem_classes="arm-head", js_on_load=None)
        with gr.Accordion(words("tabs.compare.thinking"), open=False, visible=False, elem_classes="arm-think") as fold:
            thinking = gr.HTML("", js_on_load=None)
        answer = gr.HTML("", elem_classes="arm-answer", js_on_load=None)
        show = gr.Button(words("tabs.experiment.show"), size="sm", visible=False, elem_classes="suggestion")
    return ArmParts(column, head, fold, thinking, answer, show)


def _build_result(words: Words) -> ResultParts:
    say = lambda key, **values: words(f"tabs.experiment.{key}", **values)  # noqa: E731
    message = gr.HTML(status_html(), elem_id="experiment-result-message", js_on_load=None)
    plots: dict[str, gr.Plot] = {}
    with gr.Column(visible=False, elem_id="experiment-result") as drawn:
        gr.HTML(f"<h4 class='step'>{say('step_result')}</h4>", js_on_load=None)
        found = gr.HTML("", elem_id="experiment-found", js_on_load=None)
        common.hint(say("caution"), elem_id="experiment-caution")
        phase = common.phase_dropdown(words, PHASES, elem_id="experiment-phase")
        for pair in (FIGURES[:2], FIGURES[2:]):
            with gr.Row(equal_height=False):
                for name in pair:
                    with gr.Column(min_width=300):
                        plots[name] = common.plot(words, elem_id=f"experiment-{name}")
        common.hint(say("reading_hint"))
        command = gr.Textbox(
            label=say("command"),
            interactive=False,
            lines=2,
            max_lines=12,
            buttons=["copy"],
            elem_id="experiment-command",
        )
    return ResultParts(message, drawn, found, phase, plots, command)
