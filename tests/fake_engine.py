"""An engine without a model: it answers what it is told to, at the pace it is told to, with rows one can recognise.

Usage::

    engine = FakeEngine()
    engine.enqueue("8+4=12, carry 1", "812")     # thinking and answer of the next turn
    events = list(engine.stream(ChatRequest((Message("user", "538+274"),))))

Every expert id of a turn follows from the text of the user's last message (``experts_of``), so that a row that strays
into another visitor's trace is found.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from analysis.errors import BadValue
from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingRows, Step
from app.engine.base import Candidate, Capabilities, ChatRequest, ModelCard, RouterEdit, TokenEvent
from app.engine.edit_rules import check_edits, edited_spec


class FakeEngine:
    """An ``Engine``. ``streams_open`` and ``streams_closed`` count generators; ``requests`` keeps what was asked, and
    ``scored`` the token ids that were read, with the edits they were read under.

    Args:
        delay: seconds before each generated token.
        prefill_delay: seconds before the first event, which also waits for ``may_begin`` where that was cleared.
        fail_after: raise a RuntimeError after this many generated tokens.
    """

    def __init__(
        self,
        layers: int = 3,
        experts: int = 16,
        top_k: int = 4,
        *,
        delay: float = 0.0,
        prefill_delay: float = 0.0,
        fail_after: int | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.spec = RouterSpec(tuple(LayerSpec(i, experts, top_k) for i in range(layers)))
        self.capabilities = capabilities or Capabilities(context=4096, logprobs=True, candidates=True)
        self.card = ModelCard(
            "fake", "Fake engine", "It has no weights and repeats what tests tell it.", ("What is 538 + 274?", "Hello")
        )
        self.architecture = None
        self.delay, self.prefill_delay, self.fail_after = delay, prefill_delay, fail_after
        self.requests: list[ChatRequest] = []
        self.scored: list[tuple[list[int], tuple[RouterEdit, ...]]] = []
        self.streams_open = self.streams_closed = self.running = self.most_running = 0
        self.may_begin = threading.Event()
        self.may_begin.set()
        self._replies: deque[tuple[str, str]] = deque()
        self._lock = threading.Lock()
        self._pieces: dict[int, str] = {}
        self._keys: dict[tuple[int, ...], str] = {}

    def enqueue(self, thinking: str, answer: str) -> None:
        """The reply of the next turn; without one a turn is answered with ``default_reply``."""
        self._replies.append((thinking, answer))

    def stream(self, request: ChatRequest) -> Generator[TokenEvent, None, None]:
        self.requests.append(request)
        thinking, answer = self._replies.popleft() if self._replies else default_reply(request)
        text = "\n".join(m.content for m in request.messages)
        prompt = [("<|im_start|>", Phase.MARKER, Origin.TEMPLATE)]
        prompt += [(p, Phase.PROMPT, Origin.USER) for p in split(text)]
        reply: list[tuple[str, Phase]] = []
        if request.mode == "thinking":
            pieces = split(thinking)
            if request.thinking_budget is not None:
                pieces = pieces[: request.thinking_budget]
            reply += [("<think>", Phase.MARKER), *((p, Phase.THINKING) for p in pieces), ("</think>", Phase.MARKER)]
        reply += [(p, Phase.ANSWER) for p in split(answer)]
        limit = request.sampling.max_tokens if request.sampling else 2048
        finish = "stop" if len(reply) < limit else "length"
        reply = [*reply[:limit], ("<|im_end|>", Phase.MARKER)] if finish == "stop" else reply[:limit]
        turn = sum(m.role == "user" for m in request.messages) - 1
        key = request.messages[-1].content
        self._keys[tuple(token_id(piece) for piece, *_ in (*prompt, *reply))] = key
        for event in self._events(prompt, reply, turn, key, request.router_scores, finish, request.edits):
            yield replace(event, candidates=candidates_of(event)) if request.candidates else event

    def score(
        self,
        text: str | Sequence[int],
        *,
        router_scores: bool = False,
        edits: Sequence[RouterEdit] = (),
        logprobs: bool = False,
    ) -> Generator[TokenEvent, None, None]:
        """Token ids are those of a turn that was answered before; they are routed as they were then. Every token is
        e times less probable under an edit for each expert that the edit names."""
        if not isinstance(text, str):
            self.scored.append((list(text), tuple(edits)))
        key = text if isinstance(text, str) else self._keys[tuple(text)]
        pieces = split(text) if isinstance(text, str) else [self._pieces[i] for i in text]
        if len(pieces) > self.capabilities.context:
            raise BadValue(f"The text has {len(pieces)} tokens; the model takes {self.capabilities.context}.")
        prompt = [(p, Phase.PROMPT, Origin.FORCED) for p in pieces]
        cost = sum(len(edit.experts) for edit in edits)
        for event in self._events(prompt, [], 0, key, router_scores, "stop", edits):
            yield replace(event, logprob=-0.5 - cost if event.index else None) if logprobs else event

    def provenance(self, request: ChatRequest | None = None) -> dict[str, Any]:
        values: dict[str, Any] = {
            "model": "fake",
            "engine": "fake",
            "dtype": "none",
            "versions": {"expertscope": "0.1.0"},
            "capture_check": {"ok": True, "ids_match": 1.0, "layers_captured": len(self.spec.layers)},
        }
        if request is not None:
            values |= {"mode": request.mode, "seed": request.seed}
            values["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
            values["edits"] = [asdict(edit) for edit in request.edits]
        return values

    def _events(
        self,
        prompt: list[tuple[str, Phase, Origin]],
        reply: list[tuple[str, Phase]],
        turn: int,
        key: str,
        scores: bool,
        finish: str,
        edits: Sequence[RouterEdit] = (),
    ) -> Generator[TokenEvent, None, None]:
        check_edits(edits, self.spec)
        self._pieces |= {token_id(piece): piece for piece, *_ in (*prompt, *reply)}
        with self._lock:
            self.streams_open += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            time.sleep(self.prefill_delay)
            self.may_begin.wait(60)
            last = len(prompt) - 1
            for i, (piece, phase, origin) in enumerate(prompt):
                rows = self._rows(key, 0, len(prompt), Step.PREFILL, scores, edits) if i == last else None
                end = finish if i == last and not reply else None
                yield TokenEvent(i, token_id(piece), piece.encode(), piece, phase, origin, turn, rows, end)
            for j, (piece, phase) in enumerate(reply):
                time.sleep(self.delay)
                if self.fail_after is not None and j >= self.fail_after:
                    raise RuntimeError("the fake engine was told to fail")
                index = len(prompt) + j
                rows = self._rows(key, index - 1, 1, Step.DECODE, scores, edits) if j else None
                end = finish if j == len(reply) - 1 else None
                yield TokenEvent(index, token_id(piece), piece.encode(), piece, phase, Origin.SAMPLED, turn, rows, end)
        finally:
            with self._lock:
                self.streams_closed += 1
                self.running -= 1

    def _rows(
        self, key: str, start: int, count: int, step: Step, scores: bool, edits: Sequence[RouterEdit] = ()
    ) -> RoutingRows:
        spec = edited_spec(self.spec, edits)
        layers, k, experts = spec.num_moe_layers, spec.top_k, spec.num_experts
        chosen = edited_experts(experts_of(key, self.spec), edits, self.spec)
        ids = np.broadcast_to(chosen, (count, layers, k)).astype(spec.id_dtype)
        weights = np.broadcast_to(np.linspace(2, 1, k) / np.linspace(2, 1, k).sum(), ids.shape).astype(np.float16)
        full = np.full((count, layers, experts), 0.5 / experts, np.float16)
        named = np.minimum(ids.astype(np.int64), experts - 1)
        np.put_along_axis(full, named, weights / 2, -1)
        flat = np.ones((count, layers), np.float32)
        return RoutingRows(start, step, ids, weights, full if scores else None, flat, flat * 0.02, flat * 0.6)


def candidates_of(event: TokenEvent) -> tuple[Candidate, ...]:
    """What a sampled token was drawn from: itself, and one other that was half as likely."""
    if event.origin is not Origin.SAMPLED:
        return ()
    other = Candidate(event.token_id + 1, "other", 0.3, 0.2)
    return Candidate(event.token_id, event.text, 0.6, 0.8), other


def experts_of(key: str, spec: RouterSpec) -> np.ndarray:
    """(L, K) the experts of every token of a turn whose last user message is ``key``."""
    base = zlib.crc32(key.strip().encode()) % spec.num_experts
    return (base + np.arange(spec.num_moe_layers)[:, None] + np.arange(spec.top_k)[None]) % spec.num_experts


def edited_experts(ids: np.ndarray, edits: Sequence[RouterEdit], spec: RouterSpec) -> np.ndarray:
    """(L, K) experts as ``edits`` leave them: forced ones first, then the usual ones that are not masked, then the next
    ids; a boost and an ablation change nothing."""
    wide = edited_spec(spec, edits)
    rows = np.full((spec.num_moe_layers, wide.top_k), spec.no_expert, np.int64)
    for position, layer in enumerate(spec.layers):
        mine = [edit for edit in edits if edit.layer in (None, layer.layer)]
        forced = [e for edit in mine if edit.kind == "force" for e in edit.experts]
        masked = {e for edit in mine if edit.kind == "mask" for e in edit.experts}
        k = next((int(edit.amount) for edit in reversed(mine) if edit.kind == "top_k"), layer.top_k)
        first = int(ids[position, 0])
        usual = [*ids[position].tolist(), *((first + i) % layer.num_experts for i in range(layer.num_experts))]
        allowed = [e for e in dict.fromkeys([*forced, *usual]) if e not in masked]
        rows[position, :k] = allowed[:k]
    return rows


def split(text: str) -> list[str]:
    """Word-like tokens that join to the text again."""
    return re.findall(r"\s?\w+|\s|[^\w\s]", text)


def token_id(piece: str) -> int:
    return zlib.crc32(piece.encode()) % 50_000


def default_reply(request: ChatRequest) -> tuple[str, str]:
    question = request.messages[-1].content
    return f"The user wrote: {question}", f"You wrote: {question}"
