"""One MoE layer: its modules, where its routing stands in their calls, and its formula.

Knows modules and tensors. Searches nothing: how layers are found is in ``router``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from analysis.trace import LayerSpec, RouterSpec
from app.engine.gating import Gating

Place = tuple[int, str]
"""Where a value stands in a call: its position, or its name where it is given by name."""


@dataclass(frozen=True)
class ExpertsCall:
    """Where hidden states (N, H), expert ids (N, K) and gate weights (N, K) stand in a call of an experts module."""

    hidden: Place
    ids: Place
    weights: Place

    @property
    def by_name(self) -> bool:
        """Ids or weights are given by name."""
        return bool(self.ids[1] or self.weights[1])

    def routing(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The executed ids and weights."""
        return _take(args, kwargs, self.ids), _take(args, kwargs, self.weights)

    def tokens(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
        return _take(args, kwargs, self.hidden)

    def make(self, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> tuple[list[Any], dict[str, Any]]:
        """Arguments of a new call."""
        given = {self.hidden: hidden, self.ids: ids, self.weights: weights}
        ordered = sorted((place, value) for place, value in given.items() if not place[1])
        return [v for _, v in ordered], {place[1]: v for place, v in given.items() if place[1]}

    def rerouted(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], ids: torch.Tensor, weights: torch.Tensor
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with other ids and weights."""
        positions, names = list(args), dict(kwargs)
        for (position, name), value in ((self.ids, ids), (self.weights, weights)):
            if name:
                names[name] = value
            else:
                positions[position] = value
        return tuple(positions), names


@dataclass(frozen=True)
class MoELayer:
    """The modules of one MoE layer, and where in their calls its routing stands.

    Attributes:
        spec: what its router does, in words and numbers.
        gating: the same as arithmetic.
        block: the module that holds router and experts.
        router: hands out scores over all experts.
        scores_at: which of its outputs they are.
        linear: the scores are a linear map of the router's input by ``router.weight``, worked out in "float32" or in
            the "own" dtype of the weights; "" where they are not.
        experts: the module that holds all experts.
        call: how ``experts`` are called; None where they are given inputs already multiplied by dense gates.
        gates_at: which output of the router those dense gates are.
    """

    spec: LayerSpec
    gating: Gating
    block: nn.Module
    router: nn.Module
    scores_at: int
    linear: str
    experts: nn.Module
    call: ExpertsCall | None = None
    gates_at: int | None = None

    def scores(self, output: Any) -> torch.Tensor:
        """(N, E) what the router handed out, in the dtype it came in."""
        given = output if isinstance(output, torch.Tensor) else output[self.scores_at]
        return given.reshape(-1, self.spec.num_experts)

    def dense(self, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, E) ids and weights out of a router's dense gates, largest first, -1 where the gate is zero: cut to the
        top-k unless an edit raised it."""
        gates = output[self.gates_at].reshape(-1, self.spec.num_experts)
        weights, ids = gates.sort(-1, descending=True)
        return ids.masked_fill(weights == 0, -1), weights


def _take(args: Sequence[Any], kwargs: Mapping[str, Any], place: Place) -> Any:
    position, name = place
    return kwargs[name] if name else args[position]


def router_spec(layers: list[MoELayer]) -> RouterSpec:
    return RouterSpec(tuple(layer.spec for layer in layers))


def linear_scores(router: nn.Module, hidden: torch.Tensor, precision: str) -> torch.Tensor:
    """(N, E) float32: a router's input times its weights, plus its bias where it has one."""
    weight, bias = router.weight, getattr(router, "bias", None)
    dtype = torch.float32 if precision == "float32" else weight.dtype
    bias = None if bias is None else bias.to(dtype)
    return nn.functional.linear(hidden.to(dtype), weight.to(dtype), bias).float()  # type: ignore[arg-type,operator]
