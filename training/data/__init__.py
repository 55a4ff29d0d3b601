"""Generated problems: one file per task family, each a function `(rng, language) -> Problem`.

`TASKS` is the list of tasks with their weight among the training problems; `sample` draws one from a side of the split.
"""

import random
from collections.abc import Callable

from training.data import arithmetic, conversation, facts, ordering, words
from training.data.problem import Problem, is_held_out

Generator = Callable[[random.Random, str], Problem]

#: Task: (generator, weight among the training problems, languages).
TASKS: dict[str, tuple[Generator, float, tuple[str, ...]]] = {
    "addition": (arithmetic.add, 0.11, ("en", "ja", "zh")),
    "subtraction": (arithmetic.subtract, 0.12, ("en", "ja", "zh")),
    "multiplication": (arithmetic.multiply, 0.12, ("en", "ja", "zh")),
    "sorting": (ordering.sort, 0.12, ("en", "ja", "zh")),
    "comparing": (ordering.compare, 0.06, ("en", "ja", "zh")),
    "spelling": (words.spell, 0.07, ("en",)),
    "reversing": (words.reverse, 0.12, ("en",)),
    "counting": (words.count_letters, 0.10, ("en",)),
    "capitals": (facts.capital, 0.08, ("en", "ja", "zh")),
    "conversation": (conversation.talk, 0.14, ("en", "ja", "zh")),
}
LANGUAGE_SHARES = {"en": 0.72, "ja": 0.14, "zh": 0.14}


def sample(rng: random.Random, held_out: bool, task: str | None = None, language: str | None = None) -> Problem:
    """One problem of the wanted side of the split; task and language are drawn by their shares where not given."""
    name = task or rng.choices(list(TASKS), [share for _, share, _ in TASKS.values()])[0]
    generator, _, languages = TASKS[name]
    tongue = language or rng.choices(list(LANGUAGE_SHARES), list(LANGUAGE_SHARES.values()))[0]
    if tongue not in languages:
        tongue = languages[0]
    while True:
        problem = generator(rng, tongue)
        if is_held_out(problem) == held_out:
            return problem
