"""The stages in their order, each with how it is run; where one is finished it costs a moment.

Knows names, folders and order; what a stage does is in its own file. A stage takes its time from its recipe, scaled by
`scale` (a short try of the whole recipe: 0.05).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from training import cold_start, distillation, fusion, general_rl, pretraining, reasoning_rl, rl, teacher
from training.train import Examples, Loss, Recipe, train

Stop = Callable[[], bool]
#: A stage's run: (run folder, tokenizer, scale of its time, stop) → whether it came to its end.
Run = Callable[[Path, PreTrainedTokenizerBase, float, Stop], bool]

#: The stages whose weights follow from one another up to the four-stage model.
FOUR_STAGES = ("pretraining", "cold-start", "reasoning-rl", "fusion", "general-rl")


def _supervised(recipe: Callable[[Path], Recipe], examples: Examples) -> Run:
    def run(folder: Path, tokenizer: PreTrainedTokenizerBase, scale: float, stop: Stop) -> bool:
        return train(_scaled(recipe(folder), scale), tokenizer, examples, stop)

    return run


def _reinforced(stage: object) -> Run:
    def run(folder: Path, tokenizer: PreTrainedTokenizerBase, scale: float, stop: Stop) -> bool:
        recipe = stage.recipe(folder)  # type: ignore[attr-defined]
        settings = replace(recipe, minutes=recipe.minutes * scale)
        return rl.reinforce(settings, tokenizer, stage.dialogue, stage.REWARDS, stop)  # type: ignore[attr-defined]

    return run


def _teacher(folder: Path, tokenizer: PreTrainedTokenizerBase, scale: float, stop: Stop) -> bool:
    teacher.widen(folder / "general-rl" / "checkpoint.pt", folder / "teacher" / "start.pt")
    return train(_scaled(teacher.recipe(folder), scale), tokenizer, teacher.examples, stop)


def _distilled(recipe: Callable[[Path], Recipe], examples: Examples, own: bool) -> Run:
    def run(folder: Path, tokenizer: PreTrainedTokenizerBase, scale: float, stop: Stop) -> bool:
        loss: Loss = distillation.loss_against(distillation.teacher_of(folder), own)
        return train(_scaled(recipe(folder), scale), tokenizer, examples, stop, loss)

    return run


def _scaled(recipe: Recipe, scale: float) -> Recipe:
    return replace(recipe, minutes=recipe.minutes * scale)


STAGES: dict[str, Run] = {
    "pretraining": _supervised(pretraining.recipe, pretraining.examples),
    "cold-start": _supervised(cold_start.recipe, cold_start.examples),
    "reasoning-rl": _reinforced(reasoning_rl),
    "fusion": _supervised(fusion.recipe, fusion.examples),
    "general-rl": _reinforced(general_rl),
    "teacher": _teacher,
    "distillation-off": _distilled(distillation.off_policy, fusion.examples, own=False),
    "distillation-on": _distilled(distillation.on_policy, distillation.own_examples, own=True),
}
