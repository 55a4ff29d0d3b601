"""Simulated prompts whose routing follows token ids and positions, for tests of the controls; knows no model.

Every token id has experts of its own, every prompt a word list and peculiarities of its own; the groups differ in their
words, in their lengths, in what happens along the text, or in routing itself, as ``Texts`` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.contrast import enough_selections, permute
from analysis.multiple import benjamini_hochberg
from analysis.recordings import Entry, Plan, Unit
from analysis.shares import Shares, measure
from analysis.trace import RouterSpec
from tests.make_traces import make_spec


@dataclass(frozen=True)
class Texts:
    """What to simulate. ``words`` is how far the groups' vocabularies are apart (0 for the same one), ``drift`` how far
    routing changes along the text, ``effect`` the change of the planted experts' logits on the first side."""

    prompts: tuple[int, int] = (40, 30)
    layers: int = 2
    experts: int = 24
    top_k: int = 3
    rows: tuple[tuple[int, int], tuple[int, int]] = ((40, 200), (20, 100))
    vocabulary: int = 150
    words: float = 1.0
    drift: float = 0.0
    own: float = 0.3
    planted: int = 0
    effect: float = 0.0
    paired: bool = False


class Text:
    """A reading of one simulated prompt; see ``analysis.sources.Reading``."""

    def __init__(self, spec: RouterSpec, token_ids: np.ndarray, expert_ids: np.ndarray) -> None:
        self.spec, self.token_ids, self.expert_ids = spec, token_ids, expert_ids

    def rows(self, phase: str) -> int:
        return len(self.token_ids)

    def counts(self, phase: str) -> np.ndarray:
        experts = self.spec.num_experts
        return np.array([np.bincount(ids.ravel(), minlength=experts) for ids in self.expert_ids.transpose(1, 0, 2)])

    def routed(self, phase: str) -> tuple[np.ndarray, np.ndarray]:
        return self.token_ids, self.expert_ids

    def texts(self, phase: str) -> dict[int, bytes]:
        return {}


def write_texts(scene: Texts, seed: int) -> tuple[Plan, dict[Path, Text], np.ndarray]:
    """The plan of a comparison, the reading behind each path, and (L, E) bool of the planted experts."""
    random = np.random.default_rng(seed)
    shape = scene.layers, scene.experts
    spec = make_spec(scene.layers, scene.experts, scene.top_k)
    of_token = random.normal(0, 1, (scene.vocabulary, *shape)) + random.normal(0, 1, shape)
    along = scene.drift * random.normal(0, 1, shape)
    planted = np.zeros(shape, bool)
    for layer in range(scene.layers):
        planted[layer, random.choice(scene.experts, scene.planted, replace=False)] = True
    zipf = -np.log(np.arange(1, scene.vocabulary + 1))
    tilts = [zipf + scene.words * random.normal(0, 1, scene.vocabulary) for _ in range(2)]
    texts: dict[Path, Text] = {}
    sides: list[list[Entry]] = [[], []]
    for side, prompts in enumerate(scene.prompts):
        for number in range(prompts):
            n = int(random.integers(*scene.rows[side]))
            mix = np.exp(tilts[side] + random.normal(0, 1, scene.vocabulary))
            ids = random.choice(scene.vocabulary, n, p=mix / mix.sum())
            logits = of_token[ids] + scene.own * random.normal(0, 1, shape) + planted * scene.effect * (side == 0)
            logits += along * np.minimum(np.arange(n) / 50, 2)[:, None, None]
            chosen = np.argsort(-(logits + random.gumbel(size=logits.shape)), axis=2)[:, :, : scene.top_k]
            path = Path(f"{side}-{number}")
            texts[path] = Text(spec, ids, chosen)
            sides[side].append(Entry(path, str(number), str(number), "", {}))
    if scene.paired:
        units = tuple(Unit(str(n), "", ((a,), (b,))) for n, (a, b) in enumerate(zip(*sides, strict=True)))
    else:
        alone = [(e, ((e,), ())) for e in sides[0]] + [(e, ((), (e,))) for e in sides[1]]
        units = tuple(Unit(e.path.name, "", s) for e, s in alone)
    return Plan(("a", "b"), ("generated", "generated"), units, scene.paired), texts, planted


def opener(texts: dict[Path, Text]) -> Callable[[Entry], Text]:
    return lambda entry: texts[entry.path]


def measured(scene: Texts, seed: int, control: str) -> tuple[Shares, np.ndarray]:
    """What ``measure`` makes of the texts, and the planted experts."""
    plan, texts, planted = write_texts(scene, seed)
    return measure(plan, control, opened=opener(texts)), planted


def control_rates(scene: Texts, control: str, runs: int, permutations: int = 499) -> dict[str, float]:
    """Over ``runs`` simulations: ``family``, how often max-T reports any expert at 0.05 (any that is not planted);
    ``reported``, the mean share of experts that Benjamini–Hochberg reports; ``expert``, how often p < 0.05; ``layer``;
    ``power``, the share of planted ones reported; ``coverage``, the least of the two."""
    found: dict[str, list[float]] = {n: [] for n in ("family", "reported", "expert", "layer", "power", "coverage")}
    for seed in range(runs):
        shares, planted = measured(scene, seed, control)
        enough = enough_selections(shares)
        test = permute(shares, enough, permutations, seed)
        null = enough & ~planted
        q = np.ones(enough.shape)
        q[enough] = benjamini_hochberg(test.p[enough])
        found["family"].append(float((test.p_family[null] < 0.05).any()))
        found["reported"].append(float((q[null] < 0.05).mean()) if null.any() else 0.0)
        found["expert"].append(float((test.p[null] < 0.05).mean()) if null.any() else 0.0)
        found["layer"].append(float((test.p_layer < 0.05).mean()))
        found["power"].append(float((q[planted & enough] < 0.05).mean()) if (planted & enough).any() else 0.0)
        found["coverage"].append(min(shares.coverage or (1.0, 1.0)))
    return {name: float(np.mean(values)) for name, values in found.items()}
