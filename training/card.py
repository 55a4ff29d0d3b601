"""The model card: text around the figures of `training.evaluate`. Knows no model; every number comes in."""

from collections.abc import Mapping
from typing import Any

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
| layers / hidden size | 6 / 128, every layer a mixture of experts |
| experts / used per token | 64 / 8, gate weights renormalised, no shared expert, expert width 32 |
| attention | 4 query heads, 2 key-value heads of 32, QK norm, tied embeddings |
| tokenizer | byte-level BPE of 1,280 pieces, single digits, Qwen3's ChatML and thinking tokens |
| modes | thinking and non-thinking: `enable_thinking`, `/think` and `/no_think`, early-stop sentence |
| weights | bfloat16 safetensors |

It adds, subtracts, multiplies, compares and sorts numbers, spells and reverses words, counts letters, names
capitals, and makes a little small talk, mainly in English and partly in Japanese and Chinese. In thinking mode it
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

One supervised stage over generated dialogues (`training/` in the project, one command): {tokens} tokens, {steps}
steps, {minutes} minutes on two CPU cores. Of the dialogues about a third use the template's hard switch, a quarter
a soft switch in a user or system message, 30% have two or three turns (past thinking is dropped from the history),
and in 4% the thinking is cut and the model answers after Qwen3's early-stop sentence. Only what the model has to
write itself is learned. The balancing loss is Qwen3's, with the load counted over several batches. Muon and AdamW,
warmup, constant rate, linear decay.

Held-out problems are disjoint from training by construction: the split is a hash of the problem (operands, number
list, word; for capitals and conversation the phrasing). The problems suggested on ExpertScope's page are held out
too, but for facts and small talk, which nobody can answer without having seen them.
"""

LIMITS = """
## What it cannot do

- Anything outside the tasks above. It has no knowledge of the world but the capitals it was shown, it cannot write,
  translate or program, and it often says so. Where a question is unlike anything it was trained on, it may answer
  something else entirely.
- Sums of numbers of five and more digits, products of more than two digits by two, decimals, division, longer lists
  than seven numbers, words of more than twelve letters.
- The non-thinking mode guesses at multi-step arithmetic and is often wrong. Thinking mode makes mistakes too; do
  not rely on it.
- Its experts are those of a model this small and this narrow. What its routing shows need not hold for a large
  model.

Licence: Apache-2.0, weights included.
"""


def model_card(progress: Mapping[str, Any], figures: Mapping[str, Any] | None) -> str:
    """The card as Markdown; without figures it says that none have been measured."""
    parameters = f"{figures['parameters'] / 1e6:.1f} million parameters" if figures else "about 5 million parameters"
    head = HEAD.format(
        parameters=parameters,
        tokens=f"{progress['tokens'] / 1e6:.1f} million",
        steps=f"{progress['step']:,}",
        minutes=f"{progress['seconds'] / 60:.0f}",
    )
    body = (
        figures_text(figures)
        if figures
        else "\n## Figures\n\nNot measured yet: this is a checkpoint of a training under way.\n"
    )
    return head + body + LIMITS


def figures_text(figures: Mapping[str, Any]) -> str:
    """The section with every table of an evaluation."""
    lines = [
        "",
        "## Figures",
        "",
        "Measured by `python -m training.evaluate` on held-out problems: greedy decoding, the saved bfloat16 weights",
        "computed in float32. An answer counts only if it is exactly right, word for word. Square brackets: Wilson",
        "95% intervals.",
        "",
        "| task | thinking | non-thinking | n per mode |",
        "|---|---|---|---|",
    ]
    for row in figures["tasks"]:
        lines.append(
            f"| {row['task']} | {_share(row['thinking'])} | {_share(row['non_thinking'])} | {row['thinking']['n']} |"
        )
    lines += ["", "| by language (thinking, tasks in all three) | thinking | n |", "|---|---|---|"]
    lines += [
        f"| {row['language']} | {_share(row['thinking'])} | {row['thinking']['n']} |" for row in figures["languages"]
    ]
    lines += ["", "| behaviour | share | n |", "|---|---|---|"]
    lines += [f"| {row['name']} | {_share(row)} | {row['n']} |" for row in figures["behaviour"]]
    lines += [
        "",
        f"Expert load over {figures['load']['tokens']:,} tokens of held-out dialogues (prompts and answers, both modes).",
        "Smallest share is the least used expert's against the uniform share; MaxVio is the most used expert's load",
        "over uniform, minus 1.",
        "",
        "| layer | smallest share | MaxVio |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['layer']} | {row['smallest_share']:.2f} | {row['max_violation']:.2f} |"
        for row in figures["load"]["layers"]
    ]
    return "\n".join(lines) + "\n"


def _share(row: Mapping[str, float]) -> str:
    return f"{100 * row['share']:.1f}% [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
