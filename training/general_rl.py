"""Stage 4, general RL: does it think exactly where it is told to, is the answer well-formed, short and right?

The dialogues are those of the fusion: several turns, system messages, every switch, small talk and honest refusals.
"""

import random
from pathlib import Path

from training.data.dialogues import Dialogue, make_dialogue
from training.decode import Reply
from training.rl import RLRecipe


def dialogue(rng: random.Random) -> Dialogue:
    while True:
        made = make_dialogue(rng)
        if not made.cut:
            return made


def obedient(asked: Dialogue, reply: Reply) -> float:
    return float(bool(reply.thinking) == asked.thinks)


def well_formed(asked: Dialogue, reply: Reply) -> float:
    """A thinking block stands first where the template leaves it to the model, and nowhere else."""
    return float(reply.well_formed and reply.text.startswith("<think>") == asked.enable_thinking)


def brief(asked: Dialogue, reply: Reply) -> float:
    """1 for a reply no longer than half again the known one, less for longer ones."""
    known = len(asked.problem.answer) + asked.thinks * len(asked.problem.thinking)
    return min(1.0, 1.5 * known / max(1, len(reply.answer) + len(reply.thinking)))


def right(asked: Dialogue, reply: Reply) -> float:
    return float(reply.ended and reply.answer == asked.problem.answer)


REWARDS = {"obedient": obedient, "well_formed": well_formed, "brief": brief, "right": right}


def recipe(run: Path) -> RLRecipe:
    return RLRecipe(run / "general-rl", run / "fusion" / "checkpoint.pt", minutes=4, lr=3e-5)
