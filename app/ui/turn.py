"""One turn of the chat as a generator of values: waiting, streaming, done, stopped or failed.

Knows conversations and runs. Does not know Gradio: ``chat`` turns every ``TurnView`` into updates of components.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from analysis.errors import UserError
from analysis.trace import Origin, Phase
from analysis.words import Words
from app.engine.base import ChatRequest, Message, SamplingParams, TokenEvent
from app.engine.edit_rules import edited_spec
from app.engine.thinking import effective_mode, recommended_sampling
from app.server import limits
from app.ui.context import Services
from app.ui.conversation import Conversation, Say, Turn, request_messages
from app.ui.experiment_edits import History, in_brief, with_edits
from app.ui.following import ActiveRuns, follow, new_run_id
from app.ui.live.wire import Chunk
from app.ui.pacing import chosen_pace

log = logging.getLogger("expertscope")

CANDIDATES = 5
"""How many tokens each could have been that is shown step by step."""
SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "min_p", "presence_penalty")


@dataclass(frozen=True)
class Options:
    """What the visitor has set, as it came from the browser: nothing is checked yet. ``edits`` are a ``History`` that
    the server keeps, or None."""

    mode: Any = "thinking"
    thinking_budget: Any = None
    temperature: Any = 0.6
    top_p: Any = 0.95
    top_k: Any = 20
    min_p: Any = 0.0
    presence_penalty: Any = 0.0
    max_tokens: Any = 2048
    seed: Any = None
    router_scores: Any = False
    system: Any = ""
    pace: Any = 0
    edits: Any = None


@dataclass(frozen=True)
class TurnView:
    """What the page shows at one moment of a turn.

    Attributes:
        run_id: the run under way, "" when it is over.
        status, problem: a line below the chat; ``problem`` where something went wrong, else "".
        restore: text to put back into the box, or None to leave the box alone.
        trace_id: set once, at the end, where there is a trace.
        cleared: nothing of the conversation is to be seen any more.
        newest: the last generated token shown, while tokens are shown one at a time; else None.
    """

    conversation: Conversation
    run_id: str = ""
    chunk: Chunk | None = None
    status: str = ""
    problem: str = ""
    restore: str | None = None
    trace_id: str = ""
    cleared: bool = False
    newest: TokenEvent | None = None


def model_type(services: Services) -> str:
    return str(services.engine.provenance().get("model_type", "qwen3_moe"))


def recommended(services: Services, mode: str) -> SamplingParams:
    """See ``thinking.recommended_sampling``."""
    return recommended_sampling(mode, model_type(services))


def build_request(services: Services, messages: tuple[Message, ...], options: Options) -> ChatRequest:
    """A checked request. Sampling that stands at the chosen mode's recommendation follows a soft switch
    (``/no_think``) to the mode that takes effect.

    Raises:
        BadValue: an option cannot be meant.
    """
    settings, capabilities = services.settings, services.engine.capabilities
    mode = limits.mode_of(options.mode, capabilities)
    values = {name: getattr(options, name) for name in (*SAMPLING_FIELDS, "max_tokens")}
    chosen = limits.sampling(settings, **values)
    if chosen == replace(recommended(services, mode), max_tokens=chosen.max_tokens):
        effective = effective_mode(messages, mode, soft_switch=capabilities.soft_switch)
        chosen = replace(recommended(services, effective), max_tokens=chosen.max_tokens)
    request = limits.chat_request(
        messages,
        settings=settings,
        capabilities=capabilities,
        mode=mode,
        thinking_budget=limits.typed(options.thinking_budget),
        sampling_params=chosen,
        seed=limits.typed(options.seed),
        router_scores=options.router_scores,
    )
    request = with_edits(request, options.edits.edits if isinstance(options.edits, History) else ())
    return replace(request, candidates=CANDIDATES) if capabilities.candidates else request


def run_turn(
    services: Services,
    runs: ActiveRuns,
    conversation: Conversation,
    text: Any,
    options: Options,
    say: Say,
    language: str = "en",
    otherwise: Conversation | None = None,
) -> Generator[TurnView, None, None]:
    """Send ``text`` after ``conversation`` and yield what to show until the turn is over. Never raises, but for the
    ``GeneratorExit`` of a visitor who left. A run that is discarded ends with an empty conversation; one that fails
    before anything came, with ``otherwise`` (None: ``conversation``), so that a repeated turn is not lost."""
    before = conversation
    fallback = before if otherwise is None else otherwise
    restore = text if isinstance(text, str) and len(text) <= services.settings.max_chars else None
    turn: Turn | None = None
    view = TurnView(conversation)
    try:
        text = limits.clean_text(text, services.settings.max_chars)
        system = limits.clean_text(options.system or "", services.settings.max_chars, "system prompt")
        request = build_request(services, request_messages(conversation, text, system), options)
        run_id = new_run_id()
        clock, active, newest = _Clock(), None, None
        engine = services.engine
        provenance = engine.provenance(request)
        turn = Turn(user=text.strip(), mode=request.mode, effective=str(provenance.get("mode", request.mode)))
        turn = replace(turn, edits=in_brief(request.edits, Words(language)))
        spec = edited_spec(engine.spec, request.edits)
        pace = chosen_pace(options.pace)
        stream = lambda: engine.stream(request)  # noqa: E731
        for progress in follow(services, runs, stream, provenance, run_id, language, pace, spec):
            active = runs.get(run_id) or active
            turn = clock.count(turn, progress.events, progress.times)
            generated = [e for e in progress.events if e.generated]
            newest = generated[-1] if generated else newest
            if progress.finish_reason:
                turn = replace(turn, done=True, finish_reason=progress.finish_reason, trace_id=progress.trace_id)
            stepping = active is not None and active.pacer.stepping
            held = active is not None and stepping and bool(active.pacer)
            view = TurnView(
                (*before, turn),
                run_id="" if turn.done else run_id,
                chunk=progress.chunk or view.chunk,
                status=say("before_you", n=progress.waiting) if progress.waiting else status_line(turn, say, held),
                trace_id=turn.trace_id,
                newest=newest if stepping else None,
            )
            if active is not None and active.discarded and turn.done:
                view = TurnView((), cleared=True)
            yield view
    except UserError as error:
        yield _failed(before, fallback, turn, view, error.in_words(Words(language)), restore)
    except Exception:
        log.exception("A turn failed.")
        yield _failed(before, fallback, turn, view, say("fault"), restore)


def status_line(turn: Turn, say: Say, held: bool = False) -> str:
    """One line about a turn: what it is doing, or what it has done; and what decided its mode, if not its radio.
    ``held``: its next token waits for a key."""
    line = _progress_line(turn, say, held)
    if turn.effective == turn.mode:
        return line
    return f"{line} · {say('switched_off')}"  # the only way: the hard switch off cannot be undone by words


def _progress_line(turn: Turn, say: Say, held: bool) -> str:
    counts = {
        "thinking": turn.thinking_tokens,
        "answer": turn.answer_tokens,
        "speed": _speed(turn.tokens_per_second),
        "seconds": f"{turn.seconds:.1f}",
    }
    begun = turn.thinking_tokens or turn.answer_tokens
    if turn.done:
        name = turn.finish_reason if turn.finish_reason in ("length", "stopped", "interrupted", "error") else "stop"
        ended = say("ended_" + name)
        return f"{ended} {say('counts_done', **counts)}" if begun else ended.rstrip(" ·")
    if not begun:
        return say("step_ready" if held else "reading")
    return say("counts", **counts)


def _speed(rate: float) -> str:
    return "–" if not rate else f"{rate:.0f}" if rate >= 9.95 else f"{rate:.1f}"


def _failed(
    before: Conversation,
    fallback: Conversation,
    turn: Turn | None,
    view: TurnView,
    sentence: str,
    restore: str | None,
) -> TurnView:
    """The end of a turn that broke: what had come is kept and shown; without any, the text goes back into the box."""
    if turn is None or not (turn.thinking or turn.answer):
        return TurnView(fallback, chunk=view.chunk, problem=sentence, restore=restore)
    chunk = view.chunk
    run = str(chunk["run"]) if chunk else ""
    done = replace(turn, done=True, finish_reason="error", trace_id=run)
    return TurnView((*before, done), chunk=chunk, problem=sentence, trace_id=run)


class _Clock:
    """Adds events to a turn, with the time the model took for them, whatever the pace at which they are shown."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def count(self, turn: Turn, events: list[TokenEvent], times: list[float]) -> Turn:
        for event, moment in zip(events, times, strict=True):
            seconds = moment - self._start
            if not event.generated:
                self._start = moment  # the prompt is read; generating begins
            elif event.origin == Origin.FORCED:
                added = event.text if event.phase == Phase.THINKING else ""
                turn = replace(turn, inserted=turn.inserted + added, thinking_seconds=seconds, seconds=seconds)
            elif event.phase == Phase.THINKING:
                thinking, tokens = turn.thinking + event.text, turn.thinking_tokens + 1
                turn = replace(
                    turn, thinking=thinking, thinking_tokens=tokens, thinking_seconds=seconds, seconds=seconds
                )
            elif event.phase == Phase.ANSWER:
                answer, tokens = turn.answer + event.text, turn.answer_tokens + 1
                turn = replace(turn, answer=answer, answer_tokens=tokens, seconds=seconds)
        return turn
