"""What every engine takes and gives: requests, token events, and the protocol itself.

Knows no model and no library that runs one; an engine may be local, remote or a recording.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from analysis.errors import BadValue
from analysis.trace import Origin, Phase, RouterSpec, RoutingRows

Mode = Literal["thinking", "non-thinking"]
MODES: tuple[str, ...] = get_args(Mode)
Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Message:
    """One message of a conversation. An assistant's ``content`` is its answer, without its thinking."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BadValue(f"Unknown role {self.role!r}; expected one of {', '.join(ROLES)}.")
        if not isinstance(self.content, str):
            raise BadValue(f"A message's content must be text, not {type(self.content).__name__}.")


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn; names and ranges as in vLLM's class of the same name.

    Attributes:
        temperature: 0 (and what is nearly 0, below 0.00001) for greedy decoding, up to 5.
        top_p: (0, 1].
        top_k: 0 (or -1) keeps all.
        min_p: [0, 1].
        presence_penalty: [-2, 2], subtracted from the logit of every token already generated.
        repetition_penalty: [0.01, 5], 1 for none.
        max_tokens: the most tokens to generate, at least 1.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 20
    min_p: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        _in_range("temperature", self.temperature, 0.0, 5.0)
        _in_range("top_p", self.top_p, 0.0, 1.0, open_low=True)
        _in_range("top_k", self.top_k, -1, 2**31 - 1)
        _in_range("min_p", self.min_p, 0.0, 1.0)
        _in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _in_range("repetition_penalty", self.repetition_penalty, 0.01, 5.0)
        _in_range("max_tokens", self.max_tokens, 1, 2**20)
        for name in ("top_k", "max_tokens"):
            if int(getattr(self, name)) != getattr(self, name):
                raise BadValue(f"{name} must be a whole number, not {getattr(self, name)}.")
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("temperature", "top_p", "min_p", "presence_penalty", "repetition_penalty"):
            object.__setattr__(self, name, float(getattr(self, name)))


EDITS = ("mask", "boost", "force", "top_k", "ablate")


@dataclass(frozen=True)
class RouterEdit:
    """A change of the routing of one request.

    Attributes:
        kind: "mask": these experts cannot be chosen; "boost": ``amount`` is added to their router logits; "force": they
            are always chosen; "top_k": ``amount`` experts are used per token; "ablate": where they are chosen their
            gate weight becomes 0, and nothing else changes (where a family multiplies the experts' input by the gate,
            as Llama 4 does, they are then not called at all). A later "top_k" of a layer replaces an earlier one.
        experts: expert ids; none for "top_k".
        layer: the model's layer number, or None for every MoE layer.
        amount: of "boost" (any finite number) and "top_k" (a whole number from 1).
    """

    kind: str
    experts: tuple[int, ...] = ()
    layer: int | None = None
    amount: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in EDITS:
            raise BadValue(f"Unknown edit {str(self.kind)[:40]!r}; expected one of {', '.join(EDITS)}.")
        object.__setattr__(self, "experts", tuple(self.experts))
        for value in (*self.experts, *(() if self.layer is None else (self.layer,))):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadValue.said("edit_numbers", value=repr(str(value)[:40]))
        _in_range("amount", self.amount, -1e6, 1e6)
        if self.kind == "top_k" and (self.experts or self.amount < 1 or self.amount != int(self.amount)):
            raise BadValue.said("edit_top_k", amount=f"{self.amount:g}")
        if self.kind != "top_k" and not self.experts:
            raise BadValue.said("edit_no_expert", kind=self.kind)

    @classmethod
    def parse(cls, text: str) -> RouterEdit:
        """From "mask:LAYER:EXPERTS", "boost:LAYER:EXPERTS:AMOUNT", "top_k:LAYER:K" and so on; LAYER may be "all" and
        EXPERTS are numbers with commas."""
        kind, *rest = text.strip().split(":")
        try:
            layer = None if rest[0] == "all" else int(rest[0])
            if kind == "top_k":
                (amount,) = rest[1:]
                return cls(kind, layer=layer, amount=float(amount))
            experts = tuple(int(e) for e in rest[1].split(","))
            (amount,) = rest[2:] if kind == "boost" else ("0", *rest[2:])
            return cls(kind, experts, layer, float(amount))
        except (ValueError, IndexError):
            raise BadValue.said("edit_text", text=repr(text[:60])) from None


@dataclass(frozen=True)
class ChatRequest:
    """One turn to be generated.

    Attributes:
        messages: the conversation so far, ending with a user's message.
        mode: the hard switch; a ``/think`` or ``/no_think`` in the messages may override it (see ``thinking``).
        thinking_budget: the most thinking tokens before thinking is stopped; None for no limit.
        sampling: None for what Qwen3's authors recommend in the mode that takes effect.
        seed: None draws one, so that every request can be repeated.
        router_scores: record the router's scores of all experts, not only the chosen ones.
        edits: changes of the routing, for this request alone.
        expert_outputs: also measure what each expert gives (``contribution``, ``output_max``, ``shared_gate``), which
            takes about twice as long.
        candidates: of how many tokens, the likeliest ones, each sampled token says what its chance was.
    """

    messages: tuple[Message, ...]
    mode: Mode = "thinking"
    thinking_budget: int | None = None
    sampling: SamplingParams | None = None
    seed: int | None = None
    router_scores: bool = False
    edits: tuple[RouterEdit, ...] = ()
    expert_outputs: bool = False
    candidates: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "edits", tuple(self.edits))
        if not self.messages or self.messages[-1].role != "user":
            raise BadValue("A conversation must end with a message of the user.")
        if not self.messages[-1].content.strip():
            raise BadValue.said("empty_message")
        if any(m.role == "system" for m in self.messages[1:]):
            raise BadValue("A system message can only stand first.")
        if self.mode not in MODES:
            raise BadValue(f"Unknown mode {self.mode!r}; expected one of {', '.join(MODES)}.")
        if self.thinking_budget is not None:
            _in_range("thinking_budget", self.thinking_budget, 0, 2**20)
            object.__setattr__(self, "thinking_budget", int(self.thinking_budget))
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        _in_range("seed", seed, 0, MAX_SEED)
        object.__setattr__(self, "seed", int(seed))


@dataclass(frozen=True)
class Candidate:
    """A token that could have been drawn.

    Attributes:
        token_id, text: the token; half a character is shown by its bytes.
        probability: what the model gave it, at temperature 1 with nothing cut off; 0 to 1.
        chance: what it was drawn with: after penalties, temperature, top-k, top-p and min-p; 0 to 1.
    """

    token_id: int
    text: str
    probability: float
    chance: float


@dataclass(frozen=True)
class TokenEvent:
    """One token, and the routing that became known with it.

    A prompt token is reported once it has been prefilled; the last one of each prefill pass brings the rows of that
    whole pass. A sampled token brings the rows of tokens before it that have not been brought yet, or none: its own row
    exists only once it is fed back in, and rows that follow each other quickly come together.

    Attributes:
        index: position in the turn's token sequence, prompt included, from 0.
        token_id: id in the model's vocabulary.
        piece: the token's bytes, possibly part of a character.
        text: what became printable with this token; "" while a character is incomplete.
        phase, origin: what the token is part of and where it comes from.
        turn: the exchange it belongs to, from 0.
        rows: routing rows that have become known, or None.
        finish_reason: on the last token "stop" or "length" (or "interrupted" where a deadline ended the turn).
        logprob: natural logarithm of the probability that the model, as edited, gave this token at its place, at
            temperature 1; only from ``score`` where it was asked for, and None for the first token.
        candidates: what a sampled token was drawn from: itself and the likeliest, by falling chance; empty where that
            was not asked for, or is unknown.
    """

    index: int
    token_id: int
    piece: bytes
    text: str
    phase: Phase
    origin: Origin
    turn: int
    rows: RoutingRows | None = None
    finish_reason: str | None = None
    logprob: float | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def generated(self) -> bool:
        """Sampled or inserted in this turn. Earlier answers are sampled, too, but are read again with the prompt."""
        return self.phase != Phase.PROMPT and self.origin != Origin.TEMPLATE


@dataclass(frozen=True)
class Capabilities:
    """What an engine can give, so that what it cannot is shown as unavailable.

    Attributes:
        gate_weights: rows carry gate weights.
        router_scores: rows can carry the scores of all experts.
        modes: the modes the model has; one for models that always or never think.
        soft_switch: ``/think`` and ``/no_think`` are understood.
        forced_text: ``score`` works.
        edits: routing can be changed for one request.
        context: the longest sequence, in tokens.
        logprobs: ``score`` can say how probable each token of the text was.
        candidates: sampled tokens can bring what they were drawn from.
    """

    gate_weights: bool = True
    router_scores: bool = True
    modes: tuple[str, ...] = MODES
    soft_switch: bool = True
    forced_text: bool = True
    edits: bool = True
    context: int = 32768
    logprobs: bool = False
    candidates: bool = False


@dataclass(frozen=True)
class ModelCard:
    """What the page says about the model in its header.

    Attributes:
        name: folder or hub name.
        title: name for people.
        about: one honest sentence; "" where there is nothing to say.
        suggestions: prompts worth trying.
        translated: the same in other languages, by their codes.
    """

    name: str
    title: str
    about: str = ""
    suggestions: tuple[str, ...] = field(default_factory=tuple)
    translated: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """What a model is made of; None for what is not known.

    Attributes:
        heads, kv_heads: attention heads for queries, and for keys and values.
        dense_intermediate, expert_intermediate: inner width of a dense feed-forward block, and of one expert.
        qk_norm: queries and keys are normalised.
        parameters, active_parameters: all, and those that one token uses (embeddings counted).
    """

    model_type: str = ""
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    vocabulary: int | None = None
    dense_intermediate: int | None = None
    expert_intermediate: int | None = None
    tied_embeddings: bool = False
    qk_norm: bool = False
    parameters: int | None = None
    active_parameters: int | None = None


class Engine(Protocol):
    """Something that answers a request with token events. ``architecture`` is None where the engine does not know."""

    card: ModelCard
    architecture: Architecture | None
    spec: RouterSpec
    capabilities: Capabilities

    def stream(self, request: ChatRequest) -> Generator[TokenEvent, None, None]:
        """Answer ``request``. Closing the generator stops the model at the next token.

        Raises:
            UserError: the request cannot be served; nothing was generated.
        """
        ...

    def score(
        self,
        text: str | Sequence[int],
        *,
        router_scores: bool = False,
        edits: Sequence[RouterEdit] = (),
        logprobs: bool = False,
    ) -> Generator[TokenEvent, None, None]:
        """Route ``text`` (or token ids) as it stands, under ``edits``, without generating: prefill only, origin forced.
        ``edits`` and ``logprobs`` are refused, or left out, where the capabilities do not name them."""
        ...

    def provenance(self, request: ChatRequest | None = None) -> dict[str, Any]:
        """Where a trace of ``request`` (None: forced text) comes from, as JSON values."""
        ...


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _in_range(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    bad = isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
    if bad or (open_low and value == low):
        least, most = ("more than", "and at most") if open_low else ("from", "to")
        bounds = f"{least} {_plain(low)} {most} {_plain(high)}"
        raise BadValue(f"{name} must be a number {bounds}, not {str(value)[:60]}.")
