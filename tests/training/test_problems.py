"""Worked steps lead to the answer, in every task and language, and the split keeps its promise."""

import random
import re

import pytest

from training.data import TASKS, arithmetic, facts, ordering, sample, words
from training.data.dialogues import tokenizer_sample
from training.data.problem import ALWAYS_HELD_OUT, Problem, is_held_out

PAIRS = [(task, language) for task, (_, _, languages) in TASKS.items() for language in languages]
CHECKED_LINE = re.compile(r"^(\d)([+×-])(\d)([+-])(\d)=(-?\d+) → (\d), (?:carry|borrow) (\d)$")


def draw(task: str, language: str, count: int = 150) -> list[Problem]:
    rng = random.Random(f"{task}{language}")
    return [sample(rng, i % 5 == 0, task, language) for i in range(count)]


@pytest.mark.parametrize(("task", "language"), PAIRS)
def test_every_problem_is_complete(task: str, language: str) -> None:
    for problem in draw(task, language):
        assert problem.task == task
        assert problem.language == language
        assert problem.prompt == problem.prompt.strip() and problem.prompt
        assert problem.thinking and problem.answer
        assert "{" not in problem.prompt + problem.thinking + problem.answer
        assert "<|" not in problem.prompt + problem.thinking + problem.answer


@pytest.mark.parametrize("task", ["addition", "subtraction", "multiplication"])
@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_arithmetic_lines_are_true(task: str, language: str) -> None:
    for problem in draw(task, language):
        a, sign, b, result = re.match(r"(\d+) ([+×-]) (\d+) = (-?\d+)", problem.answer).groups()  # type: ignore[union-attr]
        a, b, result = int(a), int(b), int(result)
        assert result == {"+": a + b, "-": a - b, "×": a * b}[sign]
        lines = problem.thinking.split("\n")
        assert lines[0] == f"{a}{sign}{b}"
        assert lines[-1] == f"{a}{sign}{b}={result}"
        for line in lines:
            if checked := CHECKED_LINE.match(line):
                x, first, y, second, z, total, digit, carried = checked.groups()
                value = {"+": int(x) + int(y), "-": int(x) - int(y), "×": int(x) * int(y)}[first]
                value += int(z) if second == "+" else -int(z)
                assert value == int(total)
                assert int(digit) == value % 10
                assert int(carried) == (int(value < 0) if first == "-" else value // 10)
        assert any(CHECKED_LINE.match(line) for line in lines)


def digits_written(lines: list[str]) -> str:
    """The number that a column of steps writes down, its last carry in front."""
    found = [CHECKED_LINE.match(line).groups() for line in lines]  # type: ignore[union-attr]
    return found[-1][7] + "".join(row[6] for row in reversed(found))


def test_columns_write_the_result() -> None:
    rng = random.Random(1)
    for _ in range(300):
        a, b = rng.randint(0, 9999), rng.randint(0, 9999)
        assert int(digits_written(arithmetic.column_addition(a, b))) == a + b
        assert int(digits_written(arithmetic.column_subtraction(max(a, b), min(a, b)))) == abs(a - b)
        assert int(digits_written(arithmetic.one_digit_product(a, b % 10))) == a * (b % 10)


def test_multiplication_adds_its_parts() -> None:
    steps = arithmetic.multiplication_steps(47, 36)
    assert "47×6:" in steps and "=282" in steps
    assert "47×30:" in steps and "=1410" in steps
    assert steps.endswith("47×36=1692")
    assert "=0" in arithmetic.multiplication_steps(47, 30).split("\n")


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_sorting_takes_one_number_a_line(language: str) -> None:
    for problem in draw("sorting", language):
        answer = [int(number) for number in problem.answer.split(", ")]
        numbers = [int(number) for number in re.findall(r"\d+", problem.prompt)]
        down = problem.key.startswith("sort:down")
        assert answer == sorted(numbers, reverse=down)
        lines = problem.thinking.split("\n")
        assert [int(line.split(" → ")[1]) for line in lines] == answer
        assert [int(n) for n in lines[0].split(" → ")[0].split()] == numbers


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_comparing_names_the_right_number(language: str) -> None:
    for problem in draw("comparing", language):
        _, low, high = problem.key.split(":")
        a, sign, b = re.match(r"(\d+)([<>=])(\d+)$", problem.thinking.split("\n")[-1]).groups()  # type: ignore[union-attr]
        assert {a, b} == {low, high}
        assert sign == ("=" if int(a) == int(b) else ">" if int(a) > int(b) else "<")
        named = re.match(r"\d+", problem.answer)
        if named is None:
            assert low == high
            continue
        larger = any(word in problem.answer for word in ("larger", "大きい", "更大"))
        assert named.group() == (high if larger else low)


def test_comparison_stops_at_the_first_difference() -> None:
    assert ordering.comparison_steps(352, 325).split("\n") == ["3=3", "5>2", "352>325"]
    assert ordering.comparison_steps(99, 100).split("\n") == ["99: 2", "100: 3", "99<100"]


def test_words_are_spelled_reversed_and_counted() -> None:
    for problem in draw("spelling", "en"):
        word = problem.key.split(":")[1]
        assert problem.thinking.replace(" ", "") == problem.answer.replace("-", "") == word
    for problem in draw("reversing", "en"):
        word = problem.key.split(":")[1]
        spelled, reverse = (line.replace(" ", "") for line in problem.thinking.split("\n"))
        assert (spelled, reverse, problem.answer) == (word, word[::-1], word[::-1])
    for problem in draw("counting", "en"):
        word = problem.key.split(":")[1]
        spelled, counted = problem.thinking.split("\n")
        assert spelled.replace(" ", "") == word
        number = re.search(r"\d+", problem.answer).group()  # type: ignore[union-attr]
        assert counted.split(" ")[-1] == number
        if ": " in counted:
            assert int(number) == word.count(counted[0])
        else:
            assert int(number) == len(word)


def test_strawberry() -> None:
    assert words.counting_steps("strawberry", "r").endswith("r: s 0, t 0, r 1, a 1, w 1, b 1, e 1, r 2, r 3, y 3")


def test_capitals_are_unambiguous() -> None:
    for column in (0, 1):
        names = [row[column] for row in facts.CAPITALS]
        assert len(names) == len(set(names)) > 80
    assert all(len(row) == 6 for row in facts.CAPITALS)
    for problem in draw("capitals", "zh"):
        country, city = re.match(r"(.+)的首都是(.+)。", problem.answer).groups()  # type: ignore[union-attr]
        assert any(row[4:] == (country, city) for row in facts.CAPITALS)


def test_split_is_disjoint_and_forced_where_promised() -> None:
    rng = random.Random(3)
    trained = {sample(rng, False).key for _ in range(4000)}
    held = {sample(rng, True).key for _ in range(1500)}
    assert not trained & held
    assert not trained & ALWAYS_HELD_OUT
    assert is_held_out(Problem("", "", "", "addition", "add:274:538"))
    assert not is_held_out(Problem("", "", "", "addition", "add:1:2", small=True))


def test_tokenizer_never_sees_held_out_words() -> None:
    texts = " ".join(tokenizer_sample(random.Random(0), 900))
    assert "538" not in re.findall(r"\d+ \+ \d+", texts)
    assert not re.search(r"\b(strawberry|butterfly)\b", texts)
