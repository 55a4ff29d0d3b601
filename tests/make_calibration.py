"""Simulated groups of prompts for tests of ``analysis.contrast``, and a table of its error rates and power.

Usage::

    python -m tests.make_calibration                        # all tables, about half an hour
    python -m tests.make_calibration null size              # some of: null, size, power, controls, confirmation
    python -m tests.make_calibration shuffled recordings    # the modes of a recording of both modes, shuffled

Loads are heavy-tailed, prompts differ from each other, the sides differ in length, prompts may come in clusters that
share their peculiarities. Everything is seeded. docs/comparing.md shows what it prints.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from analysis.confirmation import confirm
from analysis.contrast import enough_selections, estimate, interval, permute
from analysis.multiple import benjamini_hochberg
from analysis.permutation import PermutationTest
from analysis.recordings import plan
from analysis.shares import Shares, measure
from analysis.sources import find_entries
from tests.make_controls import Texts, control_rates, opener, write_texts
from tests.make_traces import make_spec


@dataclass(frozen=True)
class Scene:
    """What to simulate. ``rows`` are the shortest and longest answer of each side; ``effect`` is the relative change
    of the planted experts' share on the first side; ``clusters`` is 0 or the prompts in each, ``uneven`` makes clusters
    of 1, 2, 3 … prompts instead."""

    prompts: int = 40
    layers: int = 2
    experts: int = 32
    top_k: int = 4
    rows: tuple[tuple[int, int], tuple[int, int]] = ((60, 400), (20, 60))
    spread: float = 100.0  # Dirichlet concentration of a prompt around the base load; small for very different prompts
    clusters: int = 0
    uneven: bool = False
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
    prompts = np.arange(scene.prompts)
    of = (np.sqrt(8 * prompts + 1) - 1) // 2 if scene.uneven else prompts // max(scene.clusters, 1)
    clustered = scene.uneven or scene.clusters > 0
    sides, counts = [], []
    for side in range(2):
        load = np.maximum(base + change * (side == 0), 1e-4)
        lengths = random.integers(*scene.rows[side], scene.prompts)
        drawn = np.empty((scene.prompts, *shape), np.int32)
        for p in range(scene.prompts):
            if not p or of[p] != of[p - 1]:
                own = random.gamma(load * scene.spread) + 1e-9
                own /= own.sum(axis=1, keepdims=True)
            drawn[p] = random.multinomial(lengths[p] * scene.top_k, own)
        counts.append(drawn)
        sides.append(drawn / (lengths * scene.top_k)[:, None, None])
    names = [str(int(c)) for c in of] if clustered else [""] * scene.prompts
    other = names if scene.paired or not clustered else [f"b{name}" for name in names]
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
    null ones (of layers: where nothing is planted); ``interval``, how often the 95% interval of a null expert has 0;
    ``power``, the share of planted and tested experts reported; ``tested``, the share of experts tested."""
    names = ("family", "discovery", "expert", "layer", "interval", "power", "tested")
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(runs):
        shares, planted, giver = simulate(scene, seed)
        test, enough = run_test(shares, permutations, seed, clusters)
        null = enough & ~planted & ~giver
        q = np.ones(enough.shape)
        q[enough] = benjamini_hochberg(test.p[enough])
        reported = enough & (q < 0.05)
        low, high = interval(*estimate(shares)[:3], 0.95)
        found["family"].append(bool((test.p_family[null] < 0.05).any()))
        found["discovery"].append((reported & null).sum() / max(reported.sum(), 1))
        found["expert"].append((test.p[null] < 0.05).mean() if null.any() else 0.0)
        found["layer"].append((test.p_layer < 0.05).mean())
        found["interval"].append(((low <= 0) & (high >= 0))[null].mean() if null.any() else 1.0)
        found["power"].append(reported[planted & enough].mean() if (planted & enough).any() else 0.0)
        found["tested"].append(enough.mean())
    return {name: float(np.mean(values)) for name, values in found.items()}


def confirmation_rates(scene: Texts, runs: int, permutations: int = 1999) -> dict[str, float]:
    """Over ``runs`` simulations with planted effects: the mean numbers ``discovered`` and ``confirmed``, and ``power``,
    the share of planted experts confirmed. (What is planted takes from the others, so that all differ a little.)"""
    names = ("discovered", "confirmed", "power")
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(runs):
        whole, texts, planted = write_texts(scene, seed)
        made = confirm(whole, partial(measure, opened=opener(texts)), permutations, seed)
        found["discovered"].append(float(made.discovered.sum()))
        found["confirmed"].append(float(made.confirmed.sum()))
        found["power"].append(float(made.confirmed[planted].mean()) if planted.any() else 0.0)
    return {name: float(np.mean(values)) for name, values in found.items()}


def shuffled_rates(folder: Path, control: str, runs: int, permutations: int = 9999) -> dict[str, float]:
    """A recording of both modes, the modes of each prompt exchanged at random in every run: the mean number of experts
    ``reported`` by Benjamini–Hochberg, the share of ``runs`` with any, ``family`` (with any by max-T), and the share of
    tested experts with p < 0.05."""
    shares = measure(plan(find_entries([folder])), control)
    enough, random = enough_selections(shares), np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ("reported", "runs", "family", "expert")}
    for seed in range(runs):
        swap = random.random(len(shares.first)) < 0.5
        first = np.where(swap[:, None, None], shares.second, shares.first)
        second = np.where(swap[:, None, None], shares.first, shares.second)
        test = permute(replace(shares, first=first, second=second), enough, permutations, seed)
        reported = int((benjamini_hochberg(test.p[enough]) < 0.05).sum())
        found["reported"].append(reported)
        found["runs"].append(reported > 0)
        found["family"].append(bool((test.p_family < 0.05).any()))
        found["expert"].append(float((test.p[enough] < 0.05).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


FAR_APART = ((100, 600), (10, 30))
NULLS = {
    "pairs, unequal lengths": Scene(),
    "pairs, lengths far apart": Scene(rows=FAR_APART),
    "pairs in clusters": Scene(prompts=100, clusters=5, spread=40),
    "pairs in clusters of unequal size": Scene(prompts=105, uneven=True, spread=40),
    "unpaired, unequal lengths": Scene(paired=False),
    "unpaired in clusters": Scene(prompts=100, clusters=5, spread=40, paired=False),
    "unpaired in clusters of unequal size": Scene(prompts=105, uneven=True, spread=40, paired=False),
}
LARGE = {"layers": 48, "experts": 128, "top_k": 8, "rows": ((60, 300), (40, 120))}
LARGE_NULLS = {
    "pairs": Scene(**LARGE),
    "pairs in clusters": Scene(**LARGE, prompts=60, clusters=3),
    "unpaired": Scene(**LARGE, paired=False),
    "unpaired in clusters": Scene(**LARGE, prompts=60, clusters=3, paired=False),
}
CONTROLLED = {
    "other words, token control": (Texts(), "token"),
    "quite other words, token control": (Texts(words=2.0), "token"),
    "other words, 12 prompts, token control": (Texts(prompts=(12, 12)), "token"),
    "other words, 60 against 12, token control": (Texts(prompts=(60, 12)), "token"),
    "drift and other lengths, position control": (
        Texts(words=0, drift=1.5, rows=((100, 400), (20, 100))),
        "position",
    ),
    "pairs, other words, token control": (Texts(prompts=(40, 40), paired=True), "token"),
}


def print_rates(title: str, scenes: dict[str, Scene], runs: int, permutations: int = 999) -> None:
    print(f"\n{title + f', {runs} runs':60} family  discovery  expert   layer  interval  tested")
    for name, scene in scenes.items():
        r = rates(scene, runs, permutations)
        values = (r[k] for k in ("family", "discovery", "expert", "layer", "interval", "tested"))
        print(f"{name:60}", *(f"{v:{w}.3f}" for v, w in zip(values, (6, 10, 7, 7, 9, 7), strict=True)), flush=True)


def main() -> None:
    """Print the tables: everything, or those named."""
    wanted = sys.argv[1:] or ["null", "size", "power", "controls", "confirmation"]
    if "null" in wanted:
        print_rates("no difference, 2 layers of 32 experts", NULLS, 1000)
    if "size" in wanted:
        print_rates("no difference, 48 layers of 128 experts", LARGE_NULLS, 100)
    if "power" in wanted:
        print("\nplanted: 3 of 32 experts a layer, 100 runs                    prompts  change  power  discovery")
        for prompts in (10, 20, 40, 100, 200):
            for effect in (0.1, 0.25, 0.5, 1.0):
                r = rates(Scene(prompts=prompts, planted=3, effect=effect), 100)
                print(f"{'':60}{prompts:8} {effect:+7.0%} {r['power']:6.2f} {r['discovery']:9.3f}", flush=True)
    if "controls" in wanted:
        head = "control, no difference at equal tokens or positions, 200 runs"
        print(f"\n{head:60} family  expert   layer  coverage  reported: without, with")
        for name, (scene, control) in CONTROLLED.items():
            r, free = control_rates(scene, control, 200), control_rates(scene, "none", 20)
            values = (r["family"], r["expert"], r["layer"], r["coverage"])
            shown = " ".join(f"{v:{w}.3f}" for v, w in zip(values, (6, 7, 7, 9), strict=True))
            print(f"{name:60} {shown} {free['reported']:17.1%} {r['reported']:6.1%}", flush=True)
        for effect in (0.25, 0.5, 1.0):
            r = control_rates(Texts(planted=2, effect=effect), "token", 40)
            print(f"{f'planted 2 of 24, logit {effect:+}, token control':60} power {r['power']:.2f}", flush=True)
    if "confirmation" in wanted:
        print(f"\n{'discovery and confirmation, same words, 60 pairs, 40 runs':60} discovered  confirmed  power")
        for effect in (0.0, 0.25, 0.5, 1.0):
            planted = 2 if effect else 0
            scene = Texts(prompts=(60, 60), words=0, paired=True, planted=planted, effect=effect)
            r = confirmation_rates(scene, 40)
            shown = f"{r['discovered']:10.2f} {r['confirmed']:10.2f} {r['power']:6.2f}"
            print(f"{f'planted {planted} of 24, logit {effect:+}':60} {shown}", flush=True)
    if "shuffled" in wanted:
        for control in ("none", "token", "position"):
            r = shuffled_rates(Path(wanted[wanted.index("shuffled") + 1]), control, 200)
            shown = (
                f"experts reported a run {r['reported']:.2f}, runs with any: {r['runs']:.3f}, max-T {r['family']:.3f}"
            )
            print(f"modes shuffled, 200 runs, control {control:9} {shown}, p < 0.05 of {r['expert']:.3f}", flush=True)


if __name__ == "__main__":
    main()
