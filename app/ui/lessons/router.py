"""What a router does, with the numbers of the token that is selected: scores → probabilities → top-k → weights."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import BadValue
from analysis.router_steps import RouterSteps, router_steps
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.server import limits
from app.ui import tabs_common as common
from app.ui.chat import status_html
from app.ui.context import Services, Shared
from app.ui.lessons.page_parts import paragraphs, table
from app.ui.quiet import CHOOSING, DRAWING
from app.ui.token_tab import chosen_token

NAME = "router"
BEYOND = 4
"""Experts shown that were not taken."""


@dataclass(frozen=True)
class Lesson:
    message: gr.HTML
    shown: gr.Column
    layer: gr.Dropdown
    k: gr.Slider
    steps: gr.HTML


def build(services: Services, words: Words) -> Lesson:
    paragraphs(words("learn.router.text"), words("learn.router.do"))
    message = gr.HTML(status_html(words("tabs.empty")), elem_id="lesson-router-message", js_on_load=None)
    spec = services.engine.spec
    with gr.Column(visible=False) as shown:
        with gr.Row():
            layer = common.layer_dropdown(words, elem_id="lesson-router-layer")
            k = gr.Slider(
                1,
                max(2, min(32, spec.num_experts)),
                max(1, spec.top_k),
                step=1,
                label=words("learn.router.k"),
                info=words("learn.router.k_info"),
                elem_id="lesson-router-k",
                min_width=220,
            )
        steps = gr.HTML(elem_id="lesson-router-steps", js_on_load=None)
    return Lesson(message, shown, layer, k, steps)


def steps_html(trace: RoutingTrace, token: int, layer: int, k: Any, words: Words) -> str:
    """The five steps for one token and layer.

    Raises:
        Nothing: the token was not routed, or its scores were not recorded.
        BadValue: ``k`` is no number of experts.
    """
    router = trace.spec.layers[trace.spec.position(layer)]
    asked = min(limits.whole(k, "k", 1, 65535), router.num_experts)
    steps = router_steps(trace, token, layer, asked)
    if steps is None:
        raise common.Nothing(words("learn.router.none", setting=words("page.record_scores")))
    text = html.escape(words("learn.router.token", text=trace.texts()[token], token=token, layer=layer))
    values = {
        "experts": router.num_experts,
        "k": asked,
        "own": router.top_k,
        "mass": f"{steps.mass:.1%}",
        "chance": f"{1 / router.num_experts:.1%}",
    }
    keys = ("step1", "step2", "step3", "step4" if router.renormalised else "step4_plain")
    lines = "".join(f"<li>{html.escape(words(f'learn.router.{key}', **values))}</li>" for key in keys)
    return (
        f"<p class='lesson-token'>{text}</p><ol class='steps'>{lines}</ol>" + _table(steps, words) + _sum(steps, words)
    )


def _table(steps: RouterSteps, words: Words) -> str:
    rows = []
    for rank, expert in enumerate(steps.experts[: steps.k + BEYOND].tolist()):
        taken = rank < steps.k
        ran = steps.executed.get(expert)
        rows.append(
            (
                f"{rank + 1}",
                f"{expert}",
                f"{steps.probability[rank]:.4f}",
                f"{steps.weights[rank]:.4f}" if taken else "–",
                f"{ran:.4f}" if ran is not None else "–",
            )
        )
    header = [words(f"learn.router.columns.{name}") for name in ("rank", "expert", "probability", "weight", "executed")]
    return table(header, rows, range(steps.k), words("learn.router.caption", more=BEYOND))


def _sum(steps: RouterSteps, words: Words) -> str:
    shown = [f"{w:.3f} · E{e}(x)" for e, w in zip(steps.experts[:4].tolist(), steps.weights.tolist(), strict=False)]
    more = " + …" if steps.k > 4 else ""
    return (
        f"<p>{html.escape(words('learn.router.step5'))}</p>"
        f"<p class='formula'>y = {html.escape(' + '.join(shown))}{more}</p>"
    )


def wire(lesson: Lesson, services: Services, shared: Shared) -> None:
    """Every listener of the lesson."""
    outputs = [lesson.message, lesson.shown, lesson.layer, lesson.steps]

    def draw(words: Words, trace_id: Any, token: Any, layer: Any, k: Any) -> tuple[Any, ...]:
        trace = common.trace_to_show(services.store, trace_id, words)
        layer = common.chosen_layer(trace, layer)
        shown = steps_html(trace, chosen_token(trace, token, words), layer, k, words)
        return "", gr.update(visible=True), common.layer_update(trace, layer, words), shown

    def choose(layer: Any, trace_id: Any) -> Any:
        try:
            return common.chosen_layer(services.store.get(trace_id), layer)
        except BadValue:
            return gr.skip()

    inputs = [shared.open_tab, shared.language, shared.trace_id, shared.token, shared.layer, lesson.k]
    changes = [s.change for s in (shared.trace_id, shared.open_tab, shared.token, shared.layer)]
    gr.on([*changes, lesson.k.input], common.guarded("learn", len(outputs))(draw), inputs, outputs, **DRAWING)
    lesson.layer.input(choose, [lesson.layer, shared.trace_id], shared.layer, **CHOOSING)
