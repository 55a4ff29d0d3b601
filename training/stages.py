"""The stages in their order and how each is run; one that is finished is passed over in a moment.

Knows names, folders and order; what a stage does stands in its own file.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from training import cold_start, distillation, fusion, general_rl, pretraining, reasoning_rl, rl, teacher
from training.train import train

Stop = Callable[[], bool]


class Options(Protocol):
    """What the command line may change in every stage: its seed, and its time by a factor."""

    seed: int
    scale: float


#: Runs (or continues) a stage of a run and says whether it came to its end.
Run = Callable[[Path, PreTrainedTokenizerBase, Options, Stop], bool]


def _adjusted(recipe: Any, options: Options) -> Any:
    return replace(recipe, minutes=recipe.minutes * options.scale, seed=options.seed)


def _supervised(stage: Any, run: Path, tokenizer: PreTrainedTokenizerBase, options: Options, stop: Stop) -> bool:
    return train(_adjusted(stage.recipe(run), options), tokenizer, stage.examples, stop)


def _reinforced(stage: Any, run: Path, tokenizer: PreTrainedTokenizerBase, options: Options, stop: Stop) -> bool:
    return rl.reinforce(_adjusted(stage.recipe(run), options), tokenizer, stage.dialogue, stage.REWARDS, stop)


def _teacher(run: Path, tokenizer: PreTrainedTokenizerBase, options: Options, stop: Stop) -> bool:
    teacher.widen(run / "general-rl" / "checkpoint.pt", run / "teacher" / "start.pt")
    return _supervised(teacher, run, tokenizer, options, stop)


def _distilled(own: bool, run: Path, tokenizer: PreTrainedTokenizerBase, options: Options, stop: Stop) -> bool:
    recipe = (distillation.on_policy if own else distillation.off_policy)(run)
    examples = distillation.own_examples if own else fusion.examples
    loss = distillation.loss_against(distillation.teacher_of(run), own)
    return train(_adjusted(recipe, options), tokenizer, examples, stop, loss)


STAGES: dict[str, Run] = {
    "pretraining": partial(_supervised, pretraining),
    "cold-start": partial(_supervised, cold_start),
    "reasoning-rl": partial(_reinforced, reasoning_rl),
    "fusion": partial(_supervised, fusion),
    "general-rl": partial(_reinforced, general_rl),
    "teacher": _teacher,
    "distillation-off": partial(_distilled, False),
    "distillation-on": partial(_distilled, True),
}
