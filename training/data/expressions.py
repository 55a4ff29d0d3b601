"""Expressions with precedence and parentheses, reduced one operation at a time.

Knows small whole numbers only: every intermediate value is from 0 to 999, one factor of a product is a digit, and
divisions leave no rest. `work` writes one operation out and serves other tasks too.
"""

import random

from training.data.arithmetic import END, FOLLOW_UP, long_division
from training.data.problem import Problem, phrases

ASK = {
    "en": phrases(
        """
        What is {e}? | {e} | {e} = ? | Calculate {e}. | Work out {e} | Evaluate {e}. | How much is {e}? |
        Please compute {e}. | What does {e} equal? | Solve {e}. | what's {e} | Find the value of {e}.
        """
    ),
    "ja": phrases(
        """
        {e} は？ | {e} はいくつですか？ | {e} を計算してください。 | {e} を計算して | {e} の値は？
        """
    ),
    "zh": phrases(
        """
        {e} 等于多少？ | {e} 是多少？ | 计算 {e}。 | 请计算 {e}。 | {e} 的值是多少？
        """
    ),
}
#: Numbers are letters: d a digit, n up to two figures.
FORMS = phrases(
    """
    n + n × d | n - d × d | n × d + n | n × d - n | (n + n) × d | (n - n) × d | d × (n + n) | n × d + n × d |
    n × d - d × d | (n + n) × d - n | (n - n) × d + n | n + n - n | n - n + n | n + n + n | n ÷ d + n | n + n ÷ d |
    (n + n) ÷ d | (n - n) ÷ d | n × d ÷ d | (n + d) × (d - d) | n - (n - n) | n - (d + n)
    """
)
Token = int | str


def work(a: int, sign: str, b: int) -> str:
    """One operation written out: `19×4=40+36=76`, `47+36=77+6=83`, `52÷2: 5÷2=2r1 12÷2=6r0 52÷2=26`. Every step
    changes one figure, and what it carries."""
    result = {"+": a + b, "-": a - b, "×": a * b, "÷": a // b if b else 0}[sign]
    many, digit = max(a, b), min(a, b)
    if sign == "×" and many > 10 and digit > 1 and many % 10:
        return f"{a}×{b}={many // 10 * 10 * digit}+{many % 10 * digit}={result}"
    if sign == "÷" and result > 9:
        return f"{a}÷{b}: {' '.join(long_division(a, b))} {a}÷{b}={result}"
    written = f"{a}{sign}{b}"
    if sign in ("+", "-"):
        for place in (100, 10):
            part = b // place * place
            if part and b % place:
                a, b = (a + part if sign == "+" else a - part), b % place
                written += f"={a}{sign}{b}"
    return f"{written}={result}"


def reduce(tokens: list[Token]) -> tuple[list[str], int]:
    """(lines of the evaluation, value) of an expression's tokens; raises ValueError where a value leaves the range."""
    left, lines = list(tokens), [_text(tokens)]
    while len(left) > 1:
        start, stop = 0, len(left)
        if ")" in left:
            stop = left.index(")")
            start = max(i for i, token in enumerate(left[:stop]) if token == "(") + 1
        inner = left[start:stop]
        at = next((i for i, token in enumerate(inner) if token in ("×", "÷")), 1)
        a, sign, b = inner[at - 1 : at + 2]
        assert isinstance(a, int) and isinstance(sign, str) and isinstance(b, int)
        if sign == "÷" and (not b or a % b or b > 9) or sign == "×" and (min(a, b) > 9 or max(a, b) > 99):
            raise ValueError(f"{a}{sign}{b}")
        line = work(a, sign, b)
        value = int(line.rsplit("=", 1)[1])
        if not 0 <= value <= 999:
            raise ValueError(line)
        place = start + at - 1
        left[place : place + 3] = [value]
        if 0 < place < len(left) - 1 and left[place - 1] == "(" and left[place + 1] == ")":
            left[place - 1 : place + 2] = [value]
        lines.append(line)
        if len(left) > 3:
            lines.append(_text(left))
    (value,) = left
    assert isinstance(value, int)
    return lines, value


def evaluate(rng: random.Random, language: str) -> Problem:
    while True:
        form = rng.choice(FORMS).replace("(", "( ").replace(")", " )").split()
        tokens: list[Token] = [
            rng.randint(2, 9) if t == "d" else rng.randint(2, rng.choice([20, 99])) if t == "n" else t for t in form
        ]
        try:
            lines, value = reduce(tokens)
        except ValueError:
            continue
        break
    shown = " ".join(map(str, tokens)).replace("( ", "(").replace(" )", ")")
    key = "expression:" + _text(tokens)
    if rng.random() < 0.3:
        shown = shown.replace("×", "*").replace("÷", "/")
    if rng.random() < 0.15:
        shown = shown.replace(" ", "")
    prompt = rng.choice(ASK[language]).format(e=shown)
    canonical = " ".join(map(str, tokens)).replace("( ", "(").replace(" )", ")")
    follow_up = rng.choice(FOLLOW_UP[language]).format(p=shown)
    return Problem(
        prompt,
        "\n".join(lines),
        f"{canonical} = {value}{END[language]}",
        "expressions",
        key,
        language,
        follow_up=follow_up,
    )


def _text(tokens: list[Token]) -> str:
    return "".join(map(str, tokens))
