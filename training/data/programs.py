"""Small Python programs and what they print, run in the head line by line.

Knows a handful of shapes of programs; the answer comes from running the program, the steps are written beside it.
Values stay from 0 to 999.
"""

import contextlib
import io
import random
import re
from collections.abc import Sequence

from training.data.expressions import work
from training.data.ordering import comparison_steps
from training.data.problem import Problem, phrases
from training.data.words import WORDS

ASK = {
    "en": phrases(
        """
        What does this program print? | What does this print? | What is printed? | What is the output? |
        What is the output of this Python program? | Run this in your head: | What does this Python code print? |
        Predict the output. | Tell me what this code prints.
        """
    ),
    "ja": phrases(
        """
        このプログラムは何を表示しますか？ | 出力は何ですか？ | 次のコードの出力は？ | 何が表示されますか？
        """
    ),
    "zh": phrases(
        """
        这个程序输出什么？ | 输出是什么？ | 下面的代码打印什么？ | 这段代码的输出是什么？
        """
    ),
}
ANSWER = {"en": "It prints {r}.", "ja": "{r} と表示されます。", "zh": "输出 {r}。"}
STRINGS = [word for word in WORDS if len(word) < 9]
NAMES = ("x", "y", "n", "a", "b", "total")
FUNCTIONS = ("f", "g", "h")
#: Code, worked steps, and the key where it is not the code's: a program about a word asks what spelling asks.
Program = tuple[list[str], list[str]] | tuple[list[str], list[str], str]


def run(source: str) -> str:
    """What a program prints, without its last line end."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        exec(source, {})
    return written.getvalue().rstrip("\n")


def _operation(rng: random.Random) -> tuple[str, int]:
    sign = rng.choices("+-*", [4, 3, 3])[0]
    return sign, rng.randint(2, 4) if sign == "*" else rng.randint(1, 20)


def _worked(value: int, sign: str, other: int) -> tuple[str, int]:
    line = work(value, sign.replace("*", "×"), other).replace("×", "*")
    return line, int(line.rsplit("=", 1)[1])


def assigned(rng: random.Random) -> Program:
    """Two or three assignments in a row."""
    first, second = rng.sample(NAMES, 2)
    x = rng.randint(2, 30)
    (s, k), (t, m) = _operation(rng), _operation(rng)
    line, y = _worked(x, s, k)
    last, _ = _worked(y, t, m)
    code = [f"{first} = {x}", f"{second} = {first} {s} {k}", f"print({second} {t} {m})"]
    return code, [f"{first}={x}", f"{second}={line}", last]


def looped(rng: random.Random) -> Program:
    """A for loop of two to four rounds that changes one number."""
    name, times, x = rng.choice(NAMES), rng.randint(2, 4), rng.randint(1, 20)
    counter = rng.random() < 0.4
    sign, k = _operation(rng)
    sign = "+" if counter else sign
    code = [f"{name} = {x}", f"for i in range({times}):", f"    {name} = {name} {sign} {'i' if counter else k}"]
    steps = [f"{name}={x}"]
    for i in range(times):
        line, x = _worked(x, sign, i if counter else k)
        steps.append(f"i={i}: {line}")
    return [*code, f"print({name})"], steps


def repeated(rng: random.Random) -> Program:
    """A while loop that runs at most five rounds."""
    name, x = rng.choice(NAMES), rng.randint(1, 9)
    sign, k = rng.choice([("+", rng.randint(3, 12)), ("*", 2), ("*", 3)])
    limit = x
    for _ in range(rng.randint(1, 4)):
        limit = limit + k if sign == "+" else limit * k
    limit -= rng.randint(0, 2)
    code = [f"{name} = {x}", f"while {name} < {limit}:", f"    {name} = {name} {sign} {k}", f"print({name})"]
    steps = [f"{name}={x}"]
    while x < limit:
        line, y = _worked(x, sign, k)
        steps.append(f"{x}<{limit}: {line}")
        x = y
    return code, [*steps, f"{x}>={limit}"]


def branched(rng: random.Random) -> Program:
    """One comparison, two ways on."""
    name, x, limit = rng.choice(NAMES), rng.randint(1, 60), rng.randint(1, 60)
    sign = rng.choice("<>")
    (s, k), (t, m) = _operation(rng), _operation(rng)
    code = [
        f"{name} = {x}",
        f"if {name} {sign} {limit}:",
        f"    print({name} {s} {k})",
        "else:",
        f"    print({name} {t} {m})",
    ]
    holds = x < limit if sign == "<" else x > limit
    line, _ = _worked(x, *((s, k) if holds else (t, m)))
    decided = f"{x}{sign}{limit}: {'yes' if holds else 'no'}"
    return code, [f"{name}={x}", comparison_steps(x, limit), decided, line]


def called(rng: random.Random) -> Program:
    """A function called once or inside itself."""
    name, x = rng.choice(FUNCTIONS), rng.randint(1, 12)
    (s, k), (t, m) = ("*", rng.randint(2, 4)), (rng.choice("+-"), rng.randint(1, 9))
    twice = rng.random() < 0.5
    code = [f"def {name}(n):", f"    return n {s} {k} {t} {m}", f"print({name}({name}({x})))" if twice else ""]
    code[2] = code[2] or f"print({name}({x}))"
    steps = []
    for _ in range(1 + twice):
        line, y = _worked(x, s, k)
        last, z = _worked(y, t, m)
        steps.append(f"{name}({x}): {line}, {last}")
        x = z
    return code, steps


def _counted_to(at: int, items: Sequence[object]) -> str:
    """The wanted index, then all elements up to it: `[1] 0: 25, 1: 15`."""
    return f"[{at}] " + ", ".join(f"{i}: {item}" for i, item in enumerate(items[: at + 1]))


def listed(rng: random.Random) -> Program:
    """Sum, largest, smallest, length or an element of a short list that may grow first."""
    numbers = [rng.randint(1, 30) for _ in range(rng.randint(3, 5))]
    kind = rng.choice(["sum", "max", "min", "len", "index"])
    code, steps = [f"a = {numbers}"], [f"a={numbers}"]
    if rng.random() < 0.5:
        more = rng.randint(1, 30)
        numbers = [*numbers, more]
        code.append(f"a.append({more})")
        steps.append(f"a={numbers}")
    if kind == "index":
        at = rng.randrange(len(numbers))
        code.append(f"print(a[{at}])")
        return code, [*steps, _counted_to(at, numbers)]
    code.append(f"print({kind}(a))")
    if kind == "len":
        return code, [*steps, ", ".join(f"{n} {i}" for i, n in enumerate(numbers, 1))]
    total = numbers[0]
    for number in numbers[1:]:
        if kind == "sum":
            steps.append(work(total, "+", number))
            total += number
        else:
            pick = max(total, number) if kind == "max" else min(total, number)
            steps.append(f"{kind} {total} {number}: {pick}")
            total = pick
    return code, steps


def spelled(rng: random.Random) -> Program:
    """Length, reverse, an element or a repetition of a short string."""
    word = rng.choice(STRINGS)
    kind = rng.choice(["len", "reverse", "index", "times"])
    letters, key = " ".join(word), f"word:{word}"
    if kind == "len":
        return [f's = "{word}"', "print(len(s))"], [", ".join(f"{c} {i}" for i, c in enumerate(word, 1))], key
    if kind == "reverse":
        return [f's = "{word}"', "print(s[::-1])"], [letters, " ".join(reversed(word))], key
    if kind == "index":
        at = rng.randrange(len(word))
        return [f's = "{word}"', f"print(s[{at}])"], [_counted_to(at, word)], key
    part, times = word[: rng.randint(1, 3)], rng.randint(2, 4)
    return [f's = "{part}"', f"print(s * {times})"], [f"{part} × {times}: {' '.join([part] * times)}"]


KINDS = (assigned, looped, repeated, branched, called, listed, spelled)


def predict(rng: random.Random, language: str) -> Problem:
    while True:
        code, steps, *own_key = rng.choice(KINDS)(rng)
        source = "\n".join(code)
        result = run(source)
        if "-" not in "".join(steps).replace("-=", "") or not any("=-" in step for step in steps):
            values = [int(part) for step in steps for part in step.replace(":", "=").split("=")[1:] if part.isdigit()]
            if max(values, default=0) <= 999 and len(result) <= 24:
                break
    shown = f"```python\n{source}\n```" if rng.random() < 0.5 else source
    prompt = f"{rng.choice(ASK[language])}\n{shown}"
    answer = ANSWER[language].format(r=result)
    key = own_key[0] if own_key else f"program:{unnamed(source)}"
    return Problem(prompt, "\n".join(steps), answer, "programs", key, language)


def unnamed(source: str) -> str:
    """A program with its names numbered as they come: whoever knows one knows all that differ only in names."""
    numbers: dict[str, int] = {}
    return re.sub(
        rf"\b({'|'.join((*NAMES, *FUNCTIONS))})\b", lambda m: f"_{numbers.setdefault(m[1], len(numbers))}", source
    )
