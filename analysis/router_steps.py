"""What a softmax router does with one token, step by step, from its recorded scores.

Knows one row of a trace. Nothing is run: another k shows what the same probabilities would give for this token alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import BadValue
from analysis.token_metrics import token_gates, token_scores
from analysis.trace import RoutingTrace


@dataclass(frozen=True)
class RouterSteps:
    """Attributes:
    experts: (E,) ids by falling probability.
    probability: (E,) of each, as recorded; they sum to 1 but for rounding.
    k: how many are taken.
    mass: what the k probabilities sum to, in (0, 1].
    weights: (k,) the gate weights they would give: divided by their sum where the router renormalises, times its scale.
    executed: expert → the gate weight it was really called with; empty where the engine sent none.
    """

    experts: np.ndarray
    probability: np.ndarray
    k: int
    mass: float
    weights: np.ndarray
    executed: dict[int, float]


def router_steps(trace: RoutingTrace, token: int, layer: int, k: int | None = None) -> RouterSteps | None:
    """None where the token has no row, no scores were recorded, or the router does not begin with a softmax.

    Raises:
        BadValue: there is no such token or layer, or ``k`` is not from 1 to E.
    """
    scores, router = token_scores(trace, token, layer), trace.spec.layers[trace.spec.position(layer)]
    if scores is None or router.scoring != "softmax":
        return None
    k = router.top_k if k is None else k
    if not 1 <= k <= router.num_experts:
        raise BadValue(f"k must be from 1 to {router.num_experts}, not {k}.")
    order = np.argsort(-scores.values, kind="stable")
    probability = scores.values[order]
    mass = float(probability[:k].sum())
    weights = probability[:k] / (mass if router.renormalised and mass > 0 else 1) * router.scale
    gates = token_gates(trace, token)
    executed: dict[int, float] = {}
    if gates is not None and gates.weights is not None:
        position = trace.spec.position(layer)
        pairs = zip(gates.ids[position].tolist(), gates.weights.values[position].tolist(), strict=True)
        executed = {expert: weight for expert, weight in pairs if expert >= 0}
    return RouterSteps(order, probability, k, mass, weights, executed)
