"""Stage 2, reasoning RL: GRPO on problems whose answers can be checked. Only a right answer is rewarded."""

import random
from pathlib import Path

from training.data import REASONING, TASKS, sample
from training.data.dialogues import Dialogue, single
from training.decode import Reply
from training.rl import RLRecipe

WEIGHTS = [TASKS[task][1] for task in REASONING]


def dialogue(rng: random.Random) -> Dialogue:
    return single(sample(rng, False, rng.choices(REASONING, WEIGHTS)[0]), True)


def right(asked: Dialogue, reply: Reply) -> float:
    return float(reply.ended and reply.answer == asked.problem.answer)


REWARDS = {"right": right}


def recipe(run: Path) -> RLRecipe:
    return RLRecipe(run / "reasoning-rl", run / "cold-start" / "checkpoint.pt", minutes=4)
