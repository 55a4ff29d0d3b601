"""Trace files: exact round trips, and one clear sentence for everything that is not a trace."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import fields, replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import storage
from analysis.errors import TraceError
from analysis.trace import LayerSpec, RouterSpec, RoutingTrace
from tests.make_traces import make_trace

DATA = storage.to_bytes(make_trace(rows=12, layers=2))


def assert_same(a: RoutingTrace, b: RoutingTrace) -> None:
    for field in fields(RoutingTrace):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes(), field.name
        else:
            assert x == y, field.name


def repack(change_header=None, **tensors: np.ndarray | None) -> bytes:
    """A trace file with some of its content replaced; None removes a tensor."""
    size = int.from_bytes(DATA[:8], "little")
    header = json.loads(json.loads(DATA[8 : 8 + size])["__metadata__"]["expertscope"])
    if change_header:
        change_header(header)
    content = {**safetensors.numpy.load(DATA), **tensors}
    content = {name: array for name, array in content.items() if array is not None}
    return safetensors.numpy.save(content, metadata={"expertscope": json.dumps(header)})


@pytest.mark.parametrize(
    "trace",
    [
        make_trace(rows=50, layers=4, experts=16, top_k=4),
        make_trace(weights=False, scores=False, summaries=False),
        make_trace(rows=0),
        make_trace(layers=0),
        make_trace(rows=5, experts=300, top_k=10, first_layer=3),
    ],
    ids=["full", "ids only", "no rows", "dense", "wide"],
)
def test_round_trip_is_exact(trace, tmp_path):
    path = storage.save(trace, tmp_path / "a trace.safetensors")
    assert_same(trace, storage.load(path))
    assert list(tmp_path.iterdir()) == [path]


def test_round_trip_of_hostile_text_and_broken_characters():
    trace = make_trace(rows=3, messages=[{"role": "user", "content": "\ud800 <b>${x}</b> \x00 こ"}])
    trace = replace(trace, pieces=(b"", b"\xe3\x81", b"\x93\x00", b"\xff<img>"))
    assert_same(trace, storage.from_bytes(storage.to_bytes(trace)))


def test_round_trip_where_layers_differ_in_size():
    spec = RouterSpec((LayerSpec(1, 4, 1), LayerSpec(2, 8, 2, "sigmoid", False, 2.5, 1, True)))
    trace = make_trace(rows=6, layers=2, experts=4, top_k=2, scores=False)
    ids = trace.expert_ids.copy()
    ids[:, 0, 1] = spec.no_expert
    trace = replace(trace, spec=spec, expert_ids=ids)
    assert_same(trace, storage.from_bytes(storage.to_bytes(trace)))


@pytest.mark.parametrize(("experts", "top_k"), [(4096, 8), (2048, 2048), (4, 5)])
def test_a_router_that_no_model_has_is_refused(experts, top_k):
    def claim(header):
        header["spec"] = [{**layer, "num_experts": experts, "top_k": top_k} for layer in header["spec"]]

    with pytest.raises(TraceError, match=f"top-{top_k} of {experts} experts"):
        storage.from_bytes(repack(claim))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_changed_bytes_raise_nothing_but_trace_error(flips):
    data = bytearray(DATA)
    for position, mask in flips:
        data[position] ^= mask
    try:
        storage.to_bytes(storage.from_bytes(bytes(data)))
    except TraceError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_truncated_files_are_refused(size):
    with pytest.raises(TraceError, match="upload.safetensors"):
        storage.from_bytes(DATA[:size], "upload.safetensors")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    with pytest.raises(TraceError):
        storage.from_bytes(data)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["format_version", "spec", "row_start", "provenance"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["layer", "num_experts", "top_k", "scoring"]), inner, max_size=4)
            ),
            max_leaves=8,
        ),
        min_size=1,
    )
)
def test_headers_of_any_shape_raise_nothing_but_trace_error(changes):
    try:
        trace = storage.from_bytes(repack(lambda header: header.update(changes)))
        assert isinstance(trace.provenance, dict)
    except TraceError:
        pass


def wrapping(tokens):
    """Ends of pieces whose differences are never negative in 64 bits, and which repeat the text."""
    size = safetensors.numpy.load(DATA)["piece_bytes"].size
    return np.array([(1, 5 * 10**18, -5 * 10**18)[i % 3] for i in range(tokens - 1)] + [size], np.int64)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (safetensors.numpy.save({"weight": np.zeros(3, np.float32)}), "not a trace of this program"),
        (b"PK\x03\x04" + b"\0" * 100, "not a .safetensors file"),
        (b"", "not a .safetensors file"),
        (repack(lambda h: h.update(format_version=2)), "format version 2"),
        (repack(lambda h: h.update(format_version=True)), "format version True"),
        (repack(lambda h: h.update(provenance=[1])), "provenance"),
        (repack(lambda h: h.update(row_start=10**30)), "rows"),
        (repack(lambda h: h.update(row_start=2)), "rows 2 to 13 but only 13 tokens"),
        (repack(lambda h: h["spec"][0].update(num_experts="8")), "num_experts = '8'"),
        (repack(lambda h: h["spec"][0].update(num_experts=10**9)), "1000000000 experts"),
        (repack(lambda h: h["spec"][0].update(scale=float(10**300))), "scale"),
        (repack(lambda h: h["spec"][1].update(layer=0)), "layer 0 after layer 0"),
        (repack(lambda h: h.update(spec=h["spec"] * 600)), "at most 1000 layers"),
        (repack(expert_weights=np.full((12, 2, 2), np.nan, np.float16)), "expert_weights.*not a number"),
        (repack(entropy=np.full((12, 2), np.inf, np.float32)), "entropy.*not a number"),
        (repack(expert_ids=np.full((12, 2, 2), 9, np.uint8)), "expert 9 in layer 0"),
        (repack(expert_ids=np.zeros((12, 2, 2), np.int64)), "int64; expected uint8"),
        (repack(expert_ids=np.zeros((12, 2, 3), np.uint8)), "shape"),
        (repack(expert_ids=None), "lacks expert_ids"),
        (repack(phase=np.full(13, 7, np.uint8)), "phase holds 7"),
        (repack(token_ids=np.full(13, -1, np.int32)), "negative"),
        (repack(piece_ends=np.arange(13, dtype=np.int64)[::-1].copy()), "text does not fit"),
        (repack(piece_ends=np.zeros((13, 1), np.int64)), "text does not fit"),
        (repack(piece_ends=np.zeros(13, np.int64)), "text does not fit"),
        (repack(piece_ends=wrapping(13)), "text does not fit"),
        (repack(token_ids=np.array(3, np.int32)), "token_ids is a single value"),
        (repack(expert_ids=np.array(3, np.uint8)), "expert_ids is a single value"),
        (repack(lambda h: [layer.update(num_experts=5000) for layer in h["spec"]]), "5000 experts"),
    ],
)
def test_each_fault_is_named(data, says):
    with pytest.raises(TraceError, match=says) as caught:
        storage.from_bytes(data, "my.safetensors")
    assert str(caught.value).startswith("my.safetensors")


def test_a_file_that_is_cut_short_is_said_to_be_and_no_other_is():
    data = repack()
    start = 8 + int.from_bytes(data[:8], "little")
    for length in (start, start + 1, (start + len(data)) // 2, len(data) - 1):
        with pytest.raises(TraceError) as caught:
            storage.from_bytes(data[:length], "my.safetensors")
        assert str(caught.value) == (
            "my.safetensors cannot be opened. The file is incomplete: it ends before its arrays do."
        )
    damaged = data[:start].replace(b"data_offsets", b"data_offzets") + data[start:]
    for other in (data + b"more", damaged):
        with pytest.raises(TraceError) as caught:
            storage.from_bytes(other, "my.safetensors")
        assert str(caught.value) == "my.safetensors cannot be opened. Its arrays are damaged."


@pytest.mark.parametrize("row", [[3, 3], [255, 3]])
def test_an_expert_twice_or_beyond_top_k_is_refused(row):
    trace = make_trace(rows=6, layers=2, experts=8, top_k=2)
    ids = trace.expert_ids.copy()
    ids[:, 0] = row
    spec = RouterSpec((LayerSpec(0, 8, 1), LayerSpec(1, 8, 2)))
    with pytest.raises(TraceError, match="twice, or more than 1"):
        replace(trace, spec=spec, expert_ids=ids)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_beyond_json_are_refused(number):
    text = '{"format_version": 1, "spec": [], "row_start": 0, "provenance": {"x": N}}'.replace("N", number)
    with pytest.raises(TraceError, match="JSON"):
        storage.from_bytes(safetensors.numpy.save({}, metadata={"expertscope": text}))


def test_what_cannot_be_opened_is_not_saved(tmp_path):
    trace = make_trace(rows=4)
    broken = replace(trace, expert_weights=np.full_like(trace.expert_weights, np.nan))
    with pytest.raises(TraceError, match="not a number"):
        storage.save(broken, tmp_path / "a.safetensors")
    with pytest.raises(TraceError, match="JSON"):
        storage.save(trace.with_provenance(x=object()), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = storage.save(make_trace(rows=4), tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TraceError, match="a.safetensors could not be written: No space left"):
        storage.save(make_trace(rows=9), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["missing.safetensors", ".", "no/such/folder", "zero\0byte"])
def test_unreadable_paths_give_one_sentence(tmp_path, name):
    with pytest.raises(TraceError, match="could not be read"):
        storage.load(tmp_path / name)
    with pytest.raises(TraceError, match="could not be written"):
        storage.save(make_trace(rows=1), tmp_path / name / "x" if name.startswith("missing") else tmp_path / name)
