"""Capture and edits inside a compiled decode step: one graph, the same tokens, the same rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo

from analysis.errors import CaptureError, ModelError
from analysis.trace import Step
from app.engine.base import ChatRequest, Message, RouterEdit, SamplingParams
from app.engine.capture import RoutingCapture
from app.engine.compiled import CompiledDecode
from app.engine.edits import PLAIN, RouterEdits
from app.engine.local import LocalEngine
from app.engine.models import ModelCache
from app.engine.opening import open_engine
from app.engine.router import find_moe_layers
from tests.families import known, tiny_family
from tests.tiny_models import tiny_moe, tokenizer

pytestmark = pytest.mark.timeout(300)  # compiling takes a while where the processor is shared
PROMPT = torch.arange(5, 25)


def eager(model, layers, steps, edits, at):
    """Tokens and decode rows of ``steps`` greedy steps; ``edits`` hold from step ``at`` on."""
    capture, editor = RoutingCapture(layers), RouterEdits(layers)
    slot = editor.add(edits)
    tokens, rows = [], []
    with torch.no_grad(), capture:
        editor.install(64)
        cache = ModelCache(model)
        token = cache.forward(PROMPT[None]).logits[0, -1].argmax().view(1)
        capture.drain(20, 0, Step.PREFILL)
        for i in range(steps):
            tokens.append(int(token))
            with editor.selected(slot if i >= at else PLAIN):
                token = cache.forward(token[None]).logits[0, -1].argmax().view(1)
            rows.append(capture.drain(1, 20 + i, Step.DECODE))
        editor.remove()
    return tokens, rows


def test_one_graph_without_a_break_gives_the_rows_of_eager_and_edits_need_no_second():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = tiny_moe(num_hidden_layers=2, mlp_only_layers=[])
    layers = find_moe_layers(model)
    edits = (RouterEdit("mask", (1, 2, 3)), RouterEdit("boost", (5,), amount=2.0))
    tokens, wanted = eager(model, layers, 12, edits, at=6)
    capture, editor = RoutingCapture(layers), RouterEdits(layers)
    with torch.no_grad(), capture:
        editor.install(64)
        decode = CompiledDecode(model, capture)
        for _ in range(2):  # a second sequence, in a cache of its own, uses the same graph
            cache = decode.cache(64)
            token = ModelCache(model, cache).forward(PROMPT[None]).logits[0, -1].argmax().view(1)
            capture.take(20)
            slot, seen = PLAIN, []
            for i, wish in enumerate(wanted):
                if i == 6:
                    slot = editor.add(edits)
                seen.append(int(token))
                with editor.selected(slot):
                    logits, taken = decode.step(token, cache, 20 + i)
                token = logits.argmax().view(1)
                rows = capture.rows_of([taken], 20 + i, Step.DECODE)
                assert np.array_equal(rows.expert_ids, wish.expert_ids)
                np.testing.assert_allclose(rows.expert_weights, wish.expert_weights, atol=1e-3)
            editor.drop(slot)
            assert seen == tokens
        editor.remove()
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_without_hooks_on_the_model_nothing_is_compiled():
    """Hooks added after compilation never run, so a step without them must fail and not give rows."""
    torch._dynamo.reset()
    model = tiny_moe(mlp_only_layers=[], num_hidden_layers=1)
    capture = RoutingCapture(find_moe_layers(model))
    with torch.no_grad(), pytest.raises((ModelError, CaptureError)):
        decode = CompiledDecode(model, capture)
        decode.step(PROMPT[:1], decode.cache(64), 0)


def test_a_second_model_of_the_same_class_is_given_a_graph_of_its_own():
    torch._dynamo.reset()
    for seed in (0, 1):
        model = tiny_moe(seed, mlp_only_layers=[], num_hidden_layers=1)
        capture = RoutingCapture(find_moe_layers(model))
        with torch.no_grad(), capture:
            decode = CompiledDecode(model, capture)
            _, taken = decode.step(PROMPT[:1], decode.cache(64), 0)
            model(input_ids=PROMPT[None, :1], use_cache=False)
            wanted = capture.drain(1, 0, Step.PREFILL)
        assert np.array_equal(capture.rows_of([taken], 0, Step.DECODE).expert_ids, wanted.expert_ids)


def test_the_engine_decodes_compiled_with_the_same_trace():
    torch._dynamo.reset()
    model = tiny_moe(num_hidden_layers=2, mlp_only_layers=[])
    request = ChatRequest((Message("user", "hello"),), sampling=SamplingParams(temperature=0, max_tokens=10), seed=1)
    usual = LocalEngine(model, tokenizer()).run(request)
    engine = LocalEngine(model, tokenizer(), compiled=True)
    trace = engine.run(request)
    assert np.array_equal(trace.token_ids, usual.token_ids)
    assert np.array_equal(trace.expert_ids, usual.expert_ids)
    assert trace.provenance["compiled"] is True
    masked = engine.run(replace(request, edits=(RouterEdit("mask", (0, 1)),)))
    assert not np.isin(masked.expert_ids, [0, 1]).any()
    for layer in (0, 1):  # room for more experts in one layer is none in another
        more = engine.run(replace(request, edits=(RouterEdit("top_k", layer=layer, amount=6),)))
        used = (more.expert_ids != more.spec.no_expert).sum(-1)
        assert (used[:, layer] == 6).all() and (used[:, 1 - layer] == 4).all()
    long = replace(request, messages=(Message("user", "hello " * 150),), edits=(RouterEdit("mask", (3,)),))
    assert not np.isin(engine.run(long).expert_ids, [3]).any()
    measured = engine.run(replace(request, expert_outputs=True))
    assert measured.contribution is not None and np.array_equal(measured.token_ids, usual.token_ids)
    again = engine.run(request)
    assert np.array_equal(again.expert_ids, usual.expert_ids)


def test_a_family_without_a_static_cache_is_refused_in_one_sentence():
    with pytest.raises(ModelError, match="cannot be compiled whole"):
        CompiledDecode(tiny_family("minimax"), RoutingCapture([]))


@pytest.mark.parametrize("family", ["gpt_oss", "gemma4_text", "llama4_text"])
def test_a_sliding_window_is_refused(family):
    """Its cache counts in Python: a graph would go on with the count it was made with, and answer wrongly."""
    if family not in known([family]):
        pytest.skip("not in this version of Transformers")
    with pytest.raises(ModelError, match="cannot be compiled whole"):
        CompiledDecode(tiny_family(family), RoutingCapture([]))


def test_a_compiled_engine_that_decodes_otherwise_is_not_opened(monkeypatch):
    torch._dynamo.reset()
    original = CompiledDecode.step
    monkeypatch.setattr(CompiledDecode, "step", lambda self, token, *rest: original(self, (token + 7) % 200, *rest))
    with pytest.raises(ModelError, match="not what ordinary decoding is"):
        LocalEngine(tiny_moe(num_hidden_layers=2, mlp_only_layers=[]), tokenizer(), compiled=True)


def test_a_compiled_engine_can_be_checked_again_and_lets_other_passes_go_by():
    torch._dynamo.reset()
    model = tiny_moe(num_hidden_layers=1, mlp_only_layers=[])
    engine = LocalEngine(model, tokenizer(), compiled=True)
    with pytest.raises(ModelError, match="cannot be compiled whole"):
        LocalEngine(model, tokenizer(), compiled=True)
    request = ChatRequest((Message("user", "hello"),), sampling=SamplingParams(temperature=0, max_tokens=6), seed=1)
    before = engine.run(request)
    assert engine.verify().ok
    with torch.no_grad():
        for _ in range(3):
            model(input_ids=torch.arange(300)[None] % 200)
    assert not any(engine._instruments.capture._scores)
    assert np.array_equal(engine.run(request).expert_ids, before.expert_ids)
    engine.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with torch.no_grad():
        CompiledDecode(model, RoutingCapture([]))  # free for another engine


def test_an_engine_that_cannot_be_opened_leaves_nothing_on_the_model(monkeypatch):
    class Broken(Exception):
        __module__ = "torch._dynamo.exc"

    def step(*given):
        raise Broken("no compiler was found")

    monkeypatch.setattr("app.engine.compiled.compiled_whole", lambda *given: step)
    model = tiny_moe(num_hidden_layers=1, mlp_only_layers=[])
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot be compiled here: no compiler was found"):
            LocalEngine(model, tokenizer(), compiled=True)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_step_that_could_not_be_compiled_is_not_kept(monkeypatch):
    def step(*given):
        raise RuntimeError

    monkeypatch.setattr("app.engine.compiled.compiled_whole", lambda *given: step)
    decode = CompiledDecode(tiny_moe(num_hidden_layers=1), RoutingCapture([]))
    with pytest.raises(RuntimeError):
        decode.step(PROMPT[:1], decode.cache(64), 0)
    assert not decode._steps


def test_a_quantized_model_is_not_compiled_on_a_cpu():
    with pytest.raises(ModelError, match="A quantized model cannot be compiled on a CPU"):
        open_engine(quantize="8bit", compiled=True)
