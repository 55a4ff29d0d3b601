"""A statistic: a number, or a table of numbers, together with the ruler it is read by.

Metrics return it, figures draw it, reports print it. It does not know how it was computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Statistic:
    """Labelled values with their unit, chance level and sample size.

    Attributes:
        name: what it is, in the field's standard term ("expert load").
        values: array; one dimension per entry of ``axes``.
        axes: names of the dimensions, e.g. ``("layer", "expert")``; ``()`` for a single number.
        labels: axis name → the label of each position along it (layer numbers are the model's own).
        unit: "share of slots", "nats", "bits", "probability"; "" for a pure number.
        chance: the value under uniform random routing, a number or an array that broadcasts to ``values``; None
            where there is none.
        n: sample size.
        n_unit: what is counted by ``n``: "tokens", "prompts".
        phase: which tokens: "prompt", "thinking", "answer", "marker", "generated" or "all".
    """

    name: str
    values: np.ndarray
    axes: tuple[str, ...] = ()
    labels: dict[str, Sequence[Any]] = field(default_factory=dict)
    unit: str = ""
    chance: float | np.ndarray | None = None
    n: int = 0
    n_unit: str = "tokens"
    phase: str = "all"

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        object.__setattr__(self, "values", values)
        if values.ndim != len(self.axes):
            raise ValueError(f"{self.name}: {values.ndim} dimensions but axes {self.axes}")
        for axis, size in zip(self.axes, values.shape, strict=True):
            if axis in self.labels and len(self.labels[axis]) != size:
                raise ValueError(f"{self.name}: {size} values along {axis!r} but {len(self.labels[axis])} labels")

    def along(self, axis: str) -> list[Any]:
        """The labels along ``axis``; positions 0, 1, … where none were given."""
        return list(self.labels.get(axis, range(self.values.shape[self.axes.index(axis)])))
