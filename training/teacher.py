"""The teacher of the distillation: the four-stage model made wider, then trained on.

Every expert gets twice the inner width. The new part starts without an effect (its way back is zero), so the teacher
begins exactly as good as the model it comes from. Its training is the fusion's.
"""

from pathlib import Path

import torch
from transformers import Qwen3MoeConfig

from training.fusion import examples
from training.model import make_model
from training.train import Recipe, save_whole

__all__ = ["examples", "recipe", "widen"]
TIMES = 2


def widen(narrow: Path, wide: Path) -> None:
    """Writes the wide model's first checkpoint's weights to `wide`, unless they are there already."""
    if wide.exists():
        return
    state = torch.load(narrow, weights_only=True, map_location="cpu")
    config = Qwen3MoeConfig(
        **{**state["config"], "moe_intermediate_size": TIMES * state["config"]["moe_intermediate_size"]}
    )
    model = make_model(config, 11)
    weights = model.state_dict()
    for name, value in state["model"].items():
        if name.endswith("experts.gate_up_proj"):
            gate, up = value.chunk(2, 1)
            new_gate, new_up = weights[name].chunk(2, 1)
            width = gate.shape[1]
            value = torch.cat([gate, new_gate[:, width:], up, new_up[:, width:]], 1)
        elif name.endswith("experts.down_proj"):
            value = torch.cat([value, torch.zeros_like(value).repeat(1, 1, TIMES - 1)], 2)
        weights[name] = value
    wide.parent.mkdir(parents=True, exist_ok=True)
    save_whole(wide, {"model": weights})


def recipe(run: Path) -> Recipe:
    start = run / "teacher" / "start.pt"
    width = torch.load(run / "general-rl" / "checkpoint.pt", weights_only=True, map_location="cpu")["config"][
        "moe_intermediate_size"
    ]
    return Recipe(
        run / "teacher",
        minutes=30,
        start=start,
        lr=1e-3,
        warmup_steps=50,
        decay_share=0.8,
        overrides=(("moe_intermediate_size", TIMES * width),),
    )
