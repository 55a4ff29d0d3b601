"""Pretraining: plain text of the worlds that the later stages ask about. Every token is learned."""

import random
from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen3MoeForCausalLM

from training.data.plain import document
from training.encode import Example, encode_text
from training.train import Recipe


def examples(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, _model: Qwen3MoeForCausalLM
) -> list[Example]:
    return encode_text(tokenizer, [document(rng) for _ in range(count)])


def recipe(run: Path) -> Recipe:
    return Recipe(run / "pretraining", minutes=11, dialogues=96, warmup_steps=60, decay_share=0.0, probe_minutes=0)
