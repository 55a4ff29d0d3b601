"""Router edits: exact where nothing is edited, what they say where something is, and gone after the request."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch

from analysis.errors import BadValue
from analysis.trace import Step
from app.engine.base import ChatRequest, Message, RouterEdit, SamplingParams
from app.engine.capture import RoutingCapture
from app.engine.edit_rules import edited_spec
from app.engine.edits import RouterEdits
from app.engine.local import LocalEngine
from app.engine.router import find_moe_layers
from tests.families import tiny_family
from tests.tiny_models import tiny_moe, tokenizer

IDS = torch.arange(5, 29)[None]
FAMILIES = ["qwen3_moe", "mixtral", "glm4_moe", "gpt_oss", "phimoe", "minimax_m2", "llama4_text", "ernie4_5_moe"]


def routed(model, layers, edits=(), *, zero=False):
    """Logits and rows of IDS; ``zero`` puts an edit into the tables that changes no number."""
    capture = RoutingCapture(layers)
    editor = RouterEdits(layers)
    with torch.no_grad(), capture:
        slot = editor.add(edits or ((RouterEdit("boost", (0,), amount=0.0),) if zero else ()))
        editor.install(64)
        try:
            with editor.selected(slot):
                logits = model(input_ids=IDS, use_cache=False).logits
        finally:
            editor.remove()
        rows = capture.drain(IDS.shape[1], 0, Step.PREFILL, edited=edited_spec(capture.spec, edits))
    return logits, rows


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    model = tiny_family(request.param)
    return model, find_moe_layers(model)


def test_an_edit_of_zero_is_bit_identical(family):
    model, layers = family
    with torch.no_grad():
        plain = model(input_ids=IDS, use_cache=False).logits
    logits, _ = routed(model, layers, zero=True)
    assert torch.equal(plain, logits)


def test_a_masked_expert_is_never_used_and_rows_stay_whole(family):
    model, layers = family
    number, k = layers[-1].spec.layer, layers[-1].spec.top_k
    _, usual = routed(model, layers)
    most = int(np.bincount(usual.expert_ids[:, -1].ravel(), minlength=8).argmax())
    logits, rows = routed(model, layers, (RouterEdit("mask", (most,), layer=number),))
    assert most in usual.expert_ids[:, -1] and most not in rows.expert_ids[:, -1]
    assert np.array_equal(rows.expert_ids[:, :-1], usual.expert_ids[:, :-1])
    without = (usual.expert_ids[:, -1] != most).all(-1)
    assert np.array_equal(np.sort(rows.expert_ids[without, -1]), np.sort(usual.expert_ids[without, -1]))
    if layers[-1].gating.groups == 1:
        assert (rows.expert_ids[:, -1, :k] < 8).all()


def test_a_forced_expert_is_always_used(family):
    model, layers = family
    _, rows = routed(model, layers, (RouterEdit("force", (3,)),))
    assert (rows.expert_ids == 3).any(-1).all()


def test_a_boosted_expert_gains_and_the_weights_follow_the_formula(family):
    model, layers = family
    _, usual = routed(model, layers)
    _, rows = routed(model, layers, (RouterEdit("boost", (2,), layer=layers[0].spec.layer, amount=3.0),))
    assert (rows.expert_ids[:, 0] == 2).sum() >= (usual.expert_ids[:, 0] == 2).sum()
    if layers[0].spec.renormalised and layers[0].gating.expert_scale is None:
        np.testing.assert_allclose(rows.expert_weights[:, 0].sum(-1), layers[0].spec.scale, rtol=2e-3)


@pytest.mark.parametrize("k", [1, 4])
def test_k_can_be_changed_both_ways(family, k):
    model, layers = family
    _, rows = routed(model, layers, (RouterEdit("top_k", amount=k),))
    used = (rows.expert_ids != 255).sum(-1)
    room = 4 if layers[-1].gating.groups > 1 else 8
    assert (used == min(k, room)).all()
    assert ((rows.expert_weights > 0) == (rows.expert_ids != 255)).all()


def test_ablation_reroutes_nothing(family):
    model, layers = family
    if not layers[0].call:
        pytest.skip("a gate of zero is an expert that is not called")
    number = layers[0].spec.layer
    _, usual = routed(model, layers)
    most = int(np.bincount(usual.expert_ids[:, 0].ravel(), minlength=8).argmax())
    _, rows = routed(model, layers, (RouterEdit("ablate", (most,), layer=number),))
    assert np.array_equal(rows.expert_ids[:, 0], usual.expert_ids[:, 0])
    gone = usual.expert_ids[:, 0] == most
    assert gone.any() and (rows.expert_weights[:, 0][gone] == 0).all()
    assert np.array_equal(rows.expert_weights[:, 0][~gone], usual.expert_weights[:, 0][~gone])


def test_rows_of_one_pass_have_edits_of_their_own():
    model = tiny_moe()
    layers = find_moe_layers(model)
    both = IDS.repeat(2, 1)
    _, usual = routed(model, layers)
    _, masked = routed(model, layers, (RouterEdit("mask", (1, 2)),))
    editor, capture = RouterEdits(layers), RoutingCapture(layers)
    slot = editor.add((RouterEdit("mask", (1, 2)),))
    with torch.no_grad(), capture:
        editor.install(64)
        with editor.selected(torch.tensor([0] * 24 + [slot] * 24)):
            model(input_ids=both, use_cache=False)
        editor.remove()
        first, second = capture.drain_batch(torch.ones_like(both), [0, 0], Step.PREFILL)
    assert np.array_equal(first.expert_ids, usual.expert_ids)
    assert np.array_equal(second.expert_ids, masked.expert_ids)


@pytest.fixture(scope="module")
def engine():
    return LocalEngine(tiny_moe(), tokenizer())


def asked(*edits, seed=1):
    sampling = SamplingParams(temperature=0, max_tokens=12)
    return ChatRequest((Message("user", "hello"),), sampling=sampling, seed=seed, edits=edits)


def test_an_edited_request_is_in_its_trace_and_leaves_no_mark(engine):
    before = engine.run(asked())
    edited = engine.run(asked(RouterEdit("mask", (0, 1, 2), layer=2), RouterEdit("top_k", layer=3, amount=6)))
    after = engine.run(asked())
    assert edited.provenance["edits"][0] == {"kind": "mask", "experts": (0, 1, 2), "layer": 2, "amount": 0.0}
    assert edited.spec.top_k == 6 and engine.spec.top_k == 4
    assert not np.isin(edited.expert_ids[:, 1], [0, 1, 2]).any()
    assert ((edited.expert_ids[:, 2] != 255).sum(-1) == 6).all()
    assert ((edited.expert_ids[:, 0] != 255).sum(-1) == 4).all()
    for name in ("token_ids", "expert_ids", "expert_weights", "entropy"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.model.modules())


def test_two_streams_that_take_turns_keep_their_own_routing(engine):
    plain, masked = engine.run(asked()), engine.run(asked(RouterEdit("mask", (5,))))
    with closing(engine.stream(asked())) as a, closing(engine.stream(asked(RouterEdit("mask", (5,))))) as b:
        seen: tuple[list, list] = ([], [])
        live = [(a, seen[0]), (b, seen[1])]
        while live:
            for stream, kept in list(live):
                event = next(stream, None)
                if event is None:
                    live.remove((stream, kept))
                elif event.rows is not None:
                    kept.append(event.rows.expert_ids)
    assert np.array_equal(np.concatenate(seen[0]), plain.expert_ids)
    assert np.array_equal(np.concatenate(seen[1]), masked.expert_ids)


def test_a_request_that_is_closed_or_fails_takes_its_edits_with_it(engine):
    stream = engine.stream(asked(RouterEdit("force", (7,))))
    next(stream)
    stream.close()
    with pytest.raises(BadValue):
        engine.run(asked(RouterEdit("mask", (99,))))
    assert all(not taken for taken in engine._instruments._edits._slots)
    assert engine._instruments._streams == 0


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        ((RouterEdit("mask", (99,)),), "Layer 0 has no expert 99"),
        ((RouterEdit("mask", (1,), layer=1),), "Layer 1 has no router"),
        ((RouterEdit("mask", tuple(range(13))),), "3 experts to choose 4 from"),
        ((RouterEdit("force", (1, 2, 3, 4, 5)),), "5 experts of layer 0 are forced"),
        ((RouterEdit("force", (1,)), RouterEdit("mask", (1,))), "both masked and forced"),
        ((RouterEdit("top_k", amount=17),), "16 experts to choose 17 from"),
    ],
)
def test_impossible_edits_are_one_sentence(engine, edits, sentence):
    with pytest.raises(BadValue, match=sentence):
        engine.run(asked(*edits))


@pytest.mark.parametrize(
    "text", ["", "mask", "mask:1", "mask:x:1", "boost:1:2", "top_k:1:0.5", "hide:1:2", "mask:1:-2"]
)
def test_a_malformed_edit_is_one_sentence(text):
    with pytest.raises(BadValue):
        RouterEdit.parse(text)


def test_edits_are_read_from_text():
    assert RouterEdit.parse("mask:all:1,2") == RouterEdit("mask", (1, 2))
    assert RouterEdit.parse("boost:3:7:2.5") == RouterEdit("boost", (7,), 3, 2.5)
    assert RouterEdit.parse("top_k:all:4") == RouterEdit("top_k", amount=4.0)


def test_all_experts_may_be_used_and_limits_to_groups_be_overruled():
    """Margins stay numbers: where no expert is left over, and where an edit goes beyond the router's own limits."""
    trace = LocalEngine(tiny_moe(), tokenizer()).run_forced("a b c d e", edits=(RouterEdit("top_k", amount=16),))
    assert np.isfinite(trace.margin).all() and ((trace.expert_ids != trace.spec.no_expert).sum(-1) == 16).all()
    model = tiny_family("deepseek_v3")
    layers = find_moe_layers(model)
    for edits in ((RouterEdit("mask", (0, 1, 2)),), (RouterEdit("force", (0, 7)),), (RouterEdit("top_k", amount=4),)):
        _, rows = routed(model, layers, edits)
        assert np.isfinite(rows.margin).all()


def test_a_raised_k_of_one_stream_is_nothing_to_another(engine):
    plain = engine.run(asked())
    events, seen = engine.stream(asked()), []
    with closing(engine.stream(asked(RouterEdit("top_k", amount=9)))) as other:
        for event in events:
            next(other, None)
            if event.rows is not None:
                seen.append(event.rows.expert_ids)
    assert np.array_equal(np.concatenate(seen), plain.expert_ids)


def test_the_check_and_another_engine_leave_open_streams_alone(engine):
    plain = engine.run(asked())
    events, seen = engine.stream(asked()), []
    for count, event in enumerate(events):
        if count in (12, 15):
            assert engine.verify().ok
        if count == 14:
            other = LocalEngine(engine.model, tokenizer())
            assert np.array_equal(other.run(asked()).expert_ids, plain.expert_ids)
        if event.rows is not None:
            seen.append(event.rows.expert_ids)
    assert np.array_equal(np.concatenate(seen), plain.expert_ids)


def test_a_long_pass_of_somebody_else_is_not_held_up_by_edits(engine):
    with closing(engine.stream(asked(RouterEdit("mask", (1,))))) as events, torch.no_grad():
        next(events)
        engine.model(input_ids=torch.arange(300)[None] % 200)


def test_sequences_of_a_batch_keep_the_room_of_their_edits():
    model = tiny_moe()
    layers = find_moe_layers(model)
    both, editor, capture = IDS.repeat(2, 1), RouterEdits(layers), RoutingCapture(layers)
    fewer, more = editor.add((RouterEdit("top_k", amount=2),)), editor.add((RouterEdit("top_k", amount=7),))
    spec = edited_spec(capture.spec, (RouterEdit("top_k", amount=7),))
    with torch.no_grad(), capture:
        editor.install(64)
        with editor.selected(torch.tensor([fewer] * 24 + [more] * 24)):
            model(input_ids=both, use_cache=False)
        editor.remove()
        first, second = capture.drain_batch(torch.ones_like(both), [0, 0], Step.PREFILL, edited=spec)
    assert ((first.expert_ids != 255).sum(-1) == 2).all() and ((second.expert_ids != 255).sum(-1) == 7).all()
    np.testing.assert_allclose(second.expert_weights.sum(-1), 1, rtol=2e-3)
