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
from training.data.problem import ALWAYS_HELD_OUT, Problem, half_width, is_held_out, is_held_out_key
from training.data.problem import plain as plain_of

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
        if language != "en":
            assert re.search("[぀-ヿ一-鿿]", problem.prompt), "nobody can tell in which language to answer"


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
    assert expressions.work(52, "÷", 2) == "52÷2: 5÷2=2r1 12÷2=6r0 52÷2=26"


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
        kind: [re.compile(re.escape(half_width(p)).replace(r"\{n\}", r"([0-9 ,、]+)")) for p in phrasings]
        for kind, phrasings in asked.items()
    }
    for problem in draw("sorting", language):
        found = [
            (kind, m[1])
            for kind, ways in numbers_in.items()
            for way in ways
            if (m := way.fullmatch(half_width(problem.prompt)))
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
    assert ordering.comparison_steps(352, 325) == "3,3= 5,2> 352>325"
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


def days_named(text: str, language: str) -> list[int]:
    """The dates in a text, in their order, as days of the year."""
    if language == "en":
        found = [(int(d), dates.MONTHS.index(m)) for d, m in re.findall(rf"(\d+) ({'|'.join(dates.MONTHS)})", text)]
    else:
        found = [(int(d), int(m) - 1) for m, d in re.findall(r"(\d+)月(\d+)日", text)]
    return [sum(dates.LENGTHS[:month]) + day for day, month in found]


def minutes_named(text: str) -> list[int]:
    return [60 * int(hour) + int(minute) for hour, minute in re.findall(r"(\d+):(\d\d)", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_dates_are_right(language: str) -> None:
    names, seen = dates.WEEKDAYS[language], set()
    for problem in draw("dates", language):
        kind, *values = problem.key.split(":")
        a, b, *more = (int(value) for value in values)
        if kind == "weekday":
            assert names[a] in problem.prompt and names[(a + b) % 7] in problem.answer
            continue
        named = days_named if kind == "date" else lambda text, _: minutes_named(text)
        start = sum(dates.LENGTHS[:a]) + b if kind == "date" else 60 * a + b
        asked, said = named(problem.prompt, language), named(problem.answer, language)
        seen.add((kind, len(asked)))
        if len(asked) == 1:
            assert asked == [start] and said == [start + more[0]]
        else:
            assert sorted(asked) == [start, start + more[0]] and last_number(problem.answer) == more[0] > 1
    assert seen == {(kind, count) for kind in ("date", "time") for count in (1, 2)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_units_are_converted(language: str) -> None:
    factors = {frozenset((a[language], b[language])): factor for a, b, factor in units.UNITS}
    for problem in draw("units", language):
        _, factor, n = (int(part) if part.isdigit() else part for part in problem.key.split(":"))
        words = re.match(r"(.+) → (.+): [×÷](\d+)", problem.thinking)
        assert words and factors[frozenset(words.groups()[:2])] == int(words[3]) == factor
        given, result = last_number(problem.prompt), last_number(problem.thinking)
        assert {given, result} == {n, n * factor} and str(result) in problem.answer


def test_signs_are_wide_or_narrow_but_never_in_english() -> None:
    rng = random.Random(11)
    asked = [p for p in (sample(rng, False) for _ in range(5000)) if p.task != "translation"]
    wide = [bool(re.search("[？！，：]", problem.prompt)) for problem in asked]
    assert not any(w for w, problem in zip(wide, asked, strict=True) if problem.language == "en")
    narrow = [bool(re.search("[?!]$", problem.prompt)) for problem in asked if problem.language != "en"]
    assert sum(wide) > 300 and sum(narrow) > 300
    assert plain_of("日本の首都は？") == plain_of("日本の首都は?") == plain_of("日本の首都は")


@pytest.mark.parametrize("task", ["addition", "subtraction", "multiplication"])
def test_nothing_is_counted_that_there_is_only_one_of(task: str) -> None:
    rng = random.Random(4)
    for problem in (sample(rng, False, task, "en") for _ in range(3000)):
        numbers = [int(n) for n in re.findall(r"\d+", problem.prompt)]
        if min(numbers) < 2:
            assert not re.search("apples|people|coins|boxes", problem.prompt)
        if numbers[0] < numbers[-1]:
            assert not re.search("difference|coins", problem.prompt)


def test_ranks_have_one_answer() -> None:
    for problem in draw("sorting", "en", 400):
        if "largest" in problem.prompt and "from" not in problem.prompt:
            numbers = problem.key.removeprefix("sort:").split()
            assert len(numbers) == len(set(numbers))


def test_things_are_not_said_to_live() -> None:
    rng, texts = random.Random(2), []
    for _ in range(4000):
        text, parts = translation.sentence(rng)
        texts.append(text)
        of, alive = ([p[name] for p in parts if name in p] for name in ("of", "alive"))
        assert not of or of[0] >= alive[0], text
    ja = " ".join(text["ja"] for text in texts)
    assert "犬を持って" not in ja and "猫はどこにあり" not in ja and "母は花が欲しい" not in ja
    assert "母には" in ja and "母は花を欲しがっています" in ja and "这是一位老师" in {text["zh"][:-1] for text in texts}


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
    for task in ("capitals", "facts", "translation", "conversation"):
        answers: dict[str, str] = {}
        for i in range(6000):
            problem = sample(rng, i % 2 == 0, task)
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


def test_the_tokenizer_sees_every_task_in_every_language() -> None:
    texts = set(tokenizer_sample(random.Random(0), 9000))
    for said in (
        "の首都",
        "的首都",
        "capital",
        "何曜日",
        "星期",
        "公里",
        "kilometers",
        "キロメートル",
        "Translate",
        "翻訳",
        "翻译成",
    ):
        assert any(said in text for text in texts), said
