"""Measures a saved checkpoint: `python -m training.evaluate [--model DIR] [--run DIR] [--n N] [--json]`.

Greedy decoding on held-out problems: accuracy by task, language and mode, accuracy against the thinking budget,
obedience to every switch, how evenly and how specially the experts are used; with a run's folder also what each of its
stages changed. Knows the task list, not how anything was trained.
"""

import argparse
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from analysis.storage import write_whole
from training import routing
from training.card import figures_text
from training.data import KNOWLEDGE, MULTI_STEP, REASONING, TASKS, sample
from training.data.dialogues import STOP_SENTENCE, Dialogue, make_dialogue, single
from training.data.problem import Problem
from training.decode import Reply, greedy
from training.encode import encode, prompt_text
from training.export import BUNDLED
from training.intervals import Share, paired, wilson
from training.model import EXPERTS_FUNCTION
from training.train import device

BUDGETS = (0, 8, 16, 32, 64, 128)
LANGUAGES = ("en", "ja", "zh")
#: (name, hard switch, soft switch)
SWITCHES = (
    ("thinking, no switch", True, ""),
    ("/think", True, "/think"),
    ("/no_think", True, "/no_think"),
    ("enable_thinking=False", False, ""),
)
#: Every stage that is measured, and the one that it began from.
BEGAN_FROM = {
    "pretraining": "",
    "cold-start": "pretraining",
    "reasoning-rl": "cold-start",
    "fusion": "reasoning-rl",
    "general-rl": "fusion",
    "teacher": "general-rl",
    "distillation-off": "pretraining",
    "distillation-on": "distillation-off",
}
STAGES = tuple(BEGAN_FROM)
#: The stages that the bundled model went through if it was not distilled; the last of them ends it.
OWN_WAY = STAGES[:5]
DISTILLED_WAY = ("pretraining", "distillation-off", "distillation-on")
GROUPS = {"reasoning": REASONING, "multi-step": MULTI_STEP, "knowledge": KNOWLEDGE}


def held_out(rng: random.Random, n: int, task: str) -> list[Problem]:
    """Up to n different held-out problems of a task, fewer where there are no more: each in one language and one
    phrasing, a third in each language until one runs out."""
    found: dict[str, Problem] = {}
    for i in range(n * 8):
        problem = sample(rng, True, task, LANGUAGES[i % 3])
        found.setdefault(problem.key, problem)
        if len(found) == n:
            break
    return list(found.values())


def marks_of(right: Sequence[bool]) -> str:
    """One sign a problem, 1 where it is right: small enough to be kept with every stage."""
    return "".join("01"[mark] for mark in right)


class Examiner:
    """A model and its tokenizer, asked dialogues."""

    def __init__(self, model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def ask(self, dialogues: list[Dialogue]) -> list[Reply]:
        print(f"  {len(dialogues)} dialogues to answer", file=sys.stderr, flush=True)
        return greedy(self.model, self.tokenizer, [self.ids(prompt_text(self.tokenizer, d)) for d in dialogues])

    def accuracy(self, rng: random.Random, n: int) -> dict[str, Any]:
        """Right answers in both modes, by task, by language and of groups of tasks; well-formed ones; and `marks`:
        every problem's task, and a sign a problem whether each mode was right.

        Languages are compared over the reasoning tasks, of which each language has about as many.
        """
        asked: list[Problem] = [problem for task in TASKS for problem in held_out(rng, n, task)]
        replies = {
            mode: self.ask([single(p, mode == "thinking") for p in asked]) for mode in ("thinking", "non_thinking")
        }
        right = {
            mode: [r.ended and r.answer == p.answer for r, p in zip(said, asked, strict=True)]
            for mode, said in replies.items()
        }

        def row(name: str, wanted: list[bool]) -> Share:
            """Both modes' shares over the problems that are wanted."""
            both = {
                mode: wilson(sum(ok for ok, want in zip(marks, wanted, strict=True) if want), sum(wanted))
                for mode, marks in right.items()
            }
            chosen = [[ok for ok, want in zip(right[mode], wanted, strict=True) if want] for mode in both]
            return {"name": name, **both, "gain": paired(*chosen)}

        formed = [r.well_formed for said in replies.values() for r in said]
        return {
            "tasks": [row(task, [p.task == task for p in asked]) for task in TASKS],
            "groups": [row(name, [p.task in tasks for p in asked]) for name, tasks in GROUPS.items()],
            "languages": [
                row(language, [p.language == language and p.task in REASONING for p in asked]) for language in LANGUAGES
            ],
            "each": [
                row(f"{task} {language}", [p.task == task and p.language == language for p in asked])
                for task in TASKS
                for language in LANGUAGES
            ],
            "well_formed": {"name": "well-formed answers, both modes", **wilson(sum(formed), len(formed))},
            "marks": {"tasks": [p.task for p in asked], **{mode: marks_of(ok) for mode, ok in right.items()}},
        }

    def obedience(self, rng: random.Random, n: int) -> tuple[list[Share], list[bool]]:
        """Does it think exactly where the switches say so? By switch and language, and in longer dialogues; and of
        every dialogue whether it did."""
        asked: list[tuple[str, Dialogue]] = []
        for name, hard, soft in SWITCHES:
            for language in LANGUAGES:
                problems = [sample(rng, True, language=language) for _ in range(n)]
                asked += [(f"{name}, {language}", single(problem, hard, soft)) for problem in problems]
        while len(asked) < (len(SWITCHES) * len(LANGUAGES) + 1) * n:
            dialogue = make_dialogue(rng, True)
            if not dialogue.cut and len(dialogue.messages) > 1:
                asked.append(("dialogues with history, system message, any switch", dialogue))
        replies = self.ask([dialogue for _, dialogue in asked])
        obeyed: dict[str, list[bool]] = {}
        for (name, dialogue), reply in zip(asked, replies, strict=True):
            obeyed.setdefault(name, []).append(bool(reply.thinking) == dialogue.thinks and reply.well_formed)
        rows = [{"name": name, **wilson(sum(marks), len(marks))} for name, marks in obeyed.items()]
        every = [mark for marks in obeyed.values() for mark in marks]
        return [{"name": "all together", **wilson(sum(every), len(every))}, *rows], every

    def budget(self, rng: random.Random, n: int) -> list[Share]:
        """Right answers to reasoning problems when the thinking is stopped after so many tokens of its own."""
        problems = [problem for task in REASONING for problem in held_out(rng, -(-n // len(REASONING)), task)]
        n = len(problems)
        prompts = [self.ids(prompt_text(self.tokenizer, single(p, True))) for p in problems]
        thoughts = greedy(self.model, self.tokenizer, prompts)
        end, opened = self.tokenizer.convert_tokens_to_ids("</think>"), self.ids("<think>\n")
        stop, rows = self.ids(STOP_SENTENCE), []
        for budget in BUDGETS:
            answers, stopped = [thought.answer if thought.ended else "" for thought in thoughts], []
            for i, thought in enumerate(thoughts):
                own = thought.ids[len(opened) :]
                if (own.index(end) if end in own else len(own)) > budget:
                    stopped.append((i, prompts[i] + opened + own[:budget] + stop))
            replies = greedy(self.model, self.tokenizer, [ids for _, ids in stopped], max_new_tokens=64)
            for (i, _), reply in zip(stopped, replies, strict=True):
                answers[i] = reply.text.strip() if reply.ended and "think>" not in reply.text else ""
            rows.append(
                {
                    "budget": budget,
                    "right": wilson(sum(a == p.answer for a, p in zip(answers, problems, strict=True)), n),
                    "answers_when_stopped": wilson(sum(bool(answers[i]) for i, _ in stopped), len(stopped)),
                }
            )
        right = sum(t.ended and t.answer == p.answer for t, p in zip(thoughts, problems, strict=True))
        return [*rows, {"budget": None, "right": wilson(right, n), "answers_when_stopped": wilson(0, 0)}]

    def routes(self, rng: random.Random, n: int) -> dict[str, Any]:
        """Load over held-out dialogues of the training mixture, and specialization by task, both answered rightly."""
        experts = self.model.config.num_experts
        mixed = encode(self.tokenizer, [make_dialogue(rng, True) for _ in range(n)])
        by_task = [(task, sample(rng, True, task)) for task in TASKS for _ in range(max(2, n // len(TASKS)))]
        texts = routing.routed(
            self.model, [e.ids for e in encode(self.tokenizer, [single(p, True) for _, p in by_task])]
        )
        return {
            "load": routing.load(routing.routed(self.model, [example.ids for example in mixed]), experts),
            "specialization": routing.specialization(texts, [task for task, _ in by_task], experts),
        }


def fixed_texts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The texts that show every stage's routing: two held-out problems of every task, always the same."""
    rng = random.Random("the same for every stage")
    problems = [sample(rng, True, task) for task in TASKS for _ in range(2)]
    return [example.ids for example in encode(tokenizer, [single(problem, True) for problem in problems])]


def stage_model(run: Path, stage: str) -> Qwen3MoeForCausalLM | None:
    """A stage's checkpoint of a run, its weights rounded to bfloat16 as in a saved model, computed in float32; None
    where the run has not come so far."""
    path = run / stage / "checkpoint.pt"
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True, map_location="cpu")
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**state["config"])).float()
    model.load_state_dict({name: value.bfloat16() for name, value in state["model"].items()})
    model.set_experts_implementation(EXPERTS_FUNCTION)
    return model.eval().to(device())


def of_run(run: Path, n: int, seed: int = 2024) -> dict[str, Any]:
    """What a run adds to the figures of its model: `stages`, and `distilled`, the two students compared.

    Of every stage that the run has: accuracy of both modes, obedience, its routing of the fixed texts (load, and
    `saturation` against the last of the four stages), and `change` since the stage that it began from.

    Raises:
        FileNotFoundError: the run has no stage, or one can no longer be measured.
    """
    routes = {stage: routed for stage in STAGES if (routed := routes_of(run, stage))}
    last = next((stage for stage in reversed(OWN_WAY) if stage in routes), "")
    if not last:
        raise FileNotFoundError(f"{run} holds none of the four stages")
    found = {stage: measured(run, stage, n, seed) for stage in routes}
    rows = []
    for stage, row in found.items():
        shown = {
            **{name: value for name, value in row.items() if name != "marks"},
            "load": routing.load(routes[stage], row["experts"]),
            "last": last,
            "saturation": routing.saturation(routes[stage], routes[last]),
        }
        if (before := BEGAN_FROM[stage]) in found:
            kept = routing.saturation(routes[before], routes[stage])
            shown["change"] = {"since": before, **changes(found[before], row), "experts kept": kept}
        rows.append(shown)
    return {"stages": rows, "distilled": distilled_against_four_stages(found)}


def changes(before: Share, after: Share) -> dict[str, Share]:
    """What is different between two measured stages, problem by problem: they were asked the same."""
    old, new = before["marks"], after["marks"]
    if old["tasks"] != new["tasks"]:
        raise ValueError(f"{before['stage']} and {after['stage']} were asked different problems")

    def gap(mode: str, group: str) -> Share:
        wanted = [task in GROUPS[group] for task in old["tasks"]]
        return paired(
            *([m == "1" for m, want in zip(marks[mode], wanted, strict=True) if want] for marks in (new, old))
        )

    return {
        "reasoning, thinking": gap("thinking", "reasoning"),
        "reasoning, non-thinking": gap("non_thinking", "reasoning"),
        "knowledge, thinking": gap("thinking", "knowledge"),
        "obedience": paired(*([m == "1" for m in marks["obeyed"]] for marks in (new, old))),
    }


def distilled_against_four_stages(found: Mapping[str, Share]) -> dict[str, Any]:
    """Of all measured stages: the distilled student minus the four-stage one, and the minutes that each way computed;
    empty before both are there. What the teacher cost is not in the student's minutes."""
    ways = {"four stages": OWN_WAY, "distilled": DISTILLED_WAY, "teacher": ("teacher",)}
    if not {stage for way in ways.values() for stage in way} <= set(found):
        return {}
    minutes = {name: sum(found[stage]["minutes"] for stage in way) for name, way in ways.items()}
    return {**changes(found["general-rl"], found["distillation-on"]), "minutes": minutes}


def routes_of(run: Path, stage: str) -> list[routing.Routed]:
    """How a stage routes the fixed texts; kept beside its checkpoint, and empty where there is neither."""
    kept, progress = run / stage / "routes.npz", progress_of(run, stage)
    if kept.exists():
        arrays = np.load(kept)
        if not progress or progress["tokens"] == arrays["trained"]:
            parts = (np.split(arrays[name], arrays["ends"]) for name in ("tokens", "experts"))
            return [routing.Routed(*text) for text in zip(*parts, strict=True)]
    model = stage_model(run, stage)
    if model is None or not progress:
        return []
    found = routing.routed(model, fixed_texts(AutoTokenizer.from_pretrained(run / "tokenizer")))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        tokens=np.concatenate([text.tokens for text in found]).astype(np.int32),
        experts=np.concatenate([text.experts for text in found]).astype(np.int16),
        ends=np.cumsum([len(text.tokens) for text in found])[:-1],
        trained=progress["tokens"],
    )
    write_whole(kept, file.getvalue())
    return found


def measured(run: Path, stage: str, n: int, seed: int = 2024) -> Share:
    """A stage's accuracy and obedience. They are kept beside its checkpoint, so that they are measured once."""
    kept, progress = run / stage / "measured.json", progress_of(run, stage)
    facts = {"stage": stage, "n": n, "seed": seed}
    if progress:
        facts |= {"minutes": progress["seconds"] / 60, "tokens": progress["tokens"]}
    if kept.exists():
        row = json.loads(kept.read_text(encoding="utf-8"))
        if {name: row.get(name) for name in facts} == facts:
            return row
    model = stage_model(run, stage)
    if model is None:
        raise FileNotFoundError(f"{stage} was measured with other settings, and its checkpoint is not there any more")
    print(f"measuring {stage}", file=sys.stderr, flush=True)
    examiner = Examiner(model, AutoTokenizer.from_pretrained(run / "tokenizer"))
    accuracy = examiner.accuracy(random.Random(seed), n)
    obedience, obeyed = examiner.obedience(random.Random(seed), n)
    row = {
        **facts,
        "experts": model.config.num_experts,
        "tasks": accuracy["tasks"],
        "groups": accuracy["groups"],
        "obedience": obedience[0],
        "marks": {**accuracy["marks"], "obeyed": marks_of(obeyed)},
    }
    write_whole(kept, (json.dumps(row, indent=1) + "\n").encode())
    return row


def progress_of(run: Path, stage: str) -> dict[str, float]:
    """Tokens and seconds that a stage's checkpoint was trained for; empty where there is none."""
    path = run / stage / "checkpoint.pt"
    return torch.load(path, weights_only=True, map_location="cpu")["progress"] if path.exists() else {}


def evaluate(folder: Path = BUNDLED, n: int = 200, seed: int = 2024) -> dict[str, Any]:
    """All figures of a saved model, computed in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.set_experts_implementation(EXPERTS_FUNCTION)
    model.to(device())
    examiner, rng = Examiner(model, tokenizer), random.Random(seed)
    accuracy = examiner.accuracy(rng, n)
    del accuracy["marks"]
    return {
        **accuracy,
        "obedience": examiner.obedience(rng, n)[0],
        "budget": examiner.budget(rng, 2 * n),
        **examiner.routes(rng, n),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a saved checkpoint on held-out problems."
    )
    parser.add_argument("--model", type=Path, default=BUNDLED, help="model folder")
    parser.add_argument("--run", type=Path, help="folder of a training run: measure its stages as well")
    parser.add_argument("--n", type=int, default=200, help="problems per task, mode and switch")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    if given.n < 1:
        parser.error(f"--n must be at least 1, not {given.n}")
    if not (given.model / "config.json").exists():
        parser.error(f"no model folder at {given.model}")
    if given.run and not (given.run / "tokenizer").exists():
        parser.error(f"no training run at {given.run}")
    figures = evaluate(given.model, given.n, given.seed)
    if given.run:
        figures |= of_run(given.run, max(1, given.n // 4), given.seed)
    print(json.dumps(figures, indent=1) if given.json else figures_text(figures).strip())


if __name__ == "__main__":
    main()
