"""What pictures of a tested comparison say in words: groups, sample, outcome, and the hover text of an expert.

Knows ``Comparison`` and ``Contrast``. Draws nothing.
"""

from __future__ import annotations

import numpy as np

from analysis.comparing import Comparison
from analysis.contrast import RATE, Contrast
from analysis.figures import style
from analysis.metrics import absent_experts
from analysis.words import Words

FEW_PROMPTS = 10


def names(comparison: Comparison, words: Words) -> tuple[str, str]:
    """The groups as they can stand in a figure; modes and phases in the reader's language."""
    known = comparison.by in ("mode", "phase")
    groups = comparison.plan.groups
    keys = [f"figures.contrast.group.{group}" for group in groups]
    first, second = (
        words(key) if known and key in words else name
        for key, name in zip(keys, style.shown_apart(groups), strict=True)
    )
    return first, second


def sample(comparison: Comparison, words: Words) -> str:
    """How many prompts, which phase, which control; what every subtitle begins with."""
    c, shares = comparison.contrast, comparison.contrast.shares
    n, m = len(shares.first), len(shares.second)
    first, second = (words(f"figures.phase.{phase}") for phase in comparison.plan.phases)
    facts = [
        words(f"figures.contrast.{shares.design}", n=n, m=m),
        words("figures.contrast.phase", phase=first)
        if first == second
        else words("figures.contrast.phases", a=first, b=second),
    ]
    if comparison.cluster:
        facts.append(words("figures.contrast.clusters", n=c.units))
    if shares.coverage:
        said = words(f"figures.contrast.control.{comparison.control}")
        facts.append(words("figures.contrast.coverage", control=said, share=f"{min(shares.coverage):.0%}"))
    if min(n, m) < FEW_PROMPTS:
        facts.append(words("figures.contrast.few"))
    return " · ".join(facts)


def outcome(c: Contrast, words: Words) -> str:
    """How many experts are significant, or that none is, or that none could be."""
    tested, significant = int(c.tested.sum()), int(c.significant.sum())
    key = "some" if significant else "none" if c.fewest_visible <= tested else "too_few"
    return words(
        f"figures.contrast.outcome.{key}", significant=f"{significant:,}", tested=f"{tested:,}", rate=f"{RATE:.0%}"
    )


def table(c: Contrast) -> np.ndarray:
    """(L, E, 9) what ``hover`` shows: layer, expert, share of either group, chance, difference, its interval, q; the
    shares in per cent, the difference in percentage points."""
    shape, present = c.difference.shape, ~absent_experts(c.shares.spec)
    columns = (
        np.array(c.shares.spec.layer_numbers)[:, None],
        np.arange(shape[1]),
        100 * c.shares.first.mean(axis=0),
        100 * c.shares.second.mean(axis=0),
        100 / present.sum(axis=1, keepdims=True),
        100 * c.difference,
        100 * c.low,
        100 * c.high,
        c.q,
    )
    return np.stack([np.broadcast_to(column, shape) for column in columns], -1)


def hover(c: Contrast, a: str, b: str, words: Words) -> str:
    """The text of an expert whose ``customdata`` is its line of ``table``."""
    data = [f"%{{customdata[{column}]{form}}}" for column, form in enumerate(_FORMS)]
    said = words(
        "figures.contrast.hover",
        layer=data[0],
        expert=data[1],
        a=a,
        b=b,
        first=data[2],
        second=data[3],
        chance=data[4],
        points=data[5],
        low=data[6],
        high=data[7],
        level=level(c),
        q=data[8],
    )
    return f"{said}<extra></extra>"


def level(c: Contrast) -> str:
    """The level of the intervals."""
    return f"{100 * c.level:.4g} %"


_FORMS = ("", "", ":.2f", ":.2f", ":.2f", ":+.2f", ":+.2f", ":+.2f", ":.2g")
