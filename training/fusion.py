"""Stage 3, thinking mode fusion: both modes in one model, every switch, the empty thinking block, the cut thinking."""

import random
from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen3MoeForCausalLM

from training.data.dialogues import make_dialogue
from training.encode import Example, encode
from training.train import Recipe


def examples(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, _model: Qwen3MoeForCausalLM
) -> list[Example]:
    return encode(tokenizer, [make_dialogue(rng) for _ in range(count)])


def recipe(run: Path) -> Recipe:
    start = run / "reasoning-rl" / "checkpoint.pt"
    return Recipe(run / "fusion", minutes=90, start=start, lr=1.5e-3, warmup_steps=50, decay_share=0.8)
