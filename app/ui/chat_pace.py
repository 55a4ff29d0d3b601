"""How fast an answer is shown: the choice of pace, the button for the next token, and what that token was drawn from.

Knows the run under way by its id. Does not know the chat; ``pacing`` holds the tokens back.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.figures.style import shown
from analysis.trace import Origin
from app.engine.base import Candidate, TokenEvent
from app.engine.catalogue import BUNDLED_CARD
from app.ui.context import Services, Shared
from app.ui.conversation import Say
from app.ui.following import ActiveRuns
from app.ui.pacing import AT_ONCE, PACES, STEP, chosen_pace
from app.ui.quiet import CHOOSING, HEARING

BUNDLED_PACE = 30.0
"""Tokens a second. The bundled model writes hundreds, too fast to watch; a large one is slower than this by itself."""
NAMES = {AT_ONCE: "pace_all", STEP: "pace_step"}


@dataclass(frozen=True)
class PaceFields:
    """Components; ``next`` and ``drawn`` are seen only where tokens are shown one at a time, and ``next`` works only
    while there is something to come."""

    pace: gr.Radio
    next: gr.Button
    drawn: gr.HTML


def build(services: Services, say: Say) -> PaceFields:
    with gr.Row(elem_id="pace-row"):
        pace = gr.Radio(
            [(say(NAMES[n]) if n in NAMES else say("pace_some", n=f"{n:g}"), n) for n in PACES],
            value=BUNDLED_PACE if services.engine.card is BUNDLED_CARD else AT_ONCE,
            label=say("pace"),
            elem_id="pace",
            min_width=200,
        )
        following = gr.Button(
            say("next_token"),
            elem_id="next-token",
            size="sm",
            variant="primary",
            visible=False,
            interactive=False,
            min_width=110,
        )
    drawn = gr.HTML(drawn_html(None, say), elem_id="drawn", visible=False, js_on_load=None)
    return PaceFields(pace, following, drawn)


def wire(fields: PaceFields, runs: ActiveRuns, shared: Shared) -> None:
    """Every listener of the pace; what was drawn is an output of the chat's turns."""

    def on_pace(run_id: Any, pace: Any) -> tuple[Any, Any]:
        wanted, active = chosen_pace(pace), runs.get(run_id)
        if active is not None:
            active.pacer.set(wanted)
        return gr.update(visible=wanted == STEP), gr.update(visible=wanted == STEP)

    def on_next(run_id: Any) -> None:
        active = runs.get(run_id)
        if active is not None:
            active.pacer.step()

    def on_run(run_id: Any) -> Any:
        return gr.update(interactive=bool(run_id))

    shared.run_id.change(on_run, shared.run_id, fields.next, queue=False, **CHOOSING)
    fields.pace.input(on_pace, [shared.run_id, fields.pace], [fields.next, fields.drawn], queue=False, **CHOOSING)
    fields.next.click(on_next, shared.run_id, None, queue=False, **HEARING)


def drawn_html(newest: TokenEvent | None, say: Say) -> str:
    """The token that was shown last among those it was drawn from, as bars of their chances."""
    if newest is None:
        return f'<p class="hint">{html.escape(say("drawn_none"))}</p>'
    token = shown(newest.text or _own_text(newest) or newest.piece.decode("utf-8", "replace"))
    if not newest.candidates:
        reason = "drawn_inserted" if newest.origin == Origin.FORCED else "drawn_unknown"
        return f'<p class="hint">{say(reason, token=f"<b>{token}</b>")}</p>'
    rows = "".join(_row(c, c.token_id == newest.token_id) for c in newest.candidates)
    rest = max(0.0, 1 - sum(c.chance for c in newest.candidates))
    heads = "".join(
        f"<th scope='col'>{html.escape(say(f'drawn_{name}'))}</th>" for name in ("token", "chance", "model")
    )
    return (
        f'<table class="drawn"><caption>{say("drawn", token=f"<b>{token}</b>")}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="hint">{html.escape(say("drawn_rest", share=_percent(rest)))}</p>'
    )


def _own_text(event: TokenEvent) -> str:
    return next((c.text for c in event.candidates if c.token_id == event.token_id), "")


def _row(candidate: Candidate, drawn: bool) -> str:
    mark = ' class="taken" aria-current="true"' if drawn else ""
    bar = f'<span class="bar" style="width:{100 * candidate.chance:.1f}%"></span>'
    return (
        f"<tr{mark}><th scope='row'><code>{shown(candidate.text)}</code></th>"
        f"<td class='chance'>{bar}<span>{_percent(candidate.chance)}</span></td>"
        f"<td>{_percent(candidate.probability)}</td></tr>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 or share == 0 else "<0.1%"
