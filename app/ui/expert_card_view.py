"""What a card shows of one expert of a pool: which measures, in which order, and what is said where there are none.

Knows pools and measures; ``expert_html`` knows how they look.
"""

from __future__ import annotations

import html
from typing import Any

from analysis import expert_card as measures
from analysis import expert_tokens as tokens
from analysis import expert_vocabulary as words_of
from analysis.errors import BadValue
from analysis.figures.style import percent
from analysis.words import LANGUAGES, Words
from app.ui import expert_html as look
from app.ui.experts_pool import Pool, Remembered
from app.ui.shelves.cards import mode_of

SEED = 0


def card(pool: Pool, layer: int, expert: int, phase: str, words: Words, other: Pool | None = None) -> str:
    """The card as HTML, but for the test of ``sensitivity``, which takes longer. Recordings of ``other``, whose tokens
    are shown beside those of ``pool``, are numbered after its own.

    Raises:
        BadValue: there is no such phase, layer or expert.
    """
    traces, names = pool.traces, recording_names(pool, words)
    use = measures.use_share(traces, layer, expert, phase)
    chance = measures.checked_expert(traces[0].spec, layer, expert)
    k_of = _say(
        words, "chance_note", k=chance.top_k, experts=chance.num_experts, chance=percent(float(use.chance or 0))
    )
    phases = [(words(f"figures.phase.{s.phase}"), s.phase, s) for s in measures.use_by_phase(traces, layer, expert)]
    parts = [look.heading(layer, expert, use, words)]
    parts.append(look.section(_say(words, "by_phase"), look.shares(phases, words), k_of) if phases else "")
    for label, values in pool.by_label().items():
        found = measures.use_by_label(values, layer, expert, phase)
        rows = [(_value_name(label, value, words), "", share) for value, share in found.items()]
        if rows:
            title = _say(words, "by_label", label=_label_name(label, words), phase=words(f"figures.phase.{phase}"))
            parts.append(look.section(title, look.shares(rows, words), _say(words, "label_note")))
    served = tokens.occasions(traces, layer, expert, phase)
    parts.append(_served(pool, served, names, words))
    parts.append(_beside(other, len(pool.ids), layer, expert, phase, words) if other else "")
    parts.append(_vocabulary(pool, layer, expert, phase, words))
    parts.append(_partners(pool, layer, expert, phase, words))
    missed = tokens.near_misses(traces, layer, expert, phase)
    if missed is None:
        body = look.nothing(_say(words, "near_none", setting=words("page.record_scores")))
    else:
        close = tokens.snippets(traces, missed.closest, look.NEAR)
        body = look.near_block(missed, close, names, words)
    parts.append(look.section(_say(words, "near"), body))
    return "".join(parts)


def _served(pool: Pool, served: tokens.Occasions, names: list[str], words: Words) -> str:
    if not len(served):
        return look.section(_say(words, "serves_title"), look.nothing(_say(words, "unused")))
    first = tokens.snippets(pool.traces, tokens.by_weight(served), look.NEAR)
    drawn = tokens.snippets(pool.traces, tokens.shuffled(served, SEED), look.NEAR)
    weighed = any(trace.expert_weights is not None for trace in pool.traces)
    top = _say(words, "most_weight" if weighed else "first_tokens")
    return look.section(
        _say(words, "serves_title"),
        f"<h5>{html.escape(top)}</h5>{look.snippet_list(first, names, words)}"
        f"<h5>{html.escape(_say(words, 'at_random', seed=SEED))}</h5>{look.snippet_list(drawn, names, words)}",
        _say(words, "serves_note", n=f"{len(served):,}"),
    )


def _beside(other: Pool, before: int, layer: int, expert: int, phase: str, words: Words) -> str:
    """A few tokens of other recordings that the expert serves too, and how many of theirs it serves."""
    use = measures.use_share(other.traces, layer, expert, phase)
    served = tokens.occasions(other.traces, layer, expert, phase)
    title, n = _say(words, f"beside_{other.name}"), f"{use.n:,}"
    if not len(served):
        return look.section(title, look.nothing(_say(words, "beside_none", n=n)))
    drawn = tokens.snippets(other.traces, tokens.shuffled(served, SEED), look.NEAR)
    numbers = {"share": percent(float(use.values)), "chance": percent(float(use.chance or 0)), "n": n, "seed": SEED}
    body = look.snippet_list(drawn, recording_names(other, words), words, first=before)
    return look.section(title, body, _say(words, "beside_note", **numbers))


def _vocabulary(pool: Pool, layer: int, expert: int, phase: str, words: Words) -> str:
    found = words_of.vocabulary(pool.traces, layer, expert, phase)
    least = words_of.MIN_OCCURRENCES
    if not found.used.any():
        why = "vocabulary_unused" if found.texts else "vocabulary_none"
        return look.section(_say(words, "vocabulary"), look.nothing(_say(words, why, least=least)))
    chance = percent(float(found.share.chance or 0))
    note = _say(words, "vocabulary_note", least=least, n=len(found.texts), chance=chance)
    return look.section(_say(words, "vocabulary"), look.vocabulary_table(found, words), note)


def _partners(pool: Pool, layer: int, expert: int, phase: str, words: Words) -> str:
    found, least = measures.partners(pool.traces, layer, expert, phase), measures.MIN_TOKENS
    if not len(found.together):
        return look.section(_say(words, "partners"), look.nothing(_say(words, "partners_none", least=least)))
    note = _say(words, "partners_note", least=least, chance=f"{found.lift.chance:.2f}", n=f"{found.lift.n:,}")
    return look.section(_say(words, "partners"), look.partner_table(found, layer, words), note)


def sensitivity(pool: Pool, layer: int, expert: int, words: Words, contrasts: Remembered) -> str:
    """Whether thinking changes how much the expert is used, tested over the pool's prompts; or why that cannot be."""
    title = _say(words, "sensitivity_title")
    asked = measures.prompts_by_mode(pool.traces)
    if pool.name in ("answer", "conversation"):
        return look.section(title, look.nothing(_say(words, f"sensitivity_{pool.name}")))
    if min(asked.values()) < 2:
        counts = {"thinking": asked["thinking"], "direct": asked["non-thinking"]}
        return look.section(title, look.nothing(_say(words, "sensitivity_few", **counts)))
    try:
        found = contrasts.get(pool.key, lambda: measures.thinking_contrast(pool.traces))
    except BadValue as error:
        return look.section(title, look.nothing(error.in_words(words)))
    one = measures.sensitivity(found, layer, expert)
    note = _say(words, "sensitivity_prompts")
    if one.tested:
        note = f"{_say(words, 'sensitivity_note')} {note}"
    return look.section(title, look.sensitivity_block(one, words), note)


def found(pool: Pool, phase: str, text: Any, words: Words) -> str:
    """Which experts serve the tokens that read ``text``.

    Raises:
        BadValue: there is no text, no such token, or too few of them.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > 200:
        raise BadValue.said("no_search")
    use, least = words_of.experts_of_text(pool.traces, text, phase), words_of.MIN_OCCURRENCES
    if not use.share.n:
        near = ", ".join(f"“{other.strip()}”" for other in use.near[:5])
        raise BadValue.said("no_such_token_near" if near else "no_such_token", text=text.strip()[:40], near=near)
    if use.share.n < least:
        raise BadValue.said("too_few_tokens", text=text.strip()[:40], n=use.share.n, least=least)
    return look.found_list(use, text, words)


def about(pool: Pool, words: Words) -> str:
    """A line on what the pool holds."""
    line = _say(
        words,
        f"about_{pool.name}",
        recordings=len(pool.traces),
        rows=f"{sum(trace.num_rows for trace in pool.traces):,}",
    )
    if len(pool.traces) > 1:
        line += " " + _say(words, "own_turns")
    if pool.left_out:
        line += " " + _say(words, "left_out", n=pool.left_out)
    return f"<p class='hint'>{html.escape(line)}</p>"


def _label_name(label: str, words: Words) -> str:
    key = f"tabs.experts.label.{label}"
    return words(key) if key in words else label


def _value_name(label: str, value: str, words: Words) -> str:
    if label == "language":
        return LANGUAGES.get(value, value)
    key = f"library.topic.{value}"
    return words(key) if label == "topic" and key in words else value


def recording_names(pool: Pool, words: Words) -> list[str]:
    """What each recording is called: its prompt and mode."""
    untitled = _say(words, "no_prompt")
    return [f"{trace.prompt or untitled} · {words(f'library.mode.{mode_of(trace)}')}" for trace in pool.traces]


def _say(words: Words, key: str, **values: Any) -> str:
    return words(f"tabs.experts.{key}", **values)
