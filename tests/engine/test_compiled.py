"""Capture and edits inside a compiled decode step: one graph, the same tokens, the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch._dynamo

from analysis.errors import ModelError
from analysis.trace import Step
from app.engine.base import ChatRequest, Message, RouterEdit, SamplingParams
from app.engine.capture import RoutingCapture
from app.engine.compiled import CompiledDecode
from app.engine.edits import PLAIN, RouterEdits
from app.engine.local import LocalEngine
from app.engine.models import ModelCache
from app.engine.router import find_moe_layers
from tests.families import tiny_family
from tests.tiny_models import tiny_moe, tokenizer

PROMPT = torch.arange(5, 25)


def eager(model, layers, steps, edits=(), at=0):
    """Tokens and decode rows of ``steps`` greedy steps; ``edits`` hold from step ``at`` on."""
    capture, editor = RoutingCapture(layers, 64), RouterEdits(layers, 64)
    slot = editor.add(edits)
    tokens, rows = [], []
    with torch.no_grad(), capture:
        editor.install()
        cache = ModelCache(model)
        token = cache.forward(PROMPT[None]).logits[0, -1].argmax().view(1)
        capture.drain(20, 0, Step.PREFILL)
        for i in range(steps):
            tokens.append(int(token))
            with editor.selected(slot if i >= at else PLAIN):
                token = cache.forward(token[None]).logits[0, -1].argmax().view(1)
            rows.append(capture.drain(1, 20 + i, Step.DECODE)[0])
        editor.remove()
    return tokens, rows


def test_one_graph_without_a_break_gives_the_rows_of_eager_and_edits_need_no_second():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = tiny_moe(mlp_only_layers=[])
    layers = find_moe_layers(model)
    edits = (RouterEdit("mask", (1, 2, 3)), RouterEdit("boost", (5,), amount=2.0))
    tokens, wanted = eager(model, layers, 12, edits, at=6)
    capture, editor = RoutingCapture(layers, 64), RouterEdits(layers, 64)
    with torch.no_grad(), capture:
        editor.install()
        decode = CompiledDecode(model)
        for _ in range(2):  # a second sequence, in a cache of its own, uses the same graph
            cache = decode.cache(64)
            token = decode.prefill(PROMPT, cache)[-1].argmax().view(1)
            capture.drain(20, 0, Step.PREFILL)
            slot, seen = PLAIN, []
            for i, wish in enumerate(wanted):
                if i == 6:
                    slot = editor.add(edits)
                seen.append(int(token))
                with editor.selected(slot):
                    token = decode.step(token, cache, 20 + i).argmax().view(1)
                rows, _ = capture.drain(1, 20 + i, Step.DECODE, compiled=True)
                assert np.array_equal(rows.expert_ids, wish.expert_ids)
                np.testing.assert_allclose(rows.expert_weights, wish.expert_weights, atol=1e-3)
            editor.drop(slot)
            assert seen == tokens
        editor.remove()
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


def test_a_compiled_step_without_hooks_is_found_out():
    """Hooks added after compilation never run; the rows they did not write are an error, not the last ones again."""
    from analysis.errors import CaptureError

    torch._dynamo.reset()
    model = tiny_moe(mlp_only_layers=[], num_hidden_layers=2)
    capture = RoutingCapture(find_moe_layers(model), 64)
    with torch.no_grad():
        decode = CompiledDecode(model)
        cache = decode.cache(64)
        decode.prefill(PROMPT, cache)
        decode.step(PROMPT[:1], cache, 20)
        cells = capture._buffers
        with pytest.raises(CaptureError, match="showed 0 routing rows"):
            capture.drain(1, 20, Step.DECODE, compiled=True)
        assert cells


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
    from dataclasses import replace

    masked = engine.run(replace(request, edits=(RouterEdit("mask", (0, 1)),)))
    assert not np.isin(masked.expert_ids, [0, 1]).any()
    again = engine.run(request)
    assert np.array_equal(again.expert_ids, usual.expert_ids)


def test_a_family_without_a_static_cache_is_refused_in_one_sentence():
    with pytest.raises(ModelError, match="cannot be compiled whole"):
        CompiledDecode(tiny_family("minimax"))
