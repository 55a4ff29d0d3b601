"""Experts and words: the tokens that one expert serves most, and the experts that serve one token's text most.

Knows pools of traces and their texts. Numbers describe the pool; beside each best of many stands what luck alone would
make of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadValue
from analysis.expert_card import checked_expert
from analysis.metrics import absent_experts, expert_counts, per_layer
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace, display_texts

MIN_OCCURRENCES = 5  # of a token, below which the share of it that an expert serves says little
_DRAWS = 200


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that an expert serves most, T of them, the largest share first.

    Attributes:
        share: axis token (ids): N_{x,E} / N_x; chance k / E, n all occurrences of these tokens.
        texts: T strings, the tokens' text.
        used, occurrences: (T,) N_{x,E} and N_x.
        by_luck: (T,) the mean share at that place if every occurrence were routed at random: the best of many tokens
            looks good by luck alone.
    """

    share: Statistic
    texts: list[str]
    used: np.ndarray
    occurrences: np.ndarray
    by_luck: np.ndarray


def vocabulary(
    traces: Traces, layer: int, expert: int, phase: str = "all", minimum: int = MIN_OCCURRENCES
) -> Vocabulary:
    """Which tokens go to the expert, among those that occur ``minimum`` times or more. Source: OLMoE (Muennighoff et
    al., 2024), vocabulary specialization, seen from the expert.

    Raises:
        BadValue: no traces, traces of different routers, no such phase, layer or expert.
    """
    pool = as_traces(traces)
    router, position = checked_expert(pool[0].spec, layer, expert), pool[0].spec.position(layer)
    rows = [np.flatnonzero(trace.rows_in(phase)) for trace in pool]
    tokens = np.concatenate([t.token_ids[t.row_start + r] for t, r in zip(pool, rows, strict=True)])
    uses = np.concatenate([(t.expert_ids[r, position] == expert).any(axis=1) for t, r in zip(pool, rows, strict=True)])
    pieces = [t.pieces[t.row_start + i] for t, r in zip(pool, rows, strict=True) for i in r]
    ids, first, place, times = np.unique(tokens, return_index=True, return_inverse=True, return_counts=True)
    used = np.bincount(place, uses, len(ids)).astype(np.int64)
    kept = np.flatnonzero(times >= max(1, minimum))
    kept = kept[np.lexsort((-times[kept], -used[kept] / times[kept]))]
    p = router.top_k / router.num_experts
    share = Statistic(
        "share of the token that the expert serves",
        used[kept] / times[kept],
        ("token",),
        {"token": ids[kept].tolist()},
        unit="share of the token's occurrences",
        chance=p,
        n=int(times[kept].sum()),
        phase=phase,
    )
    texts = [display_texts([pieces[first[i]]])[0] for i in kept]
    return Vocabulary(share, texts, used[kept], times[kept], _share_by_luck(times[kept], p))


def _share_by_luck(times: np.ndarray, p: float) -> np.ndarray:
    """(T,) mean sorted shares of tokens that occur ``times`` when each occurrence is served with probability p."""
    if not len(times):
        return np.zeros(0)
    random = np.random.default_rng([len(times), int(times.sum())])
    drawn = random.binomial(times, p, (_DRAWS, len(times))) / times
    return np.sort(drawn, axis=1)[:, ::-1].mean(axis=0)


@dataclass(frozen=True)
class TextUse:
    """Which experts serve the tokens that read alike.

    Attributes:
        share: axes layer, expert: share of their occurrences that used each expert; chance k / E, n occurrences.
        by_luck: the mean of the largest share of any expert of any layer under uniform random routing.
        near: other tokens' texts that contain the one looked for, the most frequent first, where it does not occur.
    """

    share: Statistic
    by_luck: float
    near: list[str]


def experts_of_text(traces: Traces, text: str, phase: str = "all") -> TextUse:
    """The experts of all tokens in ``phase`` whose text is ``text``, but for blanks at its ends and capitals.

    Raises:
        BadValue: ``text`` is blank, no traces, traces of different routers, or no such phase.
    """
    pool, wanted = as_traces(traces), text.strip().casefold()
    if not wanted:
        raise BadValue("There is no text to look for.")
    spec = pool[0].spec
    counts, n = np.zeros((spec.num_moe_layers, spec.num_experts)), 0
    others: dict[str, int] = {}
    for trace in pool:
        rows = np.flatnonzero(trace.rows_in(phase))
        texts = [_plain(trace, trace.row_start + int(row)) for row in rows]
        same = np.array([t.strip().casefold() == wanted for t in texts], bool)
        counts += expert_counts(trace, rows[same])
        n += int(np.count_nonzero(same))
        for other in texts:
            if wanted in other.casefold():
                others[other] = others.get(other, 0) + 1
    counts[absent_experts(spec)] = np.nan
    chance = per_layer(spec, lambda router: router.top_k / router.num_experts)[:, None]
    share = Statistic(
        "share of the text's tokens",
        counts / n if n else np.full(counts.shape, np.nan),
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit="share of tokens",
        chance=chance,
        n=n,
        phase=phase,
    )
    near = [] if n else sorted(others, key=lambda t: (-others[t], t))
    return TextUse(share, _largest_by_luck(share) if n else float("nan"), near)


def _largest_by_luck(share: Statistic) -> float:
    random = np.random.default_rng([share.n, share.values.size])
    p = np.broadcast_to(np.asarray(share.chance), share.values.shape)[np.isfinite(share.values)]
    draws = [random.binomial(share.n, p).max() for _ in range(_DRAWS)]
    return float(np.mean(draws)) / share.n


def _plain(trace: RoutingTrace, token: int) -> str:
    return trace.pieces[token].decode("utf-8", "replace")
