"""Random but valid traces for tests: a router with preferences, a prompt, thinking, an answer. Knows no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from analysis.trace import ROW_ARRAYS, LayerSpec, Origin, Phase, RouterSpec, RoutingTrace, Step

WORDS = ("the", " sum", " of", " 8", "+", "4", " is", " 12", ",", " write", ".", "\n", " so", "答え", "是")


def make_spec(layers: int = 3, experts: int = 8, top_k: int = 2, first_layer: int = 0) -> RouterSpec:
    """``layers`` equal softmax routers, numbered from ``first_layer``."""
    return RouterSpec(tuple(LayerSpec(first_layer + i, experts, top_k) for i in range(layers)))


def make_trace(
    rows: int = 40,
    layers: int = 3,
    experts: int = 8,
    top_k: int = 2,
    seed: int = 0,
    thinking: bool = True,
    *,
    first_layer: int = 0,
    skew: float = 1.0,
    weights: bool = True,
    scores: bool = True,
    summaries: bool = True,
    **provenance: Any,
) -> RoutingTrace:
    """A finished turn of ``rows + 1`` tokens, the last one without a row, as an engine leaves it.

    Args:
        layers: 0 for a dense model.
        skew: strength of the router's preferences per layer and phase; 0 for uniform random routing.
        weights, scores, summaries: record gate weights, router scores, and entropy, margin and top-k mass.
        provenance: further keys of the trace's provenance.
    """
    random = np.random.default_rng(seed)
    spec = make_spec(layers, experts, top_k, first_layer)
    if not layers:
        experts = top_k = 1  # a dense model: sizes to compute with, of nothing
    phase, origin = _phases(rows + 1, thinking)
    pieces = _pieces(phase, random)
    vocabulary = {piece: i for i, piece in enumerate(sorted(set(pieces)))}
    preference = random.normal(size=(len(Phase), layers, experts)) * skew if skew else np.zeros((4, layers, experts))
    logits = preference[phase[:rows]] + random.normal(size=(rows, layers, experts))
    probability = np.exp(logits - logits.max(-1, keepdims=True))
    probability /= probability.sum(-1, keepdims=True)
    order = np.argsort(-probability, axis=-1, kind="stable")
    ids = order[..., :top_k]
    chosen = np.take_along_axis(probability, ids, -1)
    mass = chosen.sum(-1)
    if top_k < experts:
        runner_up = np.take_along_axis(probability, order[..., top_k : top_k + 1], -1)[..., 0]
    else:
        runner_up = np.zeros_like(mass)
    prompt_rows = int(np.count_nonzero(origin[:rows] != Origin.SAMPLED))
    mode = "thinking" if thinking else "non-thinking"
    return RoutingTrace(
        spec=spec,
        token_ids=np.array([vocabulary[piece] for piece in pieces], np.int32),
        phase=phase,
        origin=origin,
        turn=np.zeros(rows + 1, np.uint16),
        pieces=pieces,
        row_start=0,
        step=np.where(np.arange(rows) < prompt_rows, Step.PREFILL, Step.DECODE).astype(np.uint8),
        expert_ids=ids[..., : spec.top_k].astype(spec.id_dtype),
        expert_weights=(chosen / mass[..., None])[..., : spec.top_k].astype(np.float16) if weights else None,
        router_scores=probability[..., : spec.num_experts].astype(np.float16) if scores else None,
        entropy=-(probability * np.log(probability)).sum(-1).astype(np.float32) if summaries else None,
        margin=(chosen[..., -1] - runner_up).astype(np.float32) if summaries else None,
        top_k_mass=mass.astype(np.float32) if summaries else None,
        provenance={
            "model": "random-router",
            "engine": "tests",
            "mode": mode,
            "seed": seed,
            "messages": [{"role": "user", "content": "What is 8 + 4?"}],
            "finish_reason": "stop",
            **provenance,
        },
    )


def _phases(tokens: int, thinking: bool) -> tuple[np.ndarray, np.ndarray]:
    """Phase and origin of each token: two template markers, a quarter prompt, then the generated part."""
    phase = np.full(tokens, Phase.ANSWER, np.uint8)
    origin = np.full(tokens, Origin.SAMPLED, np.uint8)
    prompt_end = max(2, tokens // 4)
    phase[:prompt_end], origin[:prompt_end] = Phase.PROMPT, Origin.USER
    phase[:2], origin[:2] = Phase.MARKER, Origin.TEMPLATE
    if thinking and tokens - prompt_end >= 4:
        close = prompt_end + (tokens - prompt_end) // 2
        phase[prompt_end:close] = Phase.THINKING
        phase[[prompt_end, close]] = Phase.MARKER
    if tokens > prompt_end:
        phase[-1] = Phase.MARKER
    return phase, origin


def _pieces(phase: np.ndarray, random: np.random.Generator) -> tuple[bytes, ...]:
    pieces = [WORDS[i].encode() for i in random.integers(len(WORDS), size=len(phase))]
    markers = np.flatnonzero(phase == Phase.MARKER)
    for index, name in zip(markers, ("<|im_start|>", "user\n", "<think>", "</think>"), strict=False):
        pieces[index] = name.encode()
    if len(markers):
        pieces[markers[-1]] = b"<|im_end|>"
    return tuple(pieces)


def make_mixed_trace(rows: int = 20, seed: int = 0, **provenance: Any) -> RoutingTrace:
    """A turn of a model whose layers differ: numbers 1, 2 and 5; 8, 16 and 4 experts; top-2, top-4 and top-1."""
    shapes = ((1, 8, 2), (2, 16, 4), (5, 4, 1))
    spec = RouterSpec(tuple(LayerSpec(layer, experts, k) for layer, experts, k in shapes))
    plain = make_trace(rows, 3, 16, 4, seed, scores=False, summaries=False, model="mixed-router", **provenance)
    random = np.random.default_rng(seed)
    ids = np.full((rows, 3, 4), spec.no_expert, spec.id_dtype)
    weights = np.zeros((rows, 3, 4), np.float16)
    for row in range(rows):
        for position, (_, experts, k) in enumerate(shapes):
            ids[row, position, :k] = random.permutation(experts)[:k]
            weights[row, position, :k] = 1 / k
    return replace(plain, spec=spec, expert_ids=ids, expert_weights=weights)


def without_rows(trace: RoutingTrace) -> RoutingTrace:
    """``trace`` as an engine leaves it that recorded no routing."""
    none = {name: None if getattr(trace, name) is None else getattr(trace, name)[:0] for name in ROW_ARRAYS}
    return replace(trace, step=trace.step[:0], **none)
