"""What an experiment measured, phase by phase: numbers only, so that neither the page nor the store has to keep the
traces they come from. Knows traces and edits; does not know words or figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import edited as measures
from analysis.statistic import Statistic
from analysis.trace import RoutingTrace
from app.engine.edit_rules import touched_experts
from app.ui.experiment_plan import PHASES, Arm


@dataclass(frozen=True)
class Reread:
    """The unedited answer, read again under the edits of one arm.

    Attributes:
        trace: its routing, the tokens in the phases they had.
        logprobs: ln p of every token; empty where the engine gives none.
    """

    trace: RoutingTrace
    logprobs: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Measures:
    """One phase of the unedited answer's text under each arm that it was read again for; the edit first.

    Attributes:
        arms: where these stand among the experiment's arms.
        layers: numbers of the layers that the edit names.
        changed, moved: ``sets_changed`` and ``load_moved`` of each, against the reading without an edit.
        noise, noise_moved: the same of the answer as it was written, against that reading.
        touched: ``touched_load`` of each; empty where no expert is named.
        log_prob: ``log_prob_change`` of each; empty where the engine gives no probabilities.
    """

    arms: tuple[int, ...]
    layers: frozenset[int]
    changed: tuple[Statistic, ...]
    moved: tuple[Statistic, ...]
    noise: Statistic
    noise_moved: Statistic
    touched: tuple[Statistic, ...]
    log_prob: tuple[Statistic, ...]


def measure(arms: Sequence[Arm], written: RoutingTrace, rereads: Mapping[int, Reread]) -> dict[str, Measures]:
    """Phase → what was measured in it; empty where the text was not read again both without and under the edit.

    Args:
        written: the unedited answer as it was generated.
        rereads: by the index of the arm.
    """
    if 0 not in rereads or 1 not in rereads:
        return {}
    return {phase: _measure(arms, written, rereads, phase) for phase in PHASES}


def _measure(arms: Sequence[Arm], written: RoutingTrace, rereads: Mapping[int, Reread], phase: str) -> Measures:
    base, spec = rereads[0], written.spec
    indices = tuple(sorted(index for index in rereads if index))
    read = [rereads[index] for index in indices]
    experts = [
        [(layer, e) for layer, named in touched_experts(arms[index].edits, spec).items() for e in named]
        for index in indices
    ]
    named = {edit.layer for edit in arms[1].edits}
    layers = spec.layer_numbers if None in named else [layer for layer in named if layer is not None]
    return Measures(
        indices,
        frozenset(layers),
        tuple(measures.sets_changed(base.trace, one.trace, phase) for one in read),
        tuple(measures.load_moved(base.trace, one.trace, phase) for one in read),
        measures.sets_changed(written, base.trace, phase),
        measures.load_moved(written, base.trace, phase),
        tuple(
            measures.touched_load(base.trace, one.trace, mine, phase)
            for one, mine in zip(read, experts, strict=True)
            if mine
        ),
        tuple(
            measures.log_prob_change(written, base.logprobs, one.logprobs, phase)
            for one in read
            if base.logprobs and one.logprobs
        ),
    )
