"""A finding in words: a tested contrast → three sentences that claim no more than the test shows.

Knows ``Contrast`` and the locales' ``finding`` section. The first sentence says what was found and how sure it is, the
second how large the largest difference is against chance, the third what it may still be due to. Under a control the
first says what is left of the finding without it, the second what is found under it. Where a discovery was to be
confirmed, a fourth says what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.confirmation import Confirmation
from analysis.contrast import MIN_COUNT, RATE, Contrast
from analysis.words import Words


@dataclass(frozen=True)
class Confirmed:
    """What may be said of discovery and confirmation.

    Attributes:
        discovered, tested, confirmed: numbers of experts; ``tested`` is how many of them were tested again.
        prompts: on each side, of the discovery and of the confirmation half.
        smallest_p: the least p that either half can give; in the second it is one-sided.
        reachable: whether either half has enough prompts for anything to be reported.
    """

    discovered: int
    tested: int
    confirmed: int
    prompts: tuple[tuple[int, int], tuple[int, int]]
    smallest_p: tuple[float, float]
    reachable: tuple[bool, bool]


@dataclass(frozen=True)
class Finding:
    """What may be said of a contrast.

    Attributes:
        groups: names of the two sides; differences are first minus second.
        phases: the phase counted on either side.
        prompts: on each side (or clusters of them, see ``design``).
        design: "paired": the same prompts on both sides; "clustered": the same clusters of prompts; or "unpaired".
        tested, significant: numbers of experts.
        smallest_p: the least p these prompts can give.
        fewest_visible: experts that must reach it together before one is reported.
        layer, expert: of the largest difference, among the significant ones if there are any.
        share_first, share_second: that expert's mean share of slots on either side, of the rows that were tested.
        low, high: the interval of its difference.
        level: of the interval.
        chance: its share under uniform routing, 1 / E.
        layers_apart, layers: layers that differ as a whole (p < 0.05, Holm), of all.
        control: "none", "token" or "position".
        coverage: the least share of a side's rows that the control matched; 1 without one.
        uncontrolled: significant experts without the control; None without one.
        uncontrolled_tested: experts tested without the control; None without one.
        kept: those of them that the control leaves significant, with the same sign.
        confirmation: None where nothing was to be confirmed.
    """

    groups: tuple[str, str]
    phases: tuple[str, str]
    prompts: tuple[int, int]
    design: str
    tested: int
    significant: int
    smallest_p: float
    fewest_visible: int
    layer: int
    expert: int
    share_first: float
    share_second: float
    low: float
    high: float
    level: float
    chance: float
    layers_apart: int
    layers: int
    control: str = "none"
    coverage: float = 1.0
    uncontrolled: int | None = None
    uncontrolled_tested: int | None = None
    kept: int = 0
    confirmation: Confirmed | None = None

    @property
    def reachable(self) -> bool:
        """Enough prompts for anything to be significant at all."""
        return self.fewest_visible <= self.tested

    @property
    def layers_reachable(self) -> bool:
        """Enough prompts for a whole layer to be significant."""
        return self.smallest_p * self.layers < RATE


def finding(
    found: Contrast,
    groups: tuple[str, str],
    phases: tuple[str, str],
    control: str = "none",
    uncontrolled: Contrast | None = None,
    confirmation: Confirmation | None = None,
) -> Finding:
    """What may be said of ``found``; with a control, beside the same contrast without it."""
    mask = found.significant if found.significant.any() else found.tested
    size = np.where(mask, np.abs(found.difference), -1)
    position, expert = np.unravel_index(int(size.argmax()), size.shape)
    shares, spec = found.shares, found.shares.spec
    kept = 0
    if uncontrolled is not None:
        same_sign = np.sign(found.difference) == np.sign(uncontrolled.difference)
        kept = int(np.count_nonzero(found.significant & uncontrolled.significant & same_sign))
    return Finding(
        groups=groups,
        phases=phases,
        prompts=(len(shares.first), len(shares.second)),
        design=shares.design,
        tested=int(found.tested.sum()),
        significant=int(found.significant.sum()),
        smallest_p=found.test.smallest_p,
        fewest_visible=found.fewest_visible,
        layer=spec.layer_numbers[position],
        expert=int(expert),
        share_first=float(shares.first[:, position, expert].mean()),
        share_second=float(shares.second[:, position, expert].mean()),
        low=float(found.low[position, expert]),
        high=float(found.high[position, expert]),
        level=found.level,
        chance=1 / spec.layers[position].num_experts,
        layers_apart=int(np.count_nonzero(found.p_layer < RATE)),
        layers=len(found.p_layer),
        control=control,
        coverage=min(shares.coverage) if shares.coverage else 1.0,
        uncontrolled=None if uncontrolled is None else int(uncontrolled.significant.sum()),
        uncontrolled_tested=None if uncontrolled is None else int(uncontrolled.tested.sum()),
        kept=kept,
        confirmation=None if confirmation is None else _confirmed(confirmation),
    )


def _confirmed(found: Confirmation) -> Confirmed:
    first, second = found.halves
    return Confirmed(
        discovered=int(np.count_nonzero(found.discovered)),
        tested=int(np.count_nonzero(found.tested_again)),
        confirmed=int(np.count_nonzero(found.confirmed)),
        prompts=((len(first.first), len(first.second)), (len(second.first), len(second.second))),
        smallest_p=found.smallest_p,
        reachable=found.reachable,
    )


def in_words(found: Finding, words: Words | None = None) -> list[str]:
    """Three sentences, or four with a confirmation, in the language of ``words`` (English by default)."""
    say = words or Words("en")
    facts = _facts(found, say)
    last = [] if found.confirmation is None else [_of_confirmation(found, found.confirmation, say)]
    closing = say(f"finding.closing.{_closing(found)}", **facts)
    if not found.tested:
        key = "finding.nothing_tested" if found.control == "none" else "finding.left.nothing_tested"
        return [say(key, **facts), say("finding.size.nothing_tested", least=MIN_COUNT), closing, *last]
    outcome = "some" if found.significant else "none" if found.reachable else "too_few"
    size = say(f"finding.size.{'significant' if found.significant else 'not_significant'}", **facts)
    if found.control == "none":
        said = [say(f"finding.{outcome}", **facts), size[0].upper() + size[1:]]
    else:
        said = [say(f"finding.left.{_left(found)}", **facts), say(f"finding.under.{outcome}", size=size, **facts)]
    return [*said, closing, *last]


def _facts(found: Finding, say: Words) -> dict[str, str]:
    """Everything that a sentence may name, as it is written."""
    phase = say(f"finding.phase.{'each' if found.phases[0] != found.phases[1] else found.phases[0]}")
    known = ("among", "explains", "others") if found.control != "none" else ()
    return {
        "a": found.groups[0],
        "b": found.groups[1],
        "sample": say(f"finding.sample.{found.design}", n=found.prompts[0], m=found.prompts[1], phase=phase),
        "significant": f"{found.significant:,}",
        "tested": f"{found.tested:,}",
        "rate": f"{RATE:.0%}",
        "smallest": f"{found.smallest_p:.2g}",
        "whole": say(
            f"finding.layers.{'apart' if found.layers_reachable else 'too_few'}",
            apart=found.layers_apart,
            layers=found.layers,
        ),
        "layer": str(found.layer),
        "expert": str(found.expert),
        "first": f"{found.share_first:.2%}",
        "second": f"{found.share_second:.2%}",
        "chance": f"{found.chance:.2%}",
        "low": _points(found.low),
        "high": _points(found.high),
        "level": _level(found.level),
        "kept": f"{found.kept:,}",
        "before": f"{found.uncontrolled or 0:,}",
        "coverage": f"{found.coverage:.0%}",
        **{name: say(f"finding.control.{found.control}.{name}") for name in known},
    }


def _left(found: Finding) -> str:
    """What became, under the control, of the experts that are significant without it."""
    if found.uncontrolled:
        return "kept" if found.kept else "gone"
    if not found.significant:
        return "nothing"
    return "only" if found.uncontrolled_tested else "only_tested"


def _closing(found: Finding) -> str:
    if found.control == "none":
        return "uncontrolled" if found.significant else "silence"
    if not found.tested:
        return "untested" if found.uncontrolled else "nothing"
    if found.kept or not found.uncontrolled:
        return "found" if found.significant else "nothing"
    return "other" if found.significant else "gone"


def _of_confirmation(found: Finding, confirmation: Confirmed, say: Words) -> str:
    if not confirmation.reachable[0]:
        key, smallest = "too_few", confirmation.smallest_p[0]
    elif not confirmation.reachable[1]:
        key, smallest = "too_few_again", confirmation.smallest_p[1]
    else:
        smallest = confirmation.smallest_p[1]
        if not confirmation.discovered:
            key = "nothing"
        elif not confirmation.tested:
            key = "none_tested"
        else:
            key = "some" if confirmation.confirmed else "none"
    first, second = (say(f"finding.confirmation.{found.design}", n=n, m=m) for n, m in confirmation.prompts)
    return say(
        f"finding.confirmation.{key}",
        first=first,
        second=second,
        control=""
        if found.control == "none"
        else say("finding.confirmation.control", among=say(f"finding.control.{found.control}.among")),
        confirmed=f"{confirmation.confirmed:,}",
        discovered=f"{confirmation.discovered:,}",
        tested=f"{confirmation.tested:,}",
        rate=f"{RATE:.0%}",
        smallest=f"{smallest:.2g}",
    )


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _level(level: float) -> str:
    """As many digits as tell it from 100%."""
    digits = max(0, int(np.ceil(-np.log10(max(1 - level, 1e-12)))) - 2)
    return f"{100 * level:.{digits + 1}f}%" if level > 0.95 else f"{100 * level:.0f}%"
