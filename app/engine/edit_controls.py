"""Random counterparts of an edit: the same done to as many other experts of the same layers.

What an edit does to a text can be the doing of these experts, or only of there being an edit; the counterparts tell
the two apart. Knows edits and loads. Does not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.trace import RouterSpec
from app.engine.base import RouterEdit
from app.engine.edit_rules import touched_experts

LEAST_COMPARABLE = 5
SHARE_COMPARABLE = 8
TRIES = 40


def random_controls(
    edits: Sequence[RouterEdit], spec: RouterSpec, load: np.ndarray, n: int, seed: int
) -> list[tuple[RouterEdit, ...]]:
    """Up to ``n`` different counterparts of ``edits``, repeatable by ``seed``.

    Every expert that is named is replaced by one that is not, drawn at random among those of its layer whose load comes
    closest to its own: 5 of them, or an eighth of the layer's others where that is more. An expert named in several
    edits has one substitute in all of them; an edit of every layer becomes one a layer. Changes of k stay as they are.

    Args:
        load: (L, E) share of slots of each expert without the edit, NaN for experts that a layer does not have.

    Returns:
        Fewer than ``n`` where so many could not be found; none where ``edits`` name no expert, or so many that their
        layer has no as many others.
    """
    touched = touched_experts(edits, spec)
    random, found = np.random.default_rng(seed), []
    for _ in range(TRIES * n if touched else 0):
        substitutes = {layer: _substitutes(e, load[spec.position(layer)], random) for layer, e in touched.items()}
        if any(len(substitutes[layer]) < len(experts) for layer, experts in touched.items()):
            return []
        control = tuple(replaced for edit in edits for replaced in _replaced(edit, spec, substitutes))
        if control not in found:
            found.append(control)
        if len(found) == n:
            break
    return found


def _substitutes(experts: Sequence[int], load: np.ndarray, random: np.random.Generator) -> dict[int, int]:
    """Expert → another one of about its load; fewer entries than experts where there are no more."""
    free = [int(e) for e in np.flatnonzero(np.isfinite(load)) if e not in experts]
    comparable = max(LEAST_COMPARABLE, len(free) // SHARE_COMPARABLE)
    found: dict[int, int] = {}
    for expert in random.permutation(np.asarray(experts)).tolist():
        if not free:
            return found
        nearest = sorted(free, key=lambda other: (abs(load[other] - load[expert]), other))[:comparable]
        found[expert] = nearest[int(random.integers(len(nearest)))]
        free.remove(found[expert])
    return found


def _replaced(edit: RouterEdit, spec: RouterSpec, substitutes: dict[int, dict[int, int]]) -> list[RouterEdit]:
    if edit.kind == "top_k":
        return [edit]
    layers = spec.layer_numbers if edit.layer is None else [edit.layer]
    return [
        RouterEdit(edit.kind, tuple(sorted(substitutes[layer][e] for e in edit.experts)), layer, edit.amount)
        for layer in layers
    ]
