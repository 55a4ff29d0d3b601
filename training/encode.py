"""Dialogues to token ids: which tokens the model reads, and which of them it learns.

Knows the tokenizer and its chat template; knows nothing of tasks or optimizers.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from training.data.dialogues import STOP_SENTENCE, Dialogue

END = "<|im_end|>"


@dataclass(frozen=True)
class Example:
    """Token ids of one dialogue; those from `learned_from` on are learned."""

    ids: list[int]
    learned_from: int


def prompt_text(tokenizer: PreTrainedTokenizerBase, dialogue: Dialogue) -> str:
    """The text up to where the model starts to write."""
    return tokenizer.apply_chat_template(
        list(dialogue.messages), tokenize=False, add_generation_prompt=True, enable_thinking=dialogue.enable_thinking
    )


def target_text(dialogue: Dialogue) -> str:
    """What the model should write: thinking block (empty after /no_think, absent after the hard switch) and answer."""
    answer = dialogue.problem.answer + END
    if not dialogue.enable_thinking:
        return answer
    thinking = dialogue.problem.thinking if dialogue.thinks else ""
    return f"<think>\n{thinking}\n</think>\n\n{answer}"


def encode(tokenizer: PreTrainedTokenizerBase, dialogues: list[Dialogue]) -> list[Example]:
    """Encodes dialogues; where the thinking is cut, only the answer after the stop sentence is learned."""
    before, after = [], []
    for dialogue in dialogues:
        prompt = prompt_text(tokenizer, dialogue)
        before.append(f"{prompt}<think>\n{dialogue.problem.thinking}" if dialogue.cut else prompt)
        after.append(dialogue.problem.answer + END if dialogue.cut else target_text(dialogue))
    raw = tokenizer.backend_tokenizer
    stop = raw.encode(STOP_SENTENCE, add_special_tokens=False).ids
    think = tokenizer.convert_tokens_to_ids("<think>")
    examples = []
    heads = raw.encode_batch(before, add_special_tokens=False)
    tails = raw.encode_batch(after, add_special_tokens=False)
    for dialogue, head, tail in zip(dialogues, heads, tails, strict=True):
        ids = head.ids
        if dialogue.cut:
            start = len(ids) - ids[::-1].index(think) + 1
            ids = ids[: start + int((len(ids) - start) * dialogue.cut)] + stop
        examples.append(Example(ids + tail.ids, len(ids)))
    return examples


@dataclass(frozen=True)
class Batch:
    """Examples one after another in a single row: `ids` and `learned` (true on targets), both [1, T]; `lengths` of the
    examples, which do not see one another."""

    ids: torch.Tensor
    learned: torch.Tensor
    lengths: tuple[int, ...]


def encode_text(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Example]:
    """Documents of plain text, learned from their first token to the end mark."""
    end = tokenizer.pad_token_id
    rows = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [Example([end, *row.ids, end], 1) for row in rows]


def collate(examples: list[Example], device: torch.device | str = "cpu") -> Batch:
    ids = [token for example in examples for token in example.ids]
    learned = [at >= example.learned_from for example in examples for at in range(len(example.ids))]
    lengths = tuple(len(example.ids) for example in examples)
    return Batch(torch.tensor([ids], device=device), torch.tensor([learned], device=device), lengths)


def batches_of(examples: list[Example], parts: int, device: torch.device | str = "cpu") -> list[Batch]:
    """The examples in their order, cut into (at most) `parts` batches of like size."""
    total = sum(len(example.ids) for example in examples)
    groups: list[list[Example]] = [[]]
    for example in examples:
        if groups[-1] and len(groups) < parts and sum(len(e.ids) for e in groups[-1]) > total / parts:
            groups.append([])
        groups[-1].append(example)
    return [collate(group, device) for group in groups]
