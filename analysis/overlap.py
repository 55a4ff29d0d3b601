"""How far two sets of experts agree: of two checkpoints on one text, and of one token in two contexts.

Knows pairs of rows. Does not know what lies behind a difference.
"""

from __future__ import annotations

from math import comb

import numpy as np

from analysis.errors import BadValue
from analysis.metrics import per_layer
from analysis.pooling import Traces, as_traces
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace

MAX_PAIRS = 20_000


def saturation(earlier: Traces, later: Traces, phase: str = "all") -> Statistic:
    """|E_t ∩ E_T| / k: the share of the ``later`` checkpoint's experts that the ``earlier`` one chose, too. Axis layer.

    In [0, 1], 1 for the same routing; chance k / E. ``earlier`` and ``later`` are recordings of the same texts, in the
    same order, by two checkpoints of one model; experts keep their numbers from one to the other. ``phase`` is that of
    the later one; tokens whose row either lacks do not count, nor rows without an expert in the layer. Symmetric
    where every row has k experts. Source: OLMoE (Muennighoff et al., 2024), router saturation.

    Raises:
        BadValue: the texts or the routers differ, no traces, or no such phase.
    """
    before, after = as_traces(earlier), as_traces(later)
    as_traces((*before, *after))
    if len(before) != len(after):
        raise BadValue(f"Saturation compares the same texts, but there are {len(before)} and {len(after)} recordings.")
    spec, n = after[0].spec, 0
    total, counted = np.zeros(spec.num_moe_layers), np.zeros(spec.num_moe_layers)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if not np.array_equal(old.token_ids, new.token_ids):
            raise BadValue(f"Saturation compares the same texts, but the tokens of pair {index} differ.")
        tokens, shares = _shares(old, new, phase)
        n += len(tokens)
        total += np.nansum(shares, axis=0)
        counted += np.isfinite(shares).sum(axis=0)
    return Statistic(
        "router saturation",
        np.divide(total, counted, out=np.full(total.shape, np.nan), where=counted > 0),
        ("layer",),
        {"layer": spec.layer_numbers},
        unit="share of experts",
        chance=per_layer(spec, lambda layer: layer.top_k / layer.num_experts),
        n=n,
        phase=phase,
    )


def token_overlap(a: RoutingTrace, b: RoutingTrace, phase: str = "all") -> Statistic | None:
    """|A ∩ B| / k, token by token: the share of a token's experts in ``b`` that it uses in ``a``, too, where both are
    recordings of one text; ``saturation`` is its mean. None where their tokens differ.

    Axes token (labels: its index), layer; in [0, 1], chance k / E. NaN for rows without an expert in the layer. Tokens
    whose row either lacks are left out; ``phase`` is that of ``b``.

    Raises:
        BadValue: the routers differ, or there is no such phase.
    """
    spec = as_traces((a, b))[1].spec
    if not np.array_equal(a.token_ids, b.token_ids):
        return None
    tokens, shares = _shares(a, b, phase)
    return Statistic(
        "overlap of a token's experts",
        shares,
        ("token", "layer"),
        {"token": tokens.tolist(), "layer": spec.layer_numbers},
        unit="share of experts",
        chance=per_layer(spec, lambda layer: layer.top_k / layer.num_experts),
        n=len(tokens),
        phase=phase,
    )


def token_controlled_overlap(traces: Traces, phase: str = "all", seed: int = 0) -> Statistic:
    """Mean Jaccard overlap |A ∩ B| / |A ∪ B| of two tokens' experts: of the same id in two contexts, and of two ids.

    Axes pair ("same id", "different id"), layer. In [0, 1]; chance is that of two random sets of k of E. Where "same
    id" lies far above "different id", routing follows the word; what is left below 1 is the context's part. Each
    token that occurs again is paired with a random other occurrence and with a random token of another id, ``seed``
    says which; of many tokens, 20,000 are drawn. Occurrences after the very same text are one context and count once.
    n counts pairs; NaN where no id occurs in two contexts, and for rows without an expert in the layer.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    spec = found[0].spec
    ids, tokens = _contexts(found, phase)
    values, n = np.full((2, spec.num_moe_layers), np.nan), 0
    partners = _partners(tokens, np.random.default_rng(seed))
    if len(partners):
        n = len(partners)
        for kind in (0, 1):
            shared, first, second = _compared(ids[partners[:, 0]], ids[partners[:, 1 + kind]], spec.no_expert)
            union = first + second - shared
            valid = (first > 0) & (second > 0)
            jaccard = np.divide(shared, union, out=np.zeros(shared.shape), where=valid)
            values[kind] = np.divide(
                jaccard.sum(axis=0), valid.sum(axis=0), out=values[kind].copy(), where=valid.any(axis=0)
            )
    return Statistic(
        "token-controlled overlap",
        values,
        ("pair", "layer"),
        {"pair": ("same id", "different id"), "layer": spec.layer_numbers},
        unit="Jaccard index",
        chance=per_layer(spec, lambda layer: jaccard_by_chance(layer.num_experts, layer.top_k)),
        n=n,
        n_unit="pairs of tokens",
        phase=phase,
    )


def jaccard_by_chance(experts: int, top_k: int) -> float:
    """The mean Jaccard overlap of two random sets of ``top_k`` of ``experts``: exact."""
    ways = [comb(top_k, shared) * comb(experts - top_k, top_k - shared) for shared in range(top_k + 1)]
    overlap = sum(way * shared / (2 * top_k - shared) for shared, way in enumerate(ways))
    return overlap / comb(experts, top_k)


def _shares(old: RoutingTrace, new: RoutingTrace, phase: str) -> tuple[np.ndarray, np.ndarray]:
    """Of two recordings of one text: (M,) the tokens in ``phase`` whose row both have, and (M, L) the share of the
    experts of ``new`` that ``old`` has; NaN where ``new`` has none."""
    start = max(old.row_start, new.row_start)
    stop = max(start, min(old.row_start + old.num_rows, new.row_start + new.num_rows))
    rows = new.rows_in(phase)[start - new.row_start : stop - new.row_start]
    first = old.expert_ids[start - old.row_start : stop - old.row_start][rows]
    second = new.expert_ids[start - new.row_start : stop - new.row_start][rows]
    shared, _, sizes = _compared(first, second, new.spec.no_expert)
    shares = np.divide(shared, sizes, out=np.full(shared.shape, np.nan), where=sizes > 0)
    return start + np.flatnonzero(rows), shares


def _compared(a: np.ndarray, b: np.ndarray, none: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R, L) each: experts in both, in ``a``, in ``b``, from (R, L, K) ids."""
    shared = np.zeros(a.shape[:2], np.int64)
    for slot in range(b.shape[-1]):
        one = b[..., slot : slot + 1]
        shared += ((a == one) & (one != none)).any(axis=-1)
    return shared, (a != none).sum(axis=-1), (b != none).sum(axis=-1)


def _contexts(traces: tuple[RoutingTrace, ...], phase: str) -> tuple[np.ndarray, np.ndarray]:
    """(M, L, K) ids and (M,) token ids of the rows in ``phase``, one for each distinct text up to and with a token."""
    texts: dict[tuple[int, int], int] = {}
    seen: set[int] = set()
    ids, tokens = [], []
    for trace in traces:
        rows, text = trace.rows_in(phase), 0
        kept = np.zeros(trace.num_rows, bool)
        for token, token_id in enumerate(trace.token_ids.tolist()):
            text = texts.setdefault((text, token_id), len(texts) + 1)
            row = token - trace.row_start
            if 0 <= row < trace.num_rows and rows[row] and text not in seen:
                seen.add(text)
                kept[row] = True
        ids.append(trace.expert_ids[kept])
        tokens.append(trace.token_ids[trace.row_start : trace.row_start + trace.num_rows][kept])
    return np.concatenate(ids), np.concatenate(tokens)


def _partners(tokens: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(P, 3) positions: a token that occurs again, another occurrence of its id, a token of another id."""
    order = np.argsort(tokens, kind="stable")
    _, starts, times = np.unique(tokens[order], return_index=True, return_counts=True)
    begin, size = np.repeat(starts, times), np.repeat(times, times)
    chosen = np.flatnonzero((size > 1) & (size < len(tokens)))
    if len(chosen) > MAX_PAIRS:
        chosen = np.sort(random.choice(chosen, MAX_PAIRS, replace=False))
    begin, size = begin[chosen], size[chosen]
    step = random.integers(1, np.maximum(size, 2))
    same = begin + (chosen - begin + step) % size
    away = random.integers(0, np.maximum(len(tokens) - size, 1))
    other = np.where(away < begin, away, away + size)  # the ids sorted, with this one's stretch left out
    return order[np.stack([chosen, same, other], axis=1)] if len(chosen) else np.zeros((0, 3), np.intp)
