"""What the experts gave: saliency, largest outputs, and one token's contributions, where outputs were measured.

Knows formulas. A trace whose outputs were not measured gives None.
"""

from __future__ import annotations

import numpy as np

from analysis.statistic import Statistic
from analysis.token_metrics import row_of
from analysis.trace import RoutingTrace


def saliency(trace: RoutingTrace, phase: str = "all") -> Statistic | None:
    """Mean over the tokens that used expert (l, e) of gate weight × ‖E(x)‖₂. Axes layer, expert.

    From 0, in units of the hidden state; NaN for an expert that no token used. Source: REAP (Lasby et al., 2025).
    """
    if trace.contribution is None:
        return None
    return _by_expert(trace, trace.contribution, phase, "saliency", "mean")


def super_experts(trace: RoutingTrace, phase: str = "all") -> Statistic | None:
    """The largest magnitude in what expert (l, e) gave for any token. Axes layer, expert.

    From 0; NaN for an expert that no token used. An expert is called super where this is above the 99.5th percentile of
    all experts and above a tenth of the model's largest. Source: Unveiling Super Experts (Su et al., 2025).
    """
    if trace.output_max is None:
        return None
    return _by_expert(trace, trace.output_max, phase, "largest expert output", "max")


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
        chance=np.array([1 / layer.top_k for layer in trace.spec.layers])[:, None],
        n=1,
    )


def _by_expert(trace: RoutingTrace, values: np.ndarray, phase: str, name: str, how: str) -> Statistic:
    rows = trace.rows_in(phase)
    layers, experts = trace.spec.num_moe_layers, trace.spec.num_experts
    width = experts + 1  # one more for "no expert"
    cells = np.minimum(trace.expert_ids[rows].astype(np.intp), experts) + (np.arange(layers) * width)[:, None]
    found = np.full(layers * width, -np.inf if how == "max" else 0.0)
    if how == "max":
        np.maximum.at(found, cells.ravel(), values[rows].ravel())
        table = np.where(np.isfinite(found), found, np.nan)
    else:
        found = np.bincount(cells.ravel(), values[rows].ravel(), minlength=layers * width)
        counts = np.bincount(cells.ravel(), minlength=layers * width)
        table = np.divide(found, counts, out=np.full_like(found, np.nan), where=counts > 0)
    return Statistic(
        name,
        table.reshape(layers, width)[:, :experts],
        ("layer", "expert"),
        {"layer": trace.spec.layer_numbers},
        unit="norm of the hidden state" if how == "mean" else "magnitude",
        n=int(np.count_nonzero(rows)),
        phase=phase,
    )
