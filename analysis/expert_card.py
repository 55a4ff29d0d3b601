"""One expert as the evidence shows it: how often it is used, whom it works with, whether thinking changes that.

Knows pools of traces (one, or several of the same model) and one expert of one layer. Does not know single tokens:
those are in ``expert_tokens``. Rows of a pool describe it; only ``sensitivity`` tests, with the prompt as its unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.coactivation import coactivation_lift, pair_counts
from analysis.contrast import Contrast, contrast, selections
from analysis.errors import BadValue
from analysis.pooling import Traces, as_traces, one_layer
from analysis.recordings import Entry, plan
from analysis.shares import measure
from analysis.sources import TraceReading
from analysis.statistic import Statistic
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace

PHASES = ("prompt", "thinking", "answer")
MODES = ("thinking", "non-thinking")
MIN_TOKENS = 10  # tokens of either expert, below which a pair is not measured: rare experts give wild ratios
PERMUTATIONS = 10_000
_DRAWS = 200


def checked_expert(spec: RouterSpec, layer: int, expert: int) -> LayerSpec:
    """The router of ``layer``, the model's own number.

    Raises:
        BadValue: there is no such layer, or it has no such expert.
    """
    if layer not in spec.layer_numbers:
        numbers = spec.layer_numbers
        raise BadValue.said("no_layer", layer=layer, first=numbers[0], last=numbers[-1])
    router = spec.layers[spec.position(layer)]
    if not 0 <= expert < router.num_experts:
        raise BadValue.said("no_expert", layer=layer, expert=expert, last=router.num_experts - 1)
    return router


def use_share(traces: Traces, layer: int, expert: int, phase: str = "all") -> Statistic:
    """Share of the tokens in ``phase`` that use the expert: one number in [0, 1], NaN without tokens; chance k / E.

    Raises:
        BadValue: no traces, traces of different routers, no such phase, layer or expert.
    """
    found = as_traces(traces)
    router = checked_expert(found[0].spec, layer, expert)
    position = found[0].spec.position(layer)
    used = n = 0
    for trace in found:
        rows = trace.rows_in(phase)
        n += int(np.count_nonzero(rows))
        used += int(np.count_nonzero(trace.expert_ids[rows, position] == expert))
    value = used / n if n else np.nan
    chance = router.top_k / router.num_experts
    return Statistic("expert use", np.array(value), unit="share of tokens", chance=chance, n=n, phase=phase)


def use_by_phase(traces: Traces, layer: int, expert: int) -> list[Statistic]:
    """``use_share`` in every phase of ``PHASES`` that has tokens."""
    shares = [use_share(traces, layer, expert, phase) for phase in PHASES]
    return [share for share in shares if share.n]


def use_by_label(labelled: Mapping[str, Traces], layer: int, expert: int, phase: str = "all") -> dict[str, Statistic]:
    """``use_share`` of the traces under each label, where it has tokens. It says what is used there, not why: texts of
    one label have their own words."""
    shares = {label: use_share(traces, layer, expert, phase) for label, traces in labelled.items()}
    return {label: share for label, share in shares.items() if share.n}


@dataclass(frozen=True)
class Partners:
    """Whom an expert works with, the closest first.

    Attributes:
        lift: axis partner (expert ids): how many times as often both are used by one token as if they were
            independent; ``chance`` and range as in ``coactivation_lift``; ``n`` the tokens.
        together: (P,) tokens that used both.
        by_luck: (P,) the mean lift at that place if the same experts, each as often used, were put together at
            random: the closest of many looks close by luck alone.
        tokens: tokens that used the expert.
    """

    lift: Statistic
    together: np.ndarray
    by_luck: np.ndarray
    tokens: int


def partners(traces: Traces, layer: int, expert: int, phase: str = "all", minimum: int = MIN_TOKENS) -> Partners:
    """The co-activation lift of the expert with every other one of its layer that has ``minimum`` tokens; none where it
    has fewer itself. Source: OLMoE (Muennighoff et al., 2024), expert co-activation.

    Raises:
        BadValue: as ``use_share``.
    """
    checked_expert(as_traces(traces)[0].spec, layer, expert)
    alone = [one_layer(trace, layer) for trace in as_traces(traces)]
    lift = coactivation_lift(alone, phase, minimum)
    counts = np.sum([pair_counts(trace, trace.rows_in(phase))[0] for trace in alone], axis=0)
    values = lift.values[0, expert]
    order = np.argsort(-np.nan_to_num(values, nan=-1), kind="stable")[: np.count_nonzero(np.isfinite(values))]
    own, others = int(counts[expert, expert]), np.diag(counts)[order]
    assert lift.chance is not None
    return Partners(
        Statistic(
            lift.name,
            values[order],
            ("partner",),
            {"partner": order.tolist()},
            unit=lift.unit,
            chance=float(np.asarray(lift.chance)[0, 0, 0]),
            n=lift.n,
            phase=phase,
        ),
        counts[expert][order],
        _lift_by_luck(own, others, lift.n),
        own,
    )


def _lift_by_luck(own: int, others: np.ndarray, n: int) -> np.ndarray:
    """(P,) mean sorted lifts of partners with ``others`` of n tokens, ``own`` of which are drawn at random."""
    if not len(others):
        return np.zeros(0)
    random = np.random.default_rng([own, n, len(others)])
    drawn = random.hypergeometric(own, n - own, np.broadcast_to(others, (_DRAWS, len(others))))
    return np.sort(drawn * n / (own * others), axis=1)[:, ::-1].mean(axis=0)


def prompts_by_mode(traces: Sequence[RoutingTrace]) -> dict[str, int]:
    """How many different prompts were answered in each mode of ``MODES``."""
    found: dict[str, set[str]] = {mode: set() for mode in MODES}
    for trace in traces:
        if trace.provenance.get("mode") in found:
            found[trace.provenance["mode"]].add(_asked(trace))
    return {mode: len(asked) for mode, asked in found.items()}


def thinking_contrast(
    traces: Sequence[RoutingTrace], phase: str = "generated", permutations: int = PERMUTATIONS, seed: int = 0
) -> Contrast:
    """Thinking against non-thinking over the prompts of ``traces``, all experts at once (``contrast``), paired by
    prompt where the same were asked in both modes.

    Raises:
        BadValue: fewer than 2 prompts in a mode, or traces of different routers.
    """
    modes = [str(trace.provenance.get("mode")) for trace in traces]
    entries = [
        Entry(Path(str(i)), trace.prompt, _asked(trace), "", {"mode": mode})
        for i, (trace, mode) in enumerate(zip(traces, modes, strict=True))
        if mode in MODES
    ]
    chosen = plan(entries, "mode", phase, groups=MODES)
    measured = measure(chosen, opened=lambda entry: TraceReading(traces[int(entry.path.name)]))
    return contrast(measured, permutations, seed)


@dataclass(frozen=True)
class Sensitivity:
    """How much more of its tokens an expert serves in thinking mode than in non-thinking mode.

    Attributes:
        difference: a single number in [−1, 1], the mean over prompts; chance 0, n prompts.
        first, second: the share of tokens in either mode, likewise.
        low, high: its interval at ``level``, corrected for all experts tested together.
        tokens: of all prompts together, in either mode.
        expected, needed: selections expected of the expert in the mode with fewer tokens, and how many the test needs
            there: the more, the less alike the modes are in length (``contrast.selections``).
        tested: the expert is selected often enough for that to hold.
        significant: at a false discovery rate of 5% among all tested.
        paired: the same prompts were asked in both modes.
    """

    difference: Statistic
    first: float
    second: float
    low: float
    high: float
    level: float
    tokens: tuple[int, int]
    expected: float
    needed: float
    tested: bool
    significant: bool
    paired: bool


def sensitivity(found: Contrast, layer: int, expert: int, phase: str = "generated") -> Sensitivity:
    """What ``thinking_contrast`` found of one expert, as shares of tokens (slots × k).

    Raises:
        BadValue: no such layer or expert.
    """
    router, position = checked_expert(found.shares.spec, layer, expert), found.shares.spec.position(layer)
    place = (position, expert)
    expected, needed = selections(found.shares)
    first, second = (
        float(side[(slice(None), *place)].mean()) * router.top_k for side in (found.shares.first, found.shares.second)
    )
    return Sensitivity(
        Statistic(
            "sensitivity to thinking",
            found.difference[place] * router.top_k,
            unit="share of tokens",
            chance=0.0,
            n=found.units,
            n_unit="prompts",
            phase=phase,
        ),
        first,
        second,
        float(max(-1.0, found.low[place] * router.top_k)),
        float(min(1.0, found.high[place] * router.top_k)),
        found.level,
        found.shares.rows,
        float(expected[place]),
        float(needed[position, 0]),
        bool(found.tested[place]),
        bool(found.significant[place]),
        found.shares.paired,
    )


def _asked(trace: RoutingTrace) -> str:
    """Everything that was asked, so that prompts after different conversations are told apart."""
    return json.dumps(trace.provenance.get("messages"), ensure_ascii=False, sort_keys=True, default=str)
