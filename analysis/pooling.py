"""Several traces taken as one sample: what metrics over more than one turn have in common.

Knows traces. Does not know formulas. Tokens that follow each other do so within one trace only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.errors import BadValue
from analysis.trace import ROW_ARRAYS, RouterSpec, RoutingTrace

Traces = RoutingTrace | Sequence[RoutingTrace]
"""One trace, or several of models with the same routers."""


def as_traces(traces: Traces) -> tuple[RoutingTrace, ...]:
    """The traces as a tuple.

    Raises:
        BadValue: there are none, or their routers differ.
    """
    found = (traces,) if isinstance(traces, RoutingTrace) else tuple(traces)
    if not found:
        raise BadValue("There are no recordings to measure; give at least one.")
    if any(trace.spec != found[0].spec for trace in found[1:]):
        raise BadValue("The recordings come from models with different routers and cannot be measured together.")
    return found


def own_turn(trace: RoutingTrace) -> RoutingTrace:
    """The trace with the rows of its last turn only: a conversation's recordings repeat the turns before, which must
    not be counted again. Tokens, and with them their indices and texts, stay."""
    start = trace.row_start
    turns = trace.turn[start : start + trace.num_rows]
    if not len(turns) or turns[0] == trace.turn[-1]:
        return trace
    own = np.flatnonzero(turns == trace.turn[-1])
    first = int(own[0]) if len(own) else trace.num_rows
    arrays = {name: getattr(trace, name) for name in ROW_ARRAYS}
    cut = {name: array[first:] for name, array in arrays.items() if array is not None}
    return replace(trace, row_start=start + first, step=trace.step[first:], **cut)


def one_layer(trace: RoutingTrace, layer: int) -> RoutingTrace:
    """The trace with the model's layer number ``layer`` alone, so that what is measured of all layers can be had of
    one at the cost of one.

    Raises:
        BadValue: ``layer`` has no router.
    """
    position = trace.spec.position(layer)
    router = trace.spec.layers[position]
    spec = RouterSpec((router,))
    sizes = {"expert_ids": router.top_k, "expert_weights": router.top_k, "router_scores": router.num_experts}
    sizes |= {"contribution": router.top_k, "output_max": router.top_k}
    cut = {}
    for name in ROW_ARRAYS:
        array = getattr(trace, name)
        if array is not None:
            cut[name] = array[:, position : position + 1]
            if name in sizes:
                cut[name] = cut[name][..., : sizes[name]]
    ids = cut["expert_ids"]
    cut["expert_ids"] = np.where(ids == trace.spec.no_expert, spec.no_expert, ids).astype(spec.id_dtype)
    return replace(trace, spec=spec, **cut)


def clean_ids(ids: np.ndarray, experts: int) -> np.ndarray:
    """Expert ids as indices, ``experts`` standing for "no expert"."""
    return np.minimum(ids.astype(np.intp), experts)


def first_choice(trace: RoutingTrace) -> np.ndarray:
    """(R, L) the expert with the largest gate weight, or the first in the router's order where no weights were sent;
    ``num_experts`` where a row has no expert in the layer."""
    ids = clean_ids(trace.expert_ids, trace.spec.num_experts)
    if not trace.spec.top_k:
        return np.zeros(ids.shape[:2], np.intp)
    if trace.expert_weights is None:
        return ids[..., 0]
    weights = np.where(ids == trace.spec.num_experts, np.float16(-1), trace.expert_weights)
    best = weights.argmax(axis=-1)
    return np.take_along_axis(ids, best[..., None], axis=-1)[..., 0]


def runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """The unbroken runs of a bool array, as (start, stop)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
