"""What traces say about load, balance and gate weights: pure functions from a trace (or several) to a statistic.

Knows formulas (``Statistic`` carries the chance level and the sample size with each). Does not know figures or files;
single tokens are in ``token_metrics``. Rows are chosen by ``phase``, a name of ``analysis.trace.PHASE_GROUPS``; n is
the number of rows, that is of tokens whose routing is known. What an engine did not record gives None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis import counts
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_CHUNK = 4096  # rows counted at a time, to bound memory
_MANY = 16384  # rows from which counting two ids at once is worth its larger table, and how many at a time


def expert_counts(trace: RoutingTrace, rows: np.ndarray | None = None) -> np.ndarray:
    """(L, E) how often each expert was selected in ``rows`` ((R,) bool or indices; None for all)."""
    layers, experts = trace.spec.num_moe_layers, trace.spec.num_experts
    everything = rows is None or (rows.dtype == bool and rows.all())
    ids = trace.expert_ids if everything else trace.expert_ids[rows]
    if ids.dtype == np.uint8 and len(ids) >= _MANY and layers:
        return _counted_by_twos(np.ascontiguousarray(ids), experts)
    width = experts + 1  # one more for "no expert"
    offsets = (np.arange(layers) * width)[:, None]
    found = np.zeros(layers * width, np.int64)
    for start in range(0, len(ids), _CHUNK):
        block = np.minimum(ids[start : start + _CHUNK].astype(np.intp), experts) + offsets
        found += np.bincount(block.ravel(), minlength=layers * width)
    return found.reshape(layers, width)[:, :experts]


def _counted_by_twos(ids: np.ndarray, experts: int) -> np.ndarray:
    """(L, E) from (R, L, K) uint8 ids, contiguous: two neighbours are read as one uint16, which halves the counting,
    and the table of pairs is then summed along both sides. "No expert" is 255, which no expert is."""
    cells = ids.view(np.dtype((np.void, ids.shape[2])))[..., 0]  # the K ids of a row and layer move as one
    buffer = np.empty(_MANY * ids.shape[2] // 2, np.intp)
    found = np.zeros((ids.shape[1], experts), np.int64)
    for layer in range(ids.shape[1]):
        twos = np.zeros(1 << 16, np.int64)
        for start in range(0, len(ids), _MANY):
            flat = np.ascontiguousarray(cells[start : start + _MANY, layer]).view(np.uint8)
            if len(flat) % 2:
                found[layer, flat[-1:][flat[-1:] < experts]] += 1
            codes = buffer[: len(flat) // 2]
            codes[:] = flat[: 2 * len(codes)].view(np.uint16)
            counted = np.bincount(codes)
            twos[: len(counted)] += counted
        table = twos.reshape(256, 256)
        found[layer] += (table.sum(axis=0) + table.sum(axis=1))[:experts]
    return found


def expert_load(traces: Traces, phase: str = "all") -> Statistic:
    """Share of a layer's slots that went to each expert: selections of (l, e) / selections in l.

    Axes layer, expert. In [0, 1], sums to 1 over the experts of a layer; chance 1 / E of the layer. NaN for experts
    that a layer does not have, and everywhere when no row is in ``phase``.
    """
    return counts.load(**_counted(traces, phase))


def max_violation(traces: Traces, phase: str = "all") -> Statistic:
    """(max load − mean load) / mean load, by layer: 0 when all experts are used alike, up to E / k − 1.

    The maximum grows on short samples, so ``chance`` is the mean under uniform random routing of as many tokens.
    Measured as MaxVio in "Auxiliary-Loss-Free Load Balancing" (Wang et al., 2024).
    """
    return counts.balance_of("maximal violation", **_counted(traces, phase))


def load_entropy(traces: Traces, phase: str = "all") -> Statistic:
    """Shannon entropy of the load of each layer, in nats: from ln k to ln E, the latter when all are used alike.

    ``chance`` is the mean under uniform random routing of as many tokens, which is below ln E on short samples.
    """
    return counts.balance_of("load entropy", **_counted(traces, phase))


def gini(traces: Traces, phase: str = "all") -> Statistic:
    """Gini coefficient of the load of each layer: 0 when all experts are used alike, 1 − k / E when only k are used.

    ``chance`` is the mean under uniform random routing of as many tokens, which is above 0 on short samples.
    """
    return counts.balance_of("Gini coefficient", **_counted(traces, phase))


def load_variation(traces: Traces, phase: str = "all") -> Statistic:
    """Coefficient of variation (standard deviation / mean) of the load of each layer: 0 when all experts are used
    alike, √(E / k − 1) when only k are used. Its square is what the balancing losses of Shazeer et al. (2017) penalise.

    ``chance`` is the mean under uniform random routing of as many tokens, which is above 0 on short samples.
    """
    return counts.balance_of("coefficient of variation", **_counted(traces, phase))


def gate_weights_by_rank(trace: RoutingTrace, phase: str = "all", layer: int | None = None) -> Statistic | None:
    """Quantiles (``QUANTILES``) of the gate weights of each layer and rank, rank 1 being each token's largest weight.

    Axes layer, rank, quantile; all layers, or the one with the model's number ``layer``. Chance is the weight that a
    router without preference would give: see ``even_gate``. NaN for ranks that a layer does not use, and everywhere
    when no row is in ``phase``. None where the engine sent no weights.

    Raises:
        BadValue: ``layer`` has no router, or there is no such phase.
    """
    if trace.expert_weights is None:
        return None
    rows = trace.rows_in(phase)
    n, spec = int(np.count_nonzero(rows)), trace.spec
    positions = range(spec.num_moe_layers) if layer is None else [spec.position(layer)]
    values = np.full((len(positions), spec.top_k, len(QUANTILES)), np.nan)
    for line, position in enumerate(positions if n else ()):
        ids, weights = trace.expert_ids[rows, position], trace.expert_weights[rows, position].astype(np.float32)
        weights[ids == spec.no_expert] = -1
        ranked = -np.sort(-weights, axis=1)
        for rank in range(spec.layers[position].top_k):
            used = ranked[:, rank][ranked[:, rank] >= 0]
            if len(used):
                values[line, rank] = np.quantile(used, QUANTILES)
    return Statistic(
        "gate weight by rank",
        values,
        ("layer", "rank", "quantile"),
        {
            "layer": [spec.layer_numbers[position] for position in positions],
            "rank": list(range(1, spec.top_k + 1)),
            "quantile": QUANTILES,
        },
        unit="gate weight",
        chance=per_layer(spec, even_gate)[list(positions), None, None],
        n=n,
        phase=phase,
    )


def even_gate(layer: LayerSpec) -> float:
    """The gate weight if the router preferred no expert: 1/k where the k weights are renormalised (or the softmax is
    over the k), 1/E for a plain softmax, each times the layer's scale; NaN for plain sigmoid scores.
    Factors of single experts (Gemma 4) are not in the specification, and left out."""
    if layer.renormalised or layer.scoring == "topk_softmax":
        return layer.scale / layer.top_k
    return layer.scale / layer.num_experts if layer.scoring == "softmax" else float("nan")


def per_layer(spec: RouterSpec, value: Callable[[LayerSpec], float]) -> np.ndarray:
    """(L,) ``value`` of each layer's specification."""
    return np.array([value(layer) for layer in spec.layers], dtype=np.float64)


def absent_experts(spec: RouterSpec) -> np.ndarray:
    """(L, E) bool, the experts that a layer does not have because another layer has more."""
    return np.arange(spec.num_experts) >= per_layer(spec, lambda layer: layer.num_experts)[:, None]


def counts_with_absent(trace: RoutingTrace, rows: np.ndarray | None = None) -> np.ndarray:
    """(L, E) ``expert_counts`` as floats, NaN for the experts that a layer does not have."""
    table = expert_counts(trace, rows).astype(np.float64)
    table[absent_experts(trace.spec)] = np.nan
    return table


def _counted(traces: Traces, phase: str) -> dict[str, Any]:
    """What the functions of ``counts`` need of traces."""
    found = as_traces(traces)
    spec, rows = found[0].spec, [trace.rows_in(phase) for trace in found]
    return {
        "counts": np.sum([counts_with_absent(t, chosen) for t, chosen in zip(found, rows, strict=True)], axis=0),
        "top_k": [layer.top_k for layer in spec.layers],
        "layers": spec.layer_numbers,
        "n": sum(int(np.count_nonzero(chosen)) for chosen in rows),
        "phase": phase,
    }
