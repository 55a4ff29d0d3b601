"""Arrays from elsewhere: what is right becomes a trace, what is wrong one sentence. All arrays are made up here."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest

from analysis.config_spec import read_config
from analysis.errors import BadValue
from analysis.import_files import read_arrays, read_tokens
from analysis.imports import Arrays, Tokens, to_trace

CONFIG = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 99,
}


def routed(rows=5, layers=4, experts=8, k=2, dtype=np.uint8, seed=0):
    random = np.random.default_rng(seed)
    return np.argsort(random.random((rows, layers, experts)), axis=-1)[..., :k].astype(dtype)


@pytest.fixture
def facts(tmp_path):
    return make_facts(tmp_path)


def make_facts(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
    return read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, [0, 1, 2, 3]),
        ({"mlp_only_layers": [1]}, [0, 2, 3]),
        ({"decoder_sparse_step": 2}, [1, 3]),
        ({"first_k_dense_replace": 1}, [1, 2, 3]),
        ({"moe_layer_freq": [0, 1, 1, 0]}, [1, 2]),
        ({"moe_layer_freq": 2}, [0, 2]),
        ({"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}, [1, 2, 3]),
        ({"interleave_moe_layer_step": 2, "moe_layers": [1, 3]}, [1, 3]),
        ({"text_config": {"num_hidden_layers": 2}}, [0, 1]),
    ],
)
def test_dense_layers_are_left_out(tmp_path, changes, layers):
    facts = make_facts(tmp_path, **changes)
    assert facts.spec.layer_numbers == layers and (facts.spec.num_experts, facts.spec.top_k) == (8, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable JSON"),
        ("[]", "not a model's config"),
        ('{"num_hidden_layers": 4}', "lacks num_experts"),
        (json.dumps(CONFIG | {"num_experts_per_tok": 9}), "top-9 of 8"),
        (json.dumps(CONFIG | {"mlp_only_layers": [0, 1, 2, 3]}), "dense model"),
        (json.dumps(CONFIG | {"mlp_only_layers": 5}), "which layers are dense"),
        (json.dumps(CONFIG | {"moe_layer_freq": 0}), "which layers are dense"),
        (json.dumps(CONFIG | {"num_hidden_layers": 10**9}), "1000000000 layers"),
    ],
)
def test_configs_that_are_not_understood(tmp_path, text, said):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(BadValue, match=said):
        read_config(tmp_path / "c.json")


def test_arrays_become_a_trace(facts):
    ids = routed()
    trace = to_trace(Arrays(ids.astype(np.int32)), facts, "vllm", Tokens([3, 4, 5, 6, 7, 8], prompt_tokens=2))
    assert np.array_equal(trace.expert_ids, ids) and trace.expert_ids.dtype == np.uint8
    assert trace.expert_weights is None and trace.num_tokens == 6 and trace.num_rows == 5
    assert trace.phase.tolist() == [0, 0, 2, 2, 2, 2] and trace.step.tolist() == [0, 0, 1, 1, 1]
    alone = to_trace(Arrays(ids), facts, "vllm")
    assert alone.num_tokens == 5 and alone.provenance["tokens_known"] is False
    late = to_trace(Arrays(ids, start=3), facts, "vllm", Tokens(list(range(8))))
    assert late.row_start == 3 and late.num_tokens == 8
    for start in (-1, 2**40):
        with pytest.raises(BadValue, match=f"first row at token {start};"):
            to_trace(Arrays(ids, start=start), facts, "vllm")


def test_dense_layers_in_the_array_are_dropped(tmp_path):
    facts = make_facts(tmp_path, mlp_only_layers=[1])
    ids = routed()
    ids[:, 1] = 0
    assert np.array_equal(to_trace(Arrays(ids), facts, "vllm").expert_ids, ids[:, [0, 2, 3]])


def test_filler_at_the_end_is_cut(facts):
    ids = routed(dtype=np.int32)
    ids[4] = -1
    assert to_trace(Arrays(ids), facts, "sglang").num_rows == 4
    unsigned = routed(dtype=np.uint8)
    unsigned[3:] = 255
    assert to_trace(Arrays(unsigned), facts, "vllm").num_rows == 3


def test_256_experts_in_a_byte(tmp_path):
    facts = make_facts(tmp_path, num_experts=256)
    ids = routed(experts=256)
    ids[0, 0] = 255, 1
    trace = to_trace(Arrays(ids), facts, "vllm")
    assert trace.expert_ids.dtype == np.uint16 and np.array_equal(trace.expert_ids, ids)


def test_weights(facts, tmp_path):
    weights = np.full((5, 4, 2), 0.5, np.float32)
    assert (to_trace(Arrays(routed(), weights), facts, "npz").expert_weights == 0.5).all()
    with pytest.raises(BadValue, match="weights that sum to 2 in row 0, layer 0; by the config they sum to 1"):
        to_trace(Arrays(routed(), weights * 2), make_facts(tmp_path, norm_topk_prob=True), "npz")
    assert to_trace(Arrays(routed(), weights / 2), make_facts(tmp_path, norm_topk_prob=False), "npz").num_rows == 5
    for bad in (weights[:4], weights.astype(int), weights * np.nan, -weights, weights * 1e6):
        with pytest.raises(BadValue, match="weight"):
            to_trace(Arrays(routed(), bad), facts, "npz")


def changed(place, value, dtype=np.int32):
    ids = routed(dtype=dtype)
    ids[place] = value
    return ids


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (routed().astype(float), "float64; expected whole numbers"),
        (routed()[0], r"shape \[4, 2\]; expected \[tokens, 4, 2\]"),
        (routed(layers=3), r"shape \[5, 3, 2\]"),
        (routed(k=3), r"shape \[5, 4, 3\]"),
        (np.zeros((0, 4, 2), np.uint8), "no routing"),
        (np.full((3, 4, 2), -1), "all of them filler"),
        (np.zeros((3, 4, 2), np.uint8), "all zeros"),
        (changed((2, 1, 1), 8), "names expert 8 in row 2, layer 1; experts are 0 to 7"),
        (changed((2, 1, 1), -1), "names expert -1"),
        (changed(1, -1), "names expert -1 in row 1"),
        (changed((3, 2), 5), "an expert twice in row 3, layer 2"),
    ],
)
def test_bad_ids(facts, ids, said):
    with pytest.raises(BadValue, match=said):
        to_trace(Arrays(ids), facts, "vllm")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (Tokens([1, 2, 3]), "5 rows from token 0 on, but there are 3 tokens"),
        (Tokens(list(range(7))), "there are 7 tokens"),
        (Tokens([1, 2, 3, 4, 99]), "'99'; expected ids from 0 to 98"),
        (Tokens([1, 2, 3, 4, "x"]), "hold 'x'"),
        (Tokens([1, 2, 3, 4, 5], pieces=["a"]), "must be 5 texts"),
        (Tokens([1, 2, 3, 4, 5], prompt_tokens=6), "prompt_tokens cannot be 6"),
        (Tokens([1, 2, 3, 4, 5], phases=["prompt"] * 4 + ["x"]), "must be 5 of prompt"),
    ],
)
def test_bad_tokens(facts, tokens, said):
    with pytest.raises(BadValue, match=said):
        to_trace(Arrays(routed()), facts, "vllm", tokens)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def b64(data):
    return base64.b64encode(data).decode()


def test_answers_of_engines(tmp_path, facts):
    ids, file = routed(), tmp_path / "a.json"
    legacy = {"prompt_routed_experts": ids[:2].tolist(), "choices": [{"routed_experts": ids[2:].tolist()}]}
    raw = b64(ids.astype("<i4").tobytes())
    answers = [
        ("vllm", {"choices": [{"routed_experts": b64(npy(ids))}]}),
        ("vllm", legacy),
        ("sglang", {"meta_info": {"routed_experts": raw}}),
        ("sglang", {"choices": [], "sglext": {"routed_experts": raw}}),
    ]
    for source, answer in answers:
        file.write_text(json.dumps(answer))
        assert np.array_equal(read_arrays(file, source, facts)[0].expert_ids, ids)
    bad = [
        ("vllm", {"choices": [{"routed_experts": None}]}, "no routed_experts"),
        ("vllm", {"choices": [{"routed_experts": b64(npy(ids)[:-9])}]}, "not a readable array"),
        ("vllm", {"choices": [{"routed_experts": "?"}]}, "neither base64"),
        ("vllm", {"choices": [{"routed_experts": [[1], [1, 2]]}]}, "unequal lengths"),
        ("sglang", {"meta_info": {"routed_experts": raw[:-8]}}, "expected a multiple of 4 × 4 × 2"),
        ("sglang", [], "no routed_experts"),
    ]
    for source, answer, said in bad:
        file.write_text(json.dumps(answer))
        with pytest.raises(BadValue, match=said):
            read_arrays(file, source, facts)


def test_dense_layers_in_raw_bytes(tmp_path):
    """12 × 3 MoE layers and 9 × 4 layers are as many bytes; the dense layer's zeros tell them apart."""
    facts = make_facts(tmp_path, mlp_only_layers=[1])
    every = routed(9, dtype="<i4")
    every[:, 1] = 0
    for ids in (every, routed(12, 3, dtype="<i4", seed=1)):
        (tmp_path / "a.json").write_text(json.dumps({"meta_info": {"routed_experts": b64(ids.tobytes())}}))
        assert np.array_equal(read_arrays(tmp_path / "a.json", "sglang", facts)[0].expert_ids, ids)


def test_files_of_numpy(tmp_path, facts):
    ids = routed()
    np.save(tmp_path / "a.npy", ids)
    assert np.array_equal(read_arrays(tmp_path / "a.npy", "vllm", facts)[0].expert_ids, ids)
    weights = np.full(ids.shape, 0.5, np.float16)
    np.savez(tmp_path / "a.npz", expert_ids=ids, expert_weights=weights, token_ids=np.arange(6), row_start=1)
    arrays, tokens = read_arrays(tmp_path / "a.npz", "npz", facts)
    assert arrays.start == 1 and tokens.ids == [0, 1, 2, 3, 4, 5] and (arrays.expert_weights == 0.5).all()


def test_files_that_are_refused(tmp_path, facts):
    evil = np.array([{"a": 1}], object)
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "evil.npz", expert_ids=evil)
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:40])
    (tmp_path / "text.npz").write_text("hello")
    for name, said in [
        ("evil.npy", "not a readable array"),
        ("evil.npz", "not a readable .npz"),
        ("other.npz", "lacks expert_ids; it holds x"),
        ("cut.npz", "not a readable .npz"),
        ("text.npz", "not a file of NumPy"),
        ("absent.npz", "cannot be read"),
    ]:
        with pytest.raises(BadValue, match=said) as error:
            read_arrays(tmp_path / name, "npz", facts)
        assert "\n" not in str(error.value)


def test_token_files(tmp_path):
    file = tmp_path / "t.json"
    file.write_text("[1, 2]")
    assert read_tokens(file).ids == [1, 2]
    file.write_text('{"token_ids": [1, 2], "pieces": ["a", "b"], "prompt_tokens": 1}')
    assert read_tokens(file) == Tokens([1, 2], ["a", "b"], 1)
    for text in ("{", "3", "{}", '{"token_ids": [1], "pieces": "a"}', '{"token_ids": [1], "prompt_tokens": "1"}'):
        file.write_text(text)
        with pytest.raises(BadValue, match="t.json"):
            read_tokens(file)
