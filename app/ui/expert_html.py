"""An expert's card as HTML: statistics and snippets in, text out.

Knows how the parts of the card look. Does not know where the numbers come from. Every text of a model or a user is
escaped; buttons carry what they lead to as ``data-expert`` (layer, expert) or ``data-token`` (recording, token), which
``links.js`` hands on.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from analysis.contrast import MIN_COUNT
from analysis.expert_card import MODES, Partners, Sensitivity
from analysis.expert_tokens import NearMisses, Snippet
from analysis.expert_vocabulary import TextUse, Vocabulary
from analysis.figures import style
from analysis.statistic import Statistic
from analysis.words import Words

ROWS = 8  # lines of a table or a list
FEW = 30  # tokens, below which a share is marked
NEAR = 5


def heading(layer: int, expert: int, use: Statistic, words: Words) -> str:
    """The card's head, which a screen reader hears when the expert changes."""
    title = words("tabs.experts.title", layer=layer, expert=expert)
    line = words("tabs.experts.serves", share=style.percent(float(use.values)), chance=_chance(use))
    return f"<h3 role='status'>{title}<span class='xp-line'>{line} · {style.sample(use, words)}</span></h3>"


def section(title: str, body: str, note: str = "") -> str:
    below = f"<p class='hint'>{note}</p>" if note else ""
    return f"<section><h4>{html.escape(title)}</h4>{body}{below}</section>"


def nothing(sentence: str) -> str:
    return f"<p class='xp-none'>{html.escape(sentence)}</p>"


def shares(found: Sequence[tuple[str, str, Statistic]], words: Words) -> str:
    """Shares against chance as bars, from (label, phase for the colour or "", share) each."""
    top = max([2 * float(np.asarray(s.chance)) for *_, s in found] + [float(s.values) for *_, s in found])
    lines = []
    for label, phase, share in found:
        value, chance = float(share.values), float(np.asarray(share.chance))
        few = f" <span title='{html.escape(words('figures.sample.few'))}'>△</span>" if share.n < FEW else ""
        lines.append(
            f"<tr><th scope='row'>{html.escape(label)}</th>"
            f"<td class='xp-bar-cell'>{_bar(value, chance, top, phase)}</td>"
            f"<td>{style.percent(value)}</td><td>{_times(value, chance)}</td><td>{share.n:,}{few}</td></tr>"
        )
    columns = ("", "", words("tabs.experts.share"), words("tabs.experts.ratio"), words("tabs.experts.n"))
    scarce = any(share.n < FEW for *_, share in found)
    note = f"<p class='hint'>△: {html.escape(words('figures.sample.few'))} (n &lt; {FEW})</p>" if scarce else ""
    return _table(columns, lines) + note


def snippet_list(
    found: Sequence[Snippet], names: Sequence[str], words: Words, detail: str = "weight", first: int = 0
) -> str:
    """Tokens in their contexts, each a button that leads to the token; ``names`` of the recordings they are from, whose
    numbers in the buttons begin with ``first``."""
    lines = []
    for s in found:
        phase = words(f"figures.phase.{s.phase}")
        facts = [phase]
        if np.isfinite(s.weight):
            facts.append(words(f"tabs.experts.{detail}", weight=f"{s.weight:.3f}", rank=s.rank))
        facts.append(words("tabs.experts.token_of", token=s.token, name=_cut(names[s.recording], 36)))
        lines.append(
            f"<li><button type='button' class='xp-snippet' data-token='{first + s.recording},{s.token}'>"
            f"<bdi>{'…' if s.before else ''}{_text(s.before)}"
            f"<mark class='xp-{s.phase}'>{_text(s.text) or '∅'}</mark>{_text(s.after)}{'…' if s.after else ''}</bdi>"
            f"</button><span class='xp-facts'>{html.escape(' · '.join(facts))}</span></li>"
        )
    return f"<ul class='xp-snippets'>{''.join(lines)}</ul>"


def vocabulary_table(found: Vocabulary, words: Words) -> str:
    """The tokens it serves most; those that it never serves are left out."""
    lines = []
    for i in range(min(ROWS, int(np.count_nonzero(found.used)))):
        value, chance = float(found.share.values[i]), float(np.asarray(found.share.chance))
        lines.append(
            f"<tr><th scope='row'><code>{_text(found.texts[i], 24).replace(' ', '␣')}</code></th>"
            f"<td class='xp-bar-cell'>{_bar(value, chance, 1.0)}</td><td>{style.percent(value)}</td>"
            f"<td>{words('tabs.experts.of', part=found.used[i], whole=found.occurrences[i])}</td>"
            f"<td>{style.percent(float(found.by_luck[i]))}</td></tr>"
        )
    named = ("tabs.experts.token", "tabs.experts.share", "tabs.experts.occurrences", "tabs.experts.by_luck")
    first, *rest = (words(key) for key in named)
    return _table((first, "", *rest), lines)


def partner_table(found: Partners, layer: int, words: Words) -> str:
    lift = found.lift
    lines = []
    for i, partner in enumerate(lift.along("partner")[:ROWS]):
        lines.append(
            f"<tr><th scope='row'>{expert_button(layer, partner, words('tabs.experts.expert_n', expert=partner))}</th>"
            f"<td>×\u202f{lift.values[i]:.2f}</td>"
            f"<td>{words('tabs.experts.of', part=found.together[i], whole=found.tokens)}</td>"
            f"<td>×\u202f{found.by_luck[i]:.2f}</td></tr>"
        )
    columns = ("tabs.experts.partner", "tabs.experts.lift", "tabs.experts.together", "tabs.experts.by_luck")
    return _table([words(key) for key in columns], lines)


def sensitivity_block(found: Sensitivity, words: Words) -> str:
    """The difference with its interval, drawn on a line through 0, and one sentence; neither where it is selected too
    rarely for the interval to hold."""
    value = float(found.difference.values)
    means = {"first": style.percent(found.first), "second": style.percent(found.second), "n": found.difference.n}
    design = words(f"tabs.experts.{'paired' if found.paired else 'unpaired'}")
    if not found.tested:
        sentence = words("tabs.experts.sensitivity_means", design=design, **means)
        return f"<p>{sentence} <strong>{_untested(found, words)}</strong></p>"
    reach = max(abs(found.low), abs(found.high), 0.01) * 1.15
    at = [50 + 50 * x / reach for x in (found.low, found.high, value)]
    drawn = (
        "<div class='xp-interval' aria-hidden='true'><span class='xp-zero'></span>"
        f"<span class='xp-range' style='left:{at[0]:.2f}%;width:{at[1] - at[0]:.2f}%'></span>"
        f"<span class='xp-dot' style='left:{at[2]:.2f}%'></span></div>"
        f"<div class='xp-ends' aria-hidden='true'><span>{_points(-reach)} · {words('tabs.experts.less')}</span>"
        f"<span>0</span><span>{words('tabs.experts.more')} · {_points(reach)}</span></div>"
    )
    verdict = "shown" if found.significant else "not_shown"
    sentence = words(
        "tabs.experts.sensitivity",
        **means,
        difference=_points(value),
        low=_points(found.low),
        high=_points(found.high),
        level=f"{100 * found.level:.1f} %",
        design=design,
    )
    return f"{drawn}<p>{sentence} <strong>{words(f'tabs.experts.{verdict}')}</strong></p>"


def _untested(found: Sensitivity, words: Words) -> str:
    """Why there is no test: the numbers it lacks, rounded so that what is too little never reads as enough."""
    shorter = int(found.tokens[1] < found.tokens[0])
    mode = words(f"figures.contrast.group.{MODES[shorter]}")
    return words(
        f"tabs.experts.untested.{'unequal' if found.needed > MIN_COUNT else 'rare'}",
        expected=f"{math.floor(found.expected):,}",
        needed=f"{math.ceil(found.needed):,}",
        mode=mode,
        n=f"{found.tokens[shorter]:,}",
        m=f"{found.tokens[1 - shorter]:,}",
    )


def near_block(found: NearMisses, snippets: Sequence[Snippet], names: Sequence[str], words: Words) -> str:
    line = words(
        "tabs.experts.near_share",
        share=style.percent(float(found.share.values)),
        chance=_chance(found.share),
        n=f"{found.share.n:,}",
    )
    return f"<p>{line}</p>{snippet_list(snippets, names, words, 'gap')}"


def found_list(found: TextUse, text: str, words: Words) -> str:
    """The experts that serve the tokens of a text most, each a button."""
    values = np.nan_to_num(found.share.values, nan=-1)
    places = np.argsort(-values, axis=None, kind="stable")[:ROWS]
    layers, experts = np.unravel_index(places, values.shape)
    chance = np.broadcast_to(np.asarray(found.share.chance), values.shape)
    lines = []
    for position, expert in zip(layers.tolist(), experts.tolist(), strict=True):
        layer, value = found.share.along("layer")[position], float(values[position, expert])
        name = words("tabs.experts.title", layer=layer, expert=expert)
        lines.append(f"<li>{expert_button(layer, expert, name)} {style.percent(value)}</li>")
    caption = words(
        "tabs.experts.found",
        text=_cut(text.strip(), 24),
        n=f"{found.share.n:,}",
        chance=style.percent(float(chance.flat[0])),
        luck=style.percent(found.by_luck),
    )
    return f"<p>{html.escape(caption)}</p><ol class='xp-found'>{''.join(lines)}</ol>"


def expert_button(layer: int, expert: int, name: str) -> str:
    return f"<button type='button' class='xp-link' data-expert='{layer},{expert}'>{html.escape(name)}</button>"


def button_grid(columns: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table of buttons of which the keyboard stops at one; from it the arrow keys lead to the others (``links.js``).
    Lines are their heads and their buttons."""
    rows = []
    for head, buttons in lines:
        cells = "".join(f"<td>{button}</td>" for button in buttons)
        rows.append(f"<tr><th scope='row'>{html.escape(head)}</th>{cells}</tr>")
    return f"<div class='xp-grid'>{_table(columns, rows)}</div>"


def _table(columns: Sequence[str], lines: Sequence[str]) -> str:
    heads = "".join(f"<th scope='col'>{html.escape(c)}</th>" if c else "<td></td>" for c in columns)
    return f"<table class='xp-table'><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _bar(value: float, chance: float, top: float, phase: str = "") -> str:
    """A bar with a tick at chance; the numbers beside it say the same."""
    width, tick = (100 * min(1.0, x / top) if top > 0 else 0.0 for x in (value, chance))
    return (
        f"<span class='xp-bar' aria-hidden='true'><span class='xp-fill{f' xp-{phase}' if phase else ''}' "
        f"style='width:{width:.2f}%'></span><span class='xp-tick' style='left:{tick:.2f}%'></span></span>"
    )


def _chance(statistic: Statistic) -> str:
    return style.percent(float(np.asarray(statistic.chance)))


def _times(value: float, chance: float) -> str:
    return f"×\u202f{value / chance:.2f}" if chance > 0 and np.isfinite(value) else "–"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _text(text: str, most: int = 160) -> str:
    return html.escape(_cut(style.one_line(text), most))


def _cut(text: str, most: int) -> str:
    text = style.one_line(text)
    return text if len(text) <= most else text[: most - 1] + "…"
