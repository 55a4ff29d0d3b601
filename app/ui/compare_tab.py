"""The tab "Compare": the same prompt thinking (A) and not thinking (B), answers and loads side by side.

One pair of answers describes and proves nothing; the tab says so. What many pairs can show is in ``set_tab``.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from analysis import compare, metrics
from analysis.errors import UserError
from analysis.figures import compare as figures
from analysis.figures.load import load_map
from analysis.figures.style import theme_of
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.engine.base import MODES
from app.ui import set_tab
from app.ui import tabs_common as common
from app.ui.arms import Stops
from app.ui.chat import status_html
from app.ui.compare_run import ArmView, Options, PairView, run_pair
from app.ui.context import Services, Shared

NAME = "compare"
PHASES = ("generated", "answer", "prompt")
REASONS = ("stop", "length", "interrupted", "stopped")


@dataclass(frozen=True)
class Arm:
    """Components of one answer."""

    thinking: gr.Textbox
    answer: gr.Textbox
    counts: gr.Markdown
    tinted: gr.HTML


@dataclass(frozen=True)
class CompareTab:
    """Components of the tab.

    Attributes:
        filled: state, the prompt that was taken from the trace and may be replaced by the next trace's.
        run_id: state, the comparison under way; "" for none.
        pair: state, ids of the two traces in the store; None where there is none.
        drawn: what is hidden until both answers are there.
    """

    prompt: gr.Textbox
    filled: gr.State
    run: gr.Button
    stop: gr.Button
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Number
    seed: gr.Number
    status: gr.HTML
    run_id: gr.State
    pair: gr.State
    arms: tuple[Arm, Arm]
    message: gr.HTML
    drawn: gr.Column
    phase: gr.Dropdown
    loads: tuple[gr.Plot, gr.Plot]
    divergence: gr.Plot
    difference: gr.Plot
    many: set_tab.SetTab


def build(services: Services, words: Words) -> CompareTab:
    settings, modes = services.settings, services.engine.capabilities.modes
    able = set(modes) == set(MODES) and bool(services.engine.spec.layers)
    filled, run_id, pair = gr.State(""), gr.State(""), gr.State(None)
    line = "" if able else words("tabs.dense")
    if len(modes) == 1:
        line = words("tabs.compare.one_mode", mode=modes[0])
    with gr.Tabs(elem_id="compare-kinds"):
        with gr.Tab(words("tabs.compare.one"), elem_id="compare-one"):
            common.hint(words("tabs.compare.intro"))
            prompt = gr.Textbox(
                label=words("tabs.compare.prompt"), lines=2, max_lines=8, interactive=able, elem_id="compare-prompt"
            )
            with gr.Row():
                run = gr.Button(
                    words("tabs.compare.run"), variant="primary", interactive=able, min_width=160, elem_id="compare-run"
                )
                stop = gr.Button(words("tabs.compare.stop"), interactive=False, min_width=80, elem_id="compare-stop")
            status = gr.HTML(status_html(line), elem_id="compare-status", js_on_load=None)
            with gr.Row():
                arms = (_build_arm("a", words), _build_arm("b", words))
            message = gr.HTML(status_html(), elem_id="compare-message", js_on_load=None)
            with gr.Column(visible=False) as drawn:
                common.hint(words("tabs.compare.caution"))
                phase = common.phase_dropdown(words, PHASES, elem_id="compare-phase")
                with gr.Row():
                    load_a = common.plot(words, elem_id="compare-load-a", min_width=300)
                    load_b = common.plot(words, elem_id="compare-load-b", min_width=300)
                with gr.Row():
                    divergence = common.plot(words, elem_id="compare-divergence", min_width=300)
                    difference = common.plot(words, elem_id="compare-difference", min_width=300)
        with gr.Tab(words("tabs.compare.many"), elem_id="compare-many"):
            many = set_tab.build(services, words)
    with gr.Accordion(words("tabs.compare.settings"), open=False), gr.Row():
        temperature = gr.Slider(0, 2, 0.6, step=0.05, label=words("tabs.compare.temperature"), min_width=150)
        top_p = gr.Slider(0.05, 1, 0.95, step=0.05, label=words("tabs.compare.top_p"), min_width=150)
        most = min(1024, settings.max_new_tokens)
        max_tokens = gr.Number(most, precision=0, label=words("tabs.compare.max_tokens"), min_width=120)
        seed = gr.Number(0, precision=0, label=words("tabs.compare.seed"), min_width=120)
    return CompareTab(
        prompt=prompt,
        filled=filled,
        run=run,
        stop=stop,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        status=status,
        run_id=run_id,
        pair=pair,
        arms=arms,
        message=message,
        drawn=drawn,
        phase=phase,
        loads=(load_a, load_b),
        divergence=divergence,
        difference=difference,
        many=many,
    )


def _build_arm(letter: str, words: Words) -> Arm:
    with gr.Column(min_width=300):
        name = words(f"tabs.compare.{letter}")
        answer = gr.Textbox(
            label=f"{name} · {words('tabs.compare.answer')}",
            lines=3,
            max_lines=14,
            interactive=False,
            elem_id=f"compare-answer-{letter}",
        )
        with gr.Accordion(words("tabs.compare.thinking"), open=False, visible=letter == "a"):
            thinking = gr.Textbox(
                lines=3,
                max_lines=14,
                interactive=False,
                container=False,
                label=words("tabs.compare.thinking"),
                show_label=False,
                elem_id=f"compare-thinking-{letter}",
            )
        counts = gr.Markdown(elem_id=f"compare-counts-{letter}")
        tinted = gr.HTML(elem_id=f"compare-tinted-{letter}", js_on_load=None)
    return Arm(thinking, answer, counts, tinted)


@dataclass(frozen=True)
class PairFigures:
    """What is drawn of two traces. ``message`` says why ``divergence`` and ``difference`` are missing, if they are."""

    loads: tuple[go.Figure, go.Figure]
    divergence: go.Figure | None = None
    difference: go.Figure | None = None
    message: str = ""


def pair_figures(a: RoutingTrace, b: RoutingTrace, phase: Any, words: Words, theme: Any) -> PairFigures:
    """Loads side by side, their divergence by layer, and their difference.

    Raises:
        BadValue: there is no such phase, or the traces come from different routers.
    """
    theme, names = theme_of(theme), (words("tabs.compare.a"), words("tabs.compare.b"))
    phase = common.chosen_phase(a, phase, insist=True)
    loads = [load_map(metrics.expert_load(t, phase), words, theme, n) for t, n in zip((a, b), names, strict=True)]
    pair = compare.pair_js(a, b, phase)
    if pair is None:
        return PairFigures((loads[0], loads[1]), message=words("tabs.compare.no_overlap"))
    return PairFigures(
        (loads[0], loads[1]),
        figures.js_by_layer(pair, words, theme),
        figures.difference_map(compare.load_difference(a, b, phase), "A", "B", words, theme),
    )


def tinted_html(trace: RoutingTrace, other: RoutingTrace, letter: str, words: Words) -> str:
    """The generated text of ``trace`` ("a" or "b"), each token on the colour of the answer whose experts it uses."""
    lean, texts = compare.token_lean(trace, other), trace.texts()
    if not lean.n:
        return ""
    far = "b" if letter == "a" else "a"
    spans = []
    for token, value in zip(lean.along("token"), lean.values.tolist(), strict=True):
        title = words("tabs.compare.lean_token", value=f"{value:+.2f}".replace("-", "−"))
        strength = round(min(1.0, 1.6 * abs(value)), 2)
        spans.append(
            f'<span class="{letter if value >= 0 else far}" style="--lean:{strength}" title="{title}">'
            f"{html.escape(texts[token])}</span>"
        )
    about = words("tabs.compare.lean", n=lean.n, here=letter.upper(), there=far.upper())
    return f'<p class="hint">{html.escape(about)}</p><p class="lean">{"".join(spans)}</p>'


def counts_line(arm: ArmView, words: Words) -> str:
    """How many tokens an arm has, once it has ended."""
    if not arm.reason:
        return ""
    reason = arm.reason if arm.reason in REASONS else "stopped"
    return words(
        "tabs.compare.counts",
        thinking=arm.thinking_tokens,
        answer=arm.answer_tokens,
        reason=words(f"tabs.compare.reason.{reason}"),
    )


def wire(tab: CompareTab, services: Services, shared: Shared) -> None:
    """Every listener of the tab."""
    set_tab.wire(tab.many, [tab.temperature, tab.top_p, tab.max_tokens, tab.seed], services, shared, NAME)
    stops = Stops()
    arm_boxes = [box for arm in tab.arms for box in (arm.thinking, arm.answer, arm.counts)]

    def on_run(
        language: Any, prompt: Any, temperature: Any, top_p: Any, max_tokens: Any, seed: Any
    ) -> Generator[tuple[Any, ...], None, None]:
        run_id, words = secrets.token_urlsafe(16), Words(language)
        try:
            options = Options(prompt, temperature, top_p, max_tokens, seed)
            for view in run_pair(services, options, stops.open(run_id), words):
                yield _updates(view, run_id, words)
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    def draw(words: Words, pair: Any, phase: Any, theme: Any) -> tuple[Any, ...]:
        if not pair:
            return "", gr.update(visible=False), *(common.shown(None) for _ in range(4)), "", ""
        a, b = (services.store.get(trace_id) for trace_id in pair)
        drawn = pair_figures(a, b, phase, words, theme)
        return (
            status_html(drawn.message),
            gr.update(visible=True),
            *map(common.shown, (*drawn.loads, drawn.divergence, drawn.difference)),
            tinted_html(a, b, "a", words),
            tinted_html(b, a, "b", words),
        )

    def fill(open_tab: Any, trace_id: Any, prompt: Any, filled: Any) -> tuple[Any, ...]:
        if open_tab != NAME or not trace_id or (prompt and prompt != filled):
            return gr.skip(), gr.skip()
        try:
            text = services.store.get(trace_id).prompt
        except UserError:
            text = ""
        return (text, text) if text and len(text) <= services.settings.max_chars else (gr.skip(), gr.skip())

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.run.click(
        on_run,
        [shared.language, tab.prompt, tab.temperature, tab.top_p, tab.max_tokens, tab.seed],
        [tab.run_id, tab.status, tab.run, tab.stop, *arm_boxes, tab.pair],
        concurrency_limit=services.settings.max_waiting + 8,
        concurrency_id="turns",
        **quiet,
    )
    tab.stop.click(on_stop, tab.run_id, None, queue=False, **quiet)
    plots = [*tab.loads, tab.divergence, tab.difference]
    outputs = [tab.message, tab.drawn, *plots, *(arm.tinted for arm in tab.arms)]
    inputs = [shared.open_tab, shared.language, tab.pair, tab.phase, shared.theme]
    changes = [tab.pair.change, shared.open_tab.change, shared.theme.change, tab.phase.input]
    gr.on(changes, common.guarded(NAME, len(outputs))(draw), inputs, outputs, **common.FIGURES)
    gr.on(
        [shared.trace_id.change, shared.open_tab.change],
        fill,
        [shared.open_tab, shared.trace_id, tab.prompt, tab.filled],
        [tab.prompt, tab.filled],
        **quiet,
    )


def _updates(view: PairView, run_id: str, words: Words) -> tuple[Any, ...]:
    ids = tuple(arm.trace_id for arm in view.arms)
    boxes = [value for arm in view.arms for value in (arm.thinking, arm.answer, counts_line(arm, words))]
    return (
        run_id if view.running else "",
        status_html(view.status, view.problem, over=not view.running),
        gr.update(interactive=not view.running),
        gr.update(interactive=view.running),
        *boxes,
        ids if all(ids) else None,
    )
