"""Compare, with a set of prompts: both modes of each, the finding in words, and what it rests on.

Knows components and figures. What is asked and tested is in ``prompt_set`` and ``analysis.pairs``.
"""

from __future__ import annotations

import functools
import html
import logging
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.comparing import Comparison, to_json
from analysis.errors import UserError
from analysis.figures import contrast as figures
from analysis.figures.style import theme_of
from analysis.findings import in_words
from analysis.words import Words
from app.engine.base import MODES
from app.ui import set_files
from app.ui import tabs_common as common
from app.ui.arms import Stops
from app.ui.chat import status_html
from app.ui.compare_run import Options
from app.ui.context import Services, Shared
from app.ui.prompt_set import SetView, run_set
from app.ui.quiet import DRAWING, QUIET
from app.ui.shelves.cards import cut
from app.ui.shelves.view import parcel

log = logging.getLogger("expertscope")

PROMPTS = Path(__file__).parents[2] / "assets" / "prompts"
PHASES = ("generated", "answer")
NAMED = 5  # reasons why prompts could not be counted, before the rest becomes a number
CONTROLS = ("none", "token", "position")
ANSWERS = ("prompt", "thinking_answer", "direct_answer", "thinking_tokens", "direct_tokens")
EXPERTS = ("layer", "expert", "first", "second", "difference", "low", "high", "p", "q")


@dataclass(frozen=True)
class SetTab:
    """Components of this part of the tab.

    Attributes:
        run_id: state, the set under way; "" for none.
        drawn: what is hidden until a set was answered.
    """

    prompts: gr.Textbox
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    run_id: gr.State
    message: gr.HTML
    drawn: gr.Column
    phase: gr.Radio
    control: gr.Radio
    finding: gr.HTML
    dumbbell: gr.Plot
    divergence: gr.Plot
    map: gr.Plot
    experts: gr.Dataframe
    answers: gr.Dataframe
    downloads: dict[str, gr.Button]
    saved: gr.HTML


def build(services: Services, words: Words) -> SetTab:
    able = set(services.engine.capabilities.modes) == set(MODES) and bool(services.engine.spec.layers)
    run_id = gr.State("")
    common.hint(words("tabs.set.intro"))
    prompts = gr.Textbox(
        ready_prompts(words.language),
        label=words("tabs.set.prompts", most=services.settings.set_prompts),
        lines=6,
        max_lines=12,
        interactive=able,
        elem_id="set-prompts",
    )
    with gr.Row():
        run = gr.Button(words("tabs.set.run"), variant="primary", interactive=able, min_width=160, elem_id="set-run")
        stop = gr.Button(words("tabs.set.stop"), interactive=False, min_width=80, elem_id="set-stop")
    status = gr.HTML(status_html(), elem_id="set-status", js_on_load=None)
    message = gr.HTML(status_html(), elem_id="set-message", js_on_load=None)
    with gr.Column(visible=False) as drawn:
        finding = gr.HTML(elem_id="set-finding", js_on_load=None)
        with gr.Row():
            phase = gr.Radio(
                [(words(f"figures.phase.{name}"), name) for name in PHASES],
                value=PHASES[0],
                label=words("tabs.phase"),
                elem_id="set-phase",
                min_width=240,
            )
            control = gr.Radio(
                [(words(f"tabs.set.control.{name}"), name) for name in CONTROLS],
                value=CONTROLS[0],
                label=words("tabs.set.control.label"),
                info=words("tabs.set.control.info"),
                elem_id="set-control",
                min_width=320,
            )
        with gr.Row():
            dumbbell = common.plot(words, elem_id="set-dumbbell", min_width=300)
            divergence = common.plot(words, elem_id="set-divergence", min_width=300)
        map_plot = common.plot(words, elem_id="set-map", min_width=300)
        with gr.Accordion(words("tabs.set.numbers"), open=False):
            experts = _table("experts", EXPERTS, words)
        common.hint(words("tabs.set.download_help"))
        with gr.Row(elem_id="set-downloads"):
            downloads = {
                kind: gr.Button(
                    words(f"tabs.set.download.{kind}"), size="sm", min_width=120, elem_id=f"set-save-{kind}"
                )
                for kind in set_files.KINDS
            }
        saved = gr.HTML(status_html(), elem_id="set-saved", js_on_load=None)
    with gr.Accordion(words("tabs.set.answers"), open=False, elem_id="set-answers-box"):
        answers = _table("answers", ANSWERS, words)
    return SetTab(
        prompts=prompts,
        run=run,
        stop=stop,
        status=status,
        run_id=run_id,
        message=message,
        drawn=drawn,
        phase=phase,
        control=control,
        finding=finding,
        dumbbell=dumbbell,
        divergence=divergence,
        map=map_plot,
        experts=experts,
        answers=answers,
        downloads=downloads,
        saved=saved,
    )


def ready_prompts(language: str) -> str:
    """A set that comes along, one prompt a line."""
    return (PROMPTS / f"{language}.txt").read_text(encoding="utf-8").strip()


def _table(name: str, columns: tuple[str, ...], words: Words) -> gr.Dataframe:
    return gr.Dataframe(
        headers=[words(f"tabs.set.columns.{column}") for column in columns],
        datatype="str",
        interactive=False,
        wrap=True,
        max_height=420,
        label=words(f"tabs.set.{'numbers' if name == 'experts' else name}"),
        show_label=False,
        elem_id=f"set-{name}",
    )


def finding_html(found: Comparison, words: Words) -> str:
    """The three sentences, and which prompts could not be counted."""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in in_words(found.finding, words))
    return f"<div class='finding' role='status'>{lines}{_uncounted_html(found, words)}</div>"


def _uncounted_html(found: Comparison, words: Words) -> str:
    """How many prompts were answered and not counted, and why; each answer that was too short by its prompt."""
    why = []
    for lost in found.contrast.shares.left_out:
        if lost.reason == "short":
            text, mode = (str(lost.values[key]) for key in ("prompt", "mode"))
            named = words("tabs.set.named", text=cut(text, 40), mode=words(f"figures.contrast.group.{mode}"))
            why.append(lost.in_words(words, named))
        elif lost.reason == "unmatched":
            least = lost.values["least"]
            why += [words("tabs.set.unmatched", text=cut(text, 40), least=least) for text in lost.values["prompts"]]
        elif lost.reason != "too_short":  # of both modes: the answers that were are named one by one
            why.append(lost.in_words(words))
    if not why:
        return ""
    said = words("tabs.set.left_out", n=len(found.plan.units) - found.finding.prompts[0])
    more = [words("report.left_out_more", n=len(why) - NAMED)] if len(why) > NAMED else []
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in [*why[:NAMED], *more])
    return f"<p class='hint'>{html.escape(said)}</p><ul class='hint'>{lines}</ul>"


def expert_rows(found: Comparison) -> list[list[str]]:
    """The tested experts, the least q first, as the table shows them."""
    return [
        [
            str(e["layer"]),
            str(e["expert"]),
            f"{e['first']:.2%}",
            f"{e['second']:.2%}",
            *(f"{100 * e[key]:+.2f}" for key in ("difference", "ci_low", "ci_high")),
            *(f"{e[key]:.2g}" for key in ("p", "q")),
        ]
        for e in to_json(found)["experts"]
    ]


def wire(tab: SetTab, settings: list[Any], services: Services, shared: Shared, name: str) -> None:
    """Every listener of this part; ``settings`` are temperature, top-p, most tokens and seed, ``name`` the tab's."""
    stops = Stops()

    def on_run(language: Any, *values: Any) -> Generator[tuple[Any, ...], None, None]:
        run_id, words = secrets.token_urlsafe(16), Words(language)
        try:
            for view in run_set(services, Options(*values), stops.open(run_id), words):
                yield _updates(view, run_id)
        finally:
            stops.close(run_id)

    def on_stop(run_id: Any) -> None:
        stops.stop(run_id)

    def draw(words: Words, set_id: Any, phase: Any, control: Any, theme: Any) -> tuple[Any, ...]:
        if not set_id:
            return "", gr.update(visible=False), "", *(common.shown(None) for _ in range(3)), gr.skip()
        found = services.sets.get(set_id).compare(phase, control)
        chosen = theme_of(theme)
        return (
            "",
            gr.update(visible=True),
            finding_html(found, words),
            common.shown(figures.dumbbell(found, words, chosen)),
            common.shown(figures.group_js(found, words, chosen)),
            common.shown(figures.difference_map(found, words, chosen)),
            expert_rows(found),
        )

    tab.run.click(
        on_run,
        [shared.language, tab.prompts, *settings],
        [tab.run_id, tab.status, tab.run, tab.stop, tab.answers, shared.set_id],
        concurrency_limit=services.settings.followed,
        concurrency_id="turns",
        **QUIET,
    )
    tab.stop.click(on_stop, tab.run_id, None, queue=False, **QUIET)
    outputs = [tab.message, tab.drawn, tab.finding, tab.dumbbell, tab.divergence, tab.map, tab.experts]
    inputs = [shared.open_tab, shared.language, shared.set_id, tab.phase, tab.control, shared.theme]
    changes = [shared.set_id.change, shared.open_tab.change, shared.theme.change, tab.phase.input, tab.control.input]
    gr.on(changes, common.guarded(name, len(outputs))(draw), inputs, outputs, **DRAWING)


def wire_downloads(tab: SetTab, services: Services, shared: Shared, courier: gr.HTML) -> None:
    """The buttons that write files; ``courier`` brings them to the visitor."""

    def on_save(
        kind: str, language: Any, set_id: Any, phase: Any, control: Any
    ) -> Generator[tuple[Any, ...], None, None]:
        words = Words(language)
        yield gr.skip(), status_html(words("tabs.set.writing"), over=False)
        try:
            pairs, cache = services.sets.get(set_id), Path(courier.GRADIO_CACHE)
            path = set_files.write(pairs, kind, cache, words.language, phase, control)
        except UserError as error:
            yield gr.skip(), status_html(error.in_words(words), problem=True)
        except Exception:
            log.exception("A set of prompts could not be written.")
            yield gr.skip(), status_html(words("tabs.fault"), problem=True)
        else:
            yield parcel(path, kind, secrets.token_hex(4)), status_html(words("library.saved", name=path.name))

    for kind, button in tab.downloads.items():
        button.click(
            functools.partial(on_save, kind),
            [shared.language, shared.set_id, tab.phase, tab.control],
            [courier, tab.saved],
            **QUIET,
            concurrency_id="downloads",
            concurrency_limit=2,
        )


def _updates(view: SetView, run_id: str) -> tuple[Any, ...]:
    return (
        run_id if view.running else "",
        status_html(view.status, view.problem, over=not view.running),
        gr.update(interactive=not view.running),
        gr.update(interactive=view.running),
        [[text, a, b, str(m), str(n)] for text, a, b, m, n in view.rows] or gr.skip(),
        "" if view.running else view.set_id or gr.skip(),
    )
