"""Discovery on a random half of the prompts, confirmation on the other half.

Knows plans, shares and the permutation test. An expert chosen for a large difference looks larger than it is; prompts
that had no part in the choice show it as it is, and only the experts chosen need correcting for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.contrast import MIN_COUNT, PERMUTATIONS, RATE, enough_selections, estimate, interval, permute
from analysis.errors import BadValue
from analysis.multiple import benjamini_hochberg, fcr_level, fewest_visible
from analysis.recordings import Plan, Unit
from analysis.shares import Shares


@dataclass(frozen=True)
class Confirmation:
    """What a second half says of the experts that the first one discovered.

    Attributes:
        halves: shares of the discovery and of the confirmation half.
        units: prompts (clusters) flipped or permuted in either.
        discovered: (L, E) bool, q < 0.05 on the discovery half, over all experts tested there.
        discovery_difference, discovery_q: (L, E) on the discovery half.
        tested: experts tested on the discovery half.
        tested_again: (L, E) bool, the discovered ones with enough selections on the confirmation half as well.
        difference, low, high: (L, E) on the confirmation half, with its interval.
        p: (L, E) one-sided, in the direction discovered; 1 where the difference has the other sign, or an expert was
            not tested again.
        q: (L, E) Benjamini–Hochberg over those tested again.
        level: of the intervals; see ``multiple.fcr_level``.
        smallest_p: the least p that either half can give.
        reachable: whether either half has enough prompts for anything to be reported at all; the second half is judged
            where something was discovered.
    """

    halves: tuple[Shares, Shares]
    units: tuple[int, int]
    discovered: np.ndarray
    discovery_difference: np.ndarray
    discovery_q: np.ndarray
    tested: int
    tested_again: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    q: np.ndarray
    level: float
    smallest_p: tuple[float, float]
    reachable: tuple[bool, bool]

    @property
    def confirmed(self) -> np.ndarray:
        """(L, E) bool."""
        return self.tested_again & (self.q < RATE)


def confirm(
    plan: Plan,
    measured: Callable[[Plan], Shares],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    min_count: int = MIN_COUNT,
) -> Confirmation:
    """Test all experts on one half of ``plan``, and those discovered on the other.

    The second test is one-sided in the direction discovered, as Bogomolov & Heller (2013) and Heller, Bogomolov &
    Benjamini (2014) test whether a finding replicates: a difference of the other sign is no replication. Sign flips,
    and labels permuted between as many units on both sides, come in mirrored pairs, so that the one-sided p is half of
    the two-sided one; elsewhere the two-sided p, which is never smaller, stands for it. Given the first half, which is
    independent of the second, Benjamini–Hochberg over those of the discovered that can be tested again keeps the share
    of false ones among the confirmed at the stated rate.

    Args:
        measured: the shares of (half of) a plan; a control is computed in each half by itself.

    Raises:
        BadValue: there are fewer than 4 prompts or clusters (on a side), or a half has too few that can be measured.
    """
    shares = []
    for name, half in zip(("discovery", "confirmation"), split(plan, seed), strict=True):
        try:
            shares.append(measured(half))
        except BadValue as problem:
            raise BadValue(f"--confirm, {name} half: {problem}") from None
    first, second = shares
    tested = enough_selections(first, min_count)
    test = permute(first, tested, permutations, seed)
    difference, _, _, first_units = estimate(first)
    discovery_q = np.ones(tested.shape)
    discovery_q[tested] = benjamini_hochberg(test.p[tested])
    discovered = tested & (discovery_q < RATE)

    tested_again = discovered & enough_selections(second, min_count)
    number = int(np.count_nonzero(tested_again))
    again = permute(second, tested_again, permutations, seed)
    found, error, freedom, second_units = estimate(second)
    mirrored = second.paired or second_units == 2 * _units(second)
    p = np.where(tested_again & (np.sign(found) == np.sign(difference)), again.p / (2 if mirrored else 1), 1.0)
    q = np.ones(p.shape)
    q[tested_again] = benjamini_hochberg(p[tested_again])
    level = fcr_level(int(np.count_nonzero(q < RATE)), number, RATE)
    low, high = interval(found, error, freedom, level)
    smallest = again.smallest_p / (2 if mirrored else 1)
    return Confirmation(
        (first, second),
        (first_units, second_units),
        discovered,
        difference,
        discovery_q,
        int(tested.sum()),
        tested_again,
        found,
        low,
        high,
        p,
        q,
        level,
        (test.smallest_p, smallest),
        (
            fewest_visible(test.smallest_p, int(tested.sum()), RATE) <= int(tested.sum()),
            not number or fewest_visible(smallest, number, RATE) <= number,
        ),
    )


def split(plan: Plan, seed: int) -> tuple[Plan, Plan]:
    """Two random halves of a plan. Both sides of a prompt, and all prompts of a cluster, go to the same half; where
    prompts are not paired, each side is halved. The first half has the odd one.

    Raises:
        BadValue: a half would have fewer than 2 units (on a side).
    """
    units: dict[str, list[Unit]] = {}
    for number, unit in enumerate(plan.units):
        units.setdefault(unit.cluster or f"{number}", []).append(unit)
    random = np.random.default_rng(seed)
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for name, members in units.items():
        has = tuple(any(unit.sides[side] for unit in members) for side in range(2))
        kinds.setdefault((has[0], has[1]), []).append(name)
    first: set[str] = set()
    for names in kinds.values():
        first |= {names[i] for i in random.permutation(len(names))[: -(-len(names) // 2)]}
    fewest = min(sum(len(names) for has, names in kinds.items() if has[side]) for side in range(2))
    if fewest < 4:
        what = "clusters" if any(unit.cluster for unit in plan.units) else "prompts"
        raise BadValue(
            f"--confirm needs at least 4 {what}{'' if plan.paired else ' on each side'}, 2 for each half; "
            f"there are {fewest}."
        )
    chosen = [
        tuple(u for name, members in units.items() if (name in first) is half for u in members)
        for half in (True, False)
    ]
    return replace(plan, units=chosen[0], unpaired_out=0), replace(plan, units=chosen[1], unpaired_out=0)


def _units(shares: Shares) -> int:
    """Prompts or clusters of the first side."""
    return len(set(shares.clusters[0])) if any(shares.clusters[0]) else len(shares.first)
