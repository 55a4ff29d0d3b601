"""Addition, subtraction, multiplication and division, worked out digit by digit.

The steps are digits and signs in every language, so that the languages share them. Every line needs one look at the
question and one at the line before; a model of a few layers can learn such a line, and cannot see through all at once.
"""

import random

from training.data.problem import Problem, phrases

ADD = {
    "en": phrases(
        """
        What is {a} + {b}? | {a} + {b} | {a} + {b} = ? | {a}+{b} | {a}+{b}=? | Calculate {a} + {b}. |
        Add {a} and {b}. | What is {a} plus {b}? | Please compute {a} + {b}. | How much is {a} + {b}? |
        Find the sum of {a} and {b}. | What do you get when you add {a} and {b}? | Can you add {a} and {b}? |
        what's {a} + {b} | Tell me {a} plus {b}. | I have {a} apples and get {b} more. How many do I have? |
        Work out {a} + {b} | What's the sum of {a} and {b}? | Solve {a} + {b}. |
        A train carries {a} people and {b} get on. How many are there now?
        """
    ),
    "ja": phrases(
        """
        {a} + {b} は？ | {a} + {b} はいくつですか？ | {a}+{b}を計算してください。 |
        {a} 足す {b} は？ | {a} + {b} を計算して | {a}と{b}の和は？ | {a}に{b}を足すといくつですか？
        """
    ),
    "zh": phrases(
        """
        {a} + {b} 等于多少？ | {a}+{b}是多少？ | 计算 {a} + {b}。 | 请计算{a}加{b}。 | {a} + {b} 得多少？ |
        {a} 加 {b} 等于几？ | {a}与{b}的和是多少？ | 算一下 {a} + {b}
        """
    ),
}
SUBTRACT = {
    "en": phrases(
        """
        What is {a} - {b}? | {a} - {b} | {a} - {b} = ? | {a}-{b} | {a}-{b}=? | Calculate {a} - {b}. |
        Subtract {b} from {a}. | What is {a} minus {b}? | Please compute {a} - {b}. | How much is {a} - {b}? |
        Take {b} away from {a}. | What is the difference between {a} and {b}? | Can you subtract {b} from {a}? |
        what's {a} - {b} | Tell me {a} minus {b}. | I have {a} coins and spend {b}. How many are left? |
        Work out {a} − {b} | What is {a} − {b}? | Solve {a} - {b}.
        """
    ),
    "ja": phrases(
        """
        {a} - {b} は？ | {a} - {b} はいくつですか？ | {a}-{b}を計算してください。 |
        {a} 引く {b} は？ | {a} − {b} を計算して | {a}から{b}を引くといくつですか？
        """
    ),
    "zh": phrases(
        """
        {a} - {b} 等于多少？ | {a}-{b}是多少？ | 计算 {a} - {b}。 | 请计算{a}减{b}。 |
        {a} 减 {b} 等于几？ | 算一下 {a} - {b}
        """
    ),
}
MULTIPLY = {
    "en": phrases(
        """
        What is {a} {s} {b}? | {a} {s} {b} | {a} {s} {b} = ? | {a}{s}{b} | Calculate {a} {s} {b}. |
        Multiply {a} by {b}. | What is {a} times {b}? | Please compute {a} {s} {b}. | How much is {a} {s} {b}? |
        Find the product of {a} and {b}. | Can you multiply {a} and {b}? | what's {a} {s} {b} |
        Tell me {a} times {b}. | Work out {a} {s} {b} | Solve {a} {s} {b}. |
        There are {a} boxes with {b} pens each. How many pens are there?
        """
    ),
    "ja": phrases(
        """
        {a} {s} {b} は？ | {a} {s} {b} はいくつですか？ | {a}{s}{b}を計算してください。 |
        {a} かける {b} は？ | {a}と{b}の積は？ | {a}を{b}倍するといくつですか？
        """
    ),
    "zh": phrases(
        """
        {a} {s} {b} 等于多少？ | {a}{s}{b}是多少？ | 计算 {a} {s} {b}。 | 请计算{a}乘{b}。 |
        {a} 乘以 {b} 等于几？ | {a}的{b}倍是多少？
        """
    ),
}
DIVIDE = {
    "en": phrases(
        """
        What is {a} {s} {b}? | {a} {s} {b} | {a} {s} {b} = ? | Calculate {a} {s} {b}. | Divide {a} by {b}. |
        What is {a} divided by {b}? | Please compute {a} {s} {b}. | How much is {a} {s} {b}? | Work out {a} {s} {b} |
        Can you divide {a} by {b}? | How many times does {b} go into {a}? | what's {a} {s} {b} |
        {a} apples are shared by {b} children. How many does each child get?
        """
    ),
    "ja": phrases(
        """
        {a} {s} {b} は？ | {a} {s} {b} はいくつですか？ | {a}{s}{b}を計算してください。 |
        {a} 割る {b} は？ | {a}を{b}で割るといくつですか？
        """
    ),
    "zh": phrases(
        """
        {a} {s} {b} 等于多少？ | {a}{s}{b}是多少？ | 计算 {a} {s} {b}。 | 请计算{a}除以{b}。 | {a} 除以 {b} 等于几？
        """
    ),
}
END = {"en": ".", "ja": " です。", "zh": "。"}
REST = {"en": ", remainder ", "ja": " 余り ", "zh": " 余 "}
FOLLOW_UP = {
    "en": phrases(
        """
        And {p}? | and {p}? | Now {p}. | What about {p}? | {p}?
        """
    ),
    "ja": ["では {p} は？", "{p} は？"],
    "zh": ["那 {p} 呢？", "{p} 呢？"],
}


def column_addition(a: int, b: int) -> list[str]:
    """The lines of a written addition, lowest digit first: `8+4+0=12`. The last of two figures carries over."""
    lines, carry = [], 0
    for i in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**i % 10, b // 10**i % 10
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02}")
        carry = total // 10
    return lines


def column_subtraction(a: int, b: int) -> list[str]:
    """The lines of a written subtraction a − b with a ≥ b, lowest digit first: `3-7-0=-4+10=6`, or `8-2-1=5`."""
    lines, borrow = [], 0
    for i in range(len(str(a))):
        x, y = a // 10**i % 10, b // 10**i % 10
        rest = x - y - borrow
        lines.append(f"{x}-{y}-{borrow}={rest}" + (f"+10={rest + 10}" if rest < 0 else ""))
        borrow = int(rest < 0)
    return lines


def one_digit_product(a: int, digit: int) -> list[str]:
    """The lines of a × one digit, lowest digit of a first: `7×6+0=42`. The first figure of the result carries over."""
    lines, carry = [], 0
    for i in range(len(str(a))):
        total = a // 10**i % 10 * digit + carry
        lines.append(f"{a // 10**i % 10}×{digit}+{carry}={total:02}")
        carry = total // 10
    return lines


def long_division(a: int, b: int) -> list[str]:
    """The lines of a ÷ one digit, highest digit of a first: `8÷3=2r2`, then the rest with the next digit: `25÷3=8r1`."""
    lines, rest = [], 0
    for figure in str(a):
        part = rest * 10 + int(figure)
        lines.append(f"{part}÷{b}={part // b}r{part % b}")
        rest = part % b
    return lines


def add(rng: random.Random, language: str) -> Problem:
    a, b = _operand(rng), _operand(rng)
    steps = "\n".join([f"{a}+{b}", *column_addition(a, b), f"{a}+{b}={a + b}"])
    prompt = phrasing(rng, ADD[language], a, b).format(a=a, b=b)
    key = f"add:{min(a, b)}:{max(a, b)}"
    return _problem("addition", prompt, steps, f"{a} + {b} = {a + b}", key, language, max(a, b) < 10, f"{a} + {b}", rng)


def subtract(rng: random.Random, language: str) -> Problem:
    a, b = _operand(rng), _operand(rng)
    if a < b and rng.random() < 0.85:
        a, b = b, a
    high, low = max(a, b), min(a, b)
    lines = [f"{a}-{b}", *([] if a >= b else [f"{a}<{b}, -({b}-{a})"]), *column_subtraction(high, low)]
    steps = "\n".join([*lines, f"{a}-{b}={a - b}"])
    prompt = phrasing(rng, SUBTRACT[language], a, b).format(a=a, b=b)
    key = f"sub:{high}:{low}"
    return _problem("subtraction", prompt, steps, f"{a} - {b} = {a - b}", key, language, high < 10, f"{a} - {b}", rng)


def multiply(rng: random.Random, language: str) -> Problem:
    """Two digits by two (45%), three or four by two (20%), or up to four by one."""
    kind = rng.random()
    if kind < 0.45:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
    elif kind < 0.65:
        a, b = rng.randint(100, rng.choice([999, 999, 9999])), rng.randint(10, 99)
    else:
        a, b = rng.randint(1, rng.choice([9, 99, 999, 9999])), rng.randint(2, 9)
    if rng.random() < 0.25:
        a, b = b, a
    sign = rng.choices(["×", "*", "x"], [5, 3, 2])[0]
    prompt = phrasing(rng, MULTIPLY[language], a, b).format(a=a, b=b, s=sign)
    key = f"mul:{min(a, b)}:{max(a, b)}"
    steps, result = multiplication_steps(a, b), f"{a} × {b} = {a * b}"
    return _problem("multiplication", prompt, steps, result, key, language, max(a, b) < 10, f"{a} {sign} {b}", rng)


def multiplication_steps(a: int, b: int) -> str:
    """One product per digit of the shorter operand, then a written addition where there are two."""
    high, low = (a, b) if len(str(a)) >= len(str(b)) else (b, a)
    lines, parts = [f"{a}×{b}"], []
    for i, digit in enumerate(int(d) for d in reversed(str(low))):
        lines += [f"{high}×{digit}:", *one_digit_product(high, digit), f"{high * digit}"]
        parts.append(high * digit * 10**i)
    if len(parts) == 2:
        lines += [f"{parts[1]}+{parts[0]}", *column_addition(parts[1], parts[0])]
    return "\n".join([*lines, f"{a}×{b}={a * b}"])


def divide(rng: random.Random, language: str) -> Problem:
    """Up to four digits by one; two thirds of the divisions leave no rest."""
    b = rng.randint(2, 9)
    a = rng.randint(b, rng.choice([99, 999, 9999]))
    if rng.random() < 0.67:
        a -= a % b
    sign = rng.choices(["÷", "/"], [2, 1])[0]
    prompt = rng.choice(DIVIDE[language]).format(a=a, b=b, s=sign)
    rest = REST[language] + str(a % b) if a % b else ""
    steps = "\n".join([f"{a}÷{b}", *long_division(a, b), f"{a}÷{b}={a // b}" + (f"r{a % b}" if a % b else "")])
    result = f"{a} ÷ {b} = {a // b}{rest}"
    return _problem("division", prompt, steps, result, f"div:{a}:{b}", language, a < 10, f"{a} {sign} {b}", rng)


#: What can be counted, in the phrasings: never one of it.
THINGS = ("apples", "people", "coins", "boxes")
#: What the smaller number comes second in.
FROM_LARGER = ("difference", "coins")


def phrasing(rng: random.Random, texts: list[str], a: int, b: int) -> str:
    """One that fits the numbers."""
    unfit = (THINGS if min(a, b) < 2 else ()) + (FROM_LARGER if a < b else ())
    return rng.choice([text for text in texts if not any(word in text for word in unfit)])


def _operand(rng: random.Random) -> int:
    digits = rng.choices([1, 2, 3, 4], [1, 3, 5, 4])[0]
    return rng.randint(0 if digits == 1 else 10 ** (digits - 1), 10**digits - 1)


def _problem(
    task: str,
    prompt: str,
    steps: str,
    result: str,
    key: str,
    language: str,
    small: bool,
    plain: str,
    rng: random.Random,
) -> Problem:
    follow_up = rng.choice(FOLLOW_UP[language]).format(p=plain)
    return Problem(prompt, steps, result + END[language], task, key, language, small, follow_up)
