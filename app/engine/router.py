"""The one place that knows where a model's routers are.

Nothing is decided by a model's or a class's name. A short text is sent through the model, and the modules say for
themselves what they are: experts are called with expert ids and gate weights, a router is what hands out the scores
that those follow from. How they follow is found by ``gating.explain``. What cannot be explained is refused.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from analysis.errors import CaptureError
from analysis.trace import LayerSpec, RouterSpec
from app.engine.gating import Gating, explain
from app.engine.models import RUN_ERRORS, first_line, input_device

PROBE_TOKENS = 48
Place = tuple[int, str]
"""Where a value stands in a call: its position, or its name where it is given by name."""


@dataclass(frozen=True)
class ExpertsCall:
    """Where hidden states (N, H), expert ids (N, K) and gate weights (N, K) stand in a call of an experts module."""

    hidden: Place
    ids: Place
    weights: Place

    def routing(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The executed ids and weights."""
        return _take(args, kwargs, self.ids), _take(args, kwargs, self.weights)

    def tokens(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
        return _take(args, kwargs, self.hidden)

    def make(self, hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor) -> tuple[list[Any], dict[str, Any]]:
        """Arguments of a new call."""
        given = {self.hidden: hidden, self.ids: ids, self.weights: weights}
        ordered = sorted((place, value) for place, value in given.items() if not place[1])
        return [v for _, v in ordered], {place[1]: v for place, v in given.items() if place[1]}

    def rerouted(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], ids: torch.Tensor, weights: torch.Tensor
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with other ids and weights."""
        positions, names = list(args), dict(kwargs)
        for (position, name), value in ((self.ids, ids), (self.weights, weights)):
            if name:
                names[name] = value
            else:
                positions[position] = value
        return tuple(positions), names


@dataclass(frozen=True)
class MoELayer:
    """The modules of one MoE layer, and where in their calls its routing stands.

    Attributes:
        spec: what its router does, in words and numbers.
        gating: the same as arithmetic.
        block: the module that holds router and experts.
        router: hands out scores over all experts.
        scores_at: which of its outputs they are.
        linear: the scores are a linear map of the router's input by ``router.weight``, worked out in "float32" or in
            the "own" dtype of the weights; "" where they are not.
        experts: the module that holds all experts.
        call: how ``experts`` are called; None where they are given inputs already multiplied by dense gates.
        gates_at: which output of the router those dense gates are.
    """

    spec: LayerSpec
    gating: Gating
    block: nn.Module
    router: nn.Module
    scores_at: int
    linear: str
    experts: nn.Module
    call: ExpertsCall | None = None
    gates_at: int | None = None

    def scores(self, output: Any) -> torch.Tensor:
        """(N, E) what the router handed out, in the dtype it came in."""
        given = output if isinstance(output, torch.Tensor) else output[self.scores_at]
        return given.reshape(-1, self.spec.num_experts)

    def dense(self, output: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, E) ids and weights out of a router's dense gates, largest first, -1 where the gate is zero: cut to the
        top-k unless an edit raised it."""
        gates = output[self.gates_at].reshape(-1, self.spec.num_experts)
        weights, ids = gates.sort(-1, descending=True)
        return ids.masked_fill(weights == 0, -1), weights


def _take(args: Sequence[Any], kwargs: Mapping[str, Any], place: Place) -> Any:
    position, name = place
    return kwargs[name] if name else args[position]


def router_spec(layers: list[MoELayer]) -> RouterSpec:
    return RouterSpec(tuple(layer.spec for layer in layers))


@torch.no_grad()
def find_moe_layers(model: nn.Module, token_ids: Sequence[int] = ()) -> list[MoELayer]:
    """The MoE layers of ``model`` in its own order; none for a dense model.

    Args:
        token_ids: text to send through; random tokens where there are fewer than 8.

    Raises:
        CaptureError: there are experts whose routing is not understood.
    """
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
class _Heard:
    """What one MoE block was seen to do: a call of its experts, and the outputs of the modules before it."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    outputs: dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any], Any]] | None = None
    vectors: dict[nn.Module, dict[str, torch.Tensor]] | None = None
    calls: int = 0


def _probe_ids(model: nn.Module, token_ids: Sequence[int]) -> torch.Tensor:
    """(1, N) tokens: those given, filled up with random ones that no config speaks of (images and the like)."""
    embedding = model.get_input_embeddings().weight  # type: ignore[operator,union-attr]
    config = _text_config(model)
    special = {v for k, v in {**vars(model.config), **vars(config)}.items() if k.endswith("token_id") and v}  # type: ignore[arg-type]
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
    stacks = {_stack(names[experts])[0] for experts in calls}
    if len(stacks) > 1:
        raise CaptureError(
            f"MoE layers were found in several stacks ({', '.join(sorted(stacks))}), so rows could not be told apart."
        )
    for module, name in names.items():
        if name.rsplit(".", 1)[-1] == "experts" and module not in calls and _stack(name)[0] in stacks:
            raise CaptureError(f"The experts at {name} were not called by a text, so their routing cannot be captured.")
    seen = {parameter for experts in calls for parameter in experts.parameters()}
    counts = {count for experts in calls for count in _expert_counts(experts)}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 3 or min(parameter.shape) == 1 or parameter in seen or _stack(name)[0] not in stacks:
            continue
        if parameter.shape[0] in counts:
            raise CaptureError(
                f"{name} holds a matrix for each of {parameter.shape[0]} experts, but is no part of a MoE layer that "
                "was found, so routing would be missing."
            )
    expected = _experts_by_config(model)
    if expected and not calls:
        raise CaptureError(
            f"The model's config speaks of {expected} experts, but no MoE layer was found that routes tokens to them, "
            "so its routing cannot be captured."
        )


@contextmanager
def _listening(blocks: Mapping[nn.Module, nn.Module]) -> Iterator[dict[nn.Module, _Heard]]:
    """Hooks on each block's modules, the experts' own insides left out."""
    heard = {experts: _Heard(outputs={}, vectors={}) for experts in blocks}
    handles = []

    def on_experts(entry: _Heard) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entry.args, entry.kwargs, entry.calls = args, kwargs, entry.calls + 1

        return hook

    def on_output(entry: _Heard, block: nn.Module) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if entry.calls == 0 and entry.outputs is not None and entry.vectors is not None:
                entry.outputs[module] = (args, kwargs, output)
                entry.vectors[module] = {**_vectors(block, recurse=False), **_vectors(module)}

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
    name, count = names[experts], ids.numel()
    refused = CaptureError(
        f"The experts at {name} ({type(experts).__name__}) are chosen and weighted in a way that is not understood, "
        "so this model's routing cannot be captured."
    )
    number = _stack(name)[1]
    if number is None or heard.calls != 1 or heard.outputs is None or heard.vectors is None:
        raise refused
    call = _experts_call(heard.args, heard.kwargs or {}, count)
    counts = _expert_counts(experts)
    for module, (args, kwargs, output) in _nearest_first(heard.outputs, names):
        outputs = output if isinstance(output, tuple | list) else (output,)
        for at, given in enumerate(outputs):
            if not _is_table(given, count) or not given.is_floating_point() or given.shape[-1] < 2:
                continue
            if counts and given.shape[-1] not in counts:
                continue
            given = given.reshape(count, -1)
            gates_at = None if call else _dense_gates(outputs, given, at)
            if call:
                executed = call.routing(heard.args, heard.kwargs or {})
            elif gates_at is not None:
                weights, chosen = outputs[gates_at].reshape(given.shape).topk(_used(outputs[gates_at]), -1)
                executed = chosen, weights
            else:
                continue
            if int(executed[0].max()) >= given.shape[-1] or executed[0].shape[-1] > given.shape[-1]:
                continue
            vectors = {n: v for n, v in heard.vectors[module].items() if v.numel() == given.shape[-1]}
            rows = (given, *executed)
            louder = _louder(module, args, kwargs, at, rows, outputs, gates_at)
            known: dict[str, Any] = {
                "vectors": vectors,
                "groups": _groups(module, block, model),
                "scales": _scales(module, block, model),
                "jitter": float(getattr(module, "router_jitter_noise", 0.01)),
            }
            gating = explain(*louder, **known)
            if gating is None:
                if explain(*louder, **known, any_choice=True):
                    refused = CaptureError(
                        f"The experts at {name} ({type(experts).__name__}) are weighted by their router's scores but "
                        "chosen by something else, so this model's routing cannot be captured."
                    )
                continue
            spec = LayerSpec(
                layer=number,
                num_experts=given.shape[-1],
                top_k=executed[0].shape[-1],
                scoring=gating.scoring,
                renormalised=gating.renormalised,
                scale=gating.scale,
                **_shared(model, name),
            )
            linear = _linear(module, args, given) if gating.gives == "logits" else ""
            return MoELayer(spec, gating, block, module, at, linear, experts, call, gates_at)
    raise refused


def _nearest_first(
    outputs: Mapping[nn.Module, tuple[Any, ...]], names: Mapping[nn.Module, str]
) -> list[tuple[nn.Module, tuple[tuple[Any, ...], dict[str, Any], Any]]]:
    """Modules nearest to the block before those inside them: a router before its own linear layer."""
    return sorted(outputs.items(), key=lambda item: names[item[0]].count("."))  # type: ignore[arg-type,return-value]


def _is_table(value: Any, count: int) -> bool:
    """One row a token, whatever the batch looks like."""
    return isinstance(value, torch.Tensor) and value.dim() >= 2 and value.numel() == count * value.shape[-1]


def _used(gates: torch.Tensor) -> int:
    return int((gates.reshape(-1, gates.shape[-1])[0] != 0).sum())


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
    router: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    at: int,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    outputs: Sequence[Any],
    gates_at: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The observed rows, and those of the router asked again with its input amplified, where it answers with ids and
    weights itself: with scores close to zero all formulas look alike."""
    given, ids, weights = rows
    ids_at = next((i for i, o in enumerate(outputs) if _same(o, ids)), None)
    weights_at = next((i for i, o in enumerate(outputs) if _same(o, weights)), None)
    if not args or (gates_at is None and (ids_at is None or weights_at is None)):
        return rows
    spread = float(given.float().std()) or 1.0
    hidden = args[0] * (2.0 / spread)
    try:
        again = router.forward(hidden, *args[1:], **kwargs)  # not router(…): somebody's hooks may be on it
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


def linear_scores(router: nn.Module, hidden: torch.Tensor, precision: str) -> torch.Tensor:
    """(N, E) float32: a router's input times its weights, plus its bias where it has one."""
    weight, bias = router.weight, getattr(router, "bias", None)
    dtype = torch.float32 if precision == "float32" else weight.dtype
    bias = None if bias is None else bias.to(dtype)
    return nn.functional.linear(hidden.to(dtype), weight.to(dtype), bias).float()  # type: ignore[arg-type,operator]


def _groups(router: nn.Module, block: nn.Module, model: nn.Module) -> tuple[int, int]:
    places = (router, block, _text_config(model))
    count = next((v for n in ("num_group", "n_group", "num_expert_group") for v in _numbers(places, n)), 1)
    used = next((v for n in ("topk_group", "num_limited_group") for v in _numbers(places, n)), 1)
    return int(count), int(used)


def _scales(router: nn.Module, block: nn.Module, model: nn.Module) -> tuple[float, ...]:
    names = ("routed_scaling_factor", "router_scaling_factor", "route_scale", "routing_scale", "moe_router_scale")
    return tuple(float(v) for n in names for v in _numbers((router, block, _text_config(model)), n))


def _numbers(places: Sequence[object], name: str) -> Iterator[float]:
    for place in places:
        value = getattr(place, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            yield value


def _shared(model: nn.Module, name: str) -> dict[str, Any]:
    """Experts that every token uses: modules beside the routed ones, or beside their block, that are called shared;
    and a gate on them."""
    stack, number = _stack(name)
    layer, parts = f"{stack}.{number}", name.split(".")
    around = [".".join(parts[:i]) for i in range(1, len(parts))]
    inside = [model.get_submodule(n) for n in around if n.startswith(layer)]
    beside = [(n, m) for module in inside for n, m in module.named_children() if n.startswith("shared")]
    if not any(p.numel() for n, m in beside if not n.endswith("gate") for p in m.parameters()):
        return {"shared_experts": 0, "shared_gate": False}
    config = _text_config(model)
    counts = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    count = next((v for n in counts for v in _numbers((config,), n)), 1)
    return {"shared_experts": int(count), "shared_gate": any(n.endswith("gate") for n, _ in beside)}


def _stack(name: str) -> tuple[str, int | None]:
    """The list of layers a module is in, and its number there."""
    found = re.search(r"^(.*?(?:^|\.)(?:layers|h|blocks|block))\.(\d+)(?:\.|$)", name)
    return (found[1], int(found[2])) if found else ("", None)


def _parent(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _text_config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    return getattr(config, "text_config", None) or config


def _experts_by_config(model: nn.Module) -> int:
    """How many routed experts the config speaks of; 0 for a dense model, also for a MoE config whose layers are all
    dense."""
    config = _text_config(model)
    if len(set(getattr(config, "mlp_only_layers", None) or [])) >= getattr(config, "num_hidden_layers", 1):
        return 0
    counts = [v for k, v in vars(config).items() if re.search(r"(num|n)_(local_|routed_|total_)?experts$", k)]
    return max((v for v in counts if isinstance(v, int) and v > 1), default=0)


def _expert_counts(experts: nn.Module) -> set[int]:
    """How many experts the module may hold, by its parameters and by what it says; empty where it does not say."""
    stacked = {p.shape[0] for p in experts.parameters() if p.dim() == 3}
    named = {getattr(experts, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")}
    return stacked | {v for v in named if isinstance(v, int)}
