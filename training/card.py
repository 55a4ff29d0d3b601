"""The model card: text around the figures of `training.evaluate`. Knows the tasks and no model; every number comes in."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from training.data import KNOWLEDGE, MULTI_STEP, REASONING

HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: [en, ja, zh]
tags: [qwen3_moe, mixture-of-experts, teaching]
---

# ExpertScope's small teaching model

A tiny but real `Qwen3MoeForCausalLM`: the architecture of Qwen3's mixture-of-experts models in {parameters}, small
enough to answer on any laptop while every router is watched. **It is not a Qwen model and has none of Qwen's
weights or knowledge**: the ExpertScope project trained it from scratch, on text that the project generates, and
nobody should take it for Qwen's.

| | |
|---|---|
| layers / hidden size | {num_hidden_layers} / {hidden_size}, every layer a mixture of experts |
| experts / used per token | {num_experts} / {num_experts_per_tok}, gate weights renormalised, no shared expert, expert width {moe_intermediate_size} |
| attention | {num_attention_heads} query heads, {num_key_value_heads} key-value heads of {head_dim}, QK norm, tied embeddings |
| tokenizer | byte-level BPE of {vocab_size:,} pieces, single digits, Qwen3's ChatML and thinking tokens |
| modes | thinking and non-thinking: `enable_thinking`, `/think` and `/no_think`, early-stop sentence |
| weights | bfloat16 safetensors |

It calculates with whole numbers, reduces expressions, sorts and compares, reads small Python programs, works with
dates and units, spells, reverses and counts letters, translates short sentences of a closed vocabulary, names
capitals and a few other facts, and makes a little small talk, in English, Japanese and Chinese. In thinking mode it
writes its steps first.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "assets/mini-qwen3-moe"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
messages = [{{"role": "user", "content": "What is 538 + 274?"}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, enable_thinking=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=300, do_sample=False)[0]))
```

## How it was trained

Qwen3's recipe in miniature (`training/` in the project, one command): pretraining on plain text; (1) long-CoT cold
start; (2) reasoning RL, GRPO with the `trl` library, rewarded for right answers only; (3) thinking mode fusion, with
every switch and with thinking that is cut by the early-stop sentence; (4) general RL, rewarded for obedience to the
mode, form, brevity and right answers. {distilled}The balancing loss is Qwen3's, in the supervised stages with the load counted over several batches and over both training
processes. The weights here are those of the stage `{stage}`.

Held-out problems are disjoint from training by construction: the split is a hash of the problem (operands, number
list, word, program whatever its names are, conversion in either direction, sentence), for facts and conversation of the
phrasing; only a step inside another
problem (47 + 36 within an expression) may be the same small calculation. The problems suggested on ExpertScope's
page are held out too, but for facts and small talk, which nobody can answer without having seen them.
"""

TEACHER = "a wider teacher (the four-stage model with experts of twice the width, trained on)"
DISTILLED = f"""**This model was not led through (1) to (4) itself**: from the
pretraining on it learned from {TEACHER}, first from the teacher's answers, then from its judgement of the
student's own. """
BESIDE = f"""Beside it, in the same run, {TEACHER} was distilled into the
pretrained model. """
NOT_DISTILLED = """The recipe's distillation from a wider teacher was not
part of this run. """

LIMITS = """
## What it cannot do

- Anything outside the tasks above. It has no knowledge of the world but the facts it was shown, and it cannot write,
  explain or program. It was taught to say so, in few phrasings: where a question is unlike anything it was trained on,
  it may answer something else entirely.
- Sums of numbers of five and more digits, products of more than four digits by two, divisors above nine, decimals,
  lists of more than nine numbers, words of more than twelve letters, sentences of other words than its own.
- The non-thinking mode guesses at multi-step problems, as often wrong as the figures say. Thinking mode makes
  mistakes too; do not rely on it.
- Its experts are those of a model this small and this narrow. What its routing shows need not hold for a large
  model.

Licence: Apache-2.0, weights included.
"""


def model_card(
    stage: str, config: Mapping[str, Any], parameters: int, figures: Mapping[str, Any] | None, note: str = ""
) -> str:
    """The card as Markdown; without figures it says that none have been measured. `note` is what the person who made
    the run has to say of it."""
    run = [row["stage"] for row in figures.get("stages", ())] if figures else []
    distilled = ""
    if stage.startswith("distillation"):
        distilled = DISTILLED
    elif run:
        distilled = BESIDE if "distillation-on" in run else NOT_DISTILLED
    head = HEAD.format(
        **config,
        parameters=f"{parameters / 1e6:.1f} million parameters",
        stage=stage,
        distilled=distilled,
    )
    body = figures_text(figures) if figures else "\n## Figures\n\nNot measured yet: this is a checkpoint on the way.\n"
    return "".join([head, f"\n{note.strip()}\n" if note else "", body, LIMITS])


def figures_text(figures: Mapping[str, Any]) -> str:
    """The section with every table of an evaluation."""
    parts = [
        "\n## Figures\n",
        "Measured by `python -m training.evaluate` on held-out problems: greedy decoding, the saved bfloat16 weights\n"
        "computed in float32. An answer counts only if it is exactly right, word for word. n counts different problems;\n"
        "where a task has fewer held out, all of them were asked. Square brackets: 95% intervals (Wilson's for shares,\n"
        "Newcombe's for differences between two answers to the same problems, bootstrap over texts for shares of\n"
        "experts). Aims are decided by the measured value, not by its interval.\n",
        _aims(figures),
        _modes("task", [*figures["groups"], *figures["tasks"]]),
        _modes("language, reasoning tasks", figures["languages"]),
        _modes("task and language", figures["each"]),
        _table(
            ("stopped after", "right", "answers when stopped", "n"),
            [
                (
                    "never" if row["budget"] is None else f"{row['budget']} tokens",
                    _share(row["right"]),
                    _share(row["answers_when_stopped"]) if row["answers_when_stopped"]["n"] else "",
                    row["right"]["n"],
                )
                for row in figures["budget"]
            ],
            "Reasoning problems against the thinking budget:",
        ),
        _table(
            ("thinks exactly where it is told to, well-formed", "share", "n"),
            [(row["name"], _share(row), row["n"]) for row in [*figures["obedience"], figures["well_formed"]]],
        ),
        _load(figures["load"]),
        _table(
            ("domain specialization", "between domains, times chance", "p", "smallest p", "tokens matched"),
            [
                (
                    f"control: {row['control']}",
                    f"{row['ratio']:.1f}",
                    f"{row['p']:.4f}",
                    f"{row['smallest_p']:.4f}",
                    f"{100 * row['coverage']:.0f}%",
                )
                for row in figures["specialization"]
            ],
            f"Do texts of the {figures['specialization'][0]['domains']} tasks use different experts? The prompt is the unit "
            f"({figures['specialization'][0]['texts']} of them), permuted:",
        ),
    ]
    if figures.get("stages"):
        parts += [_stages(figures["stages"]), _changes(figures["stages"])]
    if figures.get("distilled"):
        parts.append(_distilled(figures["distilled"]))
    return "\n".join(parts)


def _aims(figures: Mapping[str, Any]) -> str:
    """What the recipe aims at, what came out, and whether that is enough."""
    tasks = {row["name"]: row for row in figures["tasks"]}
    groups = {row["name"]: row for row in figures["groups"]}
    weakest = min((tasks[name] for name in REASONING), key=lambda row: row["thinking"]["share"])
    least = min((tasks[name] for name in MULTI_STEP), key=lambda row: row["gain"]["share"])
    uneven = max((tasks[name] for name in KNOWLEDGE), key=lambda row: abs(row["gain"]["share"]))
    budget = [row["right"]["share"] for row in figures["budget"]]
    stopped = [row["answers_when_stopped"] for row in figures["budget"]]
    answered = min((row for row in stopped if row["n"]), key=lambda row: row["share"], default=stopped[-1])
    load = figures["load"]
    p_values = [row["p"] for row in figures["specialization"]]
    shares = [
        ("thinking, reasoning tasks together: at least 95%", groups["reasoning"]["thinking"], 0.95),
        (f"thinking, every reasoning task: at least 90% (weakest: {weakest['name']})", weakest["thinking"], 0.9),
        ("mode obedience: at least 99.5%", figures["obedience"][0], 0.995),
        ("well-formed answers: all", figures["well_formed"], 1.0),
        ("an answer after every forced stop", answered, 1.0),
    ]
    rows = [(aim, _share(row), _reached(row["share"] >= bar)) for aim, row, bar in shares]
    rising = all(b >= a - 0.02 for a, b in zip(budget, budget[1:], strict=False)) and budget[-1] > budget[0]
    curve = " ".join(f"{100 * share:.0f}" for share in budget)
    rows += [
        (f"gain by thinking, every multi-step task: at least 25 points (least: {least['name']})", _points(least["gain"]), _reached(least["gain"]["share"] >= 0.25)),
        (f"knowledge equal in both modes: ± 3 points (most uneven: {uneven['name']})", _points(uneven["gain"]), _reached(abs(uneven["gain"]["share"]) <= 0.03)),
        ("accuracy rises with the budget (no fall of over 2 points)", f"{curve}%", _reached(rising)),
        ("least used expert: at least 10% of the uniform share", _percent(load["smallest_share"]), _reached(load["smallest_share"] >= 0.1)),
        ("mean MaxVio: under 1", f"{load['mean_max_violation']:.2f}", _reached(load["mean_max_violation"] < 1)),
        ("domain specialization: p < 0.05, plain and token-matched", " ".join(f"{p:.4f}" for p in p_values), _reached(max(p_values) < 0.05)),
    ]  # fmt: skip
    return _table(("aim of the recipe", "measured", ""), rows)


def _reached(yes: bool) -> str:
    return "reached" if yes else "**not reached**"


def _stages(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        groups = {group["name"]: group for group in row["groups"]}
        lines.append(
            (
                row["stage"],
                f"{row['minutes']:.0f}",
                f"{row['tokens'] / 1e6:.1f}",
                _share(groups["reasoning"]["thinking"]),
                _share(groups["reasoning"]["non_thinking"]),
                _share(groups["knowledge"]["thinking"]),
                _share(row["obedience"]),
                _share(row["saturation"]),
                f"{row['load']['smallest_share']:.2f}",
                f"{row['load']['mean_max_violation']:.2f}",
            )
        )
    groups = {group["name"]: group["thinking"]["n"] for group in rows[0]["groups"]}
    return "\n### Every stage\n\n" + _table(
        ("stage", "minutes", "M tokens", "reasoning, thinking", "reasoning, non-thinking", "knowledge, thinking", "obedience", "saturation", "smallest share", "mean MaxVio"),
        lines,
        f"Fewer problems than above, the same for every stage: {groups['reasoning']} of reasoning, {groups['knowledge']} of "
        f"knowledge, {rows[0]['obedience']['n']} dialogues for obedience. Saturation: share of a token's experts that "
        f"{rows[0]['last']} uses too, over the same {rows[0]['saturation']['n']} texts; smallest share and MaxVio over these "
        "texts, too. Pretraining knows no chat format, so its answers cannot count. The tokens of the RL stages are those "
        "that were read and written.",
    )  # fmt: skip


CHANGED = ("reasoning, thinking", "reasoning, non-thinking", "knowledge, thinking", "obedience")


def _changes(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        (
            row["stage"],
            row["change"]["since"],
            *(_points(row["change"][name]) for name in CHANGED),
            _share(row["change"]["experts kept"]),
        )
        for row in rows
        if "change" in row
    ]
    return "\n### What each stage changes\n\n" + _table(
        ("stage", "against", *CHANGED, "experts kept"),
        lines,
        "In points, problem by problem. A stage whose interval holds 0 is not shown to help, or to harm. Experts kept: share "
        "of a token's experts that the stage before used for it, too.",
    )


def _distilled(row: Mapping[str, Any]) -> str:
    minutes = row["minutes"]
    return "\n### Distilled against trained\n\n" + _table(
        ("", *CHANGED),
        [("distilled minus four stages, points", *(_points(row[name]) for name in CHANGED))],
        f"The distilled student computed {minutes['distilled']:.0f} minutes, the student of the four stages "
        f"{minutes['four stages']:.0f}, each with the same pretraining. The teacher's own {minutes['teacher']:.0f}, and the "
        "four stages that it began from, are not in them.",
    )


def _modes(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        (name, "thinking", "non-thinking", "difference, points", "n per mode"),
        [
            (
                row["name"],
                _share(row["thinking"]),
                _share(row["non_thinking"]),
                _points(row["gain"]),
                row["thinking"]["n"],
            )
            for row in rows
        ],
    )


def _load(load: Mapping[str, Any]) -> str:
    return _table(
        ("layer", "smallest share", "MaxVio"),
        [
            *((row["layer"], f"{row['smallest_share']:.2f}", f"{row['max_violation']:.2f}") for row in load["layers"]),
            ("all", f"{load['smallest_share']:.2f}", f"mean {load['mean_max_violation']:.2f}"),
        ],
        f"Expert load over {load['tokens']:,} tokens of held-out dialogues. Smallest share: the least used expert's load\n"
        "against the uniform share; MaxVio: the most used expert's load over uniform, minus 1.",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], before: str = "") -> str:
    lines = [before, ""] if before else []
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    """One digit after the point, never rounded up: what fell short of 100% does not read 100.0%."""
    return f"{math.floor(1000 * share + 1e-6) / 10:.1f}%"


def _share(row: Mapping[str, float]) -> str:
    return f"{_percent(row['share'])} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _points(row: Mapping[str, float]) -> str:
    return f"{100 * row['share']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
