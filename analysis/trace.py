"""What routing is: the router's specification, blocks of routing rows, and the trace of one turn. Pure values.

Knows shapes and their invariants. Does not know files (``storage``), models or pages.

Sizes: N tokens, R routing rows, L MoE layers, E experts (the most of any layer), K experts used per token (ditto).
Row t is the routing used **by** token t; the same forward pass predicted token t + 1.
"""

from __future__ import annotations

import codecs
from dataclasses import asdict, dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np

from analysis.errors import BadValue, TraceError


class Phase(IntEnum):
    """What a token is part of."""

    PROMPT = 0
    THINKING = 1
    ANSWER = 2
    MARKER = 3  # <think>, </think>, chat template

    @property
    def label(self) -> str:
        return self.name.lower()


class Origin(IntEnum):
    """Where a token comes from."""

    TEMPLATE = 0
    USER = 1
    SAMPLED = 2
    FORCED = 3  # inserted by the thinking budget, or text routed without generating

    @property
    def label(self) -> str:
        return self.name.lower()


class Step(IntEnum):
    """How a row was computed: with others in one pass, alone, or taken over from a cache."""

    PREFILL = 0
    DECODE = 1
    CACHED = 2

    @property
    def label(self) -> str:
        return self.name.lower()


PHASE_GROUPS: dict[str, tuple[Phase, ...]] = {
    "all": tuple(Phase),
    "generated": (Phase.THINKING, Phase.ANSWER),
    **{phase.label: (phase,) for phase in Phase},
}
"""Names by which rows are selected; "generated" is thinking and answer."""


@dataclass(frozen=True)
class LayerSpec:
    """The router of one MoE layer.

    Attributes:
        layer: the model's own layer number (dense layers are counted by the model but have no router).
        num_experts: routed experts E of this layer.
        top_k: experts used per token.
        scoring: "softmax" over all experts before the top-k, "topk_softmax" (over the k), "sigmoid", "sqrtsoftplus" or
            "sparsemixer" (see ``app.engine.gating``).
        renormalised: the k gate weights are divided by their sum.
        scale: factor on the gate weights after that.
        shared_experts: experts that every token uses besides the routed ones.
        shared_gate: the shared expert's output is multiplied by a sigmoid gate.
    """

    layer: int
    num_experts: int
    top_k: int
    scoring: str = "softmax"
    renormalised: bool = True
    scale: float = 1.0
    shared_experts: int = 0
    shared_gate: bool = False


@dataclass(frozen=True)
class RouterSpec:
    """The routers of a model, one entry per MoE layer in the model's order; empty for a dense model."""

    layers: tuple[LayerSpec, ...] = ()

    @property
    def num_moe_layers(self) -> int:
        return len(self.layers)

    @property
    def layer_numbers(self) -> list[int]:
        return [layer.layer for layer in self.layers]

    @property
    def num_experts(self) -> int:
        return max((layer.num_experts for layer in self.layers), default=0)

    @property
    def top_k(self) -> int:
        return max((layer.top_k for layer in self.layers), default=0)

    @property
    def id_dtype(self) -> np.dtype:
        """uint8 up to 255 experts, else uint16."""
        return np.dtype(np.uint8 if self.num_experts <= 255 else np.uint16)

    @property
    def no_expert(self) -> int:
        """The id that stands for "no expert" where k varies between layers: the largest of the dtype."""
        return int(np.iinfo(self.id_dtype).max)

    def shared_value(self, name: str) -> int | list[int]:
        """A field of the layers where they all agree, else a list, one entry a layer; 0 for a dense model."""
        values = [getattr(layer, name) for layer in self.layers]
        return values if len(set(values)) > 1 else (values[0] if values else 0)

    def position(self, layer: int) -> int:
        """Where the model's layer number ``layer`` stands along the L axis."""
        try:
            return self.layer_numbers.index(layer)
        except ValueError:
            raise BadValue(f"Layer {layer} has no router; MoE layers are {self.layer_numbers}.") from None

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(layer) for layer in self.layers]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> RouterSpec:
        """What ``to_json`` gave, or passed ``storage.check_spec``."""
        known = {f.name for f in fields(LayerSpec)}
        return cls(tuple(LayerSpec(**{key: value for key, value in layer.items() if key in known}) for layer in data))


@dataclass(frozen=True)
class RoutingRows:
    """Consecutive routing rows, beginning with token ``start``.

    Attributes:
        start: index of the token that the first row belongs to.
        step: how the rows were computed.
        expert_ids: (R, L, K) executed expert ids, in the router's order; ``spec.id_dtype``.
        expert_weights: (R, L, K) float16 gate weights as the experts used them; None where an engine sends none.
        router_scores: (R, L, E) float16 router probabilities, or each score's share of the row where they come from no
            softmax; rows sum to 1. None unless recorded.
        entropy: (R, L) float32, nats, of the router's distribution over all experts.
        margin: (R, L) float32, the least score among the used experts minus the best one among the others that could
            be chosen, as the router ranked them: with its bias, within the groups used. Negative where an edit
            overruled it.
        top_k_mass: (R, L) float32, the sum of the probabilities (or shares) of the k used experts before renormalising.
        contribution: (R, L, K) float32, ‖w·E(x)‖₂ of what each used expert added to the token; only where measured.
        output_max: (R, L, K) float32, the largest |E(x)| before the gate weight; only where measured.
        shared_gate: (R, L) float32 in [0, 1], the shared expert's gate; only where measured, NaN without one.
    """

    start: int
    step: Step
    expert_ids: np.ndarray
    expert_weights: np.ndarray | None = None
    router_scores: np.ndarray | None = None
    entropy: np.ndarray | None = None
    margin: np.ndarray | None = None
    top_k_mass: np.ndarray | None = None
    contribution: np.ndarray | None = None
    output_max: np.ndarray | None = None
    shared_gate: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.expert_ids)

    def between(self, first: int, end: int) -> RoutingRows:
        """The rows of tokens ``first`` up to, not including, ``end``, as far as they are here."""
        rows = slice(max(0, first - self.start), max(0, end - self.start))
        arrays = {name: getattr(self, name) for name in ROW_ARRAYS}
        parts = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return replace(self, start=max(first, self.start), **parts)  # type: ignore[arg-type]


ROW_ARRAYS = (
    "expert_ids",
    "expert_weights",
    "router_scores",
    "entropy",
    "margin",
    "top_k_mass",
    "contribution",
    "output_max",
    "shared_gate",
)


@dataclass(frozen=True)
class RoutingTrace:
    """One turn: its tokens, the routing of each, and where it all came from.

    Attributes:
        spec: the routers.
        token_ids: (N,) int32.
        phase: (N,) uint8 of ``Phase``.
        origin: (N,) uint8 of ``Origin``.
        turn: (N,) uint16, the exchange a token belongs to, from 0; the last one is this trace's own.
        pieces: N byte strings, the tokens' text; a piece may be part of a character.
        row_start: index of the token that the first row belongs to.
        step: (R,) uint8 of ``Step``.
        expert_ids, expert_weights, router_scores, entropy, margin, top_k_mass, contribution, output_max, shared_gate:
            as in ``RoutingRows``.
        provenance: JSON values: model, revision, dtype, quantization, versions, engine, mode, sampling, seed, messages,
            edits, capture_check, parent, finish_reason, …

    Raises:
        TraceError: the arrays do not fit together or name experts that do not exist.
    """

    spec: RouterSpec
    token_ids: np.ndarray
    phase: np.ndarray
    origin: np.ndarray
    turn: np.ndarray
    pieces: tuple[bytes, ...]
    row_start: int
    step: np.ndarray
    expert_ids: np.ndarray
    expert_weights: np.ndarray | None = None
    router_scores: np.ndarray | None = None
    entropy: np.ndarray | None = None
    margin: np.ndarray | None = None
    top_k_mass: np.ndarray | None = None
    contribution: np.ndarray | None = None
    output_max: np.ndarray | None = None
    shared_gate: np.ndarray | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, rows = len(self.token_ids), len(self.expert_ids)
        layers, k, experts = self.spec.num_moe_layers, self.spec.top_k, self.spec.num_experts
        for name in ("token_ids", "phase", "origin", "turn"):
            _expect_shape(name, getattr(self, name), (n,))
        if len(self.pieces) != n:
            raise TraceError(f"The trace has {n} tokens but {len(self.pieces)} text pieces.")
        if self.row_start < 0 or self.row_start + rows > n:
            raise TraceError(f"The trace has rows {self.row_start} to {self.row_start + rows - 1} but only {n} tokens.")
        _expect_shape("step", self.step, (rows,))
        _expect_shape("expert_ids", self.expert_ids, (rows, layers, k))
        shapes = dict.fromkeys(("expert_weights", "contribution", "output_max"), (rows, layers, k))
        shapes["router_scores"] = (rows, layers, experts)
        for name in ROW_ARRAYS[1:]:
            array = getattr(self, name)
            if array is not None:
                _expect_shape(name, array, shapes.get(name, (rows, layers)))
        for name, kind in (("phase", Phase), ("origin", Origin), ("step", Step)):
            values = getattr(self, name)
            if len(values) and int(values.max()) > max(kind):
                raise TraceError(f"The trace's {name} holds {int(values.max())}; the largest known is {max(kind)}.")
        if rows and layers:
            self._check_ids()

    def _check_ids(self) -> None:
        """
        Raises:
            TraceError: a layer names an expert it does not have, one twice in a row, or more than its top-k.
        """
        none = self.spec.no_expert
        for position, layer in enumerate(self.spec.layers):
            ids = self.expert_ids[:, position]
            used, beyond = ids[:, : layer.top_k], ids[:, layer.top_k :]
            largest = int(used.max(initial=0, where=used != none))
            if largest >= layer.num_experts:
                raise TraceError(
                    f"The trace names expert {largest} in layer {layer.layer}, "
                    f"which has experts 0 to {layer.num_experts - 1}."
                )
            ordered = np.sort(used, axis=1)
            twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != none)
            if twice.any() or (beyond != none).any():
                raise TraceError(
                    f"The trace names an expert twice, or more than {layer.top_k}, in a row of layer {layer.layer}."
                )

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_rows(self) -> int:
        return len(self.expert_ids)

    @property
    def row_phase(self) -> np.ndarray:
        """(R,) phase of the token that each row belongs to."""
        return self.phase[self.row_start : self.row_start + self.num_rows]

    def rows_in(self, phase: str) -> np.ndarray:
        """(R,) bool, the rows whose token is in ``phase``, one of the names of ``PHASE_GROUPS``."""
        if phase not in PHASE_GROUPS:
            raise BadValue(f"Unknown phase {phase!r}; choose from {', '.join(PHASE_GROUPS)}.")
        return np.isin(self.row_phase, PHASE_GROUPS[phase])

    def phase_counts(self) -> dict[str, int]:
        """Tokens (not rows) in each phase."""
        return {phase.label: int(np.count_nonzero(self.phase == phase)) for phase in Phase}

    @property
    def prompt(self) -> str:
        """The last user's message, as the provenance has it; "" where it has none (a file may hold anything)."""
        messages = self.provenance.get("messages")
        for message in reversed(messages) if isinstance(messages, list) else ():
            if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), str):
                return message["content"]
        return ""

    def __repr__(self) -> str:
        layers, k = self.spec.num_moe_layers, self.spec.top_k
        return f"<RoutingTrace: {self.num_tokens} tokens, {self.num_rows} rows, {layers} layers, top-{k}>"

    def texts(self) -> list[str]:
        """N strings for display. A character spread over several tokens stands at the token that completes it; the
        tokens before show their bytes as ``‹e3›``."""
        return display_texts(self.pieces)

    def text_of(self, phase: str) -> str:
        """The text of the tokens in ``phase``, joined and stripped."""
        wanted = np.isin(self.phase, PHASE_GROUPS[phase])
        return b"".join(p for p, w in zip(self.pieces, wanted, strict=True) if w).decode("utf-8", "replace").strip()

    def with_provenance(self, **changes: Any) -> RoutingTrace:
        return replace(self, provenance={**self.provenance, **changes})


def display_texts(pieces: tuple[bytes, ...] | list[bytes]) -> list[str]:
    """One string per piece; see ``RoutingTrace.texts``."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shown = []
    for piece in pieces:
        text = decoder.decode(piece)
        shown.append(text if text or not piece else "‹" + piece.hex() + "›")
    return shown


def _expect_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise TraceError(f"The trace's {name} has shape {list(array.shape)}; expected {list(shape)}.")
