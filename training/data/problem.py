"""What a problem is, and which side of the split it falls on.

Knows nothing about any task, tokenizer or model. The split is a property of the problem's key alone, so training and
held-out problems are disjoint by construction, whatever the seed. A step inside another problem may still be the same
small calculation: 47 + 36 within an expression.
"""

import hashlib
from dataclasses import dataclass

HELD_OUT_PERCENT = 6

#: Problems that the page suggests. They are held out by force, so that a visitor never sees a memorised answer.
ALWAYS_HELD_OUT = frozenset(
    {
        "add:274:538",
        "add:12:30",
        "mul:36:47",
        "sort:3 7 19 42 88",
        "word:strawberry",
        "word:butterfly",
        "sub:1000:367",
    }
)


@dataclass(frozen=True)
class Problem:
    """One question with its worked steps and its answer.

    `key` names the problem without its phrasing, unless the phrasing is the problem (facts, conversation). Sums and lists
    in another order, a conversion of other units or backwards, a duration asked the other way round and a program
    with other names share it; terms of an expression in another order do not.
    `small` problems (one-digit sums and the like) are too few to hold any out and always belong to training.
    `follow_up` is a short way to ask the same thing after another problem of the same task, or empty.
    """

    prompt: str
    thinking: str
    answer: str
    task: str
    key: str
    language: str = "en"
    small: bool = False
    follow_up: str = ""


def phrases(text: str) -> list[str]:
    """The phrasings of a text that separates them by `|`; line ends and indentation do not count."""
    return [" ".join(phrase.split()) for phrase in text.split("|")]


def plain(prompt: str) -> str:
    """A prompt without what people leave out or write differently: capitals, the last sign, the width of signs."""
    return half_width(prompt).lower().rstrip(".?! ")


def half_width(text: str) -> str:
    """Japanese or Chinese signs as they come from a keyboard that has no others."""
    return text.replace("：", ": ").translate(_HALF)


_HALF = str.maketrans("？！，", "?!,")


def is_held_out(problem: Problem) -> bool:
    """True where the problem must never be trained on."""
    return problem.key in ALWAYS_HELD_OUT or (not problem.small and is_held_out_key(problem.key))


def is_held_out_key(key: str) -> bool:
    """The same for what a text says by the way: a word with its letters, a sum, a sentence."""
    if key in ALWAYS_HELD_OUT:
        return True
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 100 < HELD_OUT_PERCENT
