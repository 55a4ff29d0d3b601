"""Measures a saved checkpoint: `python -m training.evaluate [--model DIR] [--n N] [--json]`.

Greedy decoding on held-out problems: accuracy by task and mode with Wilson 95% intervals, obedience to the soft
switches, answers after a forced stop, and how evenly the experts are loaded. Knows the task list, not how anything was
trained.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, Qwen3MoeForCausalLM

from training.card import figures_text
from training.data import TASKS, sample
from training.data.dialogues import STOP_SENTENCE, Dialogue, make_dialogue, single
from training.data.problem import Problem
from training.decode import Reply, greedy
from training.encode import encode, prompt_text
from training.export import BUNDLED
from training.model import EXPERTS_FUNCTION, RouterTap

Share = dict[str, Any]
STOP_AFTER = (0, 8, 24)


def wilson(right: int, n: int) -> Share:
    """Share with its Wilson 95% interval, as `share`, `low`, `high` and `n`."""
    if not n:
        return {"share": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    scale = 1 + z * z / n
    return {"share": p, "low": max(0.0, (middle - half) / scale), "high": min(1.0, (middle + half) / scale), "n": n}


def held_out(rng: random.Random, n: int, task: str, language: str | None = None) -> list[Problem]:
    """Up to n different held-out prompts of a task (fewer where there are no more)."""
    found: dict[str, Problem] = {}
    for _ in range(n * 8):
        problem = sample(rng, True, task, language)
        found.setdefault(problem.prompt, problem)
        if len(found) == n:
            break
    return list(found.values())


class Examiner:
    """A model and its tokenizer, asked dialogues."""

    def __init__(self, model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def ask(self, dialogues: list[Dialogue]) -> list[Reply]:
        return greedy(self.model, self.tokenizer, [self.ids(prompt_text(self.tokenizer, d)) for d in dialogues])

    def tasks(self, rng: random.Random, n: int) -> tuple[list[Share], list[Reply]]:
        """Accuracy by task in both modes, and all replies."""
        rows, every = [], []
        for task in TASKS:
            problems = held_out(rng, n, task)
            row: Share = {"task": task}
            for mode, thinks in (("thinking", True), ("non_thinking", False)):
                replies = self.ask([single(p, thinks) for p in problems])
                row[mode] = wilson(
                    sum(r.answer == p.answer for r, p in zip(replies, problems, strict=True)), len(problems)
                )
                every += replies
            rows.append(row)
        return rows, every

    def languages(self, rng: random.Random, n: int) -> list[Share]:
        """Thinking accuracy by language over the tasks that exist in all three."""
        shared = [task for task, (_, _, languages) in TASKS.items() if len(languages) == 3 and task != "conversation"]
        rows = []
        for language in ("en", "ja", "zh"):
            problems = [p for task in shared for p in held_out(rng, -(-n // len(shared)), task, language)]
            replies = self.ask([single(p, True) for p in problems])
            right = sum(r.answer == p.answer for r, p in zip(replies, problems, strict=True))
            rows.append({"language": language, "thinking": wilson(right, len(problems))})
        return rows

    def obedience(self, rng: random.Random, n: int) -> list[Share]:
        """Does it think exactly where the last soft switch (or, without one, the mode) says so?"""
        rows = []
        for name, switch, thinks in (
            ("thinks after /think", "/think", True),
            ("answers at once after /no_think", "/no_think", False),
        ):
            problems = [sample(rng, True) for _ in range(n)]
            replies = self.ask([single(p, True, switch) for p in problems])
            rows.append({"name": name, **wilson(sum(bool(r.thinking) == thinks and r.well_formed for r in replies), n)})
        dialogues: list[Dialogue] = []
        while len(dialogues) < n:
            dialogue = make_dialogue(rng, True)
            if not dialogue.cut and len(dialogue.messages) > 1:
                dialogues.append(dialogue)
        replies = self.ask(dialogues)
        obeyed = [bool(r.thinking) == d.thinks and r.well_formed for r, d in zip(replies, dialogues, strict=True)]
        right = [r.answer == d.problem.answer for r, d in zip(replies, dialogues, strict=True) if d.thinks]
        rows.append({"name": "obeys in dialogues with history, system prompt and any switch", **wilson(sum(obeyed), n)})
        rows.append({"name": "right last answer in those of them where it thinks", **wilson(sum(right), len(right))})
        return rows

    def forced_stop(self, rng: random.Random, n: int) -> list[Share]:
        """Thinking cut after some tokens of its own: does an answer still come, and how often the right one?"""
        problems = [sample(rng, True) for _ in range(n)]
        prompts = [self.ids(prompt_text(self.tokenizer, single(p, True))) for p in problems]
        thoughts = greedy(self.model, self.tokenizer, prompts)
        end, opened = self.tokenizer.convert_tokens_to_ids("</think>"), self.ids("<think>\n")
        stop, rows = self.ids(STOP_SENTENCE), []
        for budget in STOP_AFTER:
            asked, meant = [], []
            for problem, prompt, thought in zip(problems, prompts, thoughts, strict=True):
                written = thought.ids[len(opened) :]
                length = written.index(end) if end in written else len(written)
                if length > budget:
                    asked.append(prompt + opened + written[:budget] + stop)
                    meant.append(problem)
            replies = greedy(self.model, self.tokenizer, asked, max_new_tokens=64)
            answered = sum(r.ended and bool(r.text.strip()) and "think>" not in r.text for r in replies)
            right = sum(r.text.strip() == p.answer for r, p in zip(replies, meant, strict=True))
            rows.append(
                {"name": f"answers when stopped after {budget} tokens of thinking", **wilson(answered, len(asked))}
            )
            rows.append({"name": f"right when stopped after {budget} tokens", **wilson(right, len(asked))})
        return rows

    @torch.inference_mode()
    def load(self, rng: random.Random, dialogues: int) -> Share:
        """Load of every layer's experts over held-out dialogues of the training mixture, as they should be answered."""
        counts: torch.Tensor | None = None
        tokens = 0
        for example in encode(self.tokenizer, [make_dialogue(rng, True) for _ in range(dialogues)]):
            with RouterTap(self.model) as tap:
                self.model.model(input_ids=torch.tensor([example.ids]), use_cache=False)
                rows = torch.stack(
                    [torch.bincount(ids.flatten(), minlength=logits.shape[1]) for logits, ids in tap.take()]
                )
            counts = rows if counts is None else counts + rows
            tokens += len(example.ids)
        assert counts is not None
        relative = counts / counts.sum(1, keepdim=True) * counts.shape[1]
        layers = [
            {"layer": i, "smallest_share": float(row.min()), "max_violation": float(row.max() - 1)}
            for i, row in enumerate(relative)
        ]
        return {"tokens": tokens, "layers": layers}


def evaluate(folder: Path = BUNDLED, n: int = 200, seed: int = 2024) -> Share:
    """All figures of a checkpoint, computed in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.set_experts_implementation(EXPERTS_FUNCTION)
    examiner = Examiner(model, tokenizer)
    rng = random.Random(seed)
    tasks, replies = examiner.tasks(rng, n)
    formed = {"name": "well-formed answers, both modes", **wilson(sum(r.well_formed for r in replies), len(replies))}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tasks": tasks,
        "languages": examiner.languages(rng, n),
        "behaviour": [formed, *examiner.obedience(rng, n), *examiner.forced_stop(rng, n)],
        "load": examiner.load(rng, n),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a saved checkpoint on held-out problems."
    )
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model folder")
    parser.add_argument("--n", type=int, default=200, help="problems per task and mode")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    if given.n < 1:
        parser.error(f"--n must be at least 1, not {given.n}")
    if not (given.model / "config.json").exists():
        parser.error(f"no model folder at {given.model}")
    figures = evaluate(given.model, given.n, given.seed)
    print(json.dumps(figures, indent=1) if given.json else figures_text(figures).strip())


if __name__ == "__main__":
    main()
