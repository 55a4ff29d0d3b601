"""Plain text of the same worlds, for pretraining: no roles, no turns, only documents.

Most documents are problems as a workbook prints them, with or without the work; the others are short texts in which
the facts behind the problems come up: words and their letters, sums of figures, weekdays, little stories, word lists.
"""

import random
from collections.abc import Callable

from training.data import LANGUAGE_SHARES, sample, translation
from training.data.dates import LENGTHS, MONTHS, WEEKDAYS, month_name
from training.data.expressions import work
from training.data.problem import is_held_out_key
from training.data.words import fragment, random_word


def document(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.62:
        problem = sample(rng, False)
        return f"{problem.prompt}\n{problem.thinking}\n{problem.answer}"
    if kind < 0.78:
        return "\n\n".join(f"{p.prompt}\n{p.answer}" for p in (sample(rng, False) for _ in range(rng.randint(1, 3))))
    return rng.choice(TEXTS)(rng, rng.choices(list(LANGUAGE_SHARES), list(LANGUAGE_SHARES.values()))[0])


def counting(rng: random.Random, language: str) -> str:
    start, step = rng.randint(0, 200), rng.choice([1, 1, 2, 3, 5, 7, 10])
    return ", ".join(str(start + step * i) for i in range(rng.randint(6, 14)))


def figures(rng: random.Random, language: str) -> str:
    """The sums, differences and products of figures that written calculations are made of."""
    lines = []
    for _ in range(rng.randint(5, 10)):
        x, y, z = rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 8)
        lines.append(
            rng.choice([f"{x}+{y}+{z % 2}={x + y + z % 2:02}", f"{x}-{y}={x - y}", f"{x}×{y}+{z}={x * y + z:02}"])
        )
    return "\n".join(lines)


def small_sums(rng: random.Random, language: str) -> str:
    lines: list[str] = []
    count = rng.randint(5, 8)
    while len(lines) < count:
        low, high = sorted((rng.randint(1, 99), rng.randint(1, 99)))
        key, line = rng.choice(
            [
                (f"add:{low}:{high}", work(high, "+", low) if rng.random() < 0.5 else work(low, "+", high)),
                (f"sub:{high}:{low}", work(high, "-", low)),
                (f"mul:{min(low, 10)}:{max(low, 10)}", f"{low}×10={low * 10}"),
            ]
        )
        if not is_held_out_key(key):
            lines.append(line)
    return "\n".join(lines)


def letters(rng: random.Random, language: str) -> str:
    """Words and fragments of words with their letters, and backwards the letters with the word; a piece that follows a
    blank is another one than without."""
    lines: list[str] = []
    while len(lines) < 5:
        word = random_word(rng) if rng.random() < 0.5 else fragment(rng)
        backwards = word[::-1]
        if len(word) == 1 or is_held_out_key(f"word:{word}"):
            continue
        if rng.random() < 0.6:
            lines.append(f"{rng.choice(('', '- ', '= '))}{word}: {' '.join(word)}")
        elif not is_held_out_key(f"word:{backwards}"):
            lines.append(f"{' '.join(backwards)}\n{backwards}")
    return "\n".join(lines)


def calendar(rng: random.Random, language: str) -> str:
    names = WEEKDAYS[language] if rng.random() < 0.5 or language != "en" else MONTHS
    start = rng.randrange(len(names))
    return " ".join(names[(start + i) % len(names)] for i in range(len(names)))


def year(rng: random.Random, language: str) -> str:
    """A few months in a row with their lengths."""
    start = rng.randrange(10)
    return "\n".join(f"{month_name(m, language)} {LENGTHS[m]}" for m in range(start, min(12, start + 5)))


def story(rng: random.Random, language: str) -> str:
    """A few sentences of the closed vocabulary, in one language or side by side in two."""
    said: list[dict[str, str]] = []
    while len(said) < 4:
        text, _ = translation.sentence(rng)
        if not is_held_out_key(translation.key_of(text)):
            said.append(text)
    other = rng.choice(translation.LANGUAGES)
    if other == language:
        return ("" if language != "en" else " ").join(text[language] for text in said)
    return "\n".join(f"{text[language]} = {text[other]}" for text in said)


def word_list(rng: random.Random, language: str) -> str:
    entries = rng.sample([*translation.NOUNS, *translation.ADJECTIVES, *translation.PEOPLE, *translation.PLACES], 6)
    return "\n".join(f"{entry['en']} = {entry['ja']} = {entry['zh']}" for entry in entries)


def known(rng: random.Random, language: str) -> str:
    """Facts as plain sentences."""
    end = " " if language == "en" else ""
    return end.join(sample(rng, False, rng.choice(["capitals", "facts"]), language).answer for _ in range(4))


TEXTS: tuple[Callable[[random.Random, str], str], ...] = (
    counting, figures, figures, small_sums, letters, letters, letters, calendar, year, story, story, word_list, word_list,
    known, known,
)  # fmt: skip
