"""Controls: the two sides of a comparison at equal token ids, or at equal positions.

Knows rows (a stratum and the experts of each) and how to weigh them. Does not know traces or tests. A *stratum* is a
token id, or the place of a row in its phase, counted from 0.

Pairs are matched within each prompt. Where the sides have no prompts in common, they are standardised to a common
distribution of strata, as rates in epidemiology are to a common age distribution; ``Standardised`` says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.trace import RouterSpec

MIN_UNITS = 3  # prompts (clusters, where there are any) of each side that must have a stratum for it to be used
MOST = 0.9  # of a stratum's routing that counts as one prompt's own part
MAX_CELLS = 100_000_000  # strata × layers × experts held at once, 400 MB; the rarest strata are left out beyond it

Rows = tuple[np.ndarray, np.ndarray]
"""(n,) strata and (n, L, K) expert ids of the rows of one trace."""


@dataclass(frozen=True)
class Matched:
    """A prompt's two sides under a control.

    Attributes:
        shares: for each side (L, E), of the matched rows.
        used: for each side, rows that were matched.
        effective: for each side, as how many rows of equal weight they count: (Σ w)² / Σ w² (Kish, 1965).
    """

    shares: list[np.ndarray]
    used: tuple[int, int]
    effective: tuple[float, float]


def match_tokens(first: Sequence[Rows], second: Sequence[Rows], spec: RouterSpec, min_rows: int) -> Matched | None:
    """Shares over the token ids that both sides have, each id weighted alike on both sides: by the smaller of its two
    counts. None where the smaller counts sum to less than ``min_rows``."""
    counted = [np.unique(np.concatenate([ids for ids, _ in side]), return_counts=True) for side in (first, second)]
    (known_a, count_a), (known_b, count_b) = counted
    common, at_a, at_b = np.intersect1d(known_a, known_b, assume_unique=True, return_indices=True)
    weight = np.minimum(count_a[at_a], count_b[at_b])
    if weight.sum() < min_rows:
        return None
    shares, effective = [], []
    for side, counts in ((first, count_a[at_a]), (second, count_b[at_b])):
        total = np.zeros((spec.num_moe_layers, spec.num_experts))
        for ids, experts in side:
            place = np.minimum(np.searchsorted(common, ids), len(common) - 1)
            inside = common[place] == ids
            total += weighted_counts(spec, experts[inside], (weight / counts)[place[inside]])
        shares.append(mean_share([total]))
        effective.append(float(weight.sum() ** 2 / (weight**2 / counts).sum()))
    used = int(count_a[at_a].sum()), int(count_b[at_b].sum())
    return Matched(shares, used, (effective[0], effective[1]))


def match_positions(first: Sequence[Rows], second: Sequence[Rows], spec: RouterSpec, min_rows: int) -> Matched | None:
    """Shares over the first rows of the phase, as many on both sides as the shortest trace of the prompt has."""
    length = min(len(places) for places, _ in (*first, *second))
    shares = [
        mean_share([weighted_counts(spec, experts[:length], np.ones(length)) for _, experts in side])
        for side in (first, second)
    ]
    used = length * len(first), length * len(second)
    return Matched(shares, used, (float(used[0]), float(used[1])))


MATCH: dict[str, Callable[[Sequence[Rows], Sequence[Rows], RouterSpec, int], Matched | None]] = {
    "token": match_tokens,
    "position": match_positions,
}


@dataclass(frozen=True)
class Strata:
    """How often one prompt has each stratum.

    Attributes:
        known: (S,) strata, ascending.
        share: (S,) the mean over the prompt's traces of the share of rows in the stratum.
        rows: (S,) rows in all.
    """

    known: np.ndarray
    share: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, traces: Sequence[np.ndarray]) -> Strata:
        known, place, rows = np.unique(np.concatenate(traces), return_inverse=True, return_counts=True)
        weights = np.concatenate([np.full(len(t), 1 / (len(t) * len(traces))) for t in traces])
        return cls(known, np.bincount(place, weights), rows)


class Standardised:
    """Direct standardisation of two groups of prompts to a common distribution of strata.

    With p_it the share of prompt i's rows in stratum t, s_it (L, E) its expert shares there, and q_g(t) the mean of
    p_it over the prompts of group g, a group's routing at t is R_gt = Σ_i p_it s_it / Σ_i p_it, and the standardised
    share is Σ_t w_t R_gt with w_t = min(q_A, q_B) / Σ min(q_A, q_B), the distribution that both groups contain: a row
    weighs the less, the more its group has of the stratum beyond what the other has (the matching weights of Li &
    Greene, 2013). Where both groups have the same distribution, the difference is that without a control.

    The prompt stays the unit of the test. Prompt i of group g stands for its group's standardised share plus what it
    adds itself, z_i = Σ_t (w_t / q_g(t)) p_it (s_it − R_t) / √(1 − h_it), with R_t the routing at t of both groups
    together and h_it the prompt's own part in it: a residual from an estimate that contains it is too small by that
    root (MacKinnon & White, 1985, HC2). z is centred in its group, so that the mean of a group's prompts is its
    standardised share exactly. If routing depends on the stratum alone, z has expectation 0 for every prompt, whatever
    strata it has: a difference of vocabulary alone moves no mean. The groups may still differ in variance, which the
    studentised label permutation allows (Janssen, 1997). A prompt's value may lie outside [0, 1]; the means are shares.

    Strata are used that at least ``MIN_UNITS`` units of each side have, since R_t is estimated from them; the others
    are left out and ``coverage`` says how many rows that leaves.
    """

    def __init__(
        self, sides: tuple[Sequence[Strata], Sequence[Strata]], units: tuple[Sequence[str], Sequence[str]], cells: int
    ) -> None:
        """``units`` names the unit of each prompt; ``cells`` is layers × experts."""
        first, second = (_carried(s, u) for s, u in zip(sides, units, strict=True))
        common = np.intersect1d(first, second)
        means = [_mean_shares(side, common) for side in sides]
        least = np.minimum(*means)
        kept = np.sort(np.argsort(-least, kind="stable")[: max(1, MAX_CELLS // max(cells, 1))])
        self.known, least = common[kept], least[kept]
        total = least.sum()
        self.weight = least / total if total else least
        self.alpha = tuple(np.divide(self.weight, m[kept]) for m in means)
        self.mass = sum(m[kept] * len(side) for m, side in zip(means, sides, strict=True)) + np.zeros(len(kept))
        rows = [sum(s.rows.sum() for s in side) for side in sides]
        matched = [np.zeros(len(self.known)) for _ in sides]
        for side, found in zip(sides, matched, strict=True):
            for s in side:
                place, inside = self.places(s.known)
                np.add.at(found, place[inside], s.rows[inside])
        self.used = tuple(int(m.sum()) for m in matched)
        self.coverage = tuple(float(m.sum() / r) for m, r in zip(matched, rows, strict=True))
        squares = [(a**2 * m).sum() for a, m in zip(self.alpha, matched, strict=True)]
        self.effective = tuple(
            float((a * m).sum() ** 2 / q) if q else 0.0 for a, m, q in zip(self.alpha, matched, squares, strict=True)
        )

    def places(self, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each of ``strata`` its index among those used, and whether it is one."""
        if not len(self.known):
            return np.zeros(len(strata), np.intp), np.zeros(len(strata), bool)
        place = np.minimum(np.searchsorted(self.known, strata), len(self.known) - 1)
        return place, self.known[place] == strata

    def values(
        self,
        sides: tuple[Sequence[Strata], Sequence[Strata]],
        traces: Callable[[int], Iterator[list[Rows]]],
        spec: RouterSpec,
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each group (P, L, E) the y of its prompts; ``traces`` reads a group's prompts again, in order."""
        shape = spec.num_moe_layers, spec.num_experts
        routing = np.zeros((len(self.known), *shape), np.float32)
        means = [np.zeros(shape), np.zeros(shape)]
        found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for group in range(2):
            for strata, prompt in zip(sides[group], traces(group), strict=True):
                own, stretch = np.zeros(shape), self._stretch(strata)
                for rows, experts in prompt:
                    place, inside = self.places(rows)
                    place, experts, rows = place[inside], experts[inside], rows[inside]
                    base = 1 / (len(inside) * len(prompt))
                    weights = base * self.alpha[group][place]
                    stretched = weights * stretch[np.searchsorted(strata.known, rows)]
                    means[group] += weighted_counts(spec, experts, weights, shares=True) / len(sides[group])
                    own += weighted_counts(spec, experts, stretched, shares=True)
                    _add(routing, place, experts, base, spec)
                found[group].append(own)
        routing /= np.maximum(self.mass, 1e-300)[:, None, None].astype(np.float64)
        for group in range(2):
            for own, strata in zip(found[group], sides[group], strict=True):
                place, inside = self.places(strata.known)
                expected = (self.alpha[group][place] * strata.share * self._stretch(strata))[inside]
                own -= np.tensordot(expected, routing[place[inside]], 1)
        values = [np.array(side) for side in found]
        first, second = (v - v.mean(axis=0) + mean for v, mean in zip(values, means, strict=True))
        return first, second

    def _stretch(self, strata: Strata) -> np.ndarray:
        """(S,) 1 / √(1 − h) for each of a prompt's strata, h being its part in the estimate of the routing there."""
        place, inside = self.places(strata.known)
        part = (
            np.divide(strata.share, self.mass[place], out=np.zeros(len(place)), where=inside) if len(self.mass) else 0
        )
        return 1 / np.sqrt(1 - np.minimum(part, MOST)) * np.ones(len(place))


def weighted_counts(spec: RouterSpec, experts: np.ndarray, weights: np.ndarray, shares: bool = False) -> np.ndarray:
    """(L, E) the ``weights`` (n,) of rows, summed over the rows that selected each expert; with ``shares`` a row's
    weight is divided among the experts that it selected in the layer."""
    width = spec.num_experts
    found = np.empty((spec.num_moe_layers, width))
    for layer in range(spec.num_moe_layers):
        ids = np.minimum(experts[:, layer].astype(np.intp), width)
        each = weights / np.maximum((ids < width).sum(axis=1), 1) if shares else weights
        found[layer] = np.bincount(ids.ravel(), np.repeat(each, ids.shape[1]), width + 1)[:width]
    return found


def mean_share(counts: list[np.ndarray]) -> np.ndarray:
    """(L, E) mean over traces of their load shares; a layer without selections gives 0, no traces an empty array."""
    if not counts:
        return np.zeros(0)
    shares = []
    for count in counts:
        total = count.sum(axis=1, keepdims=True)
        shares.append(np.divide(count, total, out=np.zeros(count.shape), where=total > 0))
    return np.mean(shares, axis=0)


def _add(routing: np.ndarray, place: np.ndarray, experts: np.ndarray, base: float, spec: RouterSpec) -> None:
    """Add every row's shares times ``base`` to its stratum's line of (S, L, E) ``routing``."""
    for layer in range(spec.num_moe_layers):
        ids = experts[:, layer].astype(np.intp)
        valid = ids < spec.num_experts
        slots = np.maximum(valid.sum(axis=1, keepdims=True), 1)
        lines, _ = np.nonzero(valid)
        np.add.at(routing[:, layer], (place[lines], ids[valid]), np.broadcast_to(base / slots, ids.shape)[valid])


def _carried(side: Sequence[Strata], units: Sequence[str]) -> np.ndarray:
    """The strata that at least ``MIN_UNITS`` units of a side have."""
    together: dict[str, list[np.ndarray]] = {}
    for strata, unit in zip(side, units, strict=True):
        together.setdefault(unit, []).append(strata.known)
    each = [np.unique(np.concatenate(known)) for known in together.values()]
    known, counts = np.unique(np.concatenate(each), return_counts=True)
    return known[counts >= MIN_UNITS]


def _mean_shares(side: Sequence[Strata], strata: np.ndarray) -> np.ndarray:
    """(S,) mean over a side's prompts of the share of rows in each of ``strata``."""
    total = np.zeros(len(strata))
    for prompt in side:
        _, at, place = np.intersect1d(strata, prompt.known, assume_unique=True, return_indices=True)
        total[at] += prompt.share[place]
    return total / max(len(side), 1)
