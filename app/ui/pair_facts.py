"""What two recordings share and what they differ in, in words, and one text tinted by the experts that both use.

Knows traces and words. Files are foreign: every value is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from analysis.figures.style import one_line, percent
from analysis.report_provenance import ABSENT, Facts, names
from analysis.report_sections import fact_name
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace
from analysis.words import Words
from app.ui.lessons.page_parts import table
from app.ui.shelves.cards import cut, fact, shape, title_of

PROMPT_CHARS = 300
Row = tuple[str, str, str]


def same_text(a: RoutingTrace, b: RoutingTrace) -> bool:
    """Both have the very same tokens."""
    return np.array_equal(a.token_ids, b.token_ids)


def facts(a: RoutingTrace, b: RoutingTrace, words: Words) -> list[Row]:
    """(what, of A, of B): the prompt, the text, the routers, and every fact of where the two come from."""
    both = (Facts(), Facts())
    for found, trace in zip(both, (a, b), strict=True):
        found.add(trace.provenance)
    sizes = [words("tabs.pair.tokens", n=trace.num_tokens) for trace in (a, b)]
    if same_text(a, b):
        sizes = [words("tabs.pair.text_same", n=a.num_tokens)] * 2
    prompts, shapes = ([write(t) for t in (a, b)] for write in (_prompt, lambda trace: shape(trace, words)))
    rows: list[Row] = [] if same_text(a, b) and not a.prompt else [(words("report.prompt"), prompts[0], prompts[1])]
    rows += [
        (words("tabs.pair.text"), sizes[0], sizes[1]),
        (words("library.routers"), shapes[0], shapes[1]),
    ]
    for name in names(both):
        values = [_said(name, found.counted(name)[0][0], words) for found in both]
        rows.append((fact_name(name, words), values[0], values[1]))
    return rows


def _prompt(trace: RoutingTrace) -> str:
    return cut(title_of(trace), PROMPT_CHARS)


def _said(name: str, value: str, words: Words) -> str:
    """A fact's value in words where there are some."""
    if value == ABSENT:
        return words("tabs.pair.not_said")
    return fact(name, value, words)


def facts_html(a: RoutingTrace, b: RoutingTrace, link: str, words: Words) -> str:
    """Differences as a table, what both share folded away below. ``link`` is the pair's address, where it has one."""
    rows = facts(a, b, words)
    apart = [row for row in rows if row[1] != row[2]]
    alike = [(what, value) for what, value, other in rows if value == other]
    head = [words("tabs.pair.what"), "A", "B"]
    said = f"<p>{html.escape(words('tabs.pair.nothing'))}</p>"
    if apart:
        said = table(head, apart, caption=words("tabs.pair.differ"))
    shared = table([words("tabs.pair.what"), "A = B"], alike)
    summary = html.escape(words("tabs.pair.shared", n=len(alike)))
    return (
        f'<div class="pair-facts" data-link="{html.escape(link)}">{said}'
        f"<details><summary>{summary}</summary>{shared}</details></div>"
    )


def shared_html(trace: RoutingTrace, overlap: Statistic, layer: int, words: Words) -> str:
    """The text that both read, each token tinted by the share of its experts that both use: of the layer with the
    model's number ``layer``, or (where there is no such layer) the mean over layers.

    Args:
        overlap: ``overlap.token_overlap``.
    """
    layers = overlap.along("layer")
    values, chance = overlap.values, np.broadcast_to(np.asarray(overlap.chance), (len(layers),))
    where = words("figures.overlap.mean_layers")
    if layer in layers:
        at = layers.index(layer)
        values, chance = values[:, at : at + 1], chance[at : at + 1]
        where = words("figures.layer", layer=layer)
    known = np.isfinite(values)
    shares = np.divide(
        np.nansum(values, axis=1), known.sum(axis=1), out=np.full(len(values), np.nan), where=known.any(axis=1)
    )
    of_token = dict(zip(overlap.along("token"), shares.tolist(), strict=True))
    by_chance = percent(float(np.nanmean(chance)))
    spans, rows = [], []
    for token, text in enumerate(trace.texts()):
        share = of_token.get(token, float("nan"))
        shown = one_line(text)
        if np.isfinite(share):
            title = words("tabs.pair.token", text=shown, share=percent(share), where=where, chance=by_chance)
        else:
            title = words("tabs.pair.token_unknown", text=shown)
        rows.append((f"{token} {shown}", percent(share)))
        strength = f"{share:.2f}" if np.isfinite(share) else "0"
        spans.append(
            f'<span class="both" style="--lean:{strength}" title="{html.escape(title)}">{html.escape(text)}</span>'
        )
    average = float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")
    about = words("tabs.pair.same_text", n=trace.num_tokens, share=percent(average), chance=by_chance)
    return (
        f"<p>{html.escape(about)}</p><p class='hint'>{html.escape(words('tabs.pair.tint'))}</p>"
        f"{token_text_html(spans, words('tabs.pair.text'), rows, words('tabs.pair.share'), words)}"
    )


def token_text_html(spans: Sequence[str], name: str, rows: Sequence[tuple[str, str]], value: str, words: Words) -> str:
    """A tinted text under a ``name``, and the same as a folded table of (token, ``value``): colour and titles are for
    those who see and point."""
    read = table((words("tabs.pair.token_column"), value), rows)
    return (
        f'<p class="lean" role="region" tabindex="0" aria-label="{html.escape(name)}">{"".join(spans)}</p>'
        f"<details><summary>{html.escape(words('tabs.pair.token_table'))}</summary>{read}</details>"
    )
