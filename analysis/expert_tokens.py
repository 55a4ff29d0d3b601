"""The tokens of one expert in their contexts: those it serves, and those it just misses.

Knows pools of traces and their texts. Does not know how a text is shown. Row t is the routing used **by** token t.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.expert_card import checked_expert
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import Phase, display_texts

AROUND = 8


@dataclass(frozen=True)
class Occasions:
    """Tokens of a pool, M of them in reading order.

    Attributes:
        recording: (M,) which trace of the pool.
        token: (M,) index in that trace.
        weight: (M,) the expert's gate weight, NaN where the engine sent none; for near misses the difference between
            the lowest score used and the expert's own.
        rank: (M,) 1 for the largest gate weight of the token; 0 where there are no weights.
    """

    recording: np.ndarray
    token: np.ndarray
    weight: np.ndarray
    rank: np.ndarray

    def __len__(self) -> int:
        return len(self.token)

    def take(self, chosen: np.ndarray) -> Occasions:
        return Occasions(self.recording[chosen], self.token[chosen], self.weight[chosen], self.rank[chosen])


@dataclass(frozen=True)
class Snippet:
    """A token in its context; texts are the model's or a user's. ``recording``, ``token``, ``weight``, ``rank`` as in
    ``Occasions``; ``phase`` is the token's."""

    recording: int
    token: int
    before: str
    text: str
    after: str
    phase: str
    weight: float
    rank: int


def occasions(traces: Traces, layer: int, expert: int, phase: str = "all") -> Occasions:
    """Every token in ``phase`` that used the expert.

    Raises:
        BadValue: no traces, traces of different routers, no such phase, layer or expert.
    """
    found = as_traces(traces)
    checked_expert(found[0].spec, layer, expert)
    position = found[0].spec.position(layer)
    parts = []
    for number, trace in enumerate(found):
        ids = trace.expert_ids[:, position]
        rows, slots = np.nonzero((ids == expert) & trace.rows_in(phase)[:, None])
        if trace.expert_weights is None:
            weight, rank = np.full(len(rows), np.nan), np.zeros(len(rows), np.int64)
        else:
            all_weights = np.where(ids == trace.spec.no_expert, np.nan, trace.expert_weights[:, position])[rows]
            weight = all_weights[np.arange(len(rows)), slots].astype(np.float64)
            rank = 1 + (all_weights > weight[:, None]).sum(axis=1)
        parts.append((np.full(len(rows), number), trace.row_start + rows, weight, rank))
    return Occasions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def by_weight(found: Occasions) -> Occasions:
    """The largest gate weight first; in reading order where there are none."""
    return found.take(np.argsort(-np.nan_to_num(found.weight, nan=-np.inf), kind="stable"))


def shuffled(found: Occasions, seed: int = 0) -> Occasions:
    """In a random order, whose beginning is a random sample; the same for the same seed."""
    return found.take(np.random.default_rng(seed).permutation(len(found)))


def snippets(traces: Traces, found: Occasions, most: int, around: int = AROUND) -> list[Snippet]:
    """The first ``most`` occasions with the text of up to ``around`` tokens on either side; what reads the same as one
    before it is passed over, as the same answer to the same prompt would."""
    pool, made = as_traces(traces), []
    read: set[tuple[str, str, str]] = set()
    for number, token, weight, rank in zip(found.recording, found.token, found.weight, found.rank, strict=True):
        trace, at = pool[int(number)], int(token)
        start = max(0, at - around)
        texts = display_texts(trace.pieces[start : at + around + 1])
        here = at - start
        phase = Phase(int(trace.phase[at])).label
        before, after = "".join(texts[:here]), "".join(texts[here + 1 :])
        if (before, texts[here], after) in read:
            continue
        read.add((before, texts[here], after))
        made.append(Snippet(int(number), at, before, texts[here], after, phase, float(weight), int(rank)))
        if len(made) == most:
            break
    return made


@dataclass(frozen=True)
class NearMisses:
    """Tokens for which the expert was the best one left out.

    Attributes:
        share: of the tokens whose scores were recorded; chance 1 / E, n those tokens.
        closest: the occasions, the closest first.
    """

    share: Statistic
    closest: Occasions


def near_misses(traces: Traces, layer: int, expert: int, phase: str = "all") -> NearMisses | None:
    """Where the expert had the highest score among those that were not used; None where no scores were recorded.

    Raises:
        BadValue: as ``occasions``.
    """
    pool = as_traces(traces)
    router, position = checked_expert(pool[0].spec, layer, expert), pool[0].spec.position(layer)
    parts, n = [], 0
    for number, trace in enumerate(pool):
        if trace.router_scores is None:
            continue
        rows = np.flatnonzero(trace.rows_in(phase))
        n += len(rows)
        scores = trace.router_scores[rows, position, : router.num_experts].astype(np.float64)
        used = np.zeros((len(rows), router.num_experts + 1), bool)
        np.put_along_axis(
            used, np.minimum(trace.expert_ids[rows, position], router.num_experts).astype(np.intp), True, 1
        )
        used = used[:, : router.num_experts]
        left = np.where(used, -np.inf, scores)
        missed = np.flatnonzero((left.argmax(axis=1) == expert) & ~used[:, expert])
        gap = np.where(used, scores, np.inf)[missed].min(axis=1, initial=np.inf) - scores[missed, expert]
        parts.append(
            (np.full(len(missed), number), trace.row_start + rows[missed], gap, np.zeros(len(missed), np.int64))
        )
    if not n:
        return None
    found = Occasions(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    share = Statistic(
        "near misses",
        np.array(len(found) / n),
        unit="share of tokens",
        chance=1 / router.num_experts,
        n=n,
        phase=phase,
    )
    return NearMisses(share, found.take(np.argsort(found.weight, kind="stable")))
