"""What a trace says about one token: its experts, its router's scores, how sure the router was.

Knows formulas. Does not know figures. Row t is the routing used **by** token t. What an engine did not record, and a
token that was never fed back into the model, give None; nothing is made up in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import BadValue
from analysis.metrics import QUANTILES, even_gate, per_layer
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, Phase, RouterSpec, RoutingTrace


@dataclass(frozen=True)
class TokenGates:
    """The experts used by one token, in each layer by falling gate weight.

    Attributes:
        token: index of the token.
        ids: (L, K) expert ids; −1 where a layer uses fewer than K experts.
        weights: axes layer, rank; the gate weights as the experts used them, NaN where the id is −1. None where the
            engine sent none; the ids are then in the router's order.
        layers: the model's own layer numbers.
        order: (L, K) where each stands in the trace's row.
    """

    token: int
    ids: np.ndarray
    weights: Statistic | None
    layers: list[int]
    order: np.ndarray


def token_gates(trace: RoutingTrace, token: int) -> TokenGates | None:
    """The experts used by token ``token`` and their gate weights; None where the token has no row (yet).

    Raises:
        BadValue: there is no such token.
    """
    row = row_of(trace, token)
    if row is None:
        return None
    spec = trace.spec
    ids = trace.expert_ids[row].astype(np.int64)
    ids[ids == spec.no_expert] = -1
    if trace.expert_weights is None:
        as_stored = np.broadcast_to(np.arange(spec.top_k), ids.shape)
        return TokenGates(token, ids, None, spec.layer_numbers, as_stored)
    weights = np.where(ids < 0, np.nan, trace.expert_weights[row].astype(np.float64))
    order = np.argsort(-weights, axis=1, kind="stable")  # NaN goes last
    statistic = Statistic(
        "gate weight",
        np.take_along_axis(weights, order, 1),
        ("layer", "rank"),
        {"layer": spec.layer_numbers, "rank": list(range(1, spec.top_k + 1))},
        unit="gate weight",
        chance=per_layer(spec, even_gate)[:, None],
        n=1,
        phase=Phase(int(trace.phase[token])).label,
    )
    return TokenGates(token, np.take_along_axis(ids, order, 1), statistic, spec.layer_numbers, order)


def token_scores(trace: RoutingTrace, token: int, layer: int) -> Statistic | None:
    """The router's probability of every expert of ``layer`` for token ``token``; where it scores by something else than
    a softmax, each score's share of them all.

    Axis expert; sums to 1; chance 1 / E. None where scores were not recorded or the token has no row.

    Raises:
        BadValue: there is no such token, or ``layer`` has no router.
    """
    row, position = row_of(trace, token), trace.spec.position(layer)
    if row is None or trace.router_scores is None:
        return None
    router = trace.spec.layers[position]
    softmax = router.scoring not in ("sigmoid", "sqrtsoftplus")
    return Statistic(
        "router probability" if softmax else "share of router scores",
        trace.router_scores[row, position, : router.num_experts].astype(np.float64),
        ("expert",),
        unit="probability" if softmax else "share of scores",
        chance=1 / router.num_experts,
        n=1,
        phase=Phase(int(trace.phase[token])).label,
    )


def layer_heatmap(trace: RoutingTrace, layer: int, start: int, stop: int) -> Statistic:
    """Gate weights of ``layer`` for the tokens ``start … stop − 1`` (cut to those that exist), experts × tokens dense.

    Axes token, expert: 0 where the expert is not used, NaN in the whole line of a token without a row. Where the
    engine sent no weights the unit is "used" and the value 1 for each used expert.
    """
    position, router = trace.spec.position(layer), trace.spec.layers[trace.spec.position(layer)]
    start, stop = max(0, start), min(trace.num_tokens, stop)
    tokens = np.arange(start, max(start, stop))
    values = np.full((len(tokens), router.num_experts), np.nan)
    known = (tokens >= trace.row_start) & (tokens < trace.row_start + trace.num_rows)
    rows = tokens[known] - trace.row_start
    dense = np.zeros((len(rows), trace.spec.num_experts + 1))
    ids = np.minimum(trace.expert_ids[rows, position].astype(np.intp), trace.spec.num_experts)
    weights = trace.expert_weights
    np.put_along_axis(dense, ids, 1.0 if weights is None else weights[rows, position].astype(np.float64), 1)
    values[known] = dense[:, : router.num_experts]
    return Statistic(
        "gate weight",
        values,
        ("token", "expert"),
        {"token": tokens.tolist()},
        unit="used" if weights is None else "gate weight",
        chance=None if weights is None else even_gate(router),
        n=len(rows),
    )


def uncertainty(trace: RoutingTrace, token: int) -> dict[str, Statistic]:
    """How sure the router was for one token, by layer; only what was recorded, nothing where the token has no row.

    ``entropy``: of the router's distribution over all experts, in nats; chance ln E (no preference at all).
    ``margin``: the k-th largest score minus the next one, as the router ranks them; small where the choice was close.
    Chance 0.
    ``top_k_mass``: the probability on the k used experts before renormalising; chance k / E.
    Where scores are no probabilities (sigmoid routers), each score's share of them all stands for its probability.

    Raises:
        BadValue: there is no such token.
    """
    row = row_of(trace, token)
    if row is None:
        return {}
    phase = Phase(int(trace.phase[token])).label
    arrays = {name: getattr(trace, name) for name in SUMMARIES}
    found = {name: array[row] for name, array in arrays.items() if array is not None}
    return _uncertainty(found, trace.spec, ("layer",), {}, 1, phase)


def uncertainty_quantiles(traces: Traces, phase: str = "all") -> dict[str, Statistic]:
    """Quantiles (``QUANTILES``) over the tokens of ``phase`` of what ``uncertainty`` gives for one; axes layer,
    quantile. Empty where no row is in ``phase``; a summary that any of the traces lacks is left out.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    masks = [trace.rows_in(phase) for trace in found]
    n = sum(int(np.count_nonzero(mask)) for mask in masks)
    rows = {}
    for name in SUMMARIES:
        arrays = [getattr(trace, name) for trace in found]
        if n and all(array is not None for array in arrays):
            rows[name] = np.concatenate([array[mask] for array, mask in zip(arrays, masks, strict=True)])
    return quantiles_of(rows, found[0].spec, n, phase)


def quantiles_of(rows: dict[str, np.ndarray], spec: RouterSpec, n: int, phase: str) -> dict[str, Statistic]:
    """``uncertainty_quantiles`` from the (R, L) values of each summary, wherever they were gathered."""
    values = {name: np.quantile(rows[name], QUANTILES, axis=0).T for name in SUMMARIES if name in rows}
    return _uncertainty(values, spec, ("layer", "quantile"), {"quantile": QUANTILES}, n, phase)


def row_of(trace: RoutingTrace, token: int) -> int | None:
    """The row of token ``token``; None where its routing is not known, as for the last token of a turn.

    Raises:
        BadValue: there is no such token.
    """
    if not 0 <= token < trace.num_tokens:
        raise BadValue(f"There is no token {token}; this recording has tokens 0 to {trace.num_tokens - 1}.")
    row = token - trace.row_start
    return row if 0 <= row < trace.num_rows else None


SUMMARIES: dict[str, tuple[str, Callable[[LayerSpec], float]]] = {
    "entropy": ("nats", lambda layer: np.log(layer.num_experts)),
    "margin": ("score", lambda layer: 0.0),
    "top_k_mass": ("probability", lambda layer: layer.top_k / layer.num_experts),
}


def _uncertainty(
    values: dict[str, np.ndarray], spec: RouterSpec, axes: tuple[str, ...], labels: dict[str, Any], n: int, phase: str
) -> dict[str, Statistic]:
    found = {}
    for name, table in values.items():
        unit, chance = SUMMARIES[name]
        level = per_layer(spec, chance)
        found[name] = Statistic(
            name,
            table.astype(np.float64),
            axes,
            {"layer": spec.layer_numbers, **labels},
            unit=unit,
            chance=level if len(axes) == 1 else level[:, None],
            n=n,
            phase=phase,
        )
    return found
