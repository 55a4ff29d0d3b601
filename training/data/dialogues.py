"""Problems put into dialogues: several turns, system prompts, and everything that says whether to think.

A dialogue ends with a user's message; what follows it (thinking and answer of the last problem) is what is learned.
"""

import random
import re
from dataclasses import dataclass

from training.data import TASKS, sample
from training.data.problem import Problem, is_held_out_key
from training.data.words import WORDS

#: What Qwen3 inserts where the thinking budget is spent.
STOP_SENTENCE = "Considering the limited time by the user, I have to give the solution based on the thinking directly now.\n</think>.\n\n"

SYSTEM = [
    "You are a helpful assistant.",
    "You are a helpful assistant",
    "You are a friendly teacher.",
    "Answer briefly.",
    "You are ExpertScope's teaching model.",
    "Be concise.",
    "You are a careful calculator.",
    "Help the user.",
    "You are a patient tutor. Explain clearly.",
    "あなたは親切なアシスタントです。",
    "你是一个有用的助手。",
]
HARD_OFF, SOFT_SWITCH, CUT = 0.36, 0.24, 0.04


@dataclass(frozen=True)
class Dialogue:
    """Messages up to the user's last; whether the template's hard switch is on; whether the model should think.

    `cut` in (0, 1) is the share of the thinking that is kept before the stop sentence, or 0 where it is not cut.
    """

    messages: tuple[dict[str, str], ...]
    enable_thinking: bool
    thinks: bool
    problem: Problem
    cut: float = 0.0


def make_dialogue(rng: random.Random, held_out: bool = False) -> Dialogue:
    """A dialogue as the recipe trains on them (or, from held-out problems, as it evaluates them)."""
    turns = rng.choices([1, 2, 3], [70, 21, 9])[0]
    first = sample(rng, held_out)
    problems = [first]
    for _ in range(turns - 1):
        same = rng.random() < 0.5
        problems.append(sample(rng, held_out, first.task if same else None, problems[-1].language))
    messages: list[dict[str, str]] = []
    if rng.random() < 0.22:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    for i, problem in enumerate(problems):
        text = problem.prompt
        if i and problem.follow_up and problems[i - 1].task == problem.task and rng.random() < 0.6:
            text = problem.follow_up
        elif problem.language == "en":
            text = _as_people_write(rng, text)
        messages.append({"role": "user", "content": text})
        if i < len(problems) - 1:
            messages.append({"role": "assistant", "content": problem.answer})
    kind = rng.random()
    if kind < HARD_OFF:
        if rng.random() < 0.1:
            _switch(rng, messages, rng.choice(["/think", "/no_think"]))
        return Dialogue(tuple(messages), False, False, problems[-1])
    thinks = True
    if kind < HARD_OFF + SOFT_SWITCH:
        thinks = rng.random() < 0.4
        if rng.random() < 0.2:  # an earlier switch that the last one overrules
            _switch(rng, messages, "/no_think" if thinks else "/think", earlier=True)
        _switch(rng, messages, "/think" if thinks else "/no_think")
    cut = rng.random() if thinks and rng.random() < CUT / (1 - HARD_OFF) else 0.0
    return Dialogue(tuple(messages), True, thinks, problems[-1], cut)


def single(problem: Problem, enable_thinking: bool, switch: str = "") -> Dialogue:
    """One problem alone, with a soft switch or none; what evaluation asks."""
    text = f"{problem.prompt} {switch}".strip()
    return Dialogue(
        ({"role": "user", "content": text},), enable_thinking, enable_thinking and switch != "/no_think", problem
    )


def _as_people_write(rng: random.Random, text: str) -> str:
    """English prompts now and then lose their capital or their last sign, or gain a polite word."""
    if rng.random() < 0.06 and text[:1].isupper() and text[1:2].islower():
        text = text[0].lower() + text[1:]
    if rng.random() < 0.06 and text[-1:] in ".?" and len(text) > 3:
        text = text[:-1]
    if rng.random() < 0.05:
        text = (
            rng.choice(
                ["Please: ", "Hi! ", "Hello, ", "Ok, ", "Question: ", "So, ", "Hey, ", "Now: ", "Quick question: "]
            )
            + text
        )
    elif rng.random() < 0.03:
        text += rng.choice([" please", " Please.", " Thanks!", ", please", " Show your steps."])
    return text


def _switch(rng: random.Random, messages: list[dict[str, str]], switch: str, earlier: bool = False) -> None:
    """Writes a soft switch into a message: the last user message mostly, an earlier one, or the system message."""
    users = [i for i, m in enumerate(messages) if m["role"] == "user"]
    has_system = messages[0]["role"] == "system"
    if earlier:
        candidates = ([0] if has_system else []) + users[:-1]
        if not candidates:
            messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM)})
            candidates = [0]
        place = rng.choice(candidates)
    else:
        place = users[-1]
        written = any("think" in m["content"] for m in messages)
        if not written and rng.random() < 0.3:
            if rng.random() < 0.5 and len(users) > 1:
                place = users[0]
            else:
                if not has_system:
                    messages.insert(0, {"role": "system", "content": rng.choice([*SYSTEM, ""])})
                place = 0
    text = messages[place]["content"]
    at_end = rng.random() < 0.85
    joined = f"{text} {switch}" if at_end else f"{switch} {text}"
    messages[place] = {**messages[place], "content": joined.strip()}


def tokenizer_sample(rng: random.Random, count: int) -> list[str]:
    """Texts to learn pieces from.

    Tasks about letters and the words held out for them are left out, so that those words stay cut into short pieces.
    """
    names = [name for name in TASKS if name not in ("spelling", "reversing", "counting")]
    hidden = {word for word in WORDS if is_held_out_key(f"word:{word}")}
    texts = []
    for i in range(count):
        language = ("en", "en", "ja", "zh")[i % 4]
        problem = sample(rng, False, "conversation" if i % 4 == 0 else rng.choice(names), language)
        texts += [problem.prompt, problem.thinking, problem.answer]
    texts += [*(SYSTEM * 20), *([STOP_SENTENCE, " /think", " /no_think"] * 50), *(["\n\n"] * 2000)]
    return [" ".join(word for word in text.split(" ") if re.sub(r"\W", "", word) not in hidden) for text in texts]
