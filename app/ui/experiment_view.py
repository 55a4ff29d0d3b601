"""What an experiment shows: the answers with the place where they part, the figures, and sentences.

Pure functions of arms and measures. Text of models is escaped here; everything else in the HTML is ours.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.errors import BadValue
from analysis.figures import edited as figures
from analysis.figures import style
from analysis.figures.edited import signed
from analysis.statistic import Statistic
from analysis.trace import Phase
from analysis.words import Words
from app.ui.experiment_edits import Edits, describe, to_text
from app.ui.experiment_measures import Measures
from app.ui.experiment_plan import PHASES, Arm, parting

"""Header and lines."""

SHOWN_EDITS = 3
CHIPS = Path(__file__).parent / "chips.js"


def chips_script(undo: str) -> str:
    """For ``js_on_load`` of what holds ``chips_html``; ``undo`` is the id of the button that gets the focus last."""
    return f"const UNDO = {json.dumps(undo)};\n{CHIPS.read_text(encoding='utf-8')}"


def chips_html(edits: Edits, words: Words) -> str:
    """The edits that are set, each with a button that takes it away; without any, what one is."""
    say = _say(words)
    if not edits:
        return f"<p class='hint'>{html.escape(say('chips_none'))}</p>"
    items = []
    for index, edit in enumerate(edits):
        text = html.escape(describe(edit, words))
        remove = html.escape(say("remove", edit=describe(edit, words)), quote=True)
        items.append(
            f"<li class='chip'><span>{text}</span>"
            f"<button type='button' data-i='{index}' aria-label='{remove}' title='{remove}'>×</button></li>"
        )
    return f"<ul class='chips' aria-label='{html.escape(say('chips_label'), quote=True)}'>{''.join(items)}</ul>"


def head_html(arm: Arm, base: Arm, seed: int, words: Words) -> str:
    """Above an answer: what it is, under which edits, how long it is and where it parts from the unedited one."""
    say = _say(words)
    if arm.kind == "unedited":
        under = html.escape(say("arm_unedited_hint"))
    else:
        shown = to_text(arm.edits[:SHOWN_EDITS]) + (" …" if len(arm.edits) > SHOWN_EDITS else "")
        shown = shown if len(shown) <= 90 else shown[:89] + "…"
        under = f"<code title='{html.escape(to_text(arm.edits), quote=True)}'>{html.escape(shown)}</code>"
        if arm.kind == "control":
            under += f" <span>{html.escape(say('arm_control_hint', seed=seed))}</span>"
    lines = [f"<h4>{html.escape(arm.title(words))}</h4>", f"<p class='under'>{under}</p>"]
    if arm.reason:
        reason = arm.reason if arm.reason in ("stop", "length", "interrupted") else "stopped"
        counts = words(
            "tabs.compare.counts",
            thinking=arm.count(Phase.THINKING),
            answer=arm.count(Phase.ANSWER),
            reason=words(f"tabs.compare.reason.{reason}"),
        )
        lines.append(f"<p class='counts'>{html.escape(counts)}</p>")
    if arm.kind != "unedited" and arm.tokens:
        lines.append(f"<p class='counts'>{html.escape(parting_line(arm, base, words))}</p>")
    return "".join(lines)


def parting_line(arm: Arm, base: Arm, words: Words) -> str:
    """Where ``arm`` parts from the unedited answer, in words."""
    at = parting(base, arm)
    if at is None:
        return words("tabs.experiment.same_text" if arm.reason else "tabs.experiment.same_so_far")
    here, there = (_token_text(one, at, words) for one in (arm, base))
    return words("tabs.experiment.parts_at", n=at, last=len(base.tokens) - 1, here=here, there=there)


def _token_text(arm: Arm, index: int, words: Words) -> str:
    """A token of an answer in quotes, visible blanks; that it had ended where there is none."""
    if index >= len(arm.tokens):
        return words("tabs.experiment.ended")
    return words("tabs.experiment.quoted", text=html.unescape(style.shown(arm.tokens[index][1] or "·")))


def said_html(arm: Arm, phase: Phase, mark: int | None, words: Words) -> str:
    """The text of ``phase`` (thinking or answer), the token number ``mark`` marked; "" where there is none.

    A marker token is shown only where it is the marked one, in the part of the answer that it ends."""
    parts, part = [], Phase.ANSWER if arm.tokens and arm.tokens[0][2] == Phase.ANSWER else Phase.THINKING
    for index, (_, text, kind) in enumerate(arm.tokens):
        part = part if kind == Phase.MARKER else kind
        if part != phase:
            continue
        if index == mark:
            heard = html.escape(words("tabs.experiment.parts_here"))
            shown = style.shown(text) if text else "·"
            parts.append(f"<mark title='{heard}'><span class='heard'>({heard}) </span>{shown}</mark>")
            if "\n" in text:
                parts.append("\n")
        elif kind == phase:
            parts.append(html.escape(text))
    text = "".join(parts).strip("\n")
    if not text:
        return ""
    label = html.escape(f"{arm.title(words)} · {words(f'figures.phase.{phase.label}')}", quote=True)
    return f"<div class='said {phase.label}' role='region' aria-label='{label}' dir='auto' tabindex='0'>{text}</div>"


def answer_html(arm: Arm, mark: int | None, words: Words) -> str:
    shown = said_html(arm, Phase.ANSWER, mark, words)
    if shown:
        return shown
    key = "no_answer" if arm.reason else "not_yet"
    return f"<div class='said answer none'>{html.escape(words(f'tabs.experiment.{key}'))}</div>"


@dataclass(frozen=True)
class Drawn:
    """What is drawn of an experiment. A figure is None where there is nothing to draw.

    Attributes:
        sentences: what was found, plain text.
    """

    sentences: tuple[str, ...] = ()
    changed: go.Figure | None = None
    moved: go.Figure | None = None
    touched: go.Figure | None = None
    log_prob: go.Figure | None = None


def draw(arms: Sequence[Arm], measured: Mapping[str, Measures], phase: str, words: Words, theme: Any) -> Drawn:
    """Figures and sentences of a finished experiment.

    Raises:
        BadValue: there is no such phase.
    """
    if phase not in PHASES:
        raise BadValue(f"Unknown phase {phase[:40]!r}; choose from {', '.join(PHASES)}.")
    theme, say, base, edits = style.theme_of(theme), _say(words), arms[0], arms[1].edits
    sentences = [say("found_text", arm=arm.title(words), where=parting_line(arm, base, words)) for arm in arms[1:]]
    if len(arms) == 2:
        key = "no_control_k" if not any(edit.experts for edit in edits) else "no_control_left"
        sentences.append(say(key))
    if phase not in measured:
        return Drawn((*sentences, say("no_reread")))
    found = measured[phase]
    if found.changed[0].n:
        sentences.append(_changed_sentence(found.changed, found.noise, words))
        if any(edit.kind == "top_k" for edit in edits):
            sentences.append(say("found_k"))
    if found.touched and found.touched[0].n:
        sentences.append(_match_sentence(found.touched, words))
    if found.log_prob and found.log_prob[0].n:
        sentences.append(_log_prob_sentence(found.log_prob, words))
    elif not found.log_prob:
        sentences.append(say("no_log_prob"))
    (changed, *others), (moved, *others_moved) = found.changed, found.moved
    return Drawn(
        tuple(sentences),
        figures.by_layer("changed", changed, others, found.noise, found.layers, words, theme),
        figures.by_layer("moved", moved, others_moved, found.noise_moved, found.layers, words, theme),
        figures.touched(found.touched[0], found.touched[1:], words, theme) if found.touched else None,
        figures.log_prob(found.log_prob[0], found.log_prob[1:], words, theme) if found.log_prob else None,
    )


def found_html(sentences: Sequence[str]) -> str:
    return f"<ul class='found'>{''.join(f'<li>{html.escape(line)}</li>' for line in sentences)}</ul>"


def _changed_sentence(changed: Sequence[Statistic], noise: Statistic, words: Words) -> str:
    means = [f"{100 * float(s.values.mean()):.1f} %" for s in changed]
    key = "found_changed" if len(means) > 1 else "found_changed_alone"
    rulers = {"noise": f"{100 * float(noise.values.mean()):.1f} %", "n": f"{changed[0].n:,}"}
    return words(f"tabs.experiment.{key}", edit=means[0], controls=", ".join(means[1:]), **rulers)


def _match_sentence(touched: Sequence[Statistic], words: Words) -> str:
    """How well the controls are matched: the mean load of the named experts before anything was done to them."""
    means = [f"{100 * float(s.values[:, 0].mean()):.2f} %" for s in touched]
    key = "found_match" if len(means) > 1 else "found_match_alone"
    uniform = f"{100 * float(np.asarray(touched[0].chance).mean()):.2f} %"
    return words(f"tabs.experiment.{key}", edit=means[0], controls=", ".join(means[1:]), uniform=uniform)


def _log_prob_sentence(found: Sequence[Statistic], words: Words) -> str:
    shown = [f"{signed(float(s.values))} (× {math.exp(float(s.values)):.3g})" for s in found]
    key = "found_log_prob" if len(shown) > 1 else "found_log_prob_alone"
    return words(f"tabs.experiment.{key}", edit=shown[0], controls=", ".join(shown[1:]), n=f"{found[0].n:,}")


def _say(words: Words) -> Callable[..., str]:
    return lambda key, **values: words(f"tabs.experiment.{key}", **values)
