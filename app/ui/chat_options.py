"""What a visitor can set for the next turn: mode, thinking budget, sampling, seed, system prompt, what is recorded.

The fields' order is that of ``turn.Options``. Nothing is checked here; ``limits`` does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from app.engine.base import SamplingParams
from app.ui import chat_pace
from app.ui.chat_pace import PaceFields
from app.ui.context import Services
from app.ui.conversation import Say
from app.ui.quiet import CHOOSING
from app.ui.turn import SAMPLING_FIELDS, recommended


@dataclass(frozen=True)
class OptionFields:
    """Components, named as the fields of ``turn.Options`` and in that order."""

    mode: gr.Radio
    thinking_budget: gr.Textbox
    temperature: gr.Number
    top_p: gr.Number
    top_k: gr.Number
    min_p: gr.Number
    presence_penalty: gr.Number
    max_tokens: gr.Number
    seed: gr.Textbox
    router_scores: gr.Checkbox
    system: gr.Textbox
    pace: gr.Radio
    edits: gr.State

    def in_order(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def sampling(self) -> list[gr.Number]:
        return [getattr(self, name) for name in SAMPLING_FIELDS]


def build(services: Services, say: Say, edits: gr.State) -> tuple[OptionFields, PaceFields, gr.Button]:
    """The fields, with the state of the routing's ``edits``; what belongs to the pace; and the button that clears the
    chat (it stands beside the mode)."""
    capabilities, settings = services.engine.capabilities, services.settings
    modes = list(capabilities.modes)
    start = recommended(services, modes[0])
    labels = {"thinking": say("mode_thinking"), "non-thinking": say("mode_direct")}
    with gr.Row(elem_id="mode-row"):
        mode = gr.Radio(
            [(labels[m], m) for m in modes],
            value=modes[0],
            elem_id="mode",
            label=say("mode"),
            show_label=False,
            container=False,
            scale=3,
            min_width=200,
        )
        clear = gr.Button(say("clear"), elem_id="clear", size="sm", scale=1, min_width=90)
    pace = chat_pace.build(services, say)
    with gr.Accordion(say("settings"), open=False, elem_id="options"):
        with gr.Row():
            # Text boxes: a gr.Number without a value becomes 0 as soon as it is drawn.
            budget = gr.Textbox(
                value="",
                label=say("budget"),
                info=say("budget_info"),
                placeholder=say("no_limit"),
                elem_id="budget",
                max_lines=1,
                min_width=120,
                visible="thinking" in modes,
            )
            most = gr.Number(
                value=min(settings.max_new_tokens, start.max_tokens), label=say("max_tokens"), min_width=120
            )
            seed = gr.Textbox(
                value="", label=say("seed"), placeholder=say("random"), elem_id="seed", max_lines=1, min_width=120
            )
        with gr.Row():
            numbers = {
                name: gr.Number(value=getattr(start, name), label=say(name), elem_id=name, min_width=100, step=step)
                for name, step in zip(SAMPLING_FIELDS, (0.1, 0.05, 1, 0.05, 0.1), strict=True)
            }
        gr.HTML(f'<p class="hint">{say("sampling_info")}</p>', js_on_load=None)
        scores = gr.Checkbox(
            value=capabilities.router_scores and services.engine.spec.num_experts <= 128,
            label=say("record_scores"),
            info=say("record_scores_info"),
            interactive=capabilities.router_scores,
            elem_id="scores",
        )
        system = gr.Textbox(value="", label=say("system"), lines=2, max_lines=6, elem_id="system")
    options = OptionFields(
        mode,
        budget,
        **numbers,
        max_tokens=most,
        seed=seed,
        router_scores=scores,
        system=system,
        pace=pace.pace,
        edits=edits,
    )
    return options, pace, clear


def wire(options: OptionFields, services: Services) -> None:
    """A change of mode takes along the sampling fields that stand at the recommendation."""
    modes = services.engine.capabilities.modes

    def on_mode(mode: Any, *values: Any) -> list[Any]:
        if mode not in modes:
            return list(values)
        others = [recommended(services, other) for other in modes if other != mode]
        return follow_mode(values, others, recommended(services, mode))

    options.mode.input(
        on_mode,
        [options.mode, *options.sampling()],
        options.sampling(),
        **CHOOSING,
    )


def follow_mode(values: tuple[Any, ...], before: list[SamplingParams], after: SamplingParams) -> list[Any]:
    """``values`` of ``SAMPLING_FIELDS``, with those that stand at one of the recommendations ``before`` moved to
    the one ``after``."""
    return [
        getattr(after, name) if any(value == getattr(old, name) for old in before) else value
        for name, value in zip(SAMPLING_FIELDS, values, strict=True)
    ]
