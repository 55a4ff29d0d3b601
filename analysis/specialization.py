"""What experts are used for: by the domain of the text, and by the token itself.

Knows labelled traces. Rows of all given traces are pooled: these numbers describe a sample, they test nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis import balance, counts
from analysis.metrics import counts_with_absent
from analysis.pooling import Traces, as_traces, clean_ids, first_choice
from analysis.statistic import Statistic
from analysis.trace import RouterSpec

_DRAWN = 64  # occurrences up to which the chance level is drawn, beyond them computed


def domain_specialization(domains: Mapping[str, Traces], phase: str = "all") -> Statistic:
    """Share of a domain's tokens that use each expert; ``domains`` names the traces of each.

    Axes domain, layer, expert. In [0, 1], chance k / E; range, source and what it does not say stand with
    ``counts.domain_specialization``. A domain's tokens are its rows in ``phase``; a domain without one gives NaN.

    Raises:
        BadValue: no domain, a domain without traces, or traces of different routers.
    """
    found = {domain: as_traces(traces) for domain, traces in domains.items()}
    every = as_traces([trace for traces in found.values() for trace in traces])
    tables, tokens = {}, []
    for domain, traces in found.items():
        rows = [trace.rows_in(phase) for trace in traces]
        tables[domain] = np.sum([counts_with_absent(t, chosen) for t, chosen in zip(traces, rows, strict=True)], axis=0)
        tokens.append(sum(int(np.count_nonzero(chosen)) for chosen in rows))
    spec = every[0].spec
    top_k = [layer.top_k for layer in spec.layers]
    return counts.domain_specialization(tables, top_k, spec.layer_numbers, tokens, phase)


def risk_difference(first: Traces, second: Traces, phase: str = "all", second_phase: str | None = None) -> Statistic:
    """A1 / N1 − A2 / N2: how many more of the first condition's tokens use each expert. Axes layer, expert.

    In [−1, 1], changes sign with the order, chance 0; ``second_phase`` where the second condition is another phase. It
    describes: tokens depend on each other, so no z-score of it is honest, and a test takes prompts as its unit. n is
    the smaller number of tokens; NaN where either has none. Source: SteerMoE (Fayyaz et al., 2025).

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    spec = as_traces((*as_traces(first), *as_traces(second)))[0].spec
    one = domain_specialization({"first": first}, phase)
    other = domain_specialization({"second": second}, phase if second_phase is None else second_phase)
    return Statistic(
        "risk difference",
        one.values[0] - other.values[0],
        ("layer", "expert"),
        {"layer": spec.layer_numbers},
        unit="share of tokens",
        chance=0.0,
        n=min(one.n, other.n),
        phase=phase if second_phase is None else f"{phase} − {second_phase}",
    )


@dataclass(frozen=True)
class VocabularySpecialization:
    """How far each token's id decides its expert.

    Attributes:
        share: axes token, layer: the largest share of the token's occurrences that any one expert takes; ``chance``,
            the same shape, is what uniform random routing gives for as many occurrences; ``n`` all occurrences.
        expert: (T, L) the expert with that share, the lowest of several; −1 where the share is NaN.
        occurrences: (T,) how often each token occurs.
    """

    share: Statistic
    expert: np.ndarray
    occurrences: np.ndarray


def vocabulary_specialization(
    traces: Traces, phase: str = "all", minimum: int = 10, first_only: bool = False
) -> VocabularySpecialization:
    """N_{x,E} / N_x of the expert that takes most of token x, for each id that occurs ``minimum`` times or more.

    In [0, 1]; high where routing follows the word rather than what it means in its context. Few occurrences make any
    routing look special, hence the minimum and a chance level by count: random routing to one of 128 experts gives 50%
    at 2 occurrences and 13% at 10. ``first_only`` counts each token's first choice instead of all k experts. NaN where
    a token used no expert of a layer. Source: OLMoE (Muennighoff et al., 2024), vocabulary specialization.

    Raises:
        BadValue: no traces, traces of different routers, or no such phase.
    """
    found = as_traces(traces)
    spec = found[0].spec
    experts = spec.num_experts
    masks = [trace.rows_in(phase) for trace in found]
    tokens = [t.token_ids[t.row_start : t.row_start + t.num_rows][m] for t, m in zip(found, masks, strict=True)]
    ids, place, times = np.unique(np.concatenate(tokens), return_inverse=True, return_counts=True)
    enough = times >= max(1, minimum)
    ids, new_place = ids[enough], np.cumsum(enough) - 1
    kept = enough[place]
    place = new_place[place[kept]]
    rows = [
        first_choice(t)[m][..., None] if first_only else clean_ids(t.expert_ids[m], experts)
        for t, m in zip(found, masks, strict=True)
    ]
    chosen = np.concatenate(rows)[kept]
    shape = (len(ids), spec.num_moe_layers)
    share, expert = np.full(shape, np.nan), np.full(shape, -1)
    width = experts + 1
    for layer in range(spec.num_moe_layers):
        cells = (place[:, None] * width + chosen[:, layer]).ravel()
        table = np.bincount(cells, minlength=len(ids) * width).reshape(-1, width)[:, :experts]
        if not table.size:
            continue
        most, used = table.max(axis=1), table.any(axis=1)
        share[used, layer] = most[used] / times[enough][used]
        expert[used, layer] = table.argmax(axis=1)[used]
    statistic = Statistic(
        "vocabulary specialization",
        share,
        ("token", "layer"),
        {"token": ids.tolist(), "layer": spec.layer_numbers},
        unit="share of the token's occurrences",
        chance=_chance_by_count(times[enough], spec, first_only),
        n=int(times[enough].sum()),
        phase=phase,
    )
    return VocabularySpecialization(statistic, expert, times[enough])


@lru_cache(maxsize=8192)
def chance_of_largest_share(occurrences: int, experts: int, top_k: int) -> float:
    """The mean largest share of ``occurrences`` tokens that one expert takes when each uses ``top_k`` at random.

    Drawn up to 64 occurrences; beyond, the largest of ``experts`` binomial counts, as if they were independent.
    """
    if occurrences <= _DRAWN:
        return top_k * balance.by_chance(_largest, occurrences, experts, top_k)
    p, counted = top_k / experts, np.arange(1, occurrences)
    if p >= 1:
        return 1.0
    odds = np.log((occurrences - counted + 1) / counted * (p / (1 - p)))
    log_mass = occurrences * np.log1p(-p) + np.concatenate([[0.0], np.cumsum(odds)])
    below = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)  # P(count ≤ m), m = 0 … occurrences − 1
    return float((1 - below**experts).sum() / occurrences)


def _chance_by_count(times: np.ndarray, spec: RouterSpec, first_only: bool) -> np.ndarray:
    chance = np.empty((len(times), spec.num_moe_layers))
    for position, layer in enumerate(spec.layers):
        k = 1 if first_only else layer.top_k
        chance[:, position] = [chance_of_largest_share(int(n), layer.num_experts, k) for n in times]
    return chance


def _largest(load: np.ndarray) -> float:
    return float(load.max())
