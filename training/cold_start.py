"""Stage 1, long-CoT cold start: problems in the chat format, each with the whole way to its answer. Thinking only."""

import random
from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen3MoeForCausalLM

from training.data import REASONING, TASKS, sample
from training.data.dialogues import single
from training.encode import Example, encode
from training.train import Recipe

WEIGHTS = [TASKS[task][1] for task in REASONING]


def examples(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, _model: Qwen3MoeForCausalLM
) -> list[Example]:
    tasks = rng.choices(REASONING, WEIGHTS, k=count)
    return encode(tokenizer, [single(sample(rng, False, task), True) for task in tasks])


def recipe(run: Path) -> Recipe:
    start = run / "pretraining" / "checkpoint.pt"
    return Recipe(run / "cold-start", minutes=40, start=start, lr=2e-3, warmup_steps=50, decay_share=0.6)
