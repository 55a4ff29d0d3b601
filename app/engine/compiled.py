"""Decoding compiled whole: one graph a step, hooks included, over a cache whose tensors never move.

Knows a model and its cache. Does not know capture or edits: their hooks are compiled with the model, so they must be on
it before the first step, and what they read and write are tensors that stay where they are.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import StaticCache

from analysis.errors import ModelError
from app.engine.models import cache_argument, first_line, input_device

SMALLEST = 512
EXPERTS = "batched_mm"
"""The experts function that compiles without a break and is the fastest for a few tokens."""


class CompiledDecode:
    """Usage::

        decode = CompiledDecode(model)
        cache = decode.cache(tokens=700)
        decode.prefill(ids, cache, start=0)         # eager, any number of tokens
        logits = decode.step(token, cache, position=len(ids))

    The first step for each size of cache compiles it, which takes a while; sizes are powers of two, so there are few.
    On CUDA the step is also put into a CUDA graph.

    Raises:
        ModelError: the model's family has no static cache.
    """

    def __init__(self, model: Any) -> None:
        if not getattr(model, "_can_compile_fullgraph", False):
            raise ModelError(f"A {model.config.model_type} model cannot be compiled whole; leave --compile out.")
        self.model = model
        self.compiles_first = True
        self._name = cache_argument(model)
        device = input_device(model)
        mode = "reduce-overhead" if device.type == "cuda" else None
        self._token = torch.zeros((1, 1), dtype=torch.int64, device=device)
        self._position = torch.zeros((1, 1), dtype=torch.int64, device=device)
        self._step = torch.compile(self._forward, fullgraph=True, dynamic=False, mode=mode)

    def cache(self, tokens: int) -> StaticCache:
        """A cache with room for ``tokens``."""
        size = SMALLEST
        while size < tokens:
            size *= 2
        return StaticCache(config=self.model.config, max_cache_len=size)

    def prefill(self, ids: torch.Tensor, cache: StaticCache, **options: Any) -> torch.Tensor:
        """(S, vocabulary) logits, or only the last where ``options`` say so."""
        return self.model(input_ids=ids.unsqueeze(0), use_cache=True, **{self._name: cache}, **options).logits[0]

    def step(self, token: torch.Tensor, cache: StaticCache, position: int) -> torch.Tensor:
        """(vocabulary,) logits after ``token`` (1,) at ``position``.

        Raises:
            ModelError: this machine cannot compile the model.
        """
        self._token.copy_(token.view(1, 1))
        self._position.fill_(position)
        usual = self.model.config._experts_implementation
        self.model.set_experts_implementation(EXPERTS)
        try:
            return self._step(self._token, cache, self._position)
        except Exception as error:
            if type(error).__module__.startswith("torch._"):
                raise ModelError(f"This model cannot be compiled here: {first_line(error)}") from None
            raise
        finally:
            self.model.set_experts_implementation(usual)

    def _forward(self, token: torch.Tensor, cache: StaticCache, position: torch.Tensor) -> torch.Tensor:
        given = {self._name: cache}
        return self.model(input_ids=token, position_ids=position, use_cache=True, **given).logits[0, -1]
