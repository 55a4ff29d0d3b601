"""Does the next token use the same experts? Repetition and reuse along the text.

Knows tokens that follow each other within one trace and one phase; a pair across a gap is never formed.
"""

from __future__ import annotations

from math import comb

import numpy as np

from analysis.errors import BadValue
from analysis.metrics import per_layer
from analysis.pooling import Traces, as_traces, first_choice, runs
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace

NEVER = np.iinfo(np.int32).max


def consecutive_repetition(traces: Traces, phase: str = "all") -> Statistic:
    """P(the next token has the same first choice), and P(it shares any expert). Axes layer, kind.

    In [0, 1]. Chance 1 / E for the first choice and 1 − C(E − k, k) / C(E, k) for any. The first choice is the largest
    gate weight, or the first in the router's order where no weights were sent. n counts pairs of tokens that follow
    each other, both in ``phase``; in a layer, those of which either used no expert do not count. High repetition means
    that routing follows position and makes caching pay. Source: Mixtral of Experts (Jiang et al., 2024), table 5.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    spec, n = found[0].spec, 0
    same, total = np.zeros((spec.num_moe_layers, 2)), np.zeros(spec.num_moe_layers)
    for trace in found:
        rows = trace.rows_in(phase)
        first, gaps = first_choice(trace), next_use(trace)
        routed = (trace.expert_ids != spec.no_expert).any(-1)
        pairs = rows[:-1] & rows[1:]
        valid = pairs[:, None] & routed[:-1] & routed[1:]
        n += int(np.count_nonzero(pairs))
        total += valid.sum(0)
        same[:, 0] += ((first[:-1] == first[1:]) & valid).sum(0)
        same[:, 1] += ((gaps[:-1] == 1).any(-1) & valid).sum(0)
    return Statistic(
        "consecutive repetition",
        np.divide(same, total[:, None], out=np.full(same.shape, np.nan), where=total[:, None] > 0),
        ("layer", "kind"),
        {"layer": spec.layer_numbers, "kind": ("first choice", "any")},
        unit="probability",
        chance=np.stack(
            [
                per_layer(spec, lambda layer: 1 / layer.num_experts),
                per_layer(spec, lambda layer: any_shared_by_chance(layer.num_experts, layer.top_k)),
            ],
            axis=-1,
        ),
        n=n,
        n_unit="pairs of tokens",
        phase=phase,
    )


def reuse(traces: Traces, phase: str = "all", within: int = 1) -> Statistic:
    """Share of the used experts that are used again within the next ``within`` tokens. Axis layer.

    In [0, 1], chance 1 − (1 − k / E)^within. n counts the tokens that are followed by as many of the same phase; NaN
    where there are none. It is what a cache can live on; whether one does, ``caching`` says.

    Raises:
        BadValue: ``within`` is below 1, no traces, traces of different routers, or no such phase.
    """
    if within < 1:
        raise BadValue(f"Reuse is counted within 1 token or more, not {within}.")
    found = as_traces(traces)
    spec, n = found[0].spec, 0
    again, total = np.zeros(spec.num_moe_layers), np.zeros(spec.num_moe_layers)
    for trace in found:
        eligible = np.zeros(trace.num_rows, bool)
        for start, stop in runs(trace.rows_in(phase)):
            eligible[start : max(start, stop - within)] = True
        n += int(np.count_nonzero(eligible))
        again += (next_use(trace)[eligible] <= within).sum((0, 2))
        total += (trace.expert_ids[eligible] != spec.no_expert).sum((0, 2))
    return Statistic(
        "expert reuse",
        np.divide(again, total, out=np.full(again.shape, np.nan), where=total > 0),
        ("layer",),
        {"layer": spec.layer_numbers},
        unit="share of used experts",
        chance=per_layer(spec, lambda layer: 1 - (1 - layer.top_k / layer.num_experts) ** within),
        n=n,
        phase=phase,
    )


def next_use(trace: RoutingTrace) -> np.ndarray:
    """(R, L, K) int32, in how many tokens each used expert is used again; ``NEVER`` where it is not, or for no
    expert."""
    rows, layers, k = trace.expert_ids.shape
    gaps = np.full((layers, rows * k), NEVER, np.int32)
    for layer in range(layers):
        ids = trace.expert_ids[:, layer].ravel()
        order = np.argsort(ids, kind="stable")  # by expert, then by time
        ordered, time = ids[order], order // k
        follows = (ordered[1:] == ordered[:-1]) & (ordered[1:] != trace.spec.no_expert)
        gaps[layer, order[:-1][follows]] = (time[1:] - time[:-1])[follows]
    return gaps.reshape(layers, rows, k).transpose(1, 0, 2)


def any_shared_by_chance(experts: int, top_k: int) -> float:
    """The chance that two random sets of ``top_k`` of ``experts`` share at least one: exact."""
    return 1 - comb(experts - top_k, top_k) / comb(experts, top_k)
