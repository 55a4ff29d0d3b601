"""Sorting up to seven numbers by repeated selection, and comparing two numbers digit by digit."""

import random

from training.data.problem import Problem, phrases

SORT_UP = {
    "en": phrases(
        """
        Sort these numbers: {n} | Sort these numbers: {n}. | Sort: {n} | Sort {n} |
        Put these numbers in order: {n} | Please sort {n}. | Sort from smallest to largest: {n} |
        Arrange in ascending order: {n} | Order these numbers: {n} | Sort the list [{n}] | Can you sort {n}? |
        Write these numbers in increasing order: {n} | sort these: {n} | What is the sorted order of {n}?
        """
    ),
    "ja": phrases(
        """
        小さい順に並べてください：{n} | 次の数を並べ替えて：{n} |
        {n} を小さい順に並べて | 昇順に：{n}
        """
    ),
    "zh": phrases(
        """
        请从小到大排序：{n} | 把这些数排序：{n} | 将 {n} 从小到大排列 | 升序排列：{n}
        """
    ),
}
SORT_DOWN = {
    "en": phrases(
        """
        Sort from largest to smallest: {n} | Arrange in descending order: {n} |
        Sort these numbers in descending order: {n} | Sort {n} from high to low |
        Write these numbers in decreasing order: {n}
        """
    ),
    "ja": ["大きい順に並べてください：{n}", "{n} を大きい順に並べて", "降順に：{n}"],
    "zh": ["请从大到小排序：{n}", "将 {n} 从大到小排列", "降序排列：{n}"],
}
LARGER = {
    "en": phrases(
        """
        Which is larger, {a} or {b}? | Which number is bigger: {a} or {b}? |
        Compare {a} and {b}. Which is greater? | {a} or {b}, which is more? | What is the larger of {a} and {b}? |
        Is {a} or {b} bigger?
        """
    ),
    "ja": ["{a} と {b} はどちらが大きいですか？", "{a}と{b}、大きいのは？"],
    "zh": ["{a} 和 {b} 哪个大？", "{a} 与 {b} 哪个更大？"],
}
SMALLER = {
    "en": phrases(
        """
        Which is smaller, {a} or {b}? | Which number is less: {a} or {b}? | What is the smaller of {a} and {b}? |
        Is {a} or {b} smaller?
        """
    ),
    "ja": ["{a} と {b} はどちらが小さいですか？", "{a}と{b}、小さいのは？"],
    "zh": ["{a} 和 {b} 哪个小？", "{a} 与 {b} 哪个更小？"],
}
COMPARED = {
    "en": {">": "{x} is larger.", "<": "{x} is smaller.", "=": "They are equal."},
    "ja": {">": "{x} の方が大きいです。", "<": "{x} の方が小さいです。", "=": "同じです。"},
    "zh": {">": "{x} 更大。", "<": "{x} 更小。", "=": "一样大。"},
}


RANKS = {
    "en": [
        ("What is the median of {n}?", "median"),
        ("Find the median: {n}", "median"),
        ("Which of these numbers is the second largest: {n}?", "2 down"),
        ("What is the second largest of {n}?", "2 down"),
        ("What is the second smallest of {n}?", "2 up"),
        ("Which is the second smallest number? {n}", "2 up"),
        ("What is the third largest of {n}?", "3 down"),
        ("Find the third largest number: {n}", "3 down"),
        ("What is the third smallest of {n}?", "3 up"),
    ],
    "ja": [
        ("{n} の中央値は？", "median"),
        ("中央値を求めてください：{n}", "median"),
        ("{n} の中で2番目に大きい数は？", "2 down"),
        ("{n} の中で2番目に小さい数は？", "2 up"),
        ("{n} の中で3番目に大きい数は？", "3 down"),
        ("{n} の中で3番目に小さい数は？", "3 up"),
    ],
    "zh": [
        ("{n} 的中位数是多少？", "median"),
        ("求中位数：{n}", "median"),
        ("{n} 中第2大的数是多少？", "2 down"),
        ("{n} 中第2小的数是多少？", "2 up"),
        ("{n} 中第3大的数是多少？", "3 down"),
        ("{n} 中第3小的数是多少？", "3 up"),
    ],
}
RANKED = {"en": "It is {x}.", "ja": "{x} です。", "zh": "是 {x}。"}


def sort(rng: random.Random, language: str) -> Problem:
    """Whole lists (half of the problems), or the number at one place of the sorted list."""
    whole = rng.random() < 0.5
    count = rng.choice([2, 3, 4, 5, 6, 7, 8, 9]) if whole else rng.choice([5, 7, 9])
    top = rng.choices([20, 99, 999], [1, 4, 3])[0]
    numbers = [rng.randint(0, top) for _ in range(count)] if whole else rng.sample(range(top + 1), count)
    separator = rng.choices([", ", " ", ","], [7, 2, 1])[0]
    if language != "en" and rng.random() < 0.5:
        separator = "、"
    shown = separator.join(map(str, numbers))
    key = "sort:" + " ".join(map(str, sorted(numbers)))
    if whole:
        down = rng.random() < 0.2
        prompt = rng.choice((SORT_DOWN if down else SORT_UP)[language]).format(n=shown)
        steps = bucket_steps(numbers, down)
        answer = ", ".join(map(str, sorted(numbers, reverse=down)))
        return Problem(prompt, steps, answer, "sorting", key, language, count == 2 and max(numbers) <= 20)
    phrasing, rank = rng.choice(RANKS[language])
    down = rank.endswith("down")
    place = count // 2 + 1 if rank == "median" else int(rank.split()[0])
    ordered = sorted(numbers, reverse=down)
    counted = " ".join(f"{i}:{number}" for i, number in enumerate(ordered if rank == "median" else ordered[:place], 1))
    counted = f"{counted}\n#{place} {ordered[place - 1]}" if rank == "median" else f"#{place} {counted}"
    answer = RANKED[language].format(x=ordered[place - 1])
    steps = f"{bucket_steps(numbers, down)}\n{counted}"
    return Problem(phrasing.format(n=shown), steps, answer, "sorting", key, language)


def bucket_steps(numbers: list[int], down: bool) -> str:
    """The numbers written to one width, gathered by their first figure, then in order: `42 07 19`, `0: 07`, …"""
    width = len(str(max(numbers)))
    written = [f"{number:0{width}}" for number in numbers]
    lines = [" ".join(written)]
    for first in sorted({text[0] for text in written}, reverse=down):
        lines.append(f"{first}: {' '.join(text for text in written if text[0] == first)}")
    return "\n".join([*lines, " ".join(sorted(written, reverse=down))])


def compare(rng: random.Random, language: str) -> Problem:
    digits = rng.choices([1, 2, 3, 4], [1, 3, 4, 3])[0]
    a = rng.randint(10 ** (digits - 1), 10**digits - 1)
    kind = rng.random()
    if kind < 0.6:
        b = rng.randint(10 ** (digits - 1), 10**digits - 1)
    elif kind < 0.8:
        b = a + rng.randint(-12, 12)
        b = abs(b)
    else:
        b = rng.randint(0, 9999)
    sign = rng.choice("><")
    prompt = rng.choice((LARGER if sign == ">" else SMALLER)[language]).format(a=a, b=b)
    chosen = max(a, b) if sign == ">" else min(a, b)
    answer = COMPARED[language]["=" if a == b else sign].format(x=chosen)
    steps = comparison_steps(a, b) + ("" if a == b else f" {'max' if sign == '>' else 'min'} {chosen}")
    return Problem(prompt, steps, answer, "comparing", f"cmp:{min(a, b)}:{max(a, b)}", language, max(a, b) < 20)


def comparison_steps(a: int, b: int) -> str:
    """Number of digits first; where that is equal, digit by digit from the left until they differ: `5,5= 2,3< 52<53`.
    A sign stands behind its pair: it can be told only from both."""
    long_a, long_b = len(str(a)), len(str(b))
    if long_a != long_b:
        lines = [f"{a}:{long_a}", f"{b}:{long_b}"]
    else:
        lines = []
        for x, y in zip(str(a), str(b), strict=True):
            lines.append(f"{x},{y}{_sign(int(x), int(y))}")
            if x != y:
                break
    return " ".join([*lines, f"{a}{_sign(a, b)}{b}"])


def _sign(a: int, b: int) -> str:
    return "=" if a == b else ">" if a > b else "<"
