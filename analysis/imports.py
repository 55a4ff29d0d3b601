"""Routing arrays that came from elsewhere → a trace, believed only after checking.

Knows arrays and what vLLM and SGLang send of them (ids only, by layer, no gate weights). Does not know files
(``import_files``) or live engines. What did not come is absent, and the provenance says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.config_spec import ConfigFacts
from analysis.errors import BadValue
from analysis.trace import Origin, Phase, RoutingTrace, Step

MAX_START = 2**24  # the tokens before the first row are kept too


@dataclass(frozen=True)
class Arrays:
    """What a file held; checked by ``to_trace``.

    Attributes:
        expert_ids: (rows, layers, k) whole numbers; layers are the MoE layers, or all layers with dense ones as filler.
        expert_weights: the same shape, or None.
        start: index of the token of the first row.
    """

    expert_ids: np.ndarray
    expert_weights: np.ndarray | None = None
    start: int = 0


SUM_TOLERANCE = 0.02
"""How far weights in bfloat16 may be from their sum, and more."""


@dataclass(frozen=True)
class Tokens:
    """The tokens that were routed.

    Attributes:
        ids: N token ids.
        pieces: their text, or None.
        prompt_tokens: the first so many are the prompt, the rest was sampled; None: all as they stand.
        phases: names of ``Phase``, one a token, or None: prompt and answer by ``prompt_tokens``.
    """

    ids: list[int]
    pieces: list[str] | None = None
    prompt_tokens: int | None = None
    phases: list[str] | None = None


def to_trace(
    arrays: Arrays, facts: ConfigFacts, engine: str, tokens: Tokens | None = None, name: str = "The file"
) -> RoutingTrace:
    """The trace of ``arrays``. Without tokens, their ids are 0 and their text empty (``provenance["tokens_known"]``).

    Rows may be as many as the tokens, or one less: an engine has no row for a token that it never fed back. Rows that
    are filler throughout (-1, or the largest value of an unsigned type) at the end are cut.

    Raises:
        BadValue: one sentence beginning with ``name``: shape, type, ids out of range, an expert twice in a row, rows
            that do not fit the tokens, or gate weights that do not sum to what the config says.
    """
    if not 0 <= arrays.start <= MAX_START:
        raise BadValue(f"{name} has its first row at token {arrays.start}; expected 0 to {MAX_START}.")
    ids, weights = _without_dense(arrays, facts, name)
    ids, weights = _without_padding(ids, weights, facts, name)
    _check_ids(ids, facts, arrays.start, name)
    if weights is not None:
        weights = _checked_weights(weights, facts, name)
    rows = len(ids)
    n = arrays.start + rows if tokens is None else len(tokens.ids)
    if tokens is not None and n - arrays.start - rows not in (0, 1):
        raise BadValue(
            f"{name} has {rows} rows from token {arrays.start} on, but there are {n} tokens; "
            "expected a row for each, or for each but the last."
        )
    phase, origin = _phases(tokens, n, name)
    sampled = origin[arrays.start : arrays.start + rows] == Origin.SAMPLED
    return RoutingTrace(
        spec=facts.spec,
        token_ids=_token_ids(tokens, facts, n, name),
        phase=phase,
        origin=origin,
        turn=np.zeros(n, np.uint16),
        pieces=_pieces(tokens, n, name),
        row_start=arrays.start,
        step=np.where(sampled, Step.DECODE, Step.PREFILL).astype(np.uint8),
        expert_ids=ids.astype(facts.spec.id_dtype),
        expert_weights=weights,
        provenance={
            "model": facts.model_type or None,
            "model_type": facts.model_type or None,
            "engine": engine,
            "mode": "imported",
            "imported": True,
            "spec_from": "config",
            "tokens_known": tokens is not None,
            "capture_check": None,
        },
    )


def _without_dense(arrays: Arrays, facts: ConfigFacts, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and weights of the MoE layers alone."""
    ids, weights, spec = arrays.expert_ids, arrays.expert_weights, facts.spec
    if ids.dtype.kind not in "iu":
        raise BadValue(f"{name} holds {ids.dtype}; expected whole numbers as expert ids.")
    shape = list(ids.shape)
    if ids.ndim != 3 or shape[2] != spec.top_k or shape[1] not in (spec.num_moe_layers, facts.num_layers):
        raise BadValue(f"{name} has shape {shape}; expected [tokens, {spec.num_moe_layers}, {spec.top_k}].")
    if weights is not None and weights.shape != ids.shape:
        raise BadValue(f"{name} has weights of shape {list(weights.shape)}; expected {shape}, as the ids.")
    if shape[1] != spec.num_moe_layers:
        ids = ids[:, spec.layer_numbers]
        weights = None if weights is None else weights[:, spec.layer_numbers]
    return ids, weights


def _without_padding(
    ids: np.ndarray, weights: np.ndarray | None, facts: ConfigFacts, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    filler = -1 if ids.dtype.kind == "i" else int(np.iinfo(ids.dtype).max)
    if filler >= 0 and filler < facts.spec.num_experts:
        filler = -1  # 256 experts in uint8: the largest value is an expert
    padded = (ids == filler).all(axis=(1, 2))
    rows = int(np.flatnonzero(~padded)[-1]) + 1 if (~padded).any() else 0
    if not rows:
        raise BadValue(f"{name} holds no routing: it has {len(ids)} rows, all of them filler.")
    return ids[:rows], None if weights is None else weights[:rows]


def _check_ids(ids: np.ndarray, facts: ConfigFacts, start: int, name: str) -> None:
    experts = facts.spec.num_experts
    bad = (ids < 0) | (ids >= experts)
    if bad.any():
        row, layer, rank = (int(i) for i in np.argwhere(bad)[0])
        raise BadValue(
            f"{name} names expert {int(ids[row, layer, rank])} in row {row}, layer {facts.spec.layers[layer].layer}; "
            f"experts are 0 to {experts - 1}."
        )
    ordered = np.sort(ids, axis=2)
    twice = (ordered[..., 1:] == ordered[..., :-1]).any(axis=2)
    if twice.any():
        row, layer = (int(i) for i in np.argwhere(twice)[0])
        zeros = " The row is all zeros: the engine sent no routing for it." if not ids[row].any() else ""
        raise BadValue(
            f"{name} names an expert twice in row {row}, layer {facts.spec.layers[layer].layer}: "
            f"{ids[row, layer].tolist()}.{zeros}"
        )
    if len(ids) > 1 and not ids.any():
        raise BadValue(f"{name} holds zeros only: the engine sent no routing.")


def _checked_weights(weights: np.ndarray, facts: ConfigFacts, name: str) -> np.ndarray:
    if weights.dtype.kind != "f":
        raise BadValue(f"{name} has weights of type {weights.dtype}; expected floating point numbers.")
    with np.errstate(over="ignore"):
        stored = weights.astype(np.float16)
    if not np.isfinite(stored).all() or (stored < 0).any():
        raise BadValue(f"{name} has a weight that is negative, too large or not a number.")
    sums = weights.astype(np.float64).sum(axis=2)
    for position, layer in enumerate(facts.spec.layers):
        apart = np.abs(sums[:, position] - layer.scale) > SUM_TOLERANCE * layer.scale
        if layer.renormalised and apart.any():
            row = int(np.argmax(apart))
            raise BadValue(
                f"{name} has weights that sum to {sums[row, position]:.4g} in row {row}, layer {layer.layer}; by the "
                f"config they sum to {layer.scale:g}."
            )
    return stored


def _phases(tokens: Tokens | None, n: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    phase, origin = np.full(n, Phase.PROMPT, np.uint8), np.full(n, Origin.FORCED, np.uint8)
    if tokens is not None and tokens.prompt_tokens is not None:
        if not 0 <= tokens.prompt_tokens <= n:
            raise BadValue(f"{name} has {n} tokens, so prompt_tokens cannot be {tokens.prompt_tokens}.")
        phase[tokens.prompt_tokens :], origin[tokens.prompt_tokens :] = Phase.ANSWER, Origin.SAMPLED
        origin[: tokens.prompt_tokens] = Origin.USER
    if tokens is not None and tokens.phases is not None:
        names = [p.label for p in Phase]
        if len(tokens.phases) != n or any(p not in names for p in tokens.phases):
            raise BadValue(f"The phases of {name} must be {n} of {', '.join(names)}.")
        phase[:] = [names.index(p) for p in tokens.phases]
    return phase, origin


def _token_ids(tokens: Tokens | None, facts: ConfigFacts, n: int, name: str) -> np.ndarray:
    if tokens is None:
        return np.zeros(n, np.int32)
    most = facts.vocab_size or 2**31
    for token in tokens.ids:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < most:
            raise BadValue(f"The tokens of {name} hold {str(token)[:40]!r}; expected ids from 0 to {most - 1}.")
    return np.array(tokens.ids, np.int32)


def _pieces(tokens: Tokens | None, n: int, name: str) -> tuple[bytes, ...]:
    if tokens is None or tokens.pieces is None:
        return (b"",) * n
    pieces: list[Any] = tokens.pieces
    if len(pieces) != n or not all(isinstance(piece, str) for piece in pieces):
        raise BadValue(f"The pieces of {name} must be {n} texts, one a token.")
    return tuple(piece.encode("utf-8", "replace") for piece in pieces)
