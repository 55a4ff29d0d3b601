"""Decoding compiled whole: one graph a step, hooks included, whose outputs are the logits and the routing.

Knows a model, its cache and its capture. The hooks of capture and edits are compiled with the model, so they must be on
it before the first step; edits change under it because they are read from tensors.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

import torch
from transformers import StaticCache

from analysis.errors import ModelError
from app.engine.capture import Pass, RoutingCapture
from app.engine.models import cache_argument, first_line, input_device

SMALLEST = 512
REPLACED, EXPERTS = "grouped_mm", "batched_mm"
"""While decoding, Transformers' default experts function gives way to the one that is the fastest for a few tokens."""


UNCHECKED = hasattr(torch.compiler, "skip_all_guards_unsafe")
"""The compiler can be told to leave out its checks before every call."""

GRAPHS = 8
"""Steps kept; each holds a graph, on CUDA with memory of its own. The one least recently used makes room."""

_COMPILED: weakref.WeakSet[Any] = weakref.WeakSet()


class RoomyCache(StaticCache):
    """A static cache that says how many tokens it has ``room`` for."""

    def __init__(self, config: Any, max_cache_len: int) -> None:
        super().__init__(config=config, max_cache_len=max_cache_len)
        self.room = max_cache_len


class CompiledDecode:
    """Usage::

        decode = CompiledDecode(model, capture)
        cache = decode.cache(tokens=700)
        model(prompt, cache=cache)                  # eager, any number of tokens
        logits, taken = decode.step(token, cache, position=len(prompt))

    The first step for each size of cache compiles it, which takes a while; sizes are powers of two, so there are few.
    On CUDA the step is put into a CUDA graph.

    Raises:
        ModelError: the model's family has no static cache, or one with a sliding window; or the model is compiled in
            another engine already.
    """

    def __init__(self, model: Any, capture: RoutingCapture) -> None:
        refused = ModelError(f"A {model.config.model_type} model cannot be compiled whole; leave --compile out.")
        if not getattr(model, "_can_compile_fullgraph", False) or model in _COMPILED:
            raise refused
        sliding = [getattr(entry, "is_sliding", False) for entry in StaticCache(model.config, max_cache_len=8).layers]
        if any(sliding):  # such a cache counts in Python, so a graph would go on with the count it was made with
            raise refused
        _COMPILED.add(model)
        self.model, self.capture = model, capture
        self._name = cache_argument(model)
        device = input_device(model)
        self._graphs = device.type == "cuda"
        self._token = torch.zeros((1, 1), dtype=torch.int64, device=device)
        self._position = torch.zeros((1, 1), dtype=torch.int64, device=device)
        self._steps: dict[tuple[int, int], Any] = {}

    def close(self) -> None:
        """Forget the graphs; the model may be compiled again."""
        self._steps.clear()
        _COMPILED.discard(self.model)

    def cache(self, tokens: int) -> RoomyCache:
        """A cache with room for ``tokens``."""
        size = SMALLEST
        while size < tokens:
            size *= 2
        return RoomyCache(config=self.model.config, max_cache_len=size)

    def step(self, token: torch.Tensor, cache: RoomyCache, position: int, most: int = 0) -> tuple[torch.Tensor, Pass]:
        """(vocabulary,) logits after ``token`` (1,) at ``position``, and its routing; ``most`` is the
        largest k under the edits in force, since a graph has room for as many experts as when it was made.

        Raises:
            ModelError: this machine cannot compile the model.
        """
        self._token.copy_(token.view(1, 1))
        self._position.fill_(position)
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        logits, taken = self._run(cache, most)
        if self._graphs:  # the next run of the graph writes over its outputs
            return logits.clone(), Pass(1, packed=taken.clone())
        return logits, Pass(1, *taken)

    def _run(self, cache: RoomyCache, most: int) -> tuple[torch.Tensor, Any]:
        """The compiled step for one size of cache and number of experts; what changes under it is in this key or in
        tensors. It is made with the faster experts function, and keeps it where the compiler's checks are left out."""
        step = self._steps.pop((cache.room, most), None)
        if step and UNCHECKED:
            self._steps[cache.room, most] = step
            return step(self._token, cache, self._position)
        step = step or compiled_whole(self._forward, self._graphs)
        usual = self.model.config._experts_implementation
        if usual == REPLACED:
            self.model.set_experts_implementation(EXPERTS)
        try:
            found = step(self._token, cache, self._position)
        except Exception as error:
            if type(error).__module__.startswith("torch._"):
                raise ModelError(f"This model cannot be compiled here: {first_line(error)}") from None
            raise
        finally:
            if usual == REPLACED:
                self.model.set_experts_implementation(usual)
        self._steps[cache.room, most] = step
        while len(self._steps) > GRAPHS:
            del self._steps[next(iter(self._steps))]
        return found  # type: ignore[no-any-return]

    def _forward(
        self, token: torch.Tensor, cache: RoomyCache, position: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | tuple[tuple[torch.Tensor, ...], ...]]:
        given = {self._name: cache}
        logits = self.model(input_ids=token, position_ids=position, use_cache=True, **given).logits[0, -1]
        if self._graphs:
            return logits, self.capture.packed(1)
        taken = self.capture.take(1)
        return logits, (taken.ids, taken.weights, taken.scores)


def compiled_whole(method: Any, graphs: bool) -> Any:
    """``method`` compiled without a graph break, in a CUDA graph where ``graphs``.

    It is given a code object of its own: the compiler keeps its graphs by code object and does not look at hooks, so
    that otherwise a second model of the same class would be given the graph, and the hooks, of the first. The
    compiler's checks before every call, a fifth of the time of a small step, are left out where it allows that.
    """
    own = method.__func__
    function = types.FunctionType(own.__code__.replace(), own.__globals__, closure=own.__closure__)
    options: dict[str, Any] = {"triton.cudagraphs": True} if graphs else {}
    if UNCHECKED:
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    return torch.compile(types.MethodType(function, method.__self__), fullgraph=True, dynamic=False, options=options)
