"""Every family of mixture of experts in Transformers: captured as it is, or refused in one sentence."""

from __future__ import annotations

import copy
import json
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from analysis.errors import CaptureError, ModelError
from analysis.trace import Step
from app.engine.base import SamplingParams
from app.engine.capture import RoutingCapture
from app.engine.check import CaptureCheck, check_capture
from app.engine.moe_layer import MoELayer
from app.engine.opening import open_engine, verify_checkpoint
from app.engine.router import find_moe_layers
from tests.families import LISTED, OTHERS, known, tiny_family
from tests.make_families import FILE, TOKENS, family, line, outcome
from tests.tiny_models import tiny_moe, tokenizer


class Truth(NamedTuple):
    """What a family's modeling code does with the config of ``tests.families``."""

    layers: tuple[int, ...] = (0, 1, 2, 3)
    scoring: str = "softmax"
    renormalised: bool = True
    scale: float = 1.0
    shared: int = 0
    shared_gate: bool = False
    bias: str = ""
    groups: tuple[int, int, str] | None = None
    expert_scale: str = ""


DENSE_SECOND, DENSE_FIRST = (0, 2, 3), (1, 2, 3)
GATED: dict[str, Any] = {"shared": 1, "shared_gate": True}
DEEPSEEK = Truth(DENSE_FIRST, "sigmoid", True, 1.5, 1, bias="e_score_correction_bias", groups=(2, 1, "top2"))
GEMMA = Truth(expert_scale="per_expert_scale")
LLAMA = Truth((1, 3), "sigmoid", renormalised=False, shared=1)

TRUTH = {
    "dbrx": Truth(),
    "deepseek_v2": Truth(DENSE_FIRST, renormalised=False, scale=1.5, shared=2, groups=(2, 1, "max")),
    "deepseek_v3": DEEPSEEK,
    "ernie4_5_moe": Truth(DENSE_FIRST, shared=2, bias="e_score_correction_bias"),
    "gemma4": GEMMA,
    "gemma4_text": GEMMA,
    "glm4_moe": DEEPSEEK,
    "gpt_oss": Truth(),
    "granitemoe": Truth(),
    "granitemoehybrid": Truth(shared=1),
    "granitemoeshared": Truth(shared=1),
    "hunyuan_v1_moe": Truth(shared=1),
    "lfm2_moe": Truth(DENSE_FIRST, "sigmoid", scale=1.5, bias="expert_bias"),
    "llama4": LLAMA,
    "llama4_text": LLAMA,
    "minimax": Truth(),
    "minimax_m2": Truth(scoring="sigmoid", bias="e_score_correction_bias"),
    "mixtral": Truth(),
    "olmoe": Truth(renormalised=False),
    "phimoe": Truth(scoring="sparsemixer", renormalised=False),
    "qwen2_moe": Truth(DENSE_SECOND, renormalised=False, **GATED),
    "qwen3_5_moe": Truth(**GATED),
    "qwen3_5_moe_text": Truth(**GATED),
    "qwen3_moe": Truth(DENSE_SECOND, renormalised=False),
    "qwen3_next": Truth(DENSE_SECOND, **GATED),
    "qwen3_omni_moe_thinker": Truth(DENSE_SECOND),
    "qwen3_vl_moe": Truth(DENSE_SECOND),
}


class Witness:
    """What the experts were called with, by hooks that are not the capture's: (N, L, K) ids and weights, by layer."""

    def __init__(self, layers: list[MoELayer]) -> None:
        self.seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._handles = []
        for layer in layers:
            called, dense = self._called(layer), self._dense(layer)
            if layer.call:
                self._handles.append(layer.experts.register_forward_pre_hook(called, with_kwargs=True))
            else:
                self._handles.append(layer.router.register_forward_hook(dense))

    def _called(self, layer: MoELayer) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            values = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
            ids = next(v for v in values if not v.is_floating_point())
            weights = next(v for v in values if v.is_floating_point() and v.shape == ids.shape)
            self.seen[layer.spec.layer] = ids.numpy().copy(), weights.float().numpy().copy()

        return hook

    def _dense(self, layer: MoELayer) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            weights, ids = next(o for o in output if bool((o == 0).any())).float().topk(layer.spec.top_k)
            self.seen[layer.spec.layer] = ids.numpy().copy(), weights.numpy().copy()

        return hook

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def compare_with_witness(model: Any, layers: list[MoELayer]) -> None:
    """The captured rows are what the experts were called with, and the capture changes nothing."""
    ids = torch.tensor([TOKENS])
    plain = model(input_ids=ids, use_cache=False).logits
    witness = Witness(layers)
    try:
        with RoutingCapture(layers) as capture:
            watched = model(input_ids=ids, use_cache=False).logits
            rows = capture.drain(len(TOKENS), 0, Step.PREFILL)
    finally:
        witness.remove()
    assert torch.equal(plain, watched)
    for position, layer in enumerate(layers):
        executed, weights = witness.seen[layer.spec.layer]
        k = layer.spec.top_k
        found = rows.expert_ids[:, position, :k].astype(np.int64), rows.expert_weights[:, position, :k]
        if layer.gates_at is not None:  # dense gates have no order of their own
            found, (executed, weights) = _by_id(*found), _by_id(executed, weights)
        assert np.array_equal(found[0], executed)
        assert np.array_equal(found[1], weights.astype(np.float16))


def _by_id(ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(ids, -1)
    return np.take_along_axis(ids, order, -1), np.take_along_axis(weights, order, -1)


def checked(model: Any, layers: list[MoELayer] | None = None) -> CaptureCheck:
    return check_capture(model, RoutingCapture(layers or find_moe_layers(model)), TOKENS)


def test_the_table_names_every_listed_family() -> None:
    assert set(TRUTH) == set(LISTED)


@pytest.mark.parametrize("name", known(LISTED))
def test_a_router_is_described_as_its_code_has_it(name: str) -> None:
    truth, layers = TRUTH[name], outcome(name, torch.float32).layers
    for layer in layers:
        spec, gating = layer.spec, layer.gating
        assert (spec.num_experts, spec.top_k) == (8, 2)
        assert (spec.scoring, spec.renormalised, spec.scale) == (truth.scoring, truth.renormalised, truth.scale)
        assert (spec.shared_experts, spec.shared_gate) == (truth.shared, truth.shared_gate)
        groups = (gating.groups, gating.groups_used, gating.group_score) if gating.groups > 1 else None
        assert groups == truth.groups
        for given, tensor in ((truth.bias, gating.bias), (truth.expert_scale, gating.expert_scale)):
            assert (tensor is None) == (not given)
            named = [*layer.block.named_parameters(), *layer.block.named_buffers()]
            assert not given or any(n.endswith(given) and torch.equal(t.flatten(), tensor) for n, t in named)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", known(LISTED))
def test_a_listed_family_is_captured(name: str, dtype: torch.dtype) -> None:
    layers, problem = outcome(name, dtype)
    assert not problem
    assert tuple(layer.spec.layer for layer in layers) == TRUTH[name].layers
    compare_with_witness(family(name, dtype), layers)


@pytest.mark.parametrize("name", known(OTHERS))
def test_any_other_family_is_captured_or_refused(name: str) -> None:
    layers, problem = outcome(name, torch.float32)
    assert "\n" not in problem and len(problem) < 400
    if not problem:
        compare_with_witness(family(name, torch.float32), layers)


def test_the_page_of_families_is_true() -> None:
    """Every listed family is in it and ok; its rows are those of the Transformers that it names."""
    text = FILE.read_text(encoding="utf-8")
    assert [name for name in LISTED if not re.search(rf"^\| {name} \|.*\| ok \| ok \|$", text, re.M)] == []
    if f"Transformers {transformers.__version__}," in text:
        assert [name for name in known(LISTED) if line(name) not in text.splitlines()] == []


@pytest.mark.usefixtures("loaded_once")
@pytest.mark.parametrize("name", [*known(LISTED), *known(["qwen3_omni_moe"])])
def test_a_checkpoint_is_loaded_checked_and_run(name: str, tmp_path: Any) -> None:
    """The whole of it, eyes and ears too, as ``save_pretrained`` leaves it."""
    truth = TRUTH[{"qwen3_omni_moe": "qwen3_omni_moe_thinker"}.get(name, name)]
    tiny_family(name, whole=True, vocab_size=len(tokenizer())).save_pretrained(tmp_path, max_shard_size="200KB")
    tokenizer().save_pretrained(tmp_path)
    result = verify_checkpoint(str(tmp_path))
    assert result["ok"], result["problems"]
    assert (result["model_type"], result["num_layers"], result["moe_layers"]) == (name, 4, list(truth.layers))
    assert (result["num_experts"], result["top_k"], result["shared_experts"]) == (8, 2, truth.shared)
    engine = open_engine(str(tmp_path))
    answered = engine.run("What is 2 + 3?", sampling=SamplingParams(max_tokens=8), seed=1)
    forced = engine.run_forced(answered.token_ids.tolist())
    assert len(answered.expert_ids) == len(answered.token_ids) - 1
    both = answered.expert_ids, forced.expert_ids[: len(answered.expert_ids)]
    assert np.array_equal(*(np.sort(ids, -1) for ids in both))


@pytest.mark.parametrize("name", known(["qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3", "glm4_moe", "lfm2_moe"]))
def test_weights_that_are_renormalised_or_not_are_told_apart(name: str) -> None:
    for flag in (False, True):
        model = tiny_family(name, norm_topk_prob=flag)
        layers = find_moe_layers(model)
        assert {layer.spec.renormalised for layer in layers} == {flag}
        assert checked(model, layers).ok


@pytest.mark.parametrize("name", known(["qwen3_moe", "deepseek_v3", "gpt_oss", "minimax_m2", "gemma4_text"]))
@pytest.mark.parametrize(("experts", "k"), [(8, 8), (8, 1), (2, 2)])
def test_all_experts_and_one_expert_a_token(name: str, experts: int, k: int) -> None:
    counts = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), experts)
    per_token = {"top_k_experts": k} if name == "gemma4_text" else {"num_experts_per_tok": k}
    model = tiny_family(name, n_group=1, **{n: v for n, v in counts.items() if has(name, n)}, **per_token)
    layers = find_moe_layers(model)
    assert {(layer.spec.num_experts, layer.spec.top_k) for layer in layers} == {(experts, k)}
    assert checked(model, layers).ok
    compare_with_witness(model, layers)


def has(name: str, field: str) -> bool:
    config = family(name, torch.float32).config
    return hasattr(config, field) and field not in type(config).attribute_map


@pytest.mark.parametrize("name", known(["qwen3_moe", "deepseek_v3", "gpt_oss", "mixtral", "llama4_text", "phimoe"]))
@pytest.mark.parametrize("factor", [0.0, 1e-3, 1e3])
def test_flat_and_steep_routers_are_captured_as_they_are_or_refused(name: str, factor: float) -> None:
    """Ties everywhere, and scores that overflow or vanish."""
    model = copy.deepcopy(family(name, torch.float32))
    for layer in outcome(name, torch.float32).layers:
        weight = dict(model.named_parameters())[f"{path_of(family(name, torch.float32), layer.router)}.weight"]
        weight.data.mul_(factor)
    try:
        layers = find_moe_layers(model)
    except CaptureError:
        assert factor > 1
        return
    result = checked(model, layers)
    assert result.ok or factor > 1
    if result.ok:
        compare_with_witness(model, layers)


def path_of(model: Any, module: Any) -> str:
    return next(name for name, m in model.named_modules() if m is module)


def test_hooks_of_others_stay_and_are_seen() -> None:
    """Somebody's hook on the router turns the choice round: what is captured is what was executed."""
    model, plain = tiny_moe(), tiny_moe()
    seen = []
    for layer in find_moe_layers(plain):
        path = path_of(plain, layer.router)
        model.get_submodule(path).register_forward_hook(lambda m, args, output: seen.append(len(output[2])) or output)
    layers = find_moe_layers(model)
    assert checked(model, layers).ok and seen
    compare_with_witness(model, layers)
    assert all(len(layer.router._forward_hooks) == 1 for layer in layers)


def damaged(path: Any, name: str, change: Any, **config: Any) -> str:
    """A checkpoint of ``name`` whose weights went through ``change`` and whose config was edited."""
    tiny_family(name, vocab_size=len(tokenizer())).save_pretrained(path)
    tokenizer().save_pretrained(path)
    file = path / "model.safetensors"
    weights = {n: t for n, t in load_file(file).items() if change(n)}
    save_file(weights, file, {"format": "pt"})
    told = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**told, **config}))
    return str(path)


def is_last_expert(name: str) -> bool:
    return ".experts.7." in name or name.endswith(("experts.gate_up_proj", "experts.down_proj"))


@pytest.mark.parametrize("name", known(["deepseek_v3", "gpt_oss", "mixtral", "ernie4_5_moe", "qwen3_next"]))
@pytest.mark.parametrize("missing", ["routers", "an expert", "a count"])
def test_a_damaged_checkpoint_is_refused(name: str, missing: str, tmp_path: Any) -> None:
    count = next(n for n in ("n_routed_experts", "num_local_experts", "moe_num_experts", "num_experts") if has(name, n))
    keep = {
        "routers": lambda n: not n.endswith(("gate.weight", "router.weight")),
        "an expert": lambda n: not is_last_expert(n),
        "a count": lambda n: True,
    }[missing]
    path = damaged(tmp_path, name, keep, **({count: 12} if missing == "a count" else {}))
    with pytest.raises(ModelError):
        verify_checkpoint(path)
