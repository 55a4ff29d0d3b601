"""How sure the router is, by phase: entropy, margin and top-k mass side by side for the prompt, thinking and answer.

Knows summaries that were recorded. For one token or the spread over tokens see ``token_metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.metrics import per_layer
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace

PHASES = ("prompt", "thinking", "answer")
_KINDS: dict[str, tuple[str, str, Callable[[LayerSpec], float]]] = {
    "entropy": ("router entropy", "nats", lambda layer: float(np.log(layer.num_experts))),
    "margin": ("top-k margin", "probability", lambda layer: 0.0),
    "top_k_mass": ("top-k mass", "probability", lambda layer: layer.top_k / layer.num_experts),
}


def confidence_by_phase(traces: Traces, phases: Sequence[str] = PHASES) -> dict[str, Statistic]:
    """Mean over the tokens of each phase of what was recorded of ``entropy``, ``margin`` and ``top_k_mass``.

    Axes phase, layer. Entropy of the router's distribution: 0 (certain) to ln E nats, which is its chance. Margin, the
    least score of a used expert minus the best of the others: the larger the clearer, chance 0, negative where an edit
    overruled the router. Top-k mass, the probability on the used experts before renormalising: up to 1, chance k / E;
    scores that are no probabilities (sigmoid routers) keep their own range. NaN for a phase without tokens; n is the
    fewest tokens of any phase, 0 if one has none. A summary that any of the traces lacks is left out.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    return confidence_of(sum_up([confidence_sums(trace, phases) for trace in found]), found[0].spec, phases)


@dataclass(frozen=True)
class ConfidenceSums:
    """What means over many traces are made of, so that they can be gathered one trace at a time.

    Attributes:
        tokens: (P,) tokens with a row, by phase.
        totals: by summary, (P, L) its sum over them; without those that were not recorded.
    """

    tokens: np.ndarray
    totals: dict[str, np.ndarray]


def confidence_sums(trace: RoutingTrace, phases: Sequence[str] = PHASES) -> ConfidenceSums:
    """The sums of one trace."""
    rows = [trace.rows_in(phase) for phase in phases]
    arrays = {name: array for name in _KINDS if (array := getattr(trace, name)) is not None}
    totals = {
        name: np.array([array[mask].sum(axis=0, dtype=np.float64) for mask in rows]).reshape(len(phases), -1)
        for name, array in arrays.items()
    }
    return ConfidenceSums(np.array([np.count_nonzero(mask) for mask in rows]), totals)


def sum_up(sums: Sequence[ConfidenceSums]) -> ConfidenceSums:
    """Several traces' sums as one; of the summaries that all of them have."""
    known = [name for name in _KINDS if all(name in each.totals for each in sums)]
    totals = {name: np.sum([each.totals[name] for each in sums], axis=0) for name in known}
    return ConfidenceSums(np.sum([each.tokens for each in sums], axis=0), totals)


def confidence_of(sums: ConfidenceSums, spec: RouterSpec, phases: Sequence[str] = PHASES) -> dict[str, Statistic]:
    """``confidence_by_phase`` from sums, wherever they were gathered."""
    tokens = sums.tokens[:, None]
    statistics = {}
    for field, (name, unit, chance) in _KINDS.items():
        if field not in sums.totals:
            continue
        total = sums.totals[field]
        statistics[field] = Statistic(
            name,
            np.divide(total, tokens, out=np.full(total.shape, np.nan), where=tokens > 0),
            ("phase", "layer"),
            {"phase": list(phases), "layer": spec.layer_numbers},
            unit=unit,
            chance=per_layer(spec, chance),
            n=int(min(sums.tokens, default=0)),
            phase=", ".join(phases),
        )
    return statistics
