"""The local engine on random tiny models: attribution, repeatability, budget, stopping, limits."""

from __future__ import annotations

import copy
import gc
import itertools
import threading
from contextlib import closing

import numpy as np
import pytest
import torch

from analysis.errors import BadValue, CaptureError
from analysis.trace import Origin, Phase, Step
from app.engine.base import ChatRequest, Message, RouterEdit, SamplingParams
from app.engine.local import PREFILL_ROWS, LocalEngine
from app.engine.recorder import TraceRecorder, record
from app.engine.thinking import EARLY_STOP
from tests.tiny_models import tiny_dense, tiny_moe, tokenizer


@pytest.fixture(scope="module")
def engine():
    return LocalEngine(tiny_moe(), tokenizer(), name="tiny")


def ask(text="What is 2 + 3?", **options):
    options.setdefault("sampling", SamplingParams(max_tokens=12))
    options.setdefault("seed", 7)
    return ChatRequest((Message("user", text),), **options)


def test_a_turn_has_one_row_a_token_but_the_last(engine):
    trace = engine.run(ask())
    assert trace.num_rows == trace.num_tokens - 1
    generated = np.flatnonzero(trace.origin == Origin.SAMPLED)
    assert len(generated) == 12 and trace.provenance["finish_reason"] == "length"
    assert set(trace.step[: generated[0]]) == {Step.PREFILL} and set(trace.step[generated[0] :]) == {Step.DECODE}


def test_rows_belong_to_their_tokens(engine):
    """Feeding the recorded tokens as forced text gives the same routing: nothing is shifted."""
    trace = engine.run(ask())
    forced = engine.run_forced(trace.token_ids.tolist())
    assert forced.num_rows == forced.num_tokens
    same = (np.sort(trace.expert_ids) == np.sort(forced.expert_ids[:-1])).mean()
    assert same >= 0.999


def test_an_earlier_answer_is_read_again_and_not_generated(engine):
    said = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    events = list(engine.stream(ChatRequest(said, sampling=SamplingParams(max_tokens=6))))
    assert any(e.origin == Origin.SAMPLED and e.phase == Phase.PROMPT for e in events)
    first = next(i for i, e in enumerate(events) if e.generated)
    assert all(e.generated for e in events[first:]) and 0 < len(events) - first <= 6


def test_forced_text_says_how_probable_each_token_was(engine):
    """Over several passes, against one plain pass of the model."""
    ids = (engine.tokenizer.encode("What is 2 + 3? It is 5. ") * 40)[:300]
    with torch.no_grad():
        plain = torch.log_softmax(engine.model(torch.tensor([ids])).logits[0].double(), -1)
    wanted = plain[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    events = list(engine.score(ids, logprobs=True))
    assert events[0].logprob is None and len(events) == 300 > PREFILL_ROWS
    np.testing.assert_allclose([e.logprob for e in events[1:]], wanted, atol=1e-4)
    assert all(e.logprob is None for e in engine.score(ids))


def test_asking_for_probabilities_leaves_the_routing_alone(engine):
    ids = engine.tokenizer.encode("What is 2 + 3?")
    with_them = record(engine.score(ids, logprobs=True), engine.spec, {})
    assert np.array_equal(with_them.expert_ids, engine.run_forced(ids).expert_ids)


def test_an_edit_changes_how_probable_a_text_is(engine):
    ids, edits = engine.tokenizer.encode("What is 2 + 3?"), (RouterEdit("mask", (0, 1, 2, 3)),)
    plain, edited = ([e.logprob for e in engine.score(ids, logprobs=True, edits=e)] for e in ((), edits))
    assert plain[0] is edited[0] is None and plain[1:] != edited[1:]
    assert [e.logprob for e in engine.score(ids, logprobs=True)] == plain


def test_generation_is_the_same_without_capture():
    with_hooks = LocalEngine(tiny_moe(), tokenizer()).run(ask())
    without = LocalEngine(tiny_moe(), tokenizer(), capture=False).run(ask())
    assert np.array_equal(with_hooks.token_ids, without.token_ids) and without.num_rows == 0


def test_greedy_decoding_is_what_generate_gives(engine):
    trace = engine.run(ask(sampling=SamplingParams(temperature=0, max_tokens=12)))
    start = int(np.flatnonzero(trace.origin == Origin.SAMPLED)[0])
    prompt = torch.tensor(trace.token_ids[None, :start].astype(np.int64))
    out = engine.model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=-1)
    assert out[0, start:].tolist() == trace.token_ids[start:].tolist()


def test_the_seed_decides(engine):
    a, b, c = (engine.run(ask(seed=s)).token_ids.tolist() for s in (1, 1, 2))
    assert a == b != c


def generated(events):
    return [event for event in events if event.origin is Origin.SAMPLED]


def test_each_sampled_token_says_what_it_was_drawn_from(engine):
    """Against the model's own logits and a plain softmax with temperature and top-k."""
    sampling = SamplingParams(temperature=0.7, top_p=1.0, top_k=9, max_tokens=8)
    events = list(engine.stream(ask(sampling=sampling, candidates=4)))
    ids = [event.token_id for event in events]
    with torch.no_grad():
        logits = engine.model(torch.tensor([ids])).logits[0].double()
    assert len(generated(events)) == 8 and not any(e.candidates for e in events if e.origin is not Origin.SAMPLED)
    for event in generated(events):
        row = logits[event.index - 1]
        kept = (row / 0.7).masked_fill(row < row.topk(9).values[-1], -torch.inf).softmax(-1)
        found = event.candidates
        assert event.token_id in [c.token_id for c in found] and 4 <= len(found) <= 5
        assert {c.token_id for c in found} >= set(kept.topk(4).indices.tolist())
        assert [c.chance for c in found] == sorted((c.chance for c in found), reverse=True)
        for candidate in found:
            assert candidate.probability == pytest.approx(float(row.softmax(-1)[candidate.token_id]), abs=1e-4)
            assert candidate.chance == pytest.approx(float(kept[candidate.token_id]), abs=1e-4)
            assert candidate.text


def test_asking_for_candidates_changes_nothing_and_greedy_ones_have_no_chance(engine):
    plain, asked = (list(engine.stream(ask(candidates=n))) for n in (0, 3))
    assert [e.token_id for e in plain] == [e.token_id for e in asked] and not any(e.candidates for e in plain)
    greedy = generated(engine.stream(ask(sampling=SamplingParams(temperature=0, max_tokens=4), candidates=3)))
    for event in greedy:
        assert [c.chance for c in event.candidates] == [1.0, 0.0, 0.0]
        assert event.candidates[0].token_id == event.token_id
        assert event.candidates[0].probability >= event.candidates[1].probability > 0


def test_two_streams_at_once_give_each_what_it_gives_alone(engine):
    requests = [ask("What is 2 + 3?", seed=1), ask("Spell a longer word backwards, please", seed=2)]
    alone = [engine.run(r) for r in requests]
    recorders = [TraceRecorder(engine.spec, engine.provenance(r)) for r in requests]
    streams = [engine.stream(r) for r in requests]
    for events in itertools.zip_longest(*streams):  # token by token, in turns
        for recorder, event in zip(recorders, events, strict=True):
            if event is not None:
                recorder.add(event)
    for recorder, trace in zip(recorders, alone, strict=True):
        twin = recorder.trace()
        assert np.array_equal(twin.token_ids, trace.token_ids)
        assert np.array_equal(twin.expert_ids, trace.expert_ids)
        assert np.array_equal(twin.expert_weights, trace.expert_weights)


def test_another_pass_of_the_model_in_between_does_no_harm(engine):
    alone = engine.run(ask())
    recorder = TraceRecorder(engine.spec, engine.provenance(ask()))
    for event in engine.stream(ask()):
        recorder.add(event)
        engine.model(torch.tensor([[1, 2, 3]]))
        assert not any(engine._instruments.capture._scores)  # and leaves no tensors
    assert np.array_equal(recorder.trace().expert_ids, alone.expert_ids)


def test_a_closed_stream_leaves_no_hooks_and_the_engine_usable(engine):
    stream = engine.stream(ask())
    recorder = TraceRecorder(engine.spec, engine.provenance(ask()))
    for _ in range(30):
        recorder.add(next(stream))
    assert any(m._forward_hooks for m in engine.model.modules())
    stream.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.model.modules())
    trace = recorder.trace()
    assert trace.provenance["finish_reason"] == "stopped" and trace.num_tokens == 30
    assert engine.run(ask()).num_rows > 0


def test_a_forgotten_stream_that_is_collected_inside_a_step_does_not_block(engine):
    class Loop:
        pass

    loop = Loop()
    loop.stream, loop.itself = engine.stream(ask()), loop
    next(loop.stream)
    del loop

    def collect(*_):
        gc.collect()

    handle = engine.model.model.layers[0].register_forward_hook(collect)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (engine.run(ask()), done.set()), daemon=True)
    thread.start()
    assert done.wait(60)
    handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.model.modules())


def test_a_model_with_one_mode_answers_in_it():
    plain = copy.deepcopy(tokenizer())
    plain.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    engine = LocalEngine(tiny_moe(), plain)
    assert engine.capabilities.modes == ("non-thinking",)
    assert engine.run("hi", sampling=SamplingParams(max_tokens=3)).provenance["mode"] == "non-thinking"


def test_options_of_a_run_change_a_request(engine):
    assert engine.run(ask(), seed=99).provenance["seed"] == 99


def test_a_nearly_cold_temperature_is_greedy(engine):
    cold, greedy = (engine.run(ask(sampling=SamplingParams(temperature=t, max_tokens=9))) for t in (1e-40, 0))
    assert cold.token_ids.tolist() == greedy.token_ids.tolist()


def test_control_tokens_of_forced_text_are_markers(engine):
    trace = engine.run_forced("<|im_start|>user\nHi<|im_end|>\n<think>")
    marked = [p for p, phase in zip(trace.pieces, trace.phase, strict=True) if phase == Phase.MARKER]
    assert marked == [b"<|im_start|>", b"<|im_end|>", b"<think>"]


def test_long_prompts_are_prefilled_in_passes_and_nothing_is_lost(engine):
    text = "number 7 " * 150
    with closing(engine.score(text)) as events:
        sizes = [len(e.rows) for e in events if e.rows is not None]
    assert len(sizes) > 1 and set(sizes[:-1]) == {PREFILL_ROWS}
    trace = engine.run_forced(text, router_scores=True)
    assert trace.num_rows == trace.num_tokens == sum(sizes)
    whole = engine.model(torch.tensor([trace.token_ids.tolist()]))
    assert torch.isfinite(whole.logits).all()
    assert set(trace.origin) == {Origin.FORCED} and trace.router_scores.shape == (trace.num_rows, 3, 16)


def script(engine, monkeypatch, text):
    """Make the engine "sample" the tokens of ``text``, so that phases can be tested without a trained model."""
    tokens = iter(engine.text.encode(text))
    end = engine.text.id_of("<|im_end|>")
    monkeypatch.setattr("app.engine.sampling.Sampler.draw", lambda self, logits: torch.tensor([next(tokens, end)]))


def phases_of(trace):
    generated = trace.origin >= Origin.SAMPLED
    generated &= np.arange(trace.num_tokens) >= int(np.flatnonzero(trace.origin == Origin.TEMPLATE)[-1])
    return [(t, Phase(p).label) for t, p, g in zip(trace.texts(), trace.phase, generated, strict=True) if g]


def test_phases_tags_and_the_white_space_behind_them(engine, monkeypatch):
    script(engine, monkeypatch, "<think>\n2 + 3\n</think>\n\n5<|im_end|>")
    trace = engine.run(ask(sampling=SamplingParams(max_tokens=64)))
    labels = phases_of(trace)
    assert labels[0] == ("<think>", "marker") and labels[1][1] == "marker" and labels[1][0].isspace()
    assert trace.text_of("thinking") == "2 + 3" and trace.text_of("answer") == "5"
    assert labels[-1] == ("<|im_end|>", "marker") and trace.provenance["finish_reason"] == "stop"
    assert all(label == "marker" for text, label in labels if text.isspace() and "\n\n" in text)


def test_non_thinking_is_answer_from_the_first_token(engine, monkeypatch):
    script(engine, monkeypatch, "It is 5.<|im_end|>")
    trace = engine.run(ask(mode="non-thinking", sampling=SamplingParams(max_tokens=64)))
    assert trace.phase_counts()["thinking"] == 0 and trace.text_of("answer") == "It is 5."
    assert "<think>" in trace.texts() and trace.provenance["mode"] == "non-thinking"


def test_the_budget_stops_thinking_with_the_reports_sentence(engine, monkeypatch):
    script(engine, monkeypatch, "<think>\n" + "1 + 1 = 2, " * 50)
    trace = engine.run(ask(thinking_budget=9, sampling=SamplingParams(max_tokens=120)))
    forced = trace.origin == Origin.FORCED
    sentence = b"".join(p for p, f in zip(trace.pieces, forced, strict=True) if f).decode()
    assert sentence == EARLY_STOP
    assert int(((trace.phase == Phase.THINKING) & ~forced).sum()) == 9
    assert "Considering the limited time" in trace.text_of("thinking")
    close = trace.texts().index("</think>")
    assert trace.phase[close] == Phase.MARKER and forced[close]
    after = np.arange(trace.num_tokens) > close
    assert set(trace.phase[after & ~forced]) <= {Phase.ANSWER, Phase.MARKER}


def test_a_budget_of_zero_thinks_not_at_all(engine, monkeypatch):
    script(engine, monkeypatch, "<think>\n1 + 1 = 2, " * 9)
    trace = engine.run(ask(thinking_budget=0, sampling=SamplingParams(max_tokens=60)))
    assert not ((trace.phase == Phase.THINKING) & (trace.origin == Origin.SAMPLED)).any()


def test_a_generous_budget_changes_nothing(engine):
    assert engine.run(ask(thinking_budget=9999)).token_ids.tolist() == engine.run(ask()).token_ids.tolist()


def test_stopping_at_the_end_of_the_context():
    engine = LocalEngine(tiny_moe(max_position_embeddings=64), tokenizer())
    trace = engine.run(ask(sampling=SamplingParams(max_tokens=500)))
    assert trace.num_tokens == 64 and trace.provenance["finish_reason"] == "length"
    with pytest.raises(BadValue, match="reads at most 64"):
        engine.run(ask("one two three " * 40))
    with pytest.raises(BadValue, match="reads at most about"):
        engine.run(ask("x" * 50_000))


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "empty"), ([5, 10**6], "does not exist"), ([-1], "does not exist"), ([], "empty")]
)
def test_forced_text_that_cannot_be_routed(engine, text, complaint):
    with pytest.raises(BadValue, match=complaint):
        engine.run_forced(text)


def test_a_dense_model_chats_and_says_it_has_no_router():
    engine = LocalEngine(tiny_dense(), tokenizer())
    trace = engine.run(ask())
    assert engine.spec.num_moe_layers == 0 and trace.num_tokens > 12 and trace.expert_ids.shape[1:] == (0, 0)


def test_an_unfaithful_capture_is_refused(monkeypatch):
    monkeypatch.setattr("app.engine.check._rebuild", lambda layer, hidden, ids, weights: hidden.float() * 3)
    with pytest.raises(CaptureError, match="failed its check"):
        LocalEngine(tiny_moe(), tokenizer(), name="tiny")


def test_text_arrives_whole_characters_at_a_time(engine, monkeypatch):
    script(engine, monkeypatch, "答え 👍🏽 é<|im_end|>")
    request = ask(mode="non-thinking", sampling=SamplingParams(max_tokens=64))
    events = [e for e in engine.stream(request) if e.origin == Origin.SAMPLED]
    assert "".join(e.text for e in events if e.phase == Phase.ANSWER) == "答え 👍🏽 é"
    assert "�" not in "".join(e.text for e in events)


def test_multi_turn_with_a_system_prompt_numbers_its_turns(engine):
    messages = (
        Message("system", "Be brief."),
        Message("user", "What is 1 + 1?"),
        Message("assistant", "2"),
        Message("user", "And 2 + 2?"),
    )
    request = ChatRequest(messages, sampling=SamplingParams(max_tokens=4), seed=1)
    trace = record(engine.stream(request), engine.spec, engine.provenance(request))
    assert set(trace.turn) == {0, 1}
    words = b"".join(p for p, o in zip(trace.pieces, trace.origin, strict=True) if o == Origin.USER).decode()
    assert words == "Be brief.What is 1 + 1?And 2 + 2?"
    assert trace.provenance["messages"][3] == {"role": "user", "content": "And 2 + 2?"}
