"""How sure the router is, by phase: entropy, margin and top-k mass side by side for the prompt, thinking and answer.

Knows summaries that were recorded. For one token or the spread over tokens see ``token_metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analysis.metrics import per_layer
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import LayerSpec

PHASES = ("prompt", "thinking", "answer")
_KINDS: dict[str, tuple[str, str, Callable[[LayerSpec], float]]] = {
    "entropy": ("router entropy", "nats", lambda layer: float(np.log(layer.num_experts))),
    "margin": ("top-k margin", "score", lambda layer: 0.0),
    "top_k_mass": ("top-k mass", "probability", lambda layer: layer.top_k / layer.num_experts),
}


def confidence_by_phase(traces: Traces, phases: Sequence[str] = PHASES) -> dict[str, Statistic]:
    """Mean over the tokens of each phase of what was recorded of ``entropy``, ``margin`` and ``top_k_mass``.

    Axes phase, layer. Entropy of the router's distribution: 0 (certain) to ln E nats, which is its chance. Margin, the
    least score of a used expert minus the best of the others: the larger the clearer, chance 0, negative where an edit
    overruled the router. Top-k mass, the probability on the used experts before renormalising: up to 1, chance k / E.
    Where scores are no probabilities (sigmoid routers), each score's share of them all stands for its probability, and
    the margin is in the scores' own range. NaN for a phase without tokens; n is the fewest tokens of any phase, 0 if
    one has none. A summary that any of the traces lacks is left out.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    spec = found[0].spec
    rows = [[trace.rows_in(phase) for trace in found] for phase in phases]
    sizes = [sum(int(np.count_nonzero(mask)) for mask in masks) for masks in rows]
    statistics = {}
    for field, (name, unit, chance) in _KINDS.items():
        arrays = [getattr(trace, field) for trace in found]
        if any(array is None for array in arrays):
            continue
        values = np.full((len(phases), spec.num_moe_layers), np.nan)
        for line, (masks, size) in enumerate(zip(rows, sizes, strict=True)):
            if size:
                total = [array[mask].sum(axis=0, dtype=np.float64) for array, mask in zip(arrays, masks, strict=True)]
                values[line] = np.sum(total, axis=0) / size
        statistics[field] = Statistic(
            name,
            values,
            ("phase", "layer"),
            {"phase": list(phases), "layer": spec.layer_numbers},
            unit=unit,
            chance=per_layer(spec, chance),
            n=min(sizes, default=0),
            phase=", ".join(phases),
        )
    return statistics
