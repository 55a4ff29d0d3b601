"""Weekdays, dates and clock times: what comes so much later, and how long it is from one to another.

Knows a year of 365 days (no year is ever named) and a clock of 24 hours.
"""

import random

from training.data.expressions import work
from training.data.problem import Problem, phrases

WEEKDAYS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "ja": ["月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日", "日曜日"],
    "zh": ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"],
}
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

WEEKDAY_LATER = {
    "en": phrases(
        """
        What day is {n} days after {d}? | Today is {d}. What day is it in {n} days? | Which day comes {n} days after {d}? |
        If today is {d}, what day will it be in {n} days? | It is {d}. What day is it {n} days from now?
        """
    ),
    "ja": ["{d}の{n}日後は何曜日ですか？", "今日は{d}です。{n}日後は何曜日？", "{d}から{n}日たつと何曜日？"],
    "zh": ["{d}之后{n}天是星期几？", "今天是{d}，{n}天后是星期几？", "{d}再过{n}天是星期几？"],
}
DATE_LATER = {
    "en": phrases(
        """
        What date is {n} days after {d}? | Which date comes {n} days after {d}? | Add {n} days to {d}. |
        Today is {d}. What is the date in {n} days?
        """
    ),
    "ja": ["{d}の{n}日後は何月何日ですか？", "今日は{d}です。{n}日後の日付は？"],
    "zh": ["{d}之后{n}天是几月几日？", "今天是{d}，{n}天后是几月几日？"],
}
DAYS_BETWEEN = {
    "en": phrases(
        """
        How many days after {d} is {e}? | How many days is it from {d} to {e}? | {e} is how many days after {d}?
        """
    ),
    "ja": ["{d}の何日後が{e}ですか？", "{d}から何日たつと{e}ですか？"],
    "zh": ["{d}再过多少天是{e}？", "{d}到{e}相隔几天？"],
}
TIME_LATER = {
    "en": phrases(
        """
        What time is it {n} minutes after {d}? | A film starts at {d} and lasts {n} minutes. When does it end? |
        Add {n} minutes to {d}. | It is {d}. What time is it in {n} minutes?
        """
    ),
    "ja": ["{d}の{n}分後は何時何分ですか？", "今は{d}です。{n}分後は？"],
    "zh": ["{d}过{n}分钟是几点？", "现在是{d}，{n}分钟后是几点？"],
}
MINUTES_BETWEEN = {
    "en": phrases(
        """
        How many minutes are there from {d} to {e}? | How many minutes is it from {d} to {e}? |
        A bus leaves at {d} and arrives at {e}. How many minutes does it take? | How long is it from {d} to {e} in minutes?
        """
    ),
    "ja": ["{d}から{e}まで何分ですか？", "{d}から{e}までは何分？"],
    "zh": ["从{d}到{e}有多少分钟？", "{d}到{e}是几分钟？"],
}
IT_IS = {"en": "It is {x}.", "ja": "{x}です。", "zh": "是{x}。"}
DAYS = {"en": "{x} days.", "ja": "{x}日間です。", "zh": "{x}天。"}
MINUTES = {"en": "{x} minutes.", "ja": "{x}分です。", "zh": "{x}分钟。"}


def date_name(month: int, day: int, language: str) -> str:
    """`5 March`, `3月5日`; months count from 0."""
    return f"{day} {MONTHS[month]}" if language == "en" else f"{month + 1}月{day}日"


def date(rng: random.Random, language: str) -> Problem:
    return rng.choice((_weekday, _date_later, _days_between, _time_later, _minutes_between))(rng, language)


def _weekday(rng: random.Random, language: str) -> Problem:
    """Whole weeks fall away; the days that are left are counted."""
    names, start, n = WEEKDAYS[language], rng.randrange(7), rng.randint(2, 99)
    rest = n % 7
    counted = " ".join(f"{i} {names[(start + i) % 7]}" for i in range(rest + 1))
    steps = f"{n}-{n - rest}={rest}\n{counted}"
    prompt = rng.choice(WEEKDAY_LATER[language]).format(n=n, d=names[start])
    answer = IT_IS[language].format(x=names[(start + rest) % 7])
    return Problem(prompt, steps, answer, "dates", f"weekday:{start}:{n}", language)


def _date_later(rng: random.Random, language: str) -> Problem:
    """Month by month: what is over a month's length goes into the next."""
    month, n = rng.randrange(10), rng.randint(2, 50)
    day = rng.randint(1, LENGTHS[month])
    total, now, lines = day + n, month, [work(day, "+", n)]
    while total > LENGTHS[now]:
        lines.append(f"{month_name(now, language)} {LENGTHS[now]}: {total}-{LENGTHS[now]}={total - LENGTHS[now]}")
        total -= LENGTHS[now]
        now += 1
    lines.append(f"{month_name(now, language)} {total}")
    prompt = rng.choice(DATE_LATER[language]).format(n=n, d=date_name(month, day, language))
    answer = IT_IS[language].format(x=date_name(now, total, language))
    return Problem(prompt, "\n".join(lines), answer, "dates", f"date:{month}:{day}:{n}", language)


def _days_between(rng: random.Random, language: str) -> Problem:
    """The rest of the first month, the months between, the days of the last. Before each stand this month and the last
    one, so that the end shows. The question turned round is the same problem."""
    month = rng.randrange(9)
    last = month + rng.randint(1, 3)
    day, end = rng.randint(1, LENGTHS[month]), rng.randint(1, LENGTHS[last])
    total = LENGTHS[month] - day
    lines = [f"{month_name(month, language)} {LENGTHS[month]}-{day}={total}"]
    for now in range(month + 1, last + 1):
        more = end if now == last else LENGTHS[now]
        months = f"{month_name(now, language)} {month_name(last, language)} {'=' if now == last else '<'}"
        lines.append(f"{months} {more}: {work(total, '+', more)}")
        total += more
    prompt = rng.choice(DAYS_BETWEEN[language]).format(
        d=date_name(month, day, language), e=date_name(last, end, language)
    )
    if total == 1:
        return _days_between(rng, language)
    key = f"date:{month}:{day}:{total}"
    return Problem(prompt, "\n".join(lines), DAYS[language].format(x=total), "dates", key, language)


def _time_later(rng: random.Random, language: str) -> Problem:
    hour, minute, n = rng.randint(0, 20), rng.randrange(0, 60), rng.randint(5, 180)
    total, now, lines = minute + n, hour, [work(minute, "+", n)]
    while total >= 60:
        now += 1
        lines.append(f"{now}: {total}-60={total - 60}")
        total -= 60
    prompt = rng.choice(TIME_LATER[language]).format(n=n, d=f"{hour}:{minute:02}")
    answer = IT_IS[language].format(x=f"{now}:{total:02}")
    lines.append(f"{now}:{total:02}")
    return Problem(prompt, "\n".join(lines), answer, "dates", f"time:{hour}:{minute}:{n}", language)


def _minutes_between(rng: random.Random, language: str) -> Problem:
    """The hours between in minutes, with the minutes of the end, without those of the start."""
    hour, minute = rng.randint(0, 20), rng.randrange(1, 60)
    last, end = hour + rng.randint(1, 3), rng.randrange(0, 60)
    whole = 60 * (last - hour)
    total = whole + end - minute
    lines = [f"{last}-{hour}={last - hour}", f"{last - hour}×60={whole}"]
    lines += [work(whole, "+", end), work(whole + end, "-", minute)]
    prompt = rng.choice(MINUTES_BETWEEN[language]).format(d=f"{hour}:{minute:02}", e=f"{last}:{end:02}")
    if total == 1:
        return _minutes_between(rng, language)
    key = f"time:{hour}:{minute}:{total}"
    return Problem(prompt, "\n".join(lines), MINUTES[language].format(x=total), "dates", key, language)


def month_name(month: int, language: str) -> str:
    return MONTHS[month] if language == "en" else f"{month + 1}月"
