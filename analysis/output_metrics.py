"""What the experts gave: saliency, largest outputs, and one token's contributions, where outputs were measured.

Knows formulas. A trace whose outputs were not measured gives None.
"""

from __future__ import annotations

import numpy as np

from analysis.pooling import Traces, as_traces, clean_ids
from analysis.statistic import Statistic
from analysis.token_metrics import row_of
from analysis.trace import RoutingTrace


def saliency(traces: Traces, phase: str = "all") -> Statistic | None:
    """Mean over the tokens that used expert (l, e) of gate weight × ‖E(x)‖₂. Axes layer, expert.

    From 0, in units of the hidden state; NaN for an expert that no token used. No chance level:
    random routing leaves each expert its own size. None unless every trace has outputs. Source: REAP (Lasby et al.,
    2025).
    """
    return _by_expert(traces, "contribution", phase)


def super_experts(traces: Traces, phase: str = "all") -> Statistic | None:
    """The largest magnitude in what expert (l, e) gave for any token. Axes layer, expert.

    From 0; NaN for an expert that no token used. An expert is called super where this is above the 99.5th percentile of
    all experts and above a tenth of the model's largest. None unless every trace has outputs. Source: Unveiling
    Super Experts (Su et al., 2025).
    """
    return _by_expert(traces, "output_max", phase)


def are_super(maxima: Statistic) -> np.ndarray:
    """(L, E) bool: which experts of ``super_experts`` meet the criterion."""
    known = maxima.values[np.isfinite(maxima.values)]
    if not known.size:
        return np.zeros(maxima.values.shape, bool)
    bar = max(float(np.percentile(known, 99.5)), 0.1 * float(known.max()))
    return np.nan_to_num(maxima.values, nan=-1.0) > bar


def contributions(trace: RoutingTrace, token: int) -> Statistic | None:
    """‖w·E(x)‖₂ of each expert that token ``token`` used, as a share of their sum, by layer; axes layer, rank.

    In [0, 1], in the order of the trace's expert ids; NaN where fewer experts were used. A large gate weight on a small
    output is a small contribution. Chance 1 / k: every expert gives as much.

    Raises:
        BadValue: there is no such token.
    """
    row = row_of(trace, token)
    if trace.contribution is None or row is None:
        return None
    values = trace.contribution[row].astype(np.float64)
    values[trace.expert_ids[row] == trace.spec.no_expert] = np.nan
    total = np.nansum(values, -1, keepdims=True)
    shares = np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0)
    return Statistic(
        "contribution",
        shares,
        ("layer", "rank"),
        {"layer": trace.spec.layer_numbers},
        unit="share of the summed norms",
        chance=1 / np.maximum(1, (trace.expert_ids[row] != trace.spec.no_expert).sum(-1, keepdims=True)),
        n=1,
    )


def _by_expert(traces: Traces, field: str, phase: str) -> Statistic | None:
    found = as_traces(traces)
    if any(getattr(trace, field) is None for trace in found):
        return None
    spec, largest = found[0].spec, field == "output_max"
    layers, experts = spec.num_moe_layers, spec.num_experts
    width = experts + 1  # one more for "no expert"
    total, top = np.zeros(layers * width), np.full(layers * width, -np.inf)
    counts, n = np.zeros(layers * width, np.int64), 0
    for trace in found:
        rows = trace.rows_in(phase)
        n += int(np.count_nonzero(rows))
        cells = (clean_ids(trace.expert_ids[rows], experts) + (np.arange(layers) * width)[:, None]).ravel()
        values = getattr(trace, field)[rows].ravel()
        counts += np.bincount(cells, minlength=layers * width)
        if largest:
            np.maximum.at(top, cells, values)
        else:
            total += np.bincount(cells, values, minlength=layers * width)
    table = np.divide(total, counts, out=np.full(layers * width, np.nan), where=counts > 0)
    if largest:
        table = np.where(counts > 0, top, np.nan)
    return Statistic(
        "largest expert output" if largest else "saliency",
        table.reshape(layers, width)[:, :experts],
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit="magnitude" if largest else "norm of the hidden state",
        n=n,
        phase=phase,
    )
