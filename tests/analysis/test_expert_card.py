"""An expert's card on cases counted by hand, and on random routing at its chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from analysis import expert_card as card
from analysis import expert_tokens as tokens
from analysis import expert_vocabulary as vocabulary
from analysis.coactivation import coactivation_lift
from analysis.errors import BadValue
from analysis.metrics import expert_load
from analysis.pooling import one_layer, own_turn
from analysis.trace import Phase, RoutingTrace
from tests.analysis.routing import random_trace, sets_of, small_traces, trace_of
from tests.make_traces import make_trace

# One layer of 4 experts, top-2; the tokens a b a c a b, of which the first three think.
HAND = trace_of(
    [[[0, 1]], [[1, 2]], [[0, 3]], [[2, 3]], [[1, 0]], [[1, 3]]],
    4,
    tokens=[7, 8, 7, 9, 7, 8],
    phase=[Phase.THINKING] * 3 + [Phase.ANSWER] * 3,
    pieces=(b"a", b"b", b"a", b"c", b"a", b"b"),
    expert_weights=np.array([[[0.9, 0.1]], [[0.4, 0.6]], [[0.7, 0.3]], [[0.5, 0.5]], [[0.8, 0.2]], [[0.6, 0.4]]], "f2"),
)


def test_shares_by_phase_are_those_counted_by_hand() -> None:
    thinking, answer = card.use_by_phase(HAND, 0, 0)
    assert (thinking.phase, float(thinking.values), thinking.n) == ("thinking", pytest.approx(2 / 3), 3)
    assert (answer.phase, float(answer.values), answer.n) == ("answer", pytest.approx(1 / 3), 3)
    assert thinking.chance == answer.chance == 0.5
    both = card.use_share([HAND, HAND], 0, 1)
    assert float(both.values) == pytest.approx(4 / 6) and both.n == 12


@given(small_traces())
def test_shares_sum_to_what_a_token_uses(trace: RoutingTrace) -> None:
    for position, router in enumerate(trace.spec.layers):
        total = sum(float(card.use_share(trace, router.layer, e).values) for e in range(router.num_experts))
        assert total == pytest.approx(np.mean([len(row) for row in sets_of(trace, position)]))


def test_labels_without_tokens_are_left_out() -> None:
    found = card.use_by_label({"en": [HAND], "ja": [HAND, HAND]}, 0, 3, "answer")
    assert {label: s.n for label, s in found.items()} == {"en": 3, "ja": 6}
    assert float(found["en"].values) == pytest.approx(2 / 3)
    assert card.use_by_label({"en": [HAND]}, 0, 3, "prompt") == {}


@pytest.mark.parametrize(("layer", "expert"), [(1, 0), (-1, 0), (0, 4), (0, -1)])
def test_experts_that_are_not_there_are_named(layer: int, expert: int) -> None:
    for measure in (card.use_share, card.partners, tokens.occasions, tokens.near_misses, vocabulary.vocabulary):
        with pytest.raises(BadValue, match="no MoE layer" if layer else "no expert"):
            measure(HAND, layer, expert)


def test_partners_are_the_row_of_all_pairs() -> None:
    traces = [make_trace(rows=120, layers=3, experts=16, top_k=4, seed=seed) for seed in range(2)]
    found = card.partners(traces, 2, 5, "generated", minimum=3)
    lift = coactivation_lift(traces, "generated", 3).values[2, 5]
    partners = found.lift.along("partner")
    np.testing.assert_allclose(found.lift.values, lift[partners])
    assert (
        len(partners) == np.count_nonzero(np.isfinite(lift)) and list(found.lift.values) == sorted(lift[partners])[::-1]
    )
    rows = [row for t in traces for row in sets_of(t, 2, "generated")]
    assert found.together.tolist() == [sum({5, p} <= row for row in rows) for p in partners]
    assert found.tokens == sum(5 in row for row in rows) and found.lift.chance == pytest.approx(3 * 16 / (4 * 15))


def test_a_rare_expert_has_no_partners() -> None:
    found = card.partners(HAND, 0, 0, minimum=4)
    assert len(found.together) == 0 and len(found.by_luck) == 0


def test_the_best_partner_of_random_routing_is_where_luck_puts_it() -> None:
    traces = [random_trace(400, 1, 16, 4, seed) for seed in range(30)]
    found = [card.partners(trace, 0, 3) for trace in traces]
    best, luck = (
        np.mean([float(v[0]) for v in values])
        for values in zip(*((f.lift.values, f.by_luck) for f in found), strict=True)
    )
    # the 4 experts of a token exclude each other, so lifts are about 0.8 of those of independent ones
    assert best == pytest.approx(0.8 * luck, rel=0.05) and luck > 1.1


def test_occasions_have_weight_and_rank() -> None:
    found = tokens.occasions([HAND, HAND], 0, 0)
    assert found.recording.tolist() == [0, 0, 0, 1, 1, 1] and found.token.tolist() == [0, 2, 4] * 2
    np.testing.assert_allclose(found.weight[:3], [0.9, 0.7, 0.2], atol=1e-3)
    assert found.rank[:3].tolist() == [1, 1, 2]
    assert tokens.by_weight(found).weight.tolist() == sorted(found.weight, reverse=True)
    bare = tokens.occasions(replace(HAND, expert_weights=None), 0, 0)
    assert np.isnan(bare.weight).all() and bare.rank.tolist() == [0, 0, 0]
    assert tokens.by_weight(bare).token.tolist() == [0, 2, 4]


def test_the_order_of_a_sample_is_its_seeds() -> None:
    found = tokens.occasions(make_trace(rows=200), 0, 0)
    one, same, other = (tokens.shuffled(found, seed).token.tolist() for seed in (1, 1, 2))
    assert one == same != other and sorted(one) == sorted(other) == found.token.tolist()


def test_snippets_stand_in_their_context_once() -> None:
    found = tokens.snippets([HAND, HAND], tokens.occasions([HAND, HAND], 0, 0), 9, around=2)
    assert [(s.before, s.text, s.after) for s in found] == [("", "a", "ba"), ("ab", "a", "ca"), ("ac", "a", "b")]
    assert [s.phase for s in found] == ["thinking", "thinking", "answer"]
    assert len(tokens.snippets(HAND, tokens.occasions(HAND, 0, 0), 2)) == 2


def test_a_character_in_two_tokens_is_completed_by_the_second() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    trace = replace(HAND, pieces=(b"x", first, second, b"y", b"z", b"w"))
    [snippet] = tokens.snippets(trace, tokens.occasions(trace, 0, 0).take(np.array([1])), 1)
    assert snippet.before == "x‹c3›" and snippet.text == "é"


def test_vocabulary_is_that_counted_by_hand() -> None:
    found = vocabulary.vocabulary(HAND, 0, 0, minimum=1)
    assert found.texts == ["a", "b", "c"] and found.used.tolist() == [3, 0, 0]
    assert found.occurrences.tolist() == [3, 2, 1] and found.share.values.tolist() == [1, 0, 0]
    assert found.share.chance == 0.5 and found.share.n == 6
    assert vocabulary.vocabulary(HAND, 0, 0, minimum=2).texts == ["a", "b"]
    assert vocabulary.vocabulary(HAND, 0, 0, "prompt").texts == []


def test_the_best_token_of_random_routing_is_where_luck_puts_it() -> None:
    found = [vocabulary.vocabulary(random_trace(600, 1, 16, 2, seed), 0, 1) for seed in range(30)]
    for place in (0, 5, 20):
        assert np.mean([f.share.values[place] for f in found]) == pytest.approx(
            np.mean([f.by_luck[place] for f in found]), abs=0.03
        )
    assert found[0].by_luck[0] > 2 * found[0].share.chance


def test_experts_of_a_text_are_those_of_its_tokens() -> None:
    found = vocabulary.experts_of_text(HAND, " A ")
    assert found.share.n == 3
    np.testing.assert_allclose(found.share.values, [[1, 2 / 3, 0, 1 / 3]])
    assert found.near == [] and 0.5 < found.by_luck <= 1
    pieces = (b" carry", b"carry", b"carrying", b"c", b"", b"carrying")
    there = vocabulary.experts_of_text(replace(HAND, pieces=pieces), "Carry")
    assert there.share.n == 2
    missing = vocabulary.experts_of_text(replace(HAND, pieces=pieces), "arr")
    assert missing.share.n == 0 and missing.near == ["carrying", " carry", "carry"] and np.isnan(missing.by_luck)
    with pytest.raises(BadValue):
        vocabulary.experts_of_text(HAND, "  ")


def test_near_misses_are_the_best_left_out() -> None:
    assert tokens.near_misses(HAND, 0, 2) is None
    scores = np.array([[[0.5, 0.3, 0.15, 0.05]], [[0.1, 0.4, 0.3, 0.2]]] * 3, "f2")
    trace = replace(HAND, router_scores=scores)
    found = tokens.near_misses([HAND, trace], 0, 2)
    assert found is not None and found.share.n == 6 and found.share.chance == 0.25
    # the best left out of each row: 2, 3, 1, 0, 2, 2
    assert float(found.share.values) == pytest.approx(3 / 6)
    assert found.closest.token.tolist() == [5, 0, 4] and found.closest.recording.tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.closest.weight, [0.2 - 0.3, 0.3 - 0.15, 0.3 - 0.15], atol=1e-3)


def test_random_near_misses_lie_at_chance() -> None:
    trace = make_trace(rows=4000, layers=1, experts=8, top_k=2, skew=0)
    found = tokens.near_misses(trace, 0, 3)
    assert found is not None and float(found.share.values) == pytest.approx(1 / 8, abs=0.02)


def both_modes(prompts: int, rows: int = 200, planted: bool = False) -> list[RoutingTrace]:
    """A trace for each prompt and mode; ``planted``: in thinking mode expert 0 of layer 0 is in every generated row."""
    made = []
    for prompt in range(prompts):
        for mode in ("thinking", "non-thinking"):
            ask = [{"role": "user", "content": f"prompt {prompt}"}]
            thinking = mode == "thinking"
            trace = make_trace(rows, 2, 8, 2, 2 * prompt + thinking, thinking, skew=0, scores=False, messages=ask)
            ids = trace.expert_ids.copy()
            if planted and thinking:
                ids[:, 0, 0], ids[:, 0, 1] = 0, np.where(ids[:, 0, 1] == 0, 1, ids[:, 0, 1])
            made.append(replace(trace, expert_ids=ids))
    return made


def test_sensitivity_finds_what_was_planted_and_nothing_else() -> None:
    found = card.thinking_contrast(both_modes(10, planted=True), permutations=1000)
    planted, other = card.sensitivity(found, 0, 0), card.sensitivity(found, 1, 3)
    assert planted.significant and planted.tested and planted.paired
    assert planted.first == pytest.approx(1) and planted.second == pytest.approx(0.25, abs=0.05)
    assert float(planted.difference.values) == pytest.approx(planted.first - planted.second)
    assert 0.5 < planted.low < float(planted.difference.values) < planted.high <= 1
    assert planted.difference.n == 10 and planted.difference.n_unit == "prompts" and planted.difference.chance == 0
    assert not other.significant and other.low < 0 < other.high
    assert other.expected >= other.needed >= 10 and other.tokens == found.shares.rows


def test_an_expert_without_a_test_says_how_many_selections_it_lacks() -> None:
    long, short = both_modes(3, rows=200), both_modes(3, rows=16)
    uneven = [pair[t] for n in range(3) for t, pair in enumerate([long[2 * n : 2 * n + 2], short[2 * n : 2 * n + 2]])]
    one = card.sensitivity(card.thinking_contrast(uneven, permutations=200), 1, 3)
    assert not one.tested and one.tokens[0] > 5 * one.tokens[1] and one.expected < one.needed and one.needed > 40
    slots = one.tokens[1] * 2
    assert one.expected == pytest.approx(slots / 8, rel=0.6), "near a uniform share of the shorter side's slots"


def test_too_few_prompts_are_no_sample() -> None:
    assert card.prompts_by_mode(both_modes(1) * 3) == {"thinking": 1, "non-thinking": 1}
    assert card.prompts_by_mode([make_trace(mode="forced")]) == {"thinking": 0, "non-thinking": 0}
    with pytest.raises(BadValue):
        card.thinking_contrast(both_modes(1))
    with pytest.raises(BadValue):
        card.thinking_contrast([t for t in both_modes(4) if t.provenance["mode"] == "thinking"])


@given(small_traces())
def test_one_layer_is_that_layer(trace: RoutingTrace) -> None:
    load = expert_load(trace).values
    for position, router in enumerate(trace.spec.layers):
        alone = expert_load(one_layer(trace, router.layer))
        np.testing.assert_array_equal(alone.values[0], load[position, : router.num_experts])
        assert alone.along("layer") == [router.layer]


def test_one_small_layer_of_a_large_model_has_its_own_ids() -> None:
    trace = trace_of([[[300, 2], [1, -1]], [[4, 5], [-1, -1]]], [400, 3])
    alone = one_layer(trace, 1)
    assert alone.expert_ids.dtype == np.uint8 and alone.expert_ids.tolist() == [[[1]], [[255]]]


def test_only_the_own_turn_is_counted() -> None:
    trace = make_trace(rows=40)
    assert own_turn(trace) is trace
    later = replace(trace, turn=np.repeat([0, 1], [15, 26]).astype(np.uint16))
    own = own_turn(later)
    assert own.row_start == 15 and own.num_rows == 25 and own.num_tokens == 41
    np.testing.assert_array_equal(own.expert_ids, trace.expert_ids[15:])
    np.testing.assert_array_equal(own.router_scores, trace.router_scores[15:])
    assert own_turn(replace(trace, turn=np.repeat([0, 1], [40, 1]).astype(np.uint16))).num_rows == 0
