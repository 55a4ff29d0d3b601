"""What an experiment is: what the visitor has set, the request that comes of it, its answers, and where two part.

Pure values and their checks. Does not know how it is run (``experiment_run``) or shown (``experiment_view``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from analysis.errors import BadValue
from analysis.trace import Phase
from analysis.words import Words
from app.engine.base import ChatRequest, Message
from app.server import limits
from app.ui.context import Services
from app.ui.experiment_edits import Edits, checked, with_edits
from app.ui.turn import recommended

MOST_CONTROLS = 5
PHASES = ("generated", "thinking", "answer", "prompt", "all")
"""Those that are measured."""


@dataclass(frozen=True)
class Options:
    """What the visitor has set, as it came from the browser: nothing is checked yet."""

    prompt: Any = ""
    mode: Any = "thinking"
    temperature: Any = 0.6
    top_p: Any = 0.95
    max_tokens: Any = 1024
    seed: Any = 0
    controls: Any = 1
    control_seed: Any = 0


@dataclass(frozen=True)
class Arm:
    """One answer of the experiment.

    Attributes:
        kind: "unedited", "edited" or "control".
        number: of a control, from 1.
        edits: under which it ran.
        tokens: what was generated: token id, text, phase.
        reason: why it ended; "" while it is under way or not begun.
        trace_id: id of its trace in the store, once it has ended.
    """

    kind: str
    number: int = 0
    edits: Edits = ()
    tokens: tuple[tuple[int, str, Phase], ...] = ()
    reason: str = ""
    trace_id: str = ""

    def count(self, phase: Phase) -> int:
        return sum(token[2] == phase for token in self.tokens)

    def title(self, words: Words) -> str:
        return words(f"tabs.experiment.arm.{self.kind}", n=self.number)


@dataclass(frozen=True, eq=False)
class ExperimentView:
    """What the page shows at one moment. The last one is kept in the visitor's session, which tells values apart by
    their hash: each is itself alone.

    Attributes:
        arms: unedited, edited, then the controls; controls appear once the unedited answer is there.
        changed: the arms that differ from the last view's.
        status, problem: a line of ours.
        request: the request of the edited answer, once it is checked.
        finished: every answer ended and was not stopped; what can be compared may be drawn.
        measured: on the last view, phase → its ``experiment_measures.Measures``; empty where nothing can be compared.
    """

    arms: tuple[Arm, ...] = ()
    changed: tuple[int, ...] = ()
    status: str = ""
    problem: bool = False
    running: bool = True
    request: ChatRequest | None = None
    finished: bool = False
    measured: dict[str, Any] = field(default_factory=dict)


def parting(first: Arm, second: Arm) -> int | None:
    """Index of the first generated token in which two answers differ; None where they do not, or not yet."""
    ids = [[token[0] for token in arm.tokens] for arm in (first, second)]
    at = next((i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), None)
    if at is None and len(ids[0]) != len(ids[1]) and first.reason and second.reason:
        return min(map(len, ids))
    return at


def build_request(services: Services, edits: Edits, options: Options, words: Words) -> tuple[ChatRequest, int, int]:
    """The checked request of the edited answer, the number of controls and their seed.

    Raises:
        UserError: the engine cannot, or a value cannot be meant; one sentence.
    """
    settings, engine = services.settings, services.engine
    if not engine.capabilities.edits or not engine.spec.layers:
        raise BadValue(words("tabs.experiment.unable" if engine.spec.layers else "tabs.dense"))
    if not edits:
        raise BadValue(words("tabs.experiment.no_edits"))
    edits = checked(edits, engine.spec, words)
    text = limits.clean_text(options.prompt, settings.max_chars, "prompt").strip()
    if not text:
        raise BadValue(words("tabs.experiment.empty"))
    mode = limits.mode_of(options.mode, engine.capabilities)
    usual = recommended(services, mode)
    kept = (usual.top_k, usual.min_p, usual.presence_penalty)
    sampling = limits.sampling(settings, options.temperature, options.top_p, *kept, options.max_tokens)
    controls = limits.whole(options.controls, words("tabs.experiment.controls"), 1, MOST_CONTROLS)
    control_seed = limits.whole(options.control_seed, words("tabs.experiment.control_seed"), 0, 2**53)
    request = limits.chat_request(
        (Message("user", text),),
        settings=settings,
        capabilities=engine.capabilities,
        mode=mode,
        thinking_budget=None,
        sampling_params=sampling,
        seed=limits.whole(options.seed, words("tabs.experiment.seed"), 0, 2**53),
        router_scores=False,
    )
    return with_edits(request, edits), controls, control_seed
