"""Load, balance and specialization from counts alone, as papers publish them; traces go the same way.

Knows arrays of counts: how often each expert of each layer was selected. Does not know traces. ``counts`` is (L, E),
NaN for experts that a layer does not have; ``top_k`` is one number or one a layer; ``layers`` are the model's own layer
numbers; ``n`` is the number of tokens, by default the most selections of a layer divided by its top-k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis import balance
from analysis.errors import BadValue
from analysis.statistic import Statistic

TopK = int | Sequence[int] | np.ndarray
_MEASURES: dict[str, tuple[str, Callable[[np.ndarray], float]]] = {
    "maximal violation": ("", balance.max_violation),
    "load entropy": ("nats", balance.entropy),
    "Gini coefficient": ("", balance.gini),
    "coefficient of variation": ("", balance.variation),
}


def load(
    counts: np.ndarray, top_k: TopK, layers: Sequence[int] | None = None, n: int | None = None, phase: str = "all"
) -> Statistic:
    """Share of a layer's slots that went to each expert: selections of (l, e) / selections in l.

    Axes layer, expert. In [0, 1], sums to 1 over the experts of a layer; chance 1 / E of the layer. NaN for experts
    that a layer does not have, and in layers without a selection.
    """
    counts = _checked(counts, 2)
    return Statistic(
        "expert load",
        _divided(counts, np.nansum(counts, axis=1, keepdims=True)),
        ("layer", "expert"),
        _labels(layers),
        unit="share of slots",
        chance=_divided(np.ones((len(counts), 1)), experts_of(counts)[:, None]),
        n=_tokens(counts, top_k) if n is None else n,
        phase=phase,
    )


def balance_of(
    name: str,
    counts: np.ndarray,
    top_k: TopK,
    layers: Sequence[int] | None = None,
    n: int | None = None,
    phase: str = "all",
) -> Statistic:
    """How evenly each layer's load is spread, by the measure ``name``; axis layer; what each means stands with the
    functions of these names in ``analysis.metrics``. ``chance`` is the mean under uniform random routing of n tokens.

    Raises:
        BadValue: there is no such measure; the message names those there are.
    """
    if name not in _MEASURES:
        raise BadValue(f"Unknown measure {name!r}; choose from {', '.join(_MEASURES)}.")
    unit, measure = _MEASURES[name]
    shares = load(counts, top_k, layers, n, phase)
    sizes = experts_of(_checked(counts, 2))
    ks = np.broadcast_to(np.asarray(top_k, np.int64), sizes.shape)
    rows = [row[~np.isnan(row)] for row in shares.values]
    return Statistic(
        name,
        np.array([measure(row) if len(row) else np.nan for row in rows], np.float64),
        ("layer",),
        _labels(layers),
        unit=unit,
        chance=np.array([balance.by_chance(measure, shares.n, int(e), int(k)) for e, k in zip(sizes, ks, strict=True)]),
        n=shares.n,
        phase=phase,
    )


def max_violation(counts: np.ndarray, top_k: TopK, layers: Sequence[int] | None = None) -> Statistic:
    """(max load − mean load) / mean load, by layer: ``balance_of("maximal violation", …)``."""
    return balance_of("maximal violation", counts, top_k, layers)


def domain_specialization(
    counts: Mapping[Any, np.ndarray] | np.ndarray,
    top_k: TopK,
    layers: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    phase: str = "all",
) -> Statistic:
    """Share of a domain's tokens that use each expert, N_{E,D} / N_D, from the (L, E) counts of each domain.

    ``counts`` names them, or is one (D, L, E) array; ``tokens`` are the N_D in the same order, by default a domain's
    selections in a layer / k. Axes domain, layer, expert. In [0, 1], sums to k over the experts of a layer; chance
    k / E. NaN for experts that a layer does not have and for a domain without tokens. It says what a domain uses, not
    why: a domain has its own vocabulary, and ids of words alone can make such a share. n is the fewest tokens of any
    domain. Source: OLMoE (Muennighoff et al., 2024), domain specialization.

    Raises:
        BadValue: no domain is given, their counts differ in shape, or there are not as many ``tokens``.
    """
    named = dict(counts) if isinstance(counts, Mapping) else dict(enumerate(np.asarray(counts)))
    tables = [_checked(table, 2) for table in named.values()]
    if not tables or len({table.shape for table in tables}) > 1:
        raise BadValue("Domain specialization needs counts of one shape (layer, expert) for at least one domain.")
    if tokens is not None and len(tokens) != len(tables):
        raise BadValue(f"There are {len(tables)} domains but {len(tokens)} numbers of tokens.")
    stacked = np.stack(tables)
    ks = np.broadcast_to(np.asarray(top_k, np.float64), stacked.shape[1:2])
    if tokens is None:
        totals = np.nansum(stacked, axis=2, keepdims=True) / ks[:, None]
        sizes = [_tokens(table, top_k) for table in tables]
    else:
        sizes = [int(size) for size in tokens]
        totals = np.broadcast_to(np.array(sizes, np.float64)[:, None, None], (*stacked.shape[:2], 1))
    return Statistic(
        "domain specialization",
        _divided(stacked, totals),
        ("domain", "layer", "expert"),
        {"domain": list(named), **_labels(layers)},
        unit="share of tokens",
        chance=_divided(ks, experts_of(stacked[0]))[None, :, None],
        n=min(sizes),
        phase=phase,
    )


def experts_of(counts: np.ndarray) -> np.ndarray:
    """(L,) how many experts each layer has."""
    return np.count_nonzero(~np.isnan(counts), axis=1)


def _checked(counts: np.ndarray, dimensions: int) -> np.ndarray:
    counts = np.asarray(counts, np.float64)
    if counts.ndim != dimensions or (counts < 0).any():
        raise BadValue(f"Counts must be {dimensions}-dimensional (layer, expert) and not negative, not {counts.shape}.")
    return counts


def _tokens(counts: np.ndarray, top_k: TopK) -> int:
    return int(round(float((np.nansum(counts, axis=1) / np.asarray(top_k)).max(initial=0))))


def _labels(layers: Sequence[int] | None) -> dict[str, Any]:
    return {} if layers is None else {"layer": list(layers)}


def _divided(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.divide(values, by, out=np.full(np.broadcast_shapes(values.shape, by.shape), np.nan), where=by > 0)
