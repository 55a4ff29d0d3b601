"""An experiment: one prompt answered without an edit, under it, and under random counterparts of it, as a generator.

Then the unedited answer is read again under each, so that routing and probability are compared on one and the same
text. Knows requests, the queue and traces. Does not know Gradio: ``experiment_tab`` turns every view into updates.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

from analysis.errors import UserError
from analysis.metrics import expert_load
from analysis.trace import Origin, Phase, RoutingTrace
from analysis.words import Words
from app.engine.base import ChatRequest, TokenEvent
from app.engine.edit_controls import random_controls
from app.engine.edit_rules import edited_spec, touched_experts
from app.engine.recorder import TraceRecorder
from app.ui.arms import follow_arm
from app.ui.context import Services
from app.ui.experiment_edits import Edits, with_edits
from app.ui.experiment_measures import Reread, measure
from app.ui.experiment_plan import Arm, ExperimentView, Options, build_request

log = logging.getLogger("expertscope")


def run_experiment(
    services: Services, edits: Edits, options: Options, stopped: threading.Event, words: Words
) -> Generator[ExperimentView, None, None]:
    """Run it and yield what to show. Never raises, but for the ``GeneratorExit`` of a visitor who left. After
    ``stopped`` is set the answer under way ends, and what had arrived is kept."""
    course: _Course | None = None
    try:
        request, controls, control_seed = build_request(services, edits, options, words)
        course = _Course(services, request, controls, control_seed, stopped, words)
        yield from course.answer(0)
        original = course.original()
        if original is not None:
            yield from course.reread(0, original)
            course.add_controls(original)
            for index in range(1, len(course.view.arms)):
                yield from course.answer(index)
                yield from course.reread(index, original)
        over = replace(course.view, changed=(), running=False)
        if stopped.is_set():
            yield replace(over, status=words("tabs.experiment.stopped"))
        else:
            measured = measure(over.arms, original, course.rereads) if original else {}
            yield replace(over, status=words("tabs.experiment.done"), finished=original is not None, measured=measured)
    except UserError as error:
        yield _broken(course, error.in_words(words))
    except Exception:
        log.exception("An experiment failed.")
        yield _broken(course, words("tabs.fault"))


def _broken(course: _Course | None, sentence: str) -> ExperimentView:
    """What had come, and why no more does."""
    view = course.view if course else ExperimentView()
    return replace(view, changed=(), status=sentence, problem=True, running=False)


class _Course:
    """The steps of one experiment, what they have shown so far, and how long those that are over took."""

    def __init__(
        self,
        services: Services,
        request: ChatRequest,
        controls: int,
        control_seed: int,
        stopped: threading.Event,
        words: Words,
    ) -> None:
        self.services, self.request, self.controls, self.control_seed = services, request, controls, control_seed
        self.stopped, self.words = stopped, words
        self.rereads: dict[int, Reread] = {}
        self._can_reread = services.engine.capabilities.forced_text
        arms = (Arm("unedited"), Arm("edited", edits=request.edits))
        self.view = ExperimentView(arms, changed=(0, 1), request=request)
        self._answers_left = 2 + controls
        self._rereads_left = 2 + controls if self._can_reread else 0
        self._seconds: dict[str, list[float]] = {"answer": [], "reread": []}

    def original(self) -> RoutingTrace | None:
        """The trace of the unedited answer; None where it was stopped before anything came."""
        trace_id = self.view.arms[0].trace_id
        return self.services.store.get(trace_id) if trace_id else None

    def _see(self, line: str, *changed: int) -> ExperimentView:
        self.view = replace(self.view, status=line, changed=tuple(sorted({*self.view.changed, *changed})))
        seen, self.view = self.view, replace(self.view, changed=())
        return seen

    def _put(self, index: int, arm: Arm) -> None:
        arms = self.view.arms
        self.view = replace(self.view, arms=(*arms[:index], arm, *arms[index + 1 :]))

    def answer(self, index: int) -> Generator[ExperimentView, None, None]:
        """Answer the prompt under the edits of arm ``index``, unless it was stopped before."""
        if self.stopped.is_set():
            return
        engine, arm = self.services.engine, self.view.arms[index]
        request = with_edits(self.request, arm.edits)
        recorder = self._recorder(arm, engine.provenance(request))
        began, title = time.monotonic(), arm.title(self.words)
        for look in follow_arm(self.services, lambda: engine.stream(request), recorder, self.stopped):
            if look.waiting:
                began = time.monotonic()
                yield self._see(self.words("tabs.experiment.waiting", arm=title, n=look.waiting))
                continue
            arm = replace(arm, tokens=arm.tokens + _generated(look.events))
            if look.trace is not None:
                kept = self.services.store.put(look.trace) if look.trace.num_tokens else ""
                arm = replace(arm, reason=look.reason, trace_id=kept)
                self._answers_left -= 1
                self._seconds["answer"].append(time.monotonic() - began)
                began = time.monotonic()
            self._put(index, arm)
            counts = {"thinking": arm.count(Phase.THINKING), "answer": arm.count(Phase.ANSWER)}
            line = self.words("tabs.experiment.reading", arm=title)
            if arm.tokens:
                line = self.words("tabs.experiment.running", arm=title, **counts)
            yield self._see(line + self._left("answer", time.monotonic() - began), index, 0)

    def reread(self, index: int, original: RoutingTrace) -> Generator[ExperimentView, None, None]:
        """Read the unedited answer under the edits of arm ``index``, likewise; kept only where it was read whole."""
        engine, arm = self.services.engine, self.view.arms[index]
        if not self._can_reread or self.stopped.is_set():
            return
        wants = engine.capabilities.logprobs
        ids = original.token_ids.tolist()
        recorder = TraceRecorder(edited_spec(engine.spec, arm.edits), {})
        logprobs: list[float | None] = []
        began, title = time.monotonic(), arm.title(self.words)
        stream = lambda: engine.score(ids, edits=arm.edits, logprobs=wants)  # noqa: E731
        for look in follow_arm(self.services, stream, recorder, self.stopped):
            if look.waiting:
                began = time.monotonic()
                yield self._see(self.words("tabs.experiment.waiting", arm=title, n=look.waiting))
                continue
            logprobs += [event.logprob for event in look.events]
            if look.trace is not None and look.trace.num_tokens == len(ids):
                trace = replace(look.trace, phase=original.phase)
                self.rereads[index] = Reread(trace, tuple(logprobs) if wants else ())
                self._rereads_left -= 1
                self._seconds["reread"].append(time.monotonic() - began)
            line = self.words("tabs.experiment.rereading", arm=title)
            yield self._see(line + self._left("reread", time.monotonic() - began))

    def add_controls(self, original: RoutingTrace) -> None:
        """Arms for the random counterparts, matched on the load of the whole unedited text."""
        spec = self.services.engine.spec
        found = []
        if touched_experts(self.request.edits, spec) and original.num_rows:
            load = expert_load(original, "all").values
            found = random_controls(self.request.edits, spec, load, self.controls, self.control_seed)
        lost = self.controls - len(found)
        self._answers_left, self._rereads_left = self._answers_left - lost, max(0, self._rereads_left - lost)
        arms = (*self.view.arms, *(Arm("control", i, edits) for i, edits in enumerate(found, 1)))
        self.view = replace(self.view, arms=arms, changed=tuple(range(len(arms))))

    def _recorder(self, arm: Arm, facts: dict[str, Any]) -> TraceRecorder:
        name: dict[str, Any] = {"arm": f"control {arm.number}" if arm.number else arm.kind}
        if arm.number:
            name["seed"] = self.control_seed
        spec = edited_spec(self.services.engine.spec, arm.edits)
        return TraceRecorder(spec, {**facts, "edits": [asdict(e) for e in arm.edits], "experiment": name})

    def _left(self, step: str, elapsed: float) -> str:
        """How long the rest may take, by the mean of what is over; "" before anything is."""
        mean = {name: sum(times) / len(times) for name, times in self._seconds.items() if times}
        if "answer" not in mean:
            return ""
        left = self._answers_left * mean["answer"] + self._rereads_left * mean.get("reread", 0.0)
        left -= min(elapsed, mean.get(step, 0.0))
        return " · " + self.words("tabs.experiment.left", seconds=f"{max(0.0, left):.0f}") if left >= 1 else ""


def _generated(events: list[TokenEvent]) -> tuple[tuple[int, str, Phase], ...]:
    return tuple((e.token_id, e.text, e.phase) for e in events if e.origin is Origin.SAMPLED)
