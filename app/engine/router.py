"""The one place that knows where a model's routers are.

Nothing is decided by a model's or a class's name. A short text is sent through the model, and the modules say for
themselves what they are: experts are called with expert ids and gate weights, a router is what hands out the scores
that those follow from. How they follow is found by ``gating.explain``. What cannot be explained is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import LayerSpec
from app.engine.facts import (
    expert_counts,
    experts_by_config,
    groups,
    scales,
    shared_experts,
    stack_of,
    text_config,
)
from app.engine.gating import Gating, explain
from app.engine.models import RUN_ERRORS, first_line, input_device
from app.engine.moe_layer import ExpertsCall, MoELayer, Place, linear_scores

PROBE_TOKENS = 256


@torch.no_grad()
def find_moe_layers(model: nn.Module, token_ids: Sequence[int] = ()) -> list[MoELayer]:
    """The MoE layers of ``model`` in its own order; none for a dense model.

    Args:
        token_ids: text to send through; random tokens where there are fewer than 8.

    Raises:
        CaptureError: there are experts whose routing is not understood.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise CaptureError("This is an encoder-decoder model; only models that continue a text can be captured.")
    with _hooks_aside(model):
        return _find(model, _probe_ids(model, token_ids))


def _find(model: nn.Module, ids: torch.Tensor) -> list[MoELayer]:
    names = {module: name for name, module in model.named_modules()}
    calls = _experts_called(model, names, ids)
    _refuse_silent_experts(model, names, calls)
    blocks = {experts: _parent(model, names[experts]) for experts in calls}
    with _listening(blocks) as heard:
        _run(model, ids)
    layers = [_explain_layer(model, names, experts, blocks[experts], heard[experts], ids) for experts in calls]
    numbers = [layer.spec.layer for layer in layers]
    if len(set(numbers)) != len(numbers):
        raise CaptureError(f"Several MoE blocks share a layer number ({numbers}), so rows could not be told apart.")
    return sorted(layers, key=lambda layer: layer.spec.layer)


@contextmanager
def _hooks_aside(model: nn.Module) -> Iterator[None]:
    """Hooks that somebody else has put on the model neither see the short text nor answer for the routers."""
    kept = [(m, m._forward_hooks, m._forward_pre_hooks) for m in model.modules()]
    for module, _, _ in kept:
        module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for module, hooks, pre_hooks in kept:
            module._forward_hooks, module._forward_pre_hooks = hooks, pre_hooks


@dataclass
class _Answer:
    """One call of a module that stands beside the experts: what went in, what came out, and its small tensors."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]
    vectors: dict[str, torch.Tensor]


@dataclass
class _Heard:
    """What one MoE block was seen to do: the calls of its experts, and the answers of the modules before them."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    answers: list[_Answer] = field(default_factory=list)


def _probe_ids(model: nn.Module, token_ids: Sequence[int]) -> torch.Tensor:
    """(1, N) tokens: those given, filled up with random ones that no config speaks of (images and the like)."""
    embedding = model.get_input_embeddings().weight  # type: ignore[operator,union-attr]
    config = text_config(model)
    named = [v for k, v in {**vars(model.config), **vars(config)}.items() if k.endswith("token_id") and v]  # type: ignore[arg-type]
    special = {i for v in named for i in (v if isinstance(v, list | tuple) else [v])}
    ordinary = [i for i in range(embedding.shape[0]) if i not in special] if embedding.shape[0] < 4096 else None
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(ordinary) if ordinary else 4096, (PROBE_TOKENS,), generator=generator).tolist()
    random = [ordinary[i] if ordinary else i for i in drawn]
    given = [int(t) for t in token_ids if 0 <= t < embedding.shape[0]]
    return torch.tensor([(given + random)[:PROBE_TOKENS] if len(given) >= 8 else random], device=input_device(model))


def _run(model: nn.Module, ids: torch.Tensor) -> None:
    try:
        model(input_ids=ids, use_cache=False)
    except RUN_ERRORS as error:
        raise CaptureError(f"The model cannot be run here: {first_line(error)}") from None


def _experts_called(
    model: nn.Module, names: Mapping[nn.Module, str], ids: torch.Tensor
) -> dict[nn.Module, ExpertsCall | None]:
    """Modules that are called with ids (N, K) and weights (N, K), outermost first found; and modules named ``experts``
    that are called with something else (None)."""
    found: dict[nn.Module, ExpertsCall | None] = {}
    count = ids.numel()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        places = _experts_call(args, kwargs, count)
        if places or names[module].rsplit(".", 1)[-1] == "experts":
            found.setdefault(module, places)

    handles = [m.register_forward_pre_hook(hook, with_kwargs=True) for m in names if m is not model]
    try:
        _run(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    inside = [m for m in found if any(o is not m and names[m].startswith(names[o] + ".") for o in found)]
    for module in inside:
        del found[module]
    return found


def _experts_call(args: Sequence[Any], kwargs: Mapping[str, Any], count: int) -> ExpertsCall | None:
    values: list[tuple[Place, Any]] = [((i, ""), v) for i, v in enumerate(args)]
    values += [((-1, name), v) for name, v in kwargs.items()]
    tables = [(p, v) for p, v in values if _is_table(v, count)]
    whole = [(p, v) for p, v in tables if not v.is_floating_point() and v.dtype != torch.bool]
    real = [(p, v) for p, v in tables if v.is_floating_point()]
    for ids_at, ids in whole:
        for weights_at, weights in real:
            hidden_at = next((p for p, _ in real if p != weights_at), None)
            if hidden_at and ids.dim() == 2 and ids.shape == weights.shape:
                return ExpertsCall(hidden_at, ids_at, weights_at)
    return None


def _refuse_silent_experts(model: nn.Module, names: Mapping[nn.Module, str], calls: Mapping[nn.Module, Any]) -> None:
    """Experts of the same stack of layers that were not called, or a config that speaks of experts nobody has."""
    stacks = {stack_of(names[experts])[0] for experts in calls}
    if len(stacks) > 1:
        raise CaptureError(
            f"MoE layers were found in several stacks ({', '.join(sorted(stacks))}), so rows could not be told apart."
        )
    for module, name in names.items():
        if name.rsplit(".", 1)[-1] == "experts" and module not in calls and stack_of(name)[0] in stacks:
            raise CaptureError(f"The experts at {name} were not called by a text, so their routing cannot be captured.")
    seen = {parameter for experts in calls for parameter in experts.parameters()}
    counts = {count for experts in calls for count in expert_counts(experts)}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 3 or min(parameter.shape) == 1 or parameter in seen or stack_of(name)[0] not in stacks:
            continue
        if parameter.shape[0] in counts:
            raise CaptureError(
                f"{name} holds a matrix for each of {parameter.shape[0]} experts, but is no part of a MoE layer that "
                "was found, so routing would be missing."
            )
    expected = experts_by_config(model)
    if expected and not calls:
        raise CaptureError(
            f"The model's config speaks of {expected} experts, but no MoE layer was found that routes tokens to them, "
            "so its routing cannot be captured."
        )


@contextmanager
def _listening(blocks: Mapping[nn.Module, nn.Module]) -> Iterator[dict[nn.Module, _Heard]]:
    """Hooks on each block's modules, the experts' own insides left out."""
    heard = {experts: _Heard() for experts in blocks}
    handles = []

    def on_experts(entry: _Heard) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry.calls.append((args, kwargs))

        return hook

    def on_output(entry: _Heard, block: nn.Module) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not entry.calls:
                outputs = tuple(output) if isinstance(output, tuple | list) else (output,)
                vectors = {**_vectors(block, recurse=False), **_vectors(module)}
                entry.answers.append(_Answer(module, args, kwargs, outputs, vectors))

        return hook

    try:
        for experts, block in blocks.items():
            inside = set(experts.modules())
            handles.append(experts.register_forward_pre_hook(on_experts(heard[experts]), with_kwargs=True))
            for module in block.modules():
                if module not in inside and module is not block:
                    listener = on_output(heard[experts], block)
                    handles.append(module.register_forward_hook(listener, with_kwargs=True))
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _vectors(module: nn.Module, recurse: bool = True) -> dict[str, torch.Tensor]:
    """Copies of small parameters and buffers, flat, by name; made while the module runs, when offloaded ones are in."""
    tensors = [*module.named_parameters(recurse=recurse), *module.named_buffers(recurse=recurse)]
    return {
        n: t.detach().float().flatten().clone() for n, t in tensors if t.numel() == max(t.shape, default=0) <= 65535
    }


def _explain_layer(
    model: nn.Module,
    names: Mapping[nn.Module, str],
    experts: nn.Module,
    block: nn.Module,
    heard: _Heard,
    ids: torch.Tensor,
) -> MoELayer:
    """The layer whose router, among the modules heard before the experts, explains how these were called."""
    name, count = names[experts], ids.numel()
    how = "chosen and weighted in a way that is not understood"
    number = stack_of(name)[1]
    if number is not None and len(heard.calls) == 1:
        args, kwargs = heard.calls[0]
        call = _experts_call(args, kwargs, count)
        nearest = sorted(heard.answers, key=lambda answer: names[answer.module].count("."))
        for answer in nearest:  # a router before its own linear layer
            for at, gates_at in _score_tables(answer, expert_counts(experts), count, dense=call is None):
                executed = call.routing(args, kwargs) if call else _executed(answer, gates_at, count)
                gating, only_weights = _explain(model, block, answer, at, gates_at, executed)
                if gating is not None:
                    spec = LayerSpec(
                        layer=number,
                        num_experts=answer.outputs[at].shape[-1],
                        top_k=executed[0].shape[-1],
                        scoring=gating.scoring,
                        renormalised=gating.renormalised,
                        scale=gating.scale,
                        **shared_experts(model, name),
                    )
                    given = answer.outputs[at].reshape(count, -1)
                    linear = _linear(answer.module, answer.args, given) if gating.gives == "logits" else ""
                    return MoELayer(spec, gating, block, answer.module, at, linear, experts, call, gates_at)
                if only_weights:
                    how = "weighted by their router's scores but chosen by something else"
    raise CaptureError(
        f"The experts at {name} ({type(experts).__name__}) are {how}, so this model's routing cannot be captured."
    )


def _score_tables(answer: _Answer, counts: set[int], count: int, *, dense: bool) -> Iterator[tuple[int, int | None]]:
    """Which outputs may be scores of all experts; where the experts were given no ids, also which are dense gates."""
    for at, given in enumerate(answer.outputs):
        if not _is_table(given, count) or not given.is_floating_point() or given.shape[-1] < 2:
            continue
        gates_at = _dense_gates(answer.outputs, given, at) if dense else None
        if (not counts or given.shape[-1] in counts) and (gates_at is not None or not dense):
            yield at, gates_at


def _executed(answer: _Answer, gates_at: int | None, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, K) ids and weights out of dense gates."""
    assert gates_at is not None
    gates = answer.outputs[gates_at].reshape(count, -1)
    weights, ids = gates.topk(int((gates[0] != 0).sum()), -1)
    return ids, weights


def _explain(
    model: nn.Module,
    block: nn.Module,
    answer: _Answer,
    at: int,
    gates_at: int | None,
    executed: tuple[torch.Tensor, torch.Tensor],
) -> tuple[Gating | None, bool]:
    """The formula of one table of scores, or None; and whether one explains at least the weights."""
    ids, weights = executed
    given = answer.outputs[at].reshape(len(ids), -1)
    experts = given.shape[-1]
    if int(ids.max()) >= experts or ids.shape[-1] > experts:
        return None, False
    known: dict[str, Any] = {
        "vectors": {n: v for n, v in answer.vectors.items() if v.numel() == experts},
        "groups": groups(answer.module, block, model),
        "scales": scales(answer.module, block, model),
        "jitter": float(getattr(answer.module, "router_jitter_noise", 0.01)),
    }
    rows = _louder(answer, at, gates_at, (given, ids, weights))
    gating = explain(*rows, **known)
    return gating, gating is None and explain(*rows, **known, any_choice=True) is not None


def _is_table(value: Any, count: int) -> bool:
    """One row a token, whatever the batch looks like."""
    return isinstance(value, torch.Tensor) and value.dim() >= 2 and value.numel() == count * value.shape[-1]


def _dense_gates(outputs: Sequence[Any], scores: torch.Tensor, at: int) -> int | None:
    """Which output is a table as large as the scores in which every row has the same few values and else zeros."""
    for i, gates in enumerate(outputs):
        if i == at or not isinstance(gates, torch.Tensor) or gates.numel() != scores.numel():
            continue
        used = (gates.reshape(scores.shape) != 0).sum(-1)
        if bool((used == used[0]).all()) and 0 < int(used[0]) < scores.shape[-1]:
            return i
    return None


def _louder(
    answer: _Answer, at: int, gates_at: int | None, rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The observed rows (scores, ids, weights), and those of the router asked again with its input amplified, where it
    answers with ids and weights itself: with scores close to zero all formulas look alike."""
    given, ids, weights = rows
    ids_at = next((i for i, o in enumerate(answer.outputs) if _same(o, ids)), None)
    weights_at = next((i for i, o in enumerate(answer.outputs) if _same(o, weights)), None)
    if not answer.args or (gates_at is None and (ids_at is None or weights_at is None)):
        return rows
    hidden = answer.args[0] * (2.0 / (float(given.float().std()) or 1.0))
    try:
        again = answer.module.forward(hidden, *answer.args[1:], **answer.kwargs)
    except (RuntimeError, ValueError, TypeError):
        return rows
    if gates_at is not None:
        more_weights, more_ids = again[gates_at].reshape(given.shape).topk(ids.shape[-1], -1)
    else:
        more_ids, more_weights = again[ids_at].reshape(ids.shape), again[weights_at].reshape(weights.shape)  # type: ignore[index]
    more = again[at].reshape(given.shape)
    if not bool(torch.isfinite(more).all()):
        return rows
    return torch.cat([given, more]), torch.cat([ids, more_ids]), torch.cat([weights, more_weights])


def _same(value: Any, wanted: torch.Tensor) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.dtype == wanted.dtype
        and value.numel() == wanted.numel()
        and torch.equal(value.reshape(wanted.shape), wanted)
    )


def _linear(router: nn.Module, args: tuple[Any, ...], given: torch.Tensor) -> str:
    """In which precision ``router_scores`` reproduces what the router handed out; "" for neither."""
    weight = getattr(router, "weight", None)
    if not args or not isinstance(weight, torch.Tensor) or weight.device.type == "meta":
        return ""
    hidden = args[0].reshape(-1, args[0].shape[-1])
    if weight.shape != (given.shape[-1], hidden.shape[-1]):
        return ""
    errors = {}
    for precision in ("own", "float32"):
        difference = (linear_scores(router, hidden, precision) - given.float()).abs().max()
        errors[precision] = float(difference / given.float().abs().max().clamp_min(1e-6))
    best = min(errors, key=lambda precision: errors[precision])
    coarse = torch.float32 not in (given.dtype, weight.dtype)
    return best if errors[best] <= (2e-2 if coarse else 1e-4) else ""


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])
