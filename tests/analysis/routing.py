"""Traces made of given routing, for tests of metrics. Knows no randomness but what hypothesis hands it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingTrace, Step

NONE = -1  # "no expert" in the tables of these tests


def trace_of(ids: Any, experts: int | list[int], tokens: Any = None, phase: Any = None, **arrays: Any) -> RoutingTrace:
    """A trace whose rows have these (R, L, K) expert ids, −1 for none; ``experts`` of each layer or of all."""
    table = np.array(ids, np.int64)
    rows, layers, k = table.shape
    sizes = experts if isinstance(experts, list) else [experts] * layers
    used = [max(1, int((table[:, layer] >= 0).sum(-1).max(initial=0))) for layer in range(layers)]
    spec = RouterSpec(tuple(LayerSpec(i, sizes[i], k if rows == 0 else used[i]) for i in range(layers)))
    if layers and rows and max(used) < k:
        table = table[..., : max(used)]
    marks = np.full(rows, Phase.ANSWER, np.uint8) if phase is None else np.array(phase, np.uint8)
    return RoutingTrace(
        spec=spec,
        token_ids=np.arange(rows, dtype=np.int32) if tokens is None else np.array(tokens, np.int32),
        phase=marks,
        origin=np.full(rows, Origin.SAMPLED, np.uint8),
        turn=np.zeros(rows, np.uint16),
        pieces=arrays.pop("pieces", (b"x",) * rows),
        row_start=0,
        step=np.full(rows, Step.DECODE, np.uint8),
        expert_ids=np.where(table < 0, spec.no_expert, table).astype(spec.id_dtype),
        **arrays,
    )


def random_trace(rows: int, layers: int, experts: int, k: int, seed: int = 0, vocabulary: int = 50) -> RoutingTrace:
    """Uniform random routing: every set of k experts is as likely as any other, and tokens do not matter."""
    random = np.random.default_rng(seed)
    order = np.argsort(random.random((rows, layers, experts)), axis=-1)[..., :k]
    trace = trace_of(order, experts, random.integers(0, vocabulary, rows))
    return replace(trace, spec=RouterSpec(tuple(LayerSpec(i, experts, k) for i in range(layers))))


@st.composite
def small_traces(draw: st.DrawFn, holes: bool = True, most_rows: int = 12) -> RoutingTrace:
    """Up to 12 rows, 1 to 2 layers of different sizes, with "no expert" and two phases in between."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=2))
    ks = [draw(st.integers(1, min(3, size))) for size in sizes]
    rows = draw(st.integers(1, most_rows))
    width, table = max(ks), np.full((rows, len(sizes), max(ks)), NONE)
    for row in range(rows):
        for layer, (size, k) in enumerate(zip(sizes, ks, strict=True)):
            used = draw(st.permutations(range(size)))[:k]
            for slot, expert in enumerate(used):
                if not holes or draw(st.integers(0, 5)):
                    table[row, layer, slot] = expert
    spec = RouterSpec(tuple(LayerSpec(i, size, k) for i, (size, k) in enumerate(zip(sizes, ks, strict=True))))
    phase = draw(st.lists(st.sampled_from([Phase.THINKING, Phase.ANSWER]), min_size=rows, max_size=rows))
    tokens = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    full = np.full((rows, len(sizes), width), NONE)
    full[..., : table.shape[-1]] = table
    plain = trace_of(np.zeros((rows, 0, 0)), [], tokens, phase)
    ids = np.where(full < 0, spec.no_expert, full).astype(spec.id_dtype)
    return replace(plain, spec=spec, expert_ids=ids)


def sets_of(trace: RoutingTrace, layer: int, phase: str = "all") -> list[set[int]]:
    """The set of experts of each row in the phase."""
    rows = trace.expert_ids[trace.rows_in(phase), layer].tolist()
    return [{expert for expert in row if expert != trace.spec.no_expert} for row in rows]
