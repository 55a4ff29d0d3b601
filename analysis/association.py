"""Which experts go with a marker token, such as the start and the end of thinking.

Knows counts of tokens that are a marker, that used an expert, and both. A prompt has few markers, so one trace says
little; give many.
"""

from __future__ import annotations

import numpy as np

from analysis.metrics import absent_experts, expert_counts
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic

OPENING, CLOSING = b"<think>", b"</think>"


def marker_npmi(traces: Traces, marker: bytes = OPENING) -> Statistic:
    """Normalised pointwise mutual information of "the token is ``marker``" and "it used (l, e)". Axes layer, expert.

    ln(p(m, e) / (p(m) p(e))) / −ln p(m, e) over the tokens: in [−1, 1], symmetric; 1 if they occur only together, −1 if
    never, chance 0. n counts the markers that have a row: with few of them an expert reaches a high value by luck. The
    row is that of the marker itself, its routing decided the token after it. NaN without a marker, for an expert that
    no token used, and for those a layer does not have. Source: RICE (Wang et al., "Two Experts Are All You Need for
    Steering Thinking", 2025); the measure is Bouma's (2009).

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
    values = np.full(shape, np.nan)
    if marked:
        values[used > 0] = -1.0
        together = both > 0
        joint, independent = both[together] / tokens, marked / tokens * used[together] / tokens
        never_apart = joint == 1
        surprise = np.where(never_apart, 1.0, -np.log(np.where(never_apart, 0.5, joint)))
        values[together] = np.where(never_apart, 1.0, np.log(joint / independent) / surprise)
        values[absent_experts(spec)] = np.nan
    return Statistic(
        f"nPMI with {marker.decode('utf-8', 'replace')}",
        values,
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit="nPMI",
        chance=0.0,
        n=marked,
        n_unit="markers",
        phase="all",
    )


def thinking_npmi(traces: Traces, opening: bytes = OPENING, closing: bytes = CLOSING) -> Statistic:
    """nPMI with the marker that opens thinking minus nPMI with the one that closes it. Axes layer, expert.

    In [−2, 2], changes sign with the order, chance 0; high for experts that go with the start of thinking alone, the
    candidates for steering it. n counts the rarer of the two markers; NaN where either is missing. Source: RICE, as
    ``marker_npmi``.

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
        chance=0.0,
        n=min(first.n, second.n),
        n_unit="markers",
        phase="all",
    )
