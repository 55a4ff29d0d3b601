"""Drawing the next token: Transformers' logits processors in ``generate``'s order, with a request's own generator; and
how probable a given one was.

Knows logits and ids. Does not know models, text or phases.
"""

from __future__ import annotations

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from app.engine.base import SamplingParams

GREEDY = 1e-5
"""Temperatures below this take the most likely token, as in vLLM; dividing logits by them would overflow."""


class PresencePenalty(LogitsProcessor):
    """Subtracts ``penalty`` from the logit of every token that was already generated (as in vLLM)."""

    def __init__(self, penalty: float, prompt_tokens: int) -> None:
        self.penalty = penalty
        self.prompt_tokens = prompt_tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        generated = input_ids[:, self.prompt_tokens :]
        return scores.scatter_add(-1, generated.unique().unsqueeze(0), -self._full(generated, scores))

    def _full(self, generated: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torch.full((1, len(generated.unique())), self.penalty, dtype=scores.dtype, device=scores.device)


class Sampler:
    """One request's sampler.

    Args:
        params: temperature 0 takes the most likely token.
        seed: of this request's own generator; equal seeds on equal logits draw equal tokens.
        prompt: (P,) ids of the prompt, which penalties may refer to.
        candidates: how many of the likeliest tokens ``candidates`` holds.

    Attributes:
        candidates: of the last draw (token id, probability at temperature 1, chance of being drawn), by falling chance:
            the likeliest tokens, and the drawn one.
    """

    def __init__(self, params: SamplingParams, seed: int, prompt: torch.Tensor, candidates: int = 0) -> None:
        self.candidates: list[tuple[int, float, float]] = []
        self._candidates = candidates
        self.greedy = params.temperature < GREEDY
        self.generator = torch.Generator(device=prompt.device).manual_seed(seed)
        self._ids = prompt.unsqueeze(0)
        self.processors = LogitsProcessorList()
        if params.repetition_penalty != 1:
            self.processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
        if params.presence_penalty:
            self.processors.append(PresencePenalty(params.presence_penalty, len(prompt)))
        self._needs_history = bool(self.processors)
        if self.greedy:
            return
        if params.temperature != 1:
            self.processors.append(TemperatureLogitsWarper(params.temperature))
        if params.top_k > 0:
            self.processors.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1:
            self.processors.append(TopPLogitsWarper(params.top_p))
        if params.min_p > 0:
            self.processors.append(MinPLogitsWarper(params.min_p))

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """(V,) logits → (1,) token id, on the same device."""
        logits = logits.float()
        scores = self.processors(self._ids, logits.unsqueeze(0))[0]
        if self.greedy:
            chances, drawn = scores, scores.argmax(-1, keepdim=True)
        else:
            chances = torch.softmax(scores, -1)
            drawn = torch.multinomial(chances, 1, generator=self.generator)
        if self._candidates:
            self.candidates = self._found(logits, chances, drawn)
        return drawn

    def _found(
        self, logits: torch.Tensor, chances: torch.Tensor, drawn: torch.Tensor
    ) -> list[tuple[int, float, float]]:
        best = chances.topk(min(self._candidates, len(chances))).indices
        ids = torch.cat([best, drawn])
        told = torch.stack([ids.double(), torch.softmax(logits, -1)[ids].double(), chances[ids].double()], -1).tolist()
        rows = {int(token): (int(token), probability, chance) for token, probability, chance in told}
        if self.greedy:
            return [(token, p, float(token == int(drawn))) for token, p, _ in rows.values()]
        return sorted(rows.values(), key=lambda row: -row[2])

    def saw(self, token_id: int) -> None:
        """Tell the penalties about a token that was generated or inserted."""
        if self._needs_history:
            self._ids = torch.cat([self._ids, self._ids.new_tensor([[token_id]])], -1)


def log_probabilities(logits: torch.Tensor, token_ids: torch.Tensor, rows: int = 64) -> list[float]:
    """(N, V) logits and (N,) token ids → ln softmax(logits)[n, token_ids[n]], at most 0 each: at temperature 1, with
    nothing cut off. Worked out in float32, ``rows`` at a time to bound memory."""
    found = []
    for start in range(0, len(token_ids), rows):
        part, wanted = logits[start : start + rows].float(), token_ids[start : start + rows].to(logits.device)
        found.append(part.gather(-1, wanted.unsqueeze(-1))[:, 0] - part.logsumexp(-1))
    return torch.cat(found).tolist() if found else []
