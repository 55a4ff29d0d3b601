"""Simulated groups of prompts for tests of ``analysis.contrast``, and a table of its error rates and power.

Usage::

    python -m tests.make_calibration

Loads are heavy-tailed, prompts differ from each other, the sides differ in length, prompts may come in clusters that
share their peculiarities. Everything is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.contrast import enough_selections, permute
from analysis.multiple import benjamini_hochberg
from analysis.permutation import PermutationTest
from analysis.shares import Shares
from tests.make_traces import make_spec


@dataclass(frozen=True)
class Scene:
    """What to simulate. ``rows`` are the shortest and longest answer of each side; ``effect`` is the relative change
    of the planted experts' share on the first side; ``clusters`` is 0 or the prompts in each."""

    prompts: int = 40
    layers: int = 2
    experts: int = 32
    top_k: int = 4
    rows: tuple[tuple[int, int], tuple[int, int]] = ((60, 400), (20, 60))
    spread: float = 100.0  # Dirichlet concentration of a prompt around the base load; small for very different prompts
    clusters: int = 0
    paired: bool = True
    planted: int = 0
    effect: float = 0.0


def simulate(scene: Scene, seed: int) -> tuple[Shares, np.ndarray, np.ndarray]:
    """Two groups, and twice (L, E) bool: the planted experts, and the busiest one of each layer, which gives what they
    take, so that all others are truly the same on both sides."""
    random = np.random.default_rng(seed)
    shape = scene.layers, scene.experts
    base = random.gamma(0.7, size=shape) + 0.02  # a few experts take much of a layer, many take little
    base /= base.sum(axis=1, keepdims=True)
    raised, giver = np.zeros(shape, bool), np.zeros(shape, bool)
    for layer in range(scene.layers):
        order = np.argsort(base[layer])
        middle = order[scene.experts // 2 : scene.experts * 3 // 4]
        raised[layer, random.choice(middle, scene.planted, replace=False)] = True
        giver[layer, order[-1]] = scene.planted > 0
    change = base * raised * scene.effect
    change -= giver * change.sum(axis=1, keepdims=True)
    sides, counts = [], []
    for side in range(2):
        load = np.maximum(base + change * (side == 0), 1e-4)
        lengths = random.integers(*scene.rows[side], scene.prompts)
        drawn = np.empty((scene.prompts, *shape), np.int32)
        for p in range(scene.prompts):
            if not scene.clusters or p % scene.clusters == 0:
                own = random.gamma(load * scene.spread) + 1e-9
                own /= own.sum(axis=1, keepdims=True)
            drawn[p] = random.multinomial(lengths[p] * scene.top_k, own)
        counts.append(drawn)
        sides.append(drawn / (lengths * scene.top_k)[:, None, None])
    names = [str(p // scene.clusters) for p in range(scene.prompts)] if scene.clusters else [""] * scene.prompts
    other = names if scene.paired or not scene.clusters else [f"b{name}" for name in names]
    none = np.zeros((0, 2, *shape), np.int32)
    rows = [int(c.sum()) // scene.top_k // scene.layers for c in counts]
    shares = Shares(
        make_spec(scene.layers, scene.experts, scene.top_k),
        sides[0],
        sides[1],
        (counts[0], counts[1]),
        (none, none),
        (names, other),
        (rows[0], rows[1]),
        [],
        None,
        scene.paired,
    )
    return shares, raised, giver


def run_test(shares: Shares, permutations: int, seed: int, clusters: bool = True) -> tuple[PermutationTest, np.ndarray]:
    """The permutation test that ``contrast`` makes, alone, and (L, E) bool of the experts tested."""
    enough = enough_selections(shares)
    labels = shares.clusters if clusters else ([""] * len(shares.first), [""] * len(shares.second))
    return permute(replace(shares, clusters=labels), enough, permutations, seed), enough


def rates(scene: Scene, runs: int, permutations: int = 999, clusters: bool = True) -> dict[str, float]:
    """Over ``runs`` simulations: ``family``, how often max-T reports any null expert at 0.05; ``discovery``, the mean
    share of null experts among those that Benjamini–Hochberg reports; ``expert`` and ``layer``, how often p < 0.05 for
    null ones (of layers: where nothing is planted); ``power``, the share of planted and tested experts reported;
    ``tested``, the share of experts tested."""
    family, discovery, expert, layer, power, share = [], [], [], [], [], []
    for seed in range(runs):
        shares, planted, giver = simulate(scene, seed)
        test, enough = run_test(shares, permutations, seed, clusters)
        null = enough & ~planted & ~giver
        q = np.ones(enough.shape)
        q[enough] = benjamini_hochberg(test.p[enough])
        reported = enough & (q < 0.05)
        family.append(bool((test.p_family[null] < 0.05).any()))
        discovery.append((reported & null).sum() / max(reported.sum(), 1))
        expert.append((test.p[null] < 0.05).mean() if null.any() else 0.0)
        layer.append((test.p_layer < 0.05).mean())
        power.append(reported[planted & enough].mean() if (planted & enough).any() else 0.0)
        share.append(enough.mean())
    names = ("family", "discovery", "expert", "layer", "power", "tested")
    return {n: float(np.mean(v)) for n, v in zip(names, (family, discovery, expert, layer, power, share), strict=True)}


FAR_APART = ((100, 600), (10, 30))
NULLS = {
    "pairs, unequal lengths": Scene(),
    "pairs, lengths far apart": Scene(rows=FAR_APART),
    "pairs in clusters": Scene(prompts=100, clusters=5, spread=40),
    "unpaired, unequal lengths": Scene(paired=False),
    "unpaired in clusters": Scene(prompts=100, clusters=5, spread=40, paired=False),
}


def main() -> None:
    """Print the table."""
    print("null data, nominal rate 0.05, 400 runs           family  discovery  expert  layer  tested")
    for name, scene in NULLS.items():
        r = rates(scene, 400)
        values = (r[k] for k in ("family", "discovery", "expert", "layer", "tested"))
        print(f"{name:48}", *(f"{v:7.3f}" for v in values))
    print("\nplanted: 3 of 32 experts a layer, 100 runs        prompts  change  power  discovery")
    for prompts in (10, 20, 40, 100, 200):
        for effect in (0.1, 0.25, 0.5, 1.0):
            r = rates(Scene(prompts=prompts, planted=3, effect=effect), 100)
            print(f"{'':48}{prompts:8} {effect:+7.0%} {r['power']:6.2f} {r['discovery']:9.3f}")


if __name__ == "__main__":
    main()
