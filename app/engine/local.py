"""The local engine: a model in this process, decoded by a loop of our own and captured at every step.

Attach to a model already in memory in three lines::

    engine = LocalEngine(model, tokenizer)
    trace = engine.run("What is 538 + 274?")
    load = expert_load(trace)

Knows the model, its tokenizer and its capture. Does not know the page, the command line or who asks.
"""

from __future__ import annotations

import codecs
import inspect
import platform
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from analysis.errors import BadValue, CaptureError, ModelError
from analysis.trace import Origin, Phase, RouterSpec, RoutingRows, RoutingTrace, Step, display_texts
from app import __version__
from app.engine.abilities import capabilities_of, check_tokens, stop_ids_of
from app.engine.architecture import architecture_of
from app.engine.base import (
    Architecture,
    Candidate,
    ChatRequest,
    Message,
    RouterEdit,
    SamplingParams,
    TokenEvent,
)
from app.engine.capture import RoutingCapture
from app.engine.catalogue import card_for
from app.engine.check import LEAST_SAME, LEAST_SAME_COARSE, CaptureCheck, check_capture, same_sets
from app.engine.compiled import CompiledDecode
from app.engine.edit_rules import edited_spec
from app.engine.instruments import Instruments, Reading, lock_of
from app.engine.models import ModelCache, input_device
from app.engine.recorder import record
from app.engine.router import find_moe_layers
from app.engine.sampling import Sampler, log_probabilities
from app.engine.thinking import PhaseTracker, effective_mode, recommended_sampling
from app.engine.tokens import PromptToken, TokenText

PREFILL_ROWS = 256
"""Tokens fed at once during prefill: a request can be cancelled, and others get a step, between two such passes."""

ROWS_EVERY, ROWS_TOGETHER = 0.04, 16
"""Rows of decoding are delivered with the first token that comes this many seconds after the last delivery, or when
there are so many: taken off the device a few at a time they cost the model nearly nothing. A stream that is closed
before takes them with it."""


class LocalEngine:
    """An engine over a Transformers model.

    Args:
        model, tokenizer: a causal language model and its tokenizer, in memory.
        name: for the header and the traces.
        capture: False runs the same loop without hooks (its traces have no rows).
        compiled: decode in a compiled step over a static cache (see ``compiled``); opening waits until it
            is made and tried.
        check: verify the capture on a short text first.

    Raises:
        CaptureError: the model has experts whose routing cannot be captured faithfully.
        ModelError: it is to be compiled and cannot be, or decodes otherwise then.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "",
        revision: str | None = None,
        quantization: str = "none",
        capture: bool = True,
        check: bool = True,
        compiled: bool = False,
    ) -> None:
        self.model = model.eval()
        self.text = TokenText(tokenizer)
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        self.card = card_for(self.name)
        self.device = input_device(model)
        with lock_of(model):
            layers = find_moe_layers(model) if capture else []
        self._instruments = Instruments(layers, lock_of(model), stay=compiled)
        self.spec: RouterSpec = self._instruments.spec
        self._capturing = capture
        self._prefill_rows = PREFILL_ROWS
        self._compiled = CompiledDecode(model, self._instruments.capture) if compiled else None
        names = inspect.signature(model.forward).parameters
        self._last_logits = {"logits_to_keep": 1} if "logits_to_keep" in names else {}
        self._stop_ids = stop_ids_of(model, self.text)
        self.capabilities = capabilities_of(model, self.text, capture)
        self.architecture: Architecture | None = architecture_of(
            model, {s.layer: (s.num_experts, s.top_k) for s in self.spec.layers}
        )
        self._facts = {
            "model": self.card.title if self.card.title else self.name,
            "model_name": Path(self.name).name if Path(self.name).is_dir() else self.name,
            "model_type": model.config.model_type,
            "revision": revision,
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": quantization,
            "device": str(self.device),
            "engine": "local",
            "experts_implementation": getattr(model.config, "_experts_implementation", None),
            "versions": {
                "expertscope": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
            "compiled": compiled,
            "parent": None,
        }
        if capture and check:
            try:
                self._facts["capture_check"] = self._verified()
            except BaseException:
                self.close()
                raise

    @property
    def tokenizer(self) -> Any:
        return self.text.tokenizer

    def verify(self) -> CaptureCheck:
        """The capture check on a short text; see ``check_capture``."""
        with self._instruments.lock:
            capture = RoutingCapture(self._instruments.capture.layers)
            result = check_capture(self.model, capture, check_tokens(self.model, self.text))
        if result.chunked_match < LEAST_SAME:  # a family that reads a prompt whole or not at all
            self._prefill_rows = 2**31
        return result

    def _verified(self) -> dict[str, Any]:
        """The result of the capture check, as JSON.

        Raises:
            CaptureError: the capture is not faithful.
            ModelError: compiled decoding is not what ordinary decoding is.
        """
        result = self.verify()
        if not result.ok:
            raise CaptureError(f"The capture of {self.name!r} failed its check: {result.problems[0]}")
        if self._compiled and self.spec.layers:
            self._verify_compiled()
        return result.to_json()

    def close(self) -> None:
        """Take everything off the model; a compiled engine leaves its hooks on until then."""
        self._instruments.close()
        if self._compiled:
            self._compiled.close()

    def _verify_compiled(self) -> None:
        """A few compiled steps behind texts of two lengths, against ordinary ones.

        Raises:
            ModelError: they route otherwise, or the model cannot be compiled here.
        """
        tokens = check_tokens(self.model, self.text)
        for length in (len(tokens), len(tokens) // 2):
            ways = []
            for compiled in (None, self._compiled):
                cache = ModelCache(self.model, compiled.cache(length) if compiled else None)
                ids, found = torch.tensor(tokens[:length], device=self.device), []
                with self._instruments.reading((), length) as reading:
                    for start in (0, *range(length - 3, length)):
                        fed = ids[: length - 3] if start == 0 else ids[start : start + 1]
                        step = Step.DECODE if start and compiled else Step.PREFILL
                        self._forward(fed, cache, start, step, reading, None)
                        found.append(self._instruments.deliver(reading, start, step).expert_ids)
                ways.append(np.concatenate(found[1:]))
            if same_sets(*ways) < LEAST_SAME_COARSE:
                raise ModelError(
                    f"Compiled decoding of this {self.model.config.model_type} model is not what ordinary decoding is; "
                    "leave --compile out."
                )

    def stream(self, request: ChatRequest) -> Generator[TokenEvent, None, None]:
        """Answer ``request``; see ``Engine.stream``. Several streams may run at once: they take turns by steps."""
        mode = self._mode(request)
        sampling = request.sampling or self.recommended_sampling(mode)
        self._refuse_enormous(*(m.content for m in request.messages))
        prompt = self.text.render(request.messages, enable_thinking=request.mode == "thinking")
        room = self.capabilities.context - len(prompt)
        if room < 1:
            raise BadValue.said("context", n=f"{len(prompt):,}", most=f"{self.capabilities.context:,}")
        ids = torch.tensor([t.token_id for t in prompt], device=self.device)
        sampler = Sampler(sampling, request.seed or 0, ids, request.candidates)
        tracker = PhaseTracker(self.text, prompt, self._stop_ids)
        last_turn = prompt[-1].turn
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        most = min(sampling.max_tokens, room)
        cache = self._new_cache(len(prompt) + most)
        wanted = {"router_scores": request.router_scores, "outputs": request.expert_outputs}
        with self._reading(request.edits, len(prompt), wanted) as reading:
            drawn = -1
            for start in range(0, len(prompt), self._prefill_rows):
                chunk = slice(start, start + self._prefill_rows)
                drawn = self._forward(ids[chunk], cache, start, Step.PREFILL, reading, sampler)
                rows = self._instruments.deliver(reading, start, Step.PREFILL)
                yield from self._prompt_events(prompt[chunk], start, rows, decoder)
            known, delivered = len(prompt), time.monotonic()
            forced: deque[tuple[int, Phase]] = deque()
            for count in range(1, most + 1):
                if not forced and tracker.over(request.thinking_budget, drawn):
                    forced.extend(tracker.stop_tokens())
                if forced:
                    token_id, phase = forced.popleft()
                    origin = Origin.FORCED
                else:
                    token_id, origin = drawn, Origin.SAMPLED
                    phase = tracker.label(token_id)
                candidates = self._candidates(sampler) if origin is Origin.SAMPLED else ()
                sampler.saw(token_id)
                stopped = origin is Origin.SAMPLED and token_id in self._stop_ids
                ended = stopped or count == most
                piece = self.text.piece(token_id)
                found = None
                due = ended or len(reading.passes) >= ROWS_TOGETHER or time.monotonic() - delivered >= ROWS_EVERY
                if reading.passes and due:
                    found = self._instruments.deliver(reading, known, Step.DECODE)
                    known, delivered = known + len(found), time.monotonic()
                yield TokenEvent(
                    index=len(prompt) + count - 1,
                    token_id=token_id,
                    piece=piece,
                    text=decoder.decode(piece, final=ended),
                    phase=phase,
                    origin=origin,
                    turn=last_turn,
                    rows=found if self._capturing else None,
                    finish_reason=("stop" if stopped else "length") if ended else None,
                    candidates=candidates,
                )
                if ended:
                    return
                fed, position = ids.new_tensor([token_id]), len(prompt) + count - 1
                drawn = self._forward(fed, cache, position, Step.DECODE, reading, sampler)

    def score(
        self,
        text: str | Sequence[int],
        *,
        router_scores: bool = False,
        edits: Sequence[RouterEdit] = (),
        expert_outputs: bool = False,
        logprobs: bool = False,
    ) -> Generator[TokenEvent, None, None]:
        """Route ``text`` as it stands; see ``Engine.score``. Special tokens written in it are recognised."""
        if isinstance(text, str):
            self._refuse_enormous(text)
            token_ids = self.text.encode(text)
        else:
            token_ids = [int(t) for t in text]
        size = self.model.get_input_embeddings().weight.shape[0]
        wrong = next((t for t in token_ids if not 0 <= t < size), None)
        if wrong is not None:
            raise BadValue(f"Token id {wrong} does not exist; this model has ids 0 to {size - 1}.")
        if not token_ids:
            raise BadValue.said("empty_text")
        if len(token_ids) > self.capabilities.context:
            raise BadValue.said("context_text", n=f"{len(token_ids):,}", most=f"{self.capabilities.context:,}")
        phases = [Phase.MARKER if self.text.is_marker(t) else Phase.PROMPT for t in token_ids]
        tokens = [PromptToken(t, p, Origin.FORCED, 0) for t, p in zip(token_ids, phases, strict=True)]
        ids = torch.tensor(token_ids, device=self.device)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        cache = ModelCache(self.model)
        wanted = {"router_scores": router_scores, "outputs": expert_outputs}
        known: list[float | None] = [None]
        with self._reading(edits, len(tokens), wanted) as reading:
            for start in range(0, len(tokens), self._prefill_rows):
                chunk = slice(start, start + self._prefill_rows)
                if logprobs:
                    known += self._scored(ids[chunk], cache, reading, ids[start + 1 : start + 1 + self._prefill_rows])
                else:
                    self._forward(ids[chunk], cache, start, Step.PREFILL, reading, None)
                rows = self._instruments.deliver(reading, start, Step.PREFILL)
                final = start + self._prefill_rows >= len(tokens)
                events = self._prompt_events(tokens[chunk], start, rows, decoder, final)
                yield from (replace(e, logprob=known[e.index]) for e in events) if logprobs else events

    def run(self, prompt: str | ChatRequest, **options: Any) -> RoutingTrace:
        """Answer ``prompt`` to its end and return its trace; ``options`` are fields of ``ChatRequest``. A model with
        one mode answers in that."""
        if isinstance(prompt, str):
            request = ChatRequest((Message("user", prompt),), **{"mode": self.capabilities.modes[0], **options})
        else:
            request = replace(prompt, **options)
        with closing(self.stream(request)) as events:
            return record(events, edited_spec(self.spec, request.edits), self.provenance(request))

    def run_forced(
        self, text: str | Sequence[int], *, edits: Sequence[RouterEdit] = (), **options: bool
    ) -> RoutingTrace:
        """Route ``text`` as it stands and return its trace; ``options`` as in ``score``."""
        with closing(self.score(text, edits=edits, **options)) as events:
            facts = {**self.provenance(), "edits": [asdict(e) for e in edits]}
            return record(events, edited_spec(self.spec, edits), facts)

    def provenance(self, request: ChatRequest | None = None) -> dict[str, Any]:
        facts = {**self._facts, "created": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        if request is None:
            return {**facts, "mode": "forced", "edits": []}
        mode = self._mode(request)
        return {
            **facts,
            "mode": mode,
            "hard_switch": request.mode,
            "thinking_budget": request.thinking_budget,
            "sampling": asdict(request.sampling or self.recommended_sampling(mode)),
            "seed": request.seed,
            "messages": [asdict(m) for m in request.messages],
            "edits": [asdict(e) for e in request.edits],
        }

    def recommended_sampling(self, mode: str) -> SamplingParams:
        """See ``thinking.recommended_sampling``."""
        return recommended_sampling(mode, self.model.config.model_type)

    def _mode(self, request: ChatRequest) -> str:
        modes = self.capabilities.modes
        if request.mode not in modes:
            raise BadValue(f"This model has no {request.mode} mode; it is always {modes[0]}.")
        return effective_mode(request.messages, request.mode, soft_switch=self.capabilities.soft_switch)

    @torch.inference_mode()
    def _forward(
        self,
        ids: torch.Tensor,
        cache: ModelCache,
        start: int,
        step: Step,
        reading: Reading,
        sampler: Sampler | None,
    ) -> int:
        """One forward pass, its routing kept in ``reading``; the token drawn from its last logits, -1 without a
        sampler."""
        with self._instruments.turn(reading):
            if self._compiled and step is Step.DECODE and not reading.outputs:
                logits, taken = self._compiled.step(ids, cache.cache, start, self._instruments.most)
            else:
                logits = cache.forward(ids.unsqueeze(0), **self._last_logits).logits[0, -1]
                taken = self._instruments.capture.take(len(ids))
            self._instruments.keep(reading, taken)
            return int(sampler.draw(logits)) if sampler else -1

    @torch.inference_mode()
    def _scored(
        self, ids: torch.Tensor, cache: ModelCache, reading: Reading, following: torch.Tensor
    ) -> list[float | None]:
        """One pass of prefill over ``ids``, its routing kept in ``reading``: how probable each of ``following`` was,
        which are the tokens behind those of ``ids``."""
        with self._instruments.turn(reading):
            logits = cache.forward(ids.unsqueeze(0)).logits[0]
            self._instruments.keep(reading, self._instruments.capture.take(len(ids)))
            return [*log_probabilities(logits[: len(following)], following)]

    def _candidates(self, sampler: Sampler) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(token, display_texts([self.text.piece(token)])[0], probability, chance)
            for token, probability, chance in sampler.candidates
        )

    def _prompt_events(
        self, tokens: Sequence[PromptToken], start: int, rows: RoutingRows, decoder: Any, final: bool = False
    ) -> Iterator[TokenEvent]:
        for offset, token in enumerate(tokens):
            last = offset == len(tokens) - 1
            piece = self.text.piece(token.token_id)
            yield TokenEvent(
                index=start + offset,
                token_id=token.token_id,
                piece=piece,
                text=decoder.decode(piece, final=final and last),
                phase=token.phase,
                origin=token.origin,
                turn=token.turn,
                rows=rows if last and self._capturing else None,
                finish_reason="stop" if final and last else None,
            )

    def _reading(
        self, edits: Sequence[RouterEdit], tokens: int, wanted: dict[str, bool]
    ) -> AbstractContextManager[Reading]:
        if edits and not self._capturing:
            raise BadValue("Routing cannot be edited without capture.")
        return self._instruments.reading(edits, min(tokens, self._prefill_rows), **wanted)

    def _new_cache(self, tokens: int) -> ModelCache:
        return ModelCache(self.model, self._compiled.cache(tokens) if self._compiled else None)

    def _refuse_enormous(self, *texts: str) -> None:
        """Before tokenizing: no token of any vocabulary in use stands for more than 64 characters on average."""
        length, most = sum(map(len, texts)), self.capabilities.context * 64
        if length > most:
            raise BadValue(f"The text has {length:,} characters; this model reads at most about {most:,}.")
