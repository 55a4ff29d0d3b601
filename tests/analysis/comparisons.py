"""Comparisons for tests of figures: simulated groups, tested, with a plan that names them. Knows no files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.comparing import Comparison
from analysis.contrast import contrast
from analysis.findings import finding
from analysis.recordings import Plan
from analysis.shares import Shares
from analysis.trace import LayerSpec, RouterSpec
from tests.make_calibration import Scene, simulate


def compared(
    shares: Shares, groups: tuple[str, str] = ("thinking", "non-thinking"), min_count: int = 10, by: str = "mode"
) -> Comparison:
    """The comparison of two simulated groups, 2,000 permutations."""
    tested = contrast(shares, 2000, min_count=min_count)
    phases = ("generated", "generated")
    plan = Plan(groups, phases, (), shares.paired)
    clustered = any(shares.clusters[0])
    return Comparison(
        by, "topic" if clustered else None, 0, plan, "none", tested, None, finding(tested, groups, phases)
    )


def planted(**scene: object) -> Shares:
    """Two groups that differ in a few experts."""
    return simulate(Scene(**{"prompts": 30, "planted": 2, "effect": 2.0, **scene}), 0)[0]


def uneven(shares: Shares, fewer: int = 4) -> Shares:
    """The same with its first layer holding ``fewer`` experts: what the others had is theirs no longer."""
    spec = shares.spec
    layers = (
        LayerSpec(3, fewer, 1),
        *(LayerSpec(7 + i, r.num_experts, r.top_k) for i, r in enumerate(spec.layers[1:])),
    )
    counts = tuple(c.copy() for c in shares.counts)
    for side in counts:
        side[:, 0, fewer:] = 0
    first, second = (np.divide(c, c.sum(axis=2, keepdims=True)) for c in counts)
    return replace(shares, spec=RouterSpec(layers), first=first, second=second, counts=counts)
