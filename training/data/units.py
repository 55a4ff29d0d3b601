"""Unit conversion between whole numbers: lengths, weights, times, money, dozens."""

import random

from training.data.arithmetic import long_division
from training.data.expressions import work
from training.data.problem import Problem, phrases

#: (larger unit, smaller unit, how many of the smaller) with the names in English, Japanese and Chinese.
UNITS: list[tuple[dict[str, str], dict[str, str], int]] = [
    (
        {"en": larger[0], "ja": larger[1], "zh": larger[2]},
        {"en": smaller[0], "ja": smaller[1], "zh": smaller[2]},
        factor,
    )
    for larger, smaller, factor in (
        (("hours", "時間", "小时"), ("minutes", "分", "分钟"), 60),
        (("minutes", "分", "分钟"), ("seconds", "秒", "秒"), 60),
        (("days", "日", "天"), ("hours", "時間", "小时"), 24),
        (("weeks", "週間", "周"), ("days", "日", "天"), 7),
        (("years", "年", "年"), ("months", "か月", "个月"), 12),
        (("kilometers", "キロメートル", "公里"), ("meters", "メートル", "米"), 1000),
        (("meters", "メートル", "米"), ("centimeters", "センチメートル", "厘米"), 100),
        (("centimeters", "センチメートル", "厘米"), ("millimeters", "ミリメートル", "毫米"), 10),
        (("kilograms", "キログラム", "千克"), ("grams", "グラム", "克"), 1000),
        (("tons", "トン", "吨"), ("kilograms", "キログラム", "千克"), 1000),
        (("liters", "リットル", "升"), ("milliliters", "ミリリットル", "毫升"), 1000),
        (("dozens", "ダース", "打"), ("pieces", "個", "个"), 12),
        (("feet", "フィート", "英尺"), ("inches", "インチ", "英寸"), 12),
        (("pounds", "ポンド", "磅"), ("ounces", "オンス", "盎司"), 16),
        (("gallons", "ガロン", "加仑"), ("pints", "パイント", "品脱"), 8),
        (("gallons", "ガロン", "加仑"), ("quarts", "クォート", "夸脱"), 4),
        (("pairs", "組", "对"), ("pieces", "個", "个"), 2),
        (("yards", "ヤード", "码"), ("feet", "フィート", "英尺"), 3),
        (("dollars", "ドル", "美元"), ("cents", "セント", "美分"), 100),
    )
]
ASK = {
    "en": phrases(
        """
        Convert {n} {a} to {b}. | How many {b} are in {n} {a}? | {n} {a} in {b} | What is {n} {a} in {b}? |
        How many {b} are {n} {a}? | {n} {a} = ? {b} | Express {n} {a} in {b}. | Change {n} {a} into {b}.
        """
    ),
    "ja": ["{n}{a}は何{b}ですか？", "{n}{a}を{b}に直してください。", "{n}{a}は何{b}？"],
    "zh": ["{n}{a}等于多少{b}？", "把{n}{a}换算成{b}。", "{n}{a}是多少{b}？"],
}
ANSWER = {"en": "{n} {a} = {m} {b}.", "ja": "{n}{a}は{m}{b}です。", "zh": "{n}{a}等于{m}{b}。"}


def convert(rng: random.Random, language: str) -> Problem:
    """From the larger unit to the smaller, or (a third) back where no rest is left. The same number and factor are the
    same problem, whatever the units are called."""
    larger, smaller, factor = rng.choice(UNITS)
    n = rng.randint(2, rng.choice([9, 99]))
    if rng.random() < 0.33:
        a, b, given, result, sign, steps_of = smaller, larger, n * factor, n, "÷", _back
    else:
        a, b, given, result, sign, steps_of = larger, smaller, n, n * factor, "×", _forth
    steps = [f"{a[language]} → {b[language]}: {sign}{factor}", *steps_of(given, factor)]
    words = {"a": a[language], "b": b[language]}
    prompt = rng.choice(ASK[language]).format(n=given, **words)
    answer = ANSWER[language].format(n=given, m=result, **words)
    return Problem(prompt, "\n".join(steps), answer, "units", f"unit:{factor}:{n}", language)


def _forth(n: int, factor: int) -> list[str]:
    if factor in (10, 100, 1000):
        return [f"{n}×{factor}={n * factor}"]
    if factor == 60:
        return [work(n, "×", 6), f"{n}×60={n * 60}"]
    if factor < 10:
        return [work(n, "×", factor)]
    tens, ones = factor // 10 * 10, factor % 10
    first = [f"{n}×10={n * 10}"] if tens == 10 else [work(n, "×", tens // 10), f"{n}×{tens}={n * tens}"]
    return [*first, work(n, "×", ones), work(n * tens, "+", n * ones)]


def _back(total: int, factor: int) -> list[str]:
    """Divided by one figure after the other: 24 is 4 and 6."""
    if factor in (10, 100, 1000):
        return [f"{total}÷{factor}={total // factor}"]
    lines, left, parts = [], total, {60: (10, 6), 24: (4, 6), 16: (4, 4), 12: (3, 4)}.get(factor, (factor,))
    for part in parts:
        if part < 10:
            lines += [f"{left}÷{part}", *long_division(left, part)]
        lines.append(f"{left}÷{part}={left // part}")
        left //= part
    return lines if len(parts) == 1 else [*lines, f"{total}÷{factor}={left}"]
