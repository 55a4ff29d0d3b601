"""Worked steps lead to the answer, in every task and language, and the split keeps its promise."""

import random
import re

import pytest

from training.data import (
    KNOWLEDGE,
    MULTI_STEP,
    REASONING,
    TASKS,
    arithmetic,
    dates,
    expressions,
    facts,
    ordering,
    plain,
    programs,
    sample,
    translation,
    units,
    words,
)
from training.data.dialogues import tokenizer_sample
from training.data.problem import ALWAYS_HELD_OUT, Problem, is_held_out, is_held_out_key

LANGUAGES = ("en", "ja", "zh")
PAIRS = [(task, language) for task in TASKS for language in LANGUAGES]


def draw(task: str, language: str, count: int = 150) -> list[Problem]:
    rng = random.Random(f"{task}{language}")
    return [sample(rng, i % 5 == 0, task, language) for i in range(count)]


def last_number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])


def test_tasks_and_groups() -> None:
    assert set(KNOWLEDGE) | set(REASONING) == set(TASKS) and not set(KNOWLEDGE) & set(REASONING)
    assert set(MULTI_STEP) < set(REASONING)


@pytest.mark.parametrize(("task", "language"), PAIRS)
def test_every_problem_is_complete(task: str, language: str) -> None:
    for problem in draw(task, language):
        assert problem.task == task
        assert problem.language == language
        assert problem.prompt == problem.prompt.strip() and problem.prompt
        assert problem.thinking and problem.answer
        assert task == "programs" or "{" not in problem.prompt + problem.thinking + problem.answer
        assert "<|" not in problem.prompt + problem.thinking + problem.answer


@pytest.mark.parametrize("task", ["addition", "subtraction", "multiplication", "division"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_arithmetic_is_true(task: str, language: str) -> None:
    for problem in draw(task, language):
        found = re.match(r"(\d+) ([+×÷-]) (\d+) = (-?\d+)(?:\D+(\d+))?", problem.answer)
        assert found, problem.answer
        a, b, result, rest = int(found[1]), int(found[3]), int(found[4]), int(found[5] or 0)
        assert result == {"+": a + b, "-": a - b, "×": a * b, "÷": a // b if b else 0}[found[2]]
        assert rest == (a % b if found[2] == "÷" else 0)
        lines = problem.thinking.split("\n")
        assert lines[0] == f"{a}{found[2]}{b}"
        assert lines[-1] == f"{lines[0]}={result}" + (f"r{rest}" if rest else "")
        for line in lines[1:-1]:
            for left, right in re.findall(r"^([\d+×-]+)=(-?\d+)", line):
                assert eval(left.replace("×", "*")) == int(right)  # noqa: S307


def test_columns_write_the_result() -> None:
    rng = random.Random(1)
    for _ in range(300):
        a, b = rng.randint(0, 9999), rng.randint(0, 9999)
        for lines, result in (
            (arithmetic.column_addition(a, b), a + b),
            (arithmetic.one_digit_product(a, b % 10), a * (b % 10)),
        ):
            assert int(lines[-1][-2:] + "".join(line[-1] for line in reversed(lines[:-1]))) == result
        high, low = max(a, b), min(a, b)
        lines = arithmetic.column_subtraction(high, low)
        assert int("".join(line[-1] for line in reversed(lines))) == high - low
        digit = b % 9 + 1
        quotient = "".join(re.findall(r"=(\d)r", "\n".join(arithmetic.long_division(a, digit))))
        assert int(quotient) == a // digit
    assert arithmetic.column_subtraction(42, 17) == ["2-7-0=-5+10=5", "4-1-1=2"]


def test_multiplication_adds_its_parts() -> None:
    steps = arithmetic.multiplication_steps(47, 36).split("\n")
    assert steps[:3] == ["47×36", "47×6:", "7×6+0=42"]
    assert "1410+282" in steps and steps[-1] == "47×36=1692"


@pytest.mark.parametrize("language", LANGUAGES)
def test_expressions_are_reduced_to_their_value(language: str) -> None:
    for problem in draw("expressions", language):
        text, value = re.match(r"(.+) = (\d+)", problem.answer).groups()  # type: ignore[union-attr]
        python = text.replace("×", "*").replace("÷", "//")
        assert eval(python) == int(value)  # noqa: S307
        assert problem.thinking.split("\n")[0] == text.replace(" ", "")
        assert last_number(problem.thinking) == int(value)


def test_sums_go_figure_by_figure() -> None:
    assert expressions.work(47, "+", 36) == "47+36=77+6=83"
    assert expressions.work(574, "-", 146) == "574-146=474-46=434-6=428"
    assert expressions.work(47, "+", 40) == "47+40=87" and expressions.work(7, "×", 6) == "7×6=42"


def test_an_expression_goes_one_operation_at_a_time() -> None:
    lines, value = expressions.reduce(["(", 12, "+", 7, ")", "×", 4, "-", 9])
    assert lines == ["(12+7)×4-9", "12+7=19", "19×4-9", "19×4=40+36=76", "76-9=67"] and value == 67
    with pytest.raises(ValueError, match="27÷4"):
        expressions.reduce([27, "÷", 4, "+", 1])


@pytest.mark.parametrize("language", LANGUAGES)
def test_sorting_steps_lead_to_the_answer(language: str) -> None:
    asked = {"up": ordering.SORT_UP[language], "down": ordering.SORT_DOWN[language]}
    for phrasing, rank in ordering.RANKS[language]:
        asked.setdefault(rank, []).append(phrasing)
    numbers_in = {
        kind: [re.compile(re.escape(p).replace(r"\{n\}", r"([0-9 ,、]+)")) for p in phrasings]
        for kind, phrasings in asked.items()
    }
    for problem in draw("sorting", language):
        found = [
            (kind, m[1]) for kind, ways in numbers_in.items() for way in ways if (m := way.fullmatch(problem.prompt))
        ]
        kind, numbers = found[0][0], [int(n) for n in re.findall(r"\d+", found[0][1])]
        assert problem.key == "sort:" + " ".join(map(str, sorted(numbers)))
        down = kind.endswith("down")
        ordered = sorted(numbers, reverse=down)
        lines = problem.thinking.split("\n")
        assert [int(n) for n in lines[0].split()] == numbers
        if kind in ("up", "down"):
            assert [int(n) for n in problem.answer.split(", ")] == ordered
            assert [int(n) for n in lines[-1].split()] == ordered
        else:
            place = len(numbers) // 2 if kind == "median" else int(kind.split()[0]) - 1
            assert last_number(problem.answer) == last_number(lines[-1]) == ordered[place]
            assert lines[-1].startswith(f"#{place + 1} ")
            assert [int(n) for n in lines[-3 if kind == "median" else -2].split()] == ordered


def test_numbers_are_gathered_by_their_first_figure() -> None:
    assert ordering.bucket_steps([42, 7, 19, 3], False).split("\n") == [
        "42 07 19 03",
        "0: 07 03",
        "1: 19",
        "4: 42",
        "03 07 19 42",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_comparing_names_the_right_number(language: str) -> None:
    for problem in draw("comparing", language):
        _, low, high = problem.key.split(":")
        a, sign, b = re.search(r"(\d+)([<>=])(\d+)(?: m\w\w \d+)?$", problem.thinking).groups()  # type: ignore[union-attr]
        assert {a, b} == {low, high}
        assert sign == ("=" if int(a) == int(b) else ">" if int(a) > int(b) else "<")
        named = re.match(r"\d+", problem.answer)
        if named is None:
            assert low == high
            continue
        larger = any(word in problem.answer for word in ("larger", "大きい", "更大"))
        assert named.group() == (high if larger else low)
        assert problem.thinking.endswith(f" {'max' if larger else 'min'} {named.group()}")


def test_comparison_stops_at_the_first_difference() -> None:
    assert ordering.comparison_steps(352, 325) == "3=3 5>2 352>325"
    assert ordering.comparison_steps(99, 100) == "99:2 100:3 99<100"


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_spelled_reversed_and_counted(language: str) -> None:
    for problem in draw("spelling", language):
        word = problem.key.split(":")[1]
        assert problem.thinking.replace(" ", "") == problem.answer.replace("-", "") == word
    for problem in draw("reversing", language):
        word = problem.key.split(":")[1]
        spelled, reverse = (line.replace(" ", "") for line in problem.thinking.split("\n"))
        assert (spelled, reverse, problem.answer) == (word, word[::-1], word[::-1])
    for problem in draw("counting", language):
        word = problem.key.split(":")[1]
        lines = problem.thinking.split("\n")
        assert lines[0].replace(" ", "") == word
        number = int(re.search(r"\d+", problem.answer).group())  # type: ignore[union-attr]
        assert last_number(lines[-1]) == number
        assert number == (word.count(lines[-1][0]) if len(lines) == 3 else len(word))


def test_strawberry() -> None:
    assert words.counting_steps("strawberry", "r").split("\n")[1:] == ["s t r 1 a w b e r 2 r 3 y", "r: 3"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_print_what_the_answer_says(language: str) -> None:
    for problem in draw("programs", language):
        source = problem.prompt.split("\n", 1)[1].removeprefix("```python\n").removesuffix("\n```")
        result = programs.run(source)
        assert problem.answer == programs.ANSWER[language].format(r=result)
        if result.isdigit() and "print(max" not in source:
            assert result in problem.thinking
        for left, right in re.findall(r"(?:^|[ :=])(\d+[+*]\d+)=(\d+)$", problem.thinking, re.M):
            assert eval(left) == int(right)  # noqa: S307


def test_a_program_about_a_word_is_on_the_side_of_its_word() -> None:
    asked = {}
    for problem in draw("programs", "en"):
        if found := re.search(r'^s = "(\w+)"\nprint\(s\[?(?!.*\*)', problem.prompt, re.M):
            asked[problem.key] = found[1]
    assert len(asked) > 10 and all(key == f"word:{word}" for key, word in asked.items())


def test_problems_that_differ_in_names_order_or_direction_are_one_problem() -> None:
    loop = "{0} = 3\nfor i in range(2):\n    {0} = {0} + 4\nprint({0})"
    assert programs.unnamed(loop.format("x")) == programs.unnamed(loop.format("total"))
    assert programs.unnamed("a = 1\nb = a + 2\nprint(b * 3)") != programs.unnamed("a = 1\nb = a + 2\nprint(a * 3)")
    rng, asked = random.Random(5), {}
    for problem in (units.convert(rng, "en") for _ in range(4000)):
        asked.setdefault(problem.key, set()).add(last_number(problem.prompt))
    assert any(len(given) == 2 for given in asked.values()), "both directions share a key"
    for problem in draw("sorting", "en"):
        numbers = [int(n) for n in problem.key.removeprefix("sort:").split()]
        assert numbers == sorted(numbers)


def test_the_split_is_the_keys_alone() -> None:
    rng, side = random.Random(12), {}
    for _ in range(6000):
        problem = TASKS[rng.choice(list(TASKS))][0](rng, "en")
        assert side.setdefault(problem.key, is_held_out(problem)) == is_held_out(problem), problem.key


@pytest.mark.parametrize("language", LANGUAGES)
def test_dates_are_right(language: str) -> None:
    names = dates.WEEKDAYS[language]
    for problem in draw("dates", language):
        kind, *values = problem.key.split(":")
        a, b, *more = (int(value) for value in values)
        if kind == "weekday":
            assert names[(a + b) % 7] in problem.answer
        elif kind == "date":
            days = sum(dates.LENGTHS[:a]) + b + more[0]
            month = next(m for m in range(12) if days <= sum(dates.LENGTHS[: m + 1]))
            assert dates.date_name(month, days - sum(dates.LENGTHS[:month]), language) in problem.answer
        elif kind == "days":
            days = sum(dates.LENGTHS[: more[0]]) + more[1] - sum(dates.LENGTHS[:a]) - b
            assert last_number(problem.answer) == days
        elif kind == "time":
            total = 60 * a + b + more[0]
            assert f"{total // 60}:{total % 60:02}" in problem.answer
        else:
            assert last_number(problem.answer) == 60 * more[0] + more[1] - 60 * a - b


@pytest.mark.parametrize("language", LANGUAGES)
def test_units_are_converted(language: str) -> None:
    factors = {(larger["en"], smaller["en"]): factor for larger, smaller, factor in units.UNITS}
    for problem in draw("units", language):
        _, larger, smaller, n = problem.key.split(":")
        both = {int(n), int(n) * factors[larger, smaller]}
        given, result = last_number(problem.prompt), last_number(problem.thinking)
        assert {given, result} == both and str(result) in problem.answer


def test_translation_says_the_same_in_three_languages() -> None:
    rng = random.Random(5)
    for _ in range(300):
        text, parts = translation.sentence(rng)
        assert set(text) == set(LANGUAGES) and parts
        assert all(text.values())
    for problem in draw("translation", "en"):
        assert problem.answer not in problem.prompt
        assert problem.thinking.count(" = ") >= 1


def test_capitals_are_unambiguous() -> None:
    for column in (0, 1):
        names = [row[column] for row in facts.CAPITALS]
        assert len(names) == len(set(names)) > 80
    assert all(len(row) == 6 for row in facts.CAPITALS)
    for problem in draw("capitals", "zh"):
        country, city = re.match(r"(.+)的首都是(.+)。", problem.answer).groups()  # type: ignore[union-attr]
        assert any(row[4:] == (country, city) for row in facts.CAPITALS)


def test_small_facts_are_complete_and_unambiguous() -> None:
    for asked, said, rows in facts.SMALL_FACTS:
        assert set(asked) == set(said) == set(LANGUAGES)
        for column in zip(*(row.split("|") for row in rows.splitlines()), strict=True):
            subjects = [entry.split("=")[0] for entry in column]
            assert len(subjects) == len(set(subjects))


def test_a_question_has_one_answer() -> None:
    rng = random.Random(8)
    for task in ("capitals", "facts", "translation"):
        answers: dict[str, str] = {}
        for _ in range(3000):
            problem = sample(rng, False, task)
            assert answers.setdefault(problem.prompt, problem.answer) == problem.answer


def test_split_is_disjoint_and_forced_where_promised() -> None:
    rng = random.Random(3)
    trained = {sample(rng, False).key for _ in range(4000)}
    held = {sample(rng, True).key for _ in range(1500)}
    assert not trained & held
    assert not trained & ALWAYS_HELD_OUT
    assert is_held_out(Problem("", "", "", "addition", "add:274:538"))
    assert not is_held_out(Problem("", "", "", "addition", "add:1:2", small=True))


def test_plain_text_holds_nothing_that_is_held_out() -> None:
    rng = random.Random(6)
    text = "\n".join(plain.document(rng) for _ in range(3000))
    assert len(text) > 100_000 and "<|" not in text
    assert "b u t t e r f l y" not in text and "ylfrettub" not in text


def test_sums_by_the_way_are_none_that_are_held_out() -> None:
    rng = random.Random(7)
    text = "\n".join(plain.small_sums(rng, "en") for _ in range(2000))
    sums = {tuple(sorted(map(int, pair))) for pair in re.findall(r"^(\d+)\+(\d+)=", text, re.M)}
    assert len(sums) > 1000 and (12, 30) not in sums
    assert not any(is_held_out_key(f"add:{low}:{high}") for low, high in sums)
    less = re.findall(r"^(\d+)-(\d+)=", text, re.M)
    assert len(less) > 1000 and not any(is_held_out_key(f"sub:{high}:{low}") for high, low in less)


def test_tokenizer_never_sees_held_out_words() -> None:
    texts = " ".join(tokenizer_sample(random.Random(0), 900))
    assert "538" not in re.findall(r"\d+ \+ \d+", texts)
    assert not re.search(r"\b(strawberry|butterfly)\b", texts)
