"""Which expert and which phase are meant: by a search, a cell of the map, a step, or what was chosen before.

Knows pools and their overviews; every value may come from outside and is checked. Knows no components.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from analysis.errors import BadValue
from analysis.expert_card import checked_expert
from app.ui import tabs_common as common
from app.ui.experts_pool import Overview, Pool

Chosen = tuple[int, int]
_EXPERT = re.compile(
    r"\s*(?:l|layer|第|层|層|レイヤー)?\s*(\d{1,4})\s*(?:層|层)?[\s,.:/·の的]*(?:e|expert|专家|專家|エキスパート)\s*(\d{1,5})\s*",
    re.IGNORECASE,
)


def asked_expert(text: Any) -> Chosen | None:
    """(layer, expert) of a search such as "layer 3 expert 12" or "L3E12"; None where it is the text of a token."""
    match = _EXPERT.fullmatch(text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def busiest(seen: Overview) -> Chosen:
    """The expert with the most load for its layer's uniform share."""
    ratio = np.nan_to_num(seen.load.values / np.asarray(seen.load.chance), nan=-1)
    position, expert = np.unravel_index(int(ratio.argmax()), ratio.shape)
    return seen.load.along("layer")[position], int(expert)


def still_there(pool: Pool, chosen: Any) -> Chosen | None:
    """``chosen`` where the pool's model has such an expert."""
    if not isinstance(chosen, tuple | list) or len(chosen) != 2:
        return None
    layer, expert = (common.whole(value) for value in chosen)
    try:
        checked_expert(pool.traces[0].spec, layer, expert)
    except BadValue:
        return None
    return layer, expert


def stepped(pool: Pool, chosen: Chosen, by: int) -> Chosen:
    """The expert ``by`` further; after the last of a layer comes the first of the next, and from the end the start."""
    layers = pool.traces[0].spec.layers
    every = [(router.layer, expert) for router in layers for expert in range(router.num_experts)]
    return every[(every.index(chosen) + by) % len(every)]


def mark_of(seen: Overview, sort: str, chosen: Chosen) -> list[int]:
    """Row and place of the chosen expert on the map."""
    row, order = seen.load.along("layer").index(chosen[0]), seen.order(sort)
    return [row, chosen[1] if order is None else int(np.flatnonzero(order[row] == chosen[1])[0])]


def at_cell(seen: Overview, sort: str, at: Any) -> Chosen:
    """The expert in a cell of the map.

    Raises:
        BadValue: there is no such cell.
    """
    rows, places = seen.load.values.shape
    row, place = (common.whole(v) for v in at) if isinstance(at, list | tuple) and len(at) == 2 else (-1, -1)
    if not (0 <= row < rows and 0 <= place < places):
        raise BadValue.said("no_cell")
    order = seen.order(sort)
    return seen.load.along("layer")[row], place if order is None else int(order[row, place])


def pool_phase(pool: Pool, phase: Any, *, insist: bool = False) -> str:
    """``common.chosen_phase`` over a pool: a phase that any recording has."""
    asked = str(phase)
    for trace in pool.traces:
        if trace.rows_in(asked).any() or insist:
            return asked
    return common.chosen_phase(pool.traces[0], phase)
