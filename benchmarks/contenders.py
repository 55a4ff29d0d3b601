"""Ways to read a model's routing while it decodes, all with one interface, so that they can take turns.

Each has the model's weights but modules of its own (``share_weights``): hooks, wrappers and compiled graphs of one
never touch another. Every step ends with the token and, where it is read, the routing of all layers on the host.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, DynamicCache, StaticCache

from analysis.trace import RoutingRows, Step
from app.engine.capture import Pass, RoutingCapture
from app.engine.catalogue import BUNDLED
from app.engine.compiled import compiled_whole
from app.engine.local import ROWS_EVERY, ROWS_TOGETHER
from app.engine.models import cache_argument
from app.engine.router import find_moe_layers


class Contender:
    """No capture, the baseline; the others change ``forward`` or ``read``.

    Args:
        model: a causal language model; its weights are shared, its modules are not.
        room: the most tokens of one run, prompt included.
        compiled: decode through ``torch.compile(fullgraph=True)`` over a static cache.
        graphs: and that in CUDA graphs.
        experts: Transformers' experts implementation; "" keeps the model's.
    """

    def __init__(
        self, model: Any, room: int, *, compiled: bool = False, graphs: bool = False, experts: str = ""
    ) -> None:
        self.model = share_weights(model)
        if experts:
            self.model.set_experts_implementation(experts)
        self.room, self.compiled, self.graphs = room, compiled, graphs
        self.told: list[int] = []
        self.kept: list[Any] = []
        self._cache_name = cache_argument(model)
        self._cache: Any = StaticCache(config=self.model.config, max_cache_len=room) if compiled else None
        self._fed = 0
        self.set_up()
        self.step = _compile(self.forward, graphs) if compiled else self.forward

    def set_up(self) -> None:
        """Put hooks on the model; before it is compiled, since hooks added later never fire."""

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Feed the prompt (1, T) into an empty cache; returns the next token (1, 1), on the device."""
        self.told, self.kept, self._fed = [], [], 0
        if self.compiled:
            self._cache.reset()
        else:
            self._cache = DynamicCache(config=self.model.config)
        return self._read(ids, self.forward(ids), Step.PREFILL)

    def decode(self, token: torch.Tensor) -> torch.Tensor:
        """Feed one token (1, 1); returns the next one."""
        return self._read(token, self.step(token), Step.DECODE)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """One pass and the likeliest next token (1, 1); nothing in it waits for the device."""
        return _likeliest(self.call(ids))

    def call(self, ids: torch.Tensor, **more: Any) -> Any:
        return self.model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_name: self._cache}, **more)

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        """Bring the token, and the routing of the pass just run, to the host."""
        return int(token)

    def finish(self) -> None:
        """Bring what is still on the device to the host, after the last step."""

    def expert_ids(self) -> np.ndarray | None:
        """(T, L, K) ids of the last run; None for who does not read them."""
        if not self.kept:
            return None
        return np.concatenate([_ids_of(part) for part in self.kept])

    def _read(self, fed: torch.Tensor, token: torch.Tensor, step: Step) -> torch.Tensor:
        rows = fed.shape[1]
        self.told.append(self.read(rows, self._fed, step, token))
        self._fed += rows
        return token


class Capture(Contender):
    """Ours: ids, weights, entropy, margin and mass of every token, delivered as the local engine does."""

    router_scores = False

    def set_up(self) -> None:
        self.capture = RoutingCapture(find_moe_layers(self.model))
        self.capture.install()

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        self.capture.discard()
        self._passes: list[Pass] = []
        self._delivered, self._known = time.monotonic(), 0
        return super().prefill(ids)

    def forward(self, ids: torch.Tensor) -> Any:
        token, rows = super().forward(ids), ids.shape[1]
        if self.graphs:
            return token, self.capture.packed(rows)
        taken = self.capture.take(rows)
        return token, taken.ids, taken.weights, taken.scores

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        told = int(token)
        due = len(self._passes) >= ROWS_TOGETHER or time.monotonic() - self._delivered >= ROWS_EVERY
        if step is Step.PREFILL or due:
            self.finish(step)
        return told

    def finish(self, step: Step = Step.DECODE) -> None:
        if not self._passes:
            return
        found = self.capture.rows_of(self._passes, self._known, step, router_scores=self.router_scores)
        self.kept.append(found)
        self._passes, self._known, self._delivered = [], self._known + len(found), time.monotonic()

    def _read(self, fed: torch.Tensor, result: Any, step: Step) -> torch.Tensor:
        rows = fed.shape[1]
        token, *taken = result
        self._passes.append(Pass(rows, packed=taken[0]) if self.graphs else Pass(rows, *taken))
        return super()._read(fed, token, step)


class CaptureScores(Capture):
    """Ours, with the probabilities of all experts as well."""

    router_scores = True


class NaiveHooks(Contender):
    """A forward hook on every router that brings what it returns to the host at once."""

    def set_up(self) -> None:
        self._seen: list[Any] = []
        for layer in find_moe_layers(self.model):
            layer.router.register_forward_hook(self._hook)

    def _hook(self, module: nn.Module, args: Any, output: Any) -> None:
        self._seen.append([part.cpu() for part in output])

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        self._seen.clear()
        return super().prefill(ids)

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        self.kept.append(self._seen[:])
        self._seen.clear()
        return int(token)


class RouterLogits(Contender):
    """Transformers' own ``output_router_logits``: logits only, so no executed ids and no weights."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        output = self.call(ids, output_router_logits=True)
        self._logits = output.router_logits
        return _likeliest(output)

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        self.kept.append([logits.cpu() for logits in self._logits])
        return int(token)

    def expert_ids(self) -> None:
        return None


class NNsight(Contender):
    """nnsight: a trace a step that saves what every router returns."""

    def set_up(self) -> None:
        import nnsight

        self._save = nnsight.save
        names = {module: name for name, module in self.model.named_modules()}
        self._traced = nnsight.NNsight(self.model)
        self._routers = [_at(self._traced, names[layer.router]) for layer in find_moe_layers(self.model)]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": ids, "use_cache": True, "logits_to_keep": 1, self._cache_name: self._cache}
        save, traced, routers = self._save, self._traced, self._routers
        with traced.trace(**inputs):
            seen = save([router.output for router in routers])
            output = save(traced.output)
        self._seen = seen
        return _likeliest(output)

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        self.kept.append([[part.cpu() for part in output] for output in self._seen])
        return int(token)


class TransformerLens(Contender):
    """TransformerLens's bridge and its Qwen3-MoE adapter: hook points on every router's logits, weights and ids.

    Its attention looks for the cache under a name that Transformers no longer uses, so it is handed over twice; without
    that every token would be decoded as if it were the first.
    """

    POINTS = ("hook_out", "hook_expert_weights", "hook_expert_indices")

    def set_up(self) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        count = len(find_moe_layers(self.model))
        self._bridge = TransformerBridge.boot_transformers(
            self.model.config._name_or_path or "Qwen/Qwen3-30B-A3B",
            hf_model=self.model,
            tokenizer=AutoTokenizer.from_pretrained(BUNDLED),  # it wants one; nothing here is text
            device=self.model.device,
            dtype=self.model.dtype,
        )
        self._seen: dict[str, torch.Tensor] = {}
        self._names = [
            [name for name in self._bridge.hook_dict if name.endswith(f"blocks.{i}.mlp.gate.{point}")][0]
            for i in range(count)
            for point in self.POINTS
        ]
        for name in self._names:
            self._bridge.add_hook(name, self._hook)

    def _hook(self, value: torch.Tensor, hook: Any) -> None:
        self._seen[hook.name] = value

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return _likeliest(self.call(ids, layer_past=self._cache))

    def read(self, rows: int, start: int, step: Step, token: torch.Tensor) -> int:
        parts = [self._seen[name].cpu() for name in self._names]
        self.kept.append([parts[i : i + 3] for i in range(0, len(parts), 3)])
        return int(token)


CONTENDERS: dict[str, type[Contender]] = {
    "no_capture": Contender,
    "capture": Capture,
    "capture_scores": CaptureScores,
    "naive_hooks": NaiveHooks,
    "router_logits": RouterLogits,
    "nnsight": NNsight,
    "transformer_lens": TransformerLens,
}


def share_weights(model: nn.Module) -> Any:
    """A copy of ``model`` with modules and config of its own and the same tensors."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]})


def _compile(forward: Any, graphs: bool) -> Any:
    """``forward`` compiled as the local engine does."""
    compiled = compiled_whole(forward, graphs)
    if not graphs:
        return compiled

    def step(ids: torch.Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        found = compiled(ids)  # the graph's own output is overwritten by its next run
        return tuple(part.clone() for part in found) if isinstance(found, tuple) else found.clone()

    return step


def _likeliest(output: Any) -> torch.Tensor:
    return output.logits[:, -1].argmax(-1, keepdim=True)


def _ids_of(part: Any) -> np.ndarray:
    """(R, L, K) of what a contender keeps of a pass: our rows, or a list over layers of (logits, weights, ids)."""
    if isinstance(part, RoutingRows):
        return part.expert_ids
    return torch.stack([ids.reshape(-1, ids.shape[-1]) for _, _, ids in part], 1).numpy()


def _at(top: Any, path: str) -> Any:
    for name in path.split("."):
        top = top[int(name)] if name.isdigit() else getattr(top, name)
    return top
