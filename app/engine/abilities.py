"""What a model in memory and its tokenizer can do together: modes, context, the tokens that end an answer, and a text
to try them on.

Knows tokenizers, chat templates and configs. Runs nothing.
"""

from __future__ import annotations

from typing import Any

from app.engine.base import MODES, Capabilities, Message
from app.engine.facts import text_config
from app.engine.thinking import PhaseTracker
from app.engine.tokens import TokenText

CHECK_TEXT = "<|im_start|>user\nWhat is 12 + 30?<|im_end|>\n<|im_start|>assistant\n<think>\n2 + 0 = 2"
CHECK_TOKENS = 256


def capabilities_of(model: Any, text: TokenText, capturing: bool) -> Capabilities:
    """Modes are found by rendering the chat template: does the switch change anything, is thinking left open?"""
    context = int(getattr(text_config(model), "max_position_embeddings", None) or 32768)
    modes: tuple[str, ...] = MODES[1:]
    if getattr(text.tokenizer, "chat_template", None):
        asked = (Message("user", "x"),)
        on, off = (text.render(asked, enable_thinking=switch) for switch in (True, False))
        if on != off:
            modes = MODES
        elif PhaseTracker(text, on, frozenset()).thinking:
            modes = MODES[:1]
    return Capabilities(
        gate_weights=capturing,
        router_scores=capturing,
        edits=capturing,
        modes=modes,
        soft_switch=model.config.model_type in ("qwen3", "qwen3_moe") and modes == MODES,
        context=context,
        logprobs=True,
        candidates=True,
    )


def stop_ids_of(model: Any, text: TokenText) -> frozenset[int]:
    """The tokens that end an answer, by the chat format, the generation config and the tokenizer."""
    generation = getattr(model, "generation_config", None)
    found: list[int | None] = [text.id_of("<|im_end|>")]
    for ids in (getattr(generation, "eos_token_id", None), text.tokenizer.eos_token_id):
        found += ids if isinstance(ids, list | tuple) else [ids]
    return frozenset(int(i) for i in found if i is not None)


def check_tokens(model: Any, text: TokenText) -> list[int]:
    """A text in the model's own words; of a tokenizer that knows few of them, some tokens in a row."""
    ids = text.encode(CHECK_TEXT)[:CHECK_TOKENS]
    size = model.get_input_embeddings().weight.shape[0]
    return ids if len(set(ids)) >= 8 and max(ids) < size else list(range(min(16, size)))
