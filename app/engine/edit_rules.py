"""What edits ask of a model's routers: whether they fit, which experts they name, and the room they need.

Knows requests and specifications. Does not know tensors or models, so that the page may ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.errors import BadValue
from analysis.trace import RouterSpec
from app.engine.base import RouterEdit


def check_edits(edits: Sequence[RouterEdit], spec: RouterSpec) -> None:
    """
    Raises:
        BadValue: a layer or expert does not exist, or too few experts would be left to choose from.
    """
    if edits and not spec.layers:
        raise BadValue.said("edit_dense")
    for edit in edits:
        if edit.layer is not None and edit.layer not in spec.layer_numbers:
            raise BadValue.said("edit_layer", layer=edit.layer, layers=spec.layer_numbers)
    for layer in spec.layers:
        mine = [e for e in edits if e.layer in (None, layer.layer)]
        wrong = next((x for e in mine for x in e.experts if x >= layer.num_experts), None)
        if wrong is not None:
            raise BadValue.said("edit_expert", layer=layer.layer, expert=wrong, last=layer.num_experts - 1)
        k = next((int(e.amount) for e in reversed(mine) if e.kind == "top_k"), layer.top_k)
        masked = {x for e in mine if e.kind == "mask" for x in e.experts}
        forced = {x for e in mine if e.kind == "force" for x in e.experts}
        boosted = {x for e in mine if e.kind == "boost" and e.amount for x in e.experts}
        if masked & boosted:
            raise BadValue.said("edit_masked_boosted", layer=layer.layer, expert=min(masked & boosted))
        if masked & forced:
            raise BadValue.said("edit_masked_forced", layer=layer.layer, expert=min(masked & forced))
        if k > layer.num_experts - len(masked):
            raise BadValue.said("edit_too_few", layer=layer.layer, left=layer.num_experts - len(masked), k=k)
        if len(forced) > k:
            raise BadValue.said("edit_too_many", layer=layer.layer, n=len(forced), k=k)


def edited_spec(spec: RouterSpec, edits: Sequence[RouterEdit]) -> RouterSpec:
    """``spec`` with the room that the edits need: top-k as large as any edit makes it."""
    layers = []
    for layer in spec.layers:
        raised = [int(e.amount) for e in edits if e.kind == "top_k" and e.layer in (None, layer.layer)]
        layers.append(replace(layer, top_k=max(layer.top_k, *raised, 0)))
    return RouterSpec(tuple(layers))


def touched_experts(edits: Sequence[RouterEdit], spec: RouterSpec) -> dict[int, tuple[int, ...]]:
    """The model's layer number → the experts that ``edits`` name in it, ascending; layers without any are left out."""
    found = {
        layer: sorted({x for e in edits if e.layer in (None, layer) for x in e.experts}) for layer in spec.layer_numbers
    }
    return {layer: tuple(experts) for layer, experts in found.items() if experts}
