"""Generated problems: one file per task family, each a function `(rng, language) -> Problem`.

`TASKS` is the list of tasks with their weight among the training problems; `sample` draws one from a side of the split.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from training.data import (
    arithmetic,
    conversation,
    dates,
    expressions,
    facts,
    ordering,
    programs,
    translation,
    units,
    words,
)
from training.data.problem import Problem, half_width, is_held_out

Generator = Callable[[random.Random, str], Problem]

#: Task: (generator, its weight relative to the others among the training problems).
TASKS: dict[str, tuple[Generator, float]] = {
    "addition": (arithmetic.add, 0.05),
    "subtraction": (arithmetic.subtract, 0.05),
    "multiplication": (arithmetic.multiply, 0.07),
    "division": (arithmetic.divide, 0.05),
    "expressions": (expressions.evaluate, 0.09),
    "comparing": (ordering.compare, 0.04),
    "sorting": (ordering.sort, 0.12),
    "spelling": (words.spell, 0.05),
    "reversing": (words.reverse, 0.09),
    "counting": (words.count_letters, 0.06),
    "dates": (dates.date, 0.10),
    "units": (units.convert, 0.08),
    "programs": (programs.predict, 0.10),
    "translation": (translation.translate, 0.06),
    "capitals": (facts.capital, 0.05),
    "facts": (facts.small_fact, 0.04),
    "conversation": (conversation.talk, 0.09),
}
#: What is asked from memory. There is nothing to work out, so both modes should know it equally well.
KNOWLEDGE = ("translation", "capitals", "facts", "conversation")
REASONING = tuple(task for task in TASKS if task not in KNOWLEDGE)
#: Where the answer cannot be seen at once.
MULTI_STEP = ("multiplication", "division", "expressions", "sorting", "programs")
LANGUAGE_SHARES = {"en": 0.5, "ja": 0.25, "zh": 0.25}


def sample(rng: random.Random, held_out: bool, task: str | None = None, language: str | None = None) -> Problem:
    """One problem of the wanted side of the split; task and language are drawn by their shares where not given."""
    name = task or rng.choices(list(TASKS), [share for _, share in TASKS.values()])[0]
    tongue = language or rng.choices(list(LANGUAGE_SHARES), list(LANGUAGE_SHARES.values()))[0]
    while True:
        problem = TASKS[name][0](rng, tongue)
        if is_held_out(problem) == held_out:
            break
    if tongue == "en" or rng.random() < 0.5:
        return problem
    return replace(problem, prompt=half_width(problem.prompt), follow_up=half_width(problem.follow_up))
