"""How a router turns scores into a choice of experts and gate weights, and how it is found from what it did.

Knows tensors and formulas, not modules or models. A ``Gating`` is never taken from a model's name: ``explain``
tries every formula of the field on observed rows and keeps the one that reproduces them, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import nn

TIE, COARSE_TIE = 1e-6, 2.0**-7
"""Scores closer than this (relative to the larger) are a tie: either expert may have been chosen. The coarse one is for
routers that rank scores of 16 bits."""

SCORES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda logits: torch.softmax(logits, -1),
    "sigmoid": torch.sigmoid,
    "sqrtsoftplus": lambda logits: nn.functional.softplus(logits).sqrt(),
    "sparsemixer": lambda logits: torch.softmax(logits, -1),
}
"""What an expert's score is, by the name of the scoring."""


@dataclass(frozen=True, eq=False)
class Gating:
    """One router's formula.

    Attributes:
        scoring: "softmax" (Shazeer et al., arXiv 1701.06538; a softmax over the k chosen alone, as in gpt-oss and
            Granite, is the same as ``softmax`` renormalised), "sigmoid" (DeepSeek-V3, arXiv 2412.19437),
            "sqrtsoftplus" (DeepSeek-V4) or "sparsemixer" (PhiMoE, arXiv 2409.12136: two softmaxes, each over the
            experts close to the best one left).
        gives: whether the router hands out "logits", or already "probabilities" of the softmax.
        renormalised: the k weights are divided by their sum.
        scale: factor on the weights after that.
        bias: (E,) added for the choice alone, or None.
        bias_on: what it is added to: "scores", or "logits".
        expert_scale: (E,) factor on each expert's own weight, or None.
        groups, groups_used, group_score: only experts of the best ``groups_used`` of ``groups`` equal groups may be
            chosen, a group standing for its best expert ("max") or its best two ("top2").
        jitter: width of "close to the best" in sparsemixer.
        tie: scores closer than this, relative to the larger, count as equal.
    """

    scoring: str = "softmax"
    gives: str = "logits"
    renormalised: bool = True
    scale: float = 1.0
    bias: torch.Tensor | None = None
    bias_on: str = "scores"
    expert_scale: torch.Tensor | None = None
    groups: int = 1
    groups_used: int = 1
    group_score: str = "top2"
    jitter: float = 0.01
    tie: float = TIE

    @property
    def ranks_otherwise(self) -> bool:
        """The choice ranks by something else than the probabilities."""
        return self.bias is not None or self.scoring in ("sigmoid", "sqrtsoftplus")

    def key(self) -> tuple[object, ...]:
        """Equal for gatings whose scores and choice differ in nothing but the values of the bias."""
        names = ("scoring", "gives", "bias_on", "groups", "groups_used", "group_score")
        return (self.bias is None, *(getattr(self, name) for name in names))

    @staticmethod
    def stacked(gatings: Sequence[Gating]) -> Gating:
        """One gating for (…, L, E) scores of L layers with the same ``key``; for scores and choice, not for weights."""
        biases = [g.bias.cpu() for g in gatings if g.bias is not None]
        return replace(gatings[0], bias=torch.stack(biases) if biases else None)

    def logits(self, given: torch.Tensor) -> torch.Tensor:
        """(N, E) float32 logits from what the router hands out."""
        return given.float().clamp_min(1e-38).log() if self.gives == "probabilities" else given.float()

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, E), not negative: each expert's softmax probability, its sigmoid, …"""
        return SCORES[self.scoring](logits)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, E), rows summing to 1: softmax, or each score's share of the row (as in DeepSeek-V3's balance loss)."""
        scores = self.scores(logits)
        return scores / scores.sum(-1, keepdim=True) if self.scoring in ("sigmoid", "sqrtsoftplus") else scores

    def ranked(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, E) scores and bias: what experts are ranked by, before any limit to groups."""
        bias = 0.0 if self.bias is None else self.bias.to(logits.device)
        return self.scores(logits + bias) if self.bias_on == "logits" else self.scores(logits) + bias

    def choice_scores(self, logits: torch.Tensor, barred: torch.Tensor | None = None) -> torch.Tensor:
        """(N, E), what the choice ranks by: scores and bias; -inf for experts outside the groups used, and for those
        that are ``barred`` (N, E)."""
        ranked = self.ranked(logits)
        if barred is not None:
            ranked = ranked.masked_fill(barred, -torch.inf)
        return self.within_groups(ranked)

    def within_groups(self, ranked: torch.Tensor) -> torch.Tensor:
        """(N, E) ``ranked``, -inf for experts outside the groups used."""
        if self.groups <= 1:
            return ranked
        best = self._group_scores(ranked)
        used = torch.zeros_like(best, dtype=torch.bool).scatter_(-1, best.topk(self.groups_used, -1).indices, True)
        return ranked.unflatten(-1, (self.groups, -1)).masked_fill(~used.unsqueeze(-1), -torch.inf).flatten(-2)

    def _group_scores(self, ranked: torch.Tensor) -> torch.Tensor:
        """(N, groups), what the choice of groups ranks by."""
        grouped = ranked.unflatten(-1, (self.groups, -1))
        best = 1 if self.group_score == "max" else min(2, grouped.shape[-1])
        return grouped.topk(best, -1).values.sum(-1)

    def ties(self, logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) bool twice: the k-th expert and the next one have the same score; the last group used and the next."""
        groups = torch.zeros(logits.shape[:-1], dtype=torch.bool, device=logits.device)
        if self.groups > 1:
            groups = _tied(self._group_scores(self.ranked(logits)), self.groups_used, self.tie)
        return _tied(self.choice_scores(logits), k, self.tie), groups

    def follows(self, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """(N, K) bool: the expert is one of the K best of its row, or ties with the last of them; a row that names an
        expert twice has none. Where groups tie, any row will do."""
        ids = ids.long()
        ranked = self.choice_scores(logits)
        last = ranked.topk(ids.shape[-1], -1).values[..., -1:]
        good = ranked.gather(-1, ids) >= last - self.tie * last.abs().clamp_min(1e-30)
        distinct = ids.sort(-1).values.diff(dim=-1).ne(0).all(-1, keepdim=True)
        return (good | self.ties(logits, ids.shape[-1])[1].unsqueeze(-1)) & distinct

    def weights(self, logits: torch.Tensor, ids: torch.Tensor, used: torch.Tensor | None = None) -> torch.Tensor:
        """(N, K) float32 gate weights of ``ids`` (N, K); zero where ``used`` (N, K) is false."""
        ids = ids.long()
        if self.scoring == "sparsemixer":
            weights = self._sparsemixer(logits, ids)
        else:
            weights = self.scores(logits).gather(-1, ids)
        if used is not None:
            weights = weights.where(used, 0.0)
        if self.renormalised:
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-20)
        if self.expert_scale is not None:
            weights = weights * self.expert_scale.to(weights.device)[ids]
        return weights * self.scale

    def _sparsemixer(self, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Each weight is its expert's softmax among those left whose logit is within twice ``jitter`` of it, relative
        to the larger magnitude; then the expert is left out."""
        left, found = logits.clone(), []
        for rank in range(ids.shape[-1]):
            chosen = ids[:, rank : rank + 1]
            best = logits.gather(-1, chosen)
            far = (best - logits) / logits.abs().maximum(best) > 2 * self.jitter
            found.append(torch.softmax(left.masked_fill(far, -torch.inf), -1).gather(-1, chosen))
            left = left.scatter(-1, chosen, -torch.inf)
        return torch.cat(found, -1)


def _tied(scores: torch.Tensor, k: int, tie: float) -> torch.Tensor:
    """(N,) bool: the k-th and the next score are equal up to rounding, so that either may have been chosen."""
    if scores.shape[-1] <= k:
        return torch.zeros(scores.shape[:-1], dtype=torch.bool, device=scores.device)
    top = scores.topk(k + 1, -1).values
    return (top[..., k - 1] - top[..., k]).abs() <= tie * top[..., k - 1].abs().clamp_min(1e-30)


def explain(
    given: torch.Tensor,
    ids: torch.Tensor,
    weights: torch.Tensor,
    *,
    vectors: Mapping[str, torch.Tensor] | None = None,
    groups: tuple[int, int] = (1, 1),
    scales: tuple[float, ...] = (),
    jitter: float = 0.01,
    any_choice: bool = False,
) -> Gating | None:
    """The formula that reproduces what a router was seen to do, or None.

    Args:
        given: (N, E) what it hands out, in its own dtype.
        ids, weights: (N, K) what the experts were called with.
        vectors: (E,) tensors of the module by name: candidates for a correction bias or a scale of each expert.
        groups: (groups, groups used), where the module speaks of them.
        scales: factors that the module or its config names; a measured factor within 2% of one is taken to be it.
        jitter: sparsemixer's, where the module names one.
        any_choice: only the weights need to follow, however the ids came about.
    """
    tolerance = 2e-2 if _is_coarse(given) or _is_coarse(weights) else 1e-3
    coarsest = COARSE_TIE if _is_coarse(given) else TIE
    for tie in sorted({TIE, coarsest}):
        best: tuple[float, Gating] | None = None
        for gating in _hypotheses(given, vectors or {}, groups, jitter, ids.shape[-1]):
            gating = replace(gating, tie=tie)
            logits = gating.logits(given)
            if not any_choice and gating.follows(logits, ids).float().mean() < 0.999:
                continue
            expected, seen = gating.weights(logits, ids), weights.float()
            scale = _scale(expected, seen, scales, tolerance)
            error = float(((expected * scale - seen).abs() / seen.abs().clamp_min(1e-2 * scale)).max())
            if error <= tolerance and (best is None or error < best[0] * 0.9 - 1e-7):
                best = error, replace(gating, scale=scale)
        if best:
            return replace(best[1], tie=coarsest)
    return None


def _is_coarse(values: torch.Tensor) -> bool:
    return values.dtype in (torch.bfloat16, torch.float16)


def _hypotheses(
    given: torch.Tensor, vectors: Mapping[str, torch.Tensor], groups: tuple[int, int], jitter: float, k: int
) -> Iterator[Gating]:
    """Every formula worth trying, those that use what the module has before those that leave it out."""
    sums_to_one = bool((given >= 0).all()) and torch.allclose(given.float().sum(-1), torch.ones(()), atol=1e-2)
    biases = [v for n, v in vectors.items() if "bias" in n.rsplit(".", 1)[-1] and n != "bias"]
    scales = [v for n, v in vectors.items() if "scale" in n.rsplit(".", 1)[-1]]
    grouped = [(1, 1, "top2")]
    if groups[0] > 1 and given.shape[-1] % groups[0] == 0 and groups[1] * (given.shape[-1] // groups[0]) >= k:
        grouped = [(*groups, "top2"), (*groups, "max"), *grouped]
    biased = [(b, on) for on in ("scores", "logits") for b in biases]
    for (bias, bias_on), scale, renormalised, scoring, (count, used, score) in product(
        [*biased, (None, "scores")], [*scales, None], (True, False), SCORES, grouped
    ):
        if scoring != "softmax" and sums_to_one or scoring == "sparsemixer" and renormalised:
            continue
        yield Gating(
            scoring=scoring,
            gives="probabilities" if sums_to_one else "logits",
            renormalised=renormalised,
            bias=bias,
            bias_on=bias_on,
            expert_scale=scale,
            groups=count,
            groups_used=used,
            group_score=score,
            jitter=jitter,
        )


def _scale(expected: torch.Tensor, seen: torch.Tensor, named: tuple[float, ...], tolerance: float) -> float:
    """The factor between them: one that the module names where it fits, else the measured one."""
    large = expected > expected.amax(-1, keepdim=True) * 0.5
    measured = float((seen[large] / expected[large]).median()) if bool(large.any()) else 1.0
    near = [s for s in (1.0, *named) if abs(measured - s) <= tolerance * abs(s)]
    return min(near, key=lambda s: abs(measured - s)) if near else measured
