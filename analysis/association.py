"""Which experts go with a marker token, such as the start and the end of thinking.

Knows counts of tokens that are a marker, that used an expert, and both. A prompt has few markers, so one trace says
little; give many.
"""

from __future__ import annotations

import numpy as np

from analysis.metrics import expert_counts
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic

OPENING, CLOSING = b"<think>", b"</think>"


def marker_npmi(traces: Traces, marker: bytes = OPENING) -> Statistic:
    """Normalised pointwise mutual information of "the token is ``marker``" and "it used (l, e)". Axes layer, expert.

    ln(p(m, e) / (p(m) p(e))) / −ln p(m, e) over the tokens: in [−1, 1], symmetric; 1 if they occur only together, −1 if
    never, 0 if independent. ``chance``, for each expert, is the exact mean if the markers stood at random tokens: far
    below 0 for few markers, most of which then miss most experts. n counts the markers that have a row: with few of
    them some expert reaches a high value by luck. The row is that of the marker itself, it predicted the token after
    it. NaN without a marker, for an expert that no token used, and for those a layer does not have. Source: RICE (Wang
    et al., "Two Experts Are All You Need for Steering Thinking", 2025); the measure is Bouma's (2009).

    Raises:
        BadValue: no traces, or traces of different routers.
    """
    found = as_traces(traces)
    spec = found[0].spec
    shape = (spec.num_moe_layers, spec.num_experts)
    both, used = np.zeros(shape), np.zeros(shape)
    marked, tokens = 0, 0
    for trace in found:
        pieces = trace.pieces[trace.row_start : trace.row_start + trace.num_rows]
        rows = np.array([piece.strip() == marker for piece in pieces], bool)
        both += expert_counts(trace, rows)
        used += expert_counts(trace)
        marked += int(np.count_nonzero(rows))
        tokens += trace.num_rows
    values, chance = np.full(shape, np.nan), np.full(shape, np.nan)
    if marked:
        known = used > 0
        values[known] = _npmi(both[known], used[known], marked, tokens)
        times, place = np.unique(used[known].astype(np.int64), return_inverse=True)
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, tokens + 1)))])  # of the factorials
        chance[known] = np.array([_npmi_by_chance(int(count), marked, tokens, logs) for count in times])[place]
    return Statistic(
        f"nPMI with {marker.decode('utf-8', 'replace')}",
        values,
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit="nPMI",
        chance=chance,
        n=marked,
        n_unit="markers",
        phase="all",
    )


def thinking_npmi(traces: Traces, opening: bytes = OPENING, closing: bytes = CLOSING) -> Statistic:
    """nPMI with the marker that opens thinking minus nPMI with the one that closes it. Axes layer, expert.

    In [−2, 2], changes sign with the order; chance, 0 for as many of either, as there; high for experts that go with
    the start of thinking alone, the candidates for steering it. n counts the rarer of the two markers; NaN where either
    is missing. Source: RICE, as ``marker_npmi``.

    Raises:
        BadValue: no traces, or traces of different routers.
    """
    first, second = marker_npmi(traces, opening), marker_npmi(traces, closing)
    return Statistic(
        "nPMI of opening minus closing",
        first.values - second.values,
        first.axes,
        first.labels,
        unit="nPMI",
        chance=np.asarray(first.chance) - np.asarray(second.chance),
        n=min(first.n, second.n),
        n_unit="markers",
        phase="all",
    )


def _npmi(both: np.ndarray, used: np.ndarray, marked: int, tokens: int) -> np.ndarray:
    """nPMI from counts: tokens that are both, tokens of the expert, markers, all tokens; −1 where both is 0."""
    together = np.maximum(both, 1)
    surprise = np.log(tokens / together)
    always = together == tokens  # then both have probability 1, and the ratio is 0 / 0
    information = np.log(together * tokens / (marked * used))
    values = np.where(always, 1.0, information / np.where(always, 1.0, surprise))
    return np.where(both > 0, values, -1.0)


def _npmi_by_chance(used: int, marked: int, tokens: int, logs: np.ndarray) -> float:
    """The mean of ``_npmi`` when the markers are any ``marked`` of the tokens (hypergeometric): exact."""
    both = np.arange(max(0, used + marked - tokens), min(used, marked) + 1)

    def ways(total: int | np.ndarray, part: int | np.ndarray) -> np.ndarray:
        return logs[total] - logs[part] - logs[total - part]

    chances = np.exp(ways(used, both) + ways(tokens - used, marked - both) - ways(tokens, marked))
    return float((chances * _npmi(both, np.asarray(used), marked, tokens)).sum())
