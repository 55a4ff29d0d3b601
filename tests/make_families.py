"""``python -m tests.make_families`` writes docs/families.md: what the capture check says of every family.

Each family is built as a random tiny model, see ``tests.families``. A test holds the file against what comes out.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import transformers

from analysis.errors import CaptureError
from app.engine.capture import RoutingCapture
from app.engine.check import check_capture
from app.engine.moe_layer import MoELayer
from app.engine.router import find_moe_layers
from tests.families import LISTED, OTHERS, known, tiny_family

FILE = Path(__file__).parents[1] / "docs" / "families.md"
TOKENS = torch.randint(3, 160, (26,), generator=torch.Generator().manual_seed(7)).tolist()
DTYPES = (torch.float32, torch.bfloat16)
HEAD = """# Families

What the capture check says of a random tiny model of every family of mixture of experts in Transformers {version}, with
correction biases, expert scales and group limits that are not zero. `python -m tests.make_families` writes this page.
Families are found by what their modules do, so one that is not named here is captured or refused in the same way.

*ok*: the rows are what the experts were called with; ids, weights and outputs follow from them a second time; decoding
token by token routes as reading the text at once. Anything else is why the model is not opened;
a dense model is opened, and has no routing.

| family | MoE layers | scoring | renormalised | scale | choice | shared experts | float32 | bfloat16 |
|---|---|---|---|---|---|---|---|---|
"""


class Outcome(NamedTuple):
    """The MoE layers of a model, and the one sentence that is wrong with their capture; "" where nothing is."""

    layers: list[MoELayer]
    problem: str


@functools.cache
def family(name: str, dtype: torch.dtype) -> torch.nn.Module:
    return tiny_family(name).to(dtype)


@functools.cache
def outcome(name: str, dtype: torch.dtype) -> Outcome:
    try:
        layers = find_moe_layers(family(name, dtype))
    except CaptureError as error:
        return Outcome([], str(error))
    if not layers:
        return Outcome([], "a dense model: no routing")
    result = check_capture(family(name, dtype), RoutingCapture(layers), TOKENS)
    return Outcome(layers, " ".join(result.problems))


def line(name: str) -> str:
    """A row of the table."""
    layers = outcome(name, DTYPES[0]).layers
    results = [outcome(name, dtype).problem or "ok" for dtype in DTYPES]
    if results[0] != "ok" and results[0] == results[1]:
        results[1] = "the same"
    return "| " + " | ".join([name, *(described(layers) if layers else [""] * 6), *results]) + " |"


def described(layers: list[MoELayer]) -> list[str]:
    spec, gating = layers[-1].spec, layers[-1].gating
    choice = [f"best {gating.groups_used} of {gating.groups} groups"] if gating.groups > 1 else []
    choice += ["correction bias"] if gating.bias is not None else []
    shared = f"{spec.shared_experts}{', gated' if spec.shared_gate else ''}" if spec.shared_experts else "none"
    return [
        ", ".join(str(layer.spec.layer) for layer in layers),
        spec.scoring,
        "yes" if spec.renormalised else "no",
        "by expert" if gating.expert_scale is not None else f"{spec.scale:g}",
        ", ".join(choice) or "top-k",
        shared,
    ]


def page() -> str:
    names = sorted([*known(LISTED), *known(OTHERS)])
    return HEAD.format(version=transformers.__version__) + "".join(line(name) + "\n" for name in names)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    FILE.write_text(page(), encoding="utf-8")
