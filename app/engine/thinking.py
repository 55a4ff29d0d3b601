"""Thinking and not thinking: modes, switches, the budget, and which phase a generated token is in.

Knows Qwen3's conventions (technical report arXiv 2505.09388, section 4.3; model cards). Does not know models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.trace import Origin, Phase
from app.engine.base import Message, SamplingParams
from app.engine.tokens import THINKING_TAGS, PromptToken, TokenText

EARLY_STOP = (
    "Considering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
    "</think>.\n\n"
)
"""What is inserted when the thinking budget is spent, word for word as in the technical report."""

_SOFT_SWITCH = re.compile(r"(?<![\w/])/(think|no_think)(?!\w)", re.ASCII)  # words of Chinese may touch it

_RECOMMENDED = {
    "thinking": SamplingParams(temperature=0.6, top_p=0.95, top_k=20),
    "non-thinking": SamplingParams(temperature=0.7, top_p=0.8, top_k=20),
}
_RECOMMENDED_3_5 = {**_RECOMMENDED, "thinking": SamplingParams(temperature=1.0, top_p=0.95, top_k=20)}


def recommended_sampling(mode: str, model_type: str = "qwen3_moe") -> SamplingParams:
    """What the model cards of Qwen3 (or Qwen3.5) recommend for ``mode``; for other families, too, so that all are
    sampled alike."""
    return (_RECOMMENDED_3_5 if model_type.startswith("qwen3_5") else _RECOMMENDED)[mode]


def effective_mode(messages: Sequence[Message], mode: str, *, soft_switch: bool = True) -> str:
    """The mode that takes effect. The hard switch ``non-thinking`` always holds; under ``thinking`` the last
    ``/think`` or ``/no_think`` of a user's or system message decides."""
    if mode != "thinking" or not soft_switch:
        return mode
    switches = [s for m in messages if m.role != "assistant" for s in _SOFT_SWITCH.findall(m.content)]
    return "non-thinking" if switches and switches[-1] == "no_think" else "thinking"


class PhaseTracker:
    """Labels generated tokens one by one, and says when the thinking budget is spent and what stops the thinking.

    The tags are markers, and so is the one token of white space right behind a tag: the format asks for it, the model
    does not choose it. So are all control tokens of the chat format.

    A template that opens or closes the thinking block itself has done so before the first generated token.
    """

    def __init__(self, text: TokenText, prompt: Sequence[PromptToken], stop_ids: frozenset[int]) -> None:
        self._text = text
        self._open, self._close = map(text.id_of, THINKING_TAGS)
        self._stop_ids = stop_ids
        tags = [t.token_id for t in prompt if t.origin == Origin.TEMPLATE and t.token_id in (self._open, self._close)]
        after_prompt = bool(tags) and tags[-1] == self._open and self._open is not None
        self.thinking = after_prompt
        self._behind_tag = False
        self._stopped = False
        self.thinking_tokens = 0

    def label(self, token_id: int) -> Phase:
        """The phase of the next generated token."""
        if token_id in (self._open, self._close) and token_id is not None:
            self.thinking, self._behind_tag = token_id == self._open, True
            return Phase.MARKER
        behind_tag, self._behind_tag = self._behind_tag, False
        if token_id in self._stop_ids or self._text.is_marker(token_id):
            return Phase.MARKER
        if behind_tag and not self._text.piece(token_id).strip():
            return Phase.MARKER
        self.thinking_tokens += self.thinking
        return Phase.THINKING if self.thinking else Phase.ANSWER

    def over(self, budget: int | None, drawn: int) -> bool:
        """Whether thinking must be stopped before ``drawn`` is taken; not where ``drawn`` ends it by itself."""
        return budget is not None and self.thinking and self.thinking_tokens >= budget and drawn != self._close

    def stop_tokens(self) -> list[tuple[int, Phase]]:
        """What stops the thinking, token by token: ``EARLY_STOP``, thinking up to the tag and markers from it on. A
        model that then opens its thinking again only gets the tag."""
        text = "</think>\n\n" if self._stopped else EARLY_STOP
        self.thinking, self._behind_tag, self._stopped = False, False, True
        tokens, phase = [], Phase.THINKING
        for token_id in self._text.encode(text):
            phase = Phase.MARKER if token_id == self._close else phase
            tokens.append((token_id, phase))
        return tokens
