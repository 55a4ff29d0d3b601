"""Packed recordings: what is read in place equals what traces in memory give."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis import packing, storage
from analysis.collection import Collection
from analysis.errors import BadValue, TraceError
from analysis.metrics import expert_counts, expert_load
from analysis.packing import pack
from app.engine.prompts import RESERVED
from tests.make_traces import make_trace

ROOT = Path(__file__).resolve().parents[2]


def record(folder, traces, first=0, step=1):
    """A recorded folder, or one shard of it."""
    folder.mkdir()
    with open(folder / "index.jsonl", "w") as index:
        for i in range(first, len(traces), step):
            mode = traces[i].provenance["mode"]
            name = f"{i:05d}-{mode}-0.safetensors"
            storage.save(traces[i], folder / name)
            entry = {"file": name, "prompt": f"p{i // 2}", "mode": mode, "sample": 0, "digest": f"d{i // 2}"}
            index.write(json.dumps(entry | {"topic": ("sums", "rhymes")[i % 3 == 0], "level": i % 4}) + "\n")
    return folder


@pytest.fixture
def traces():
    return [make_trace(40 + 7 * i, seed=i, thinking=i % 2 == 0, first_layer=2, scores=False) for i in range(9)]


@pytest.fixture
def packed(tmp_path, traces, monkeypatch):
    monkeypatch.setattr(packing, "ROW_GROUP", 50)
    monkeypatch.setattr(packing, "PART", 120)
    out = tmp_path / "collection"
    pack(record(tmp_path / "rec", traces), out, summaries=True)
    with Collection.open(out) as collection:
        yield collection


def pooled_load(traces, phase):
    """The load over several traces, by its definition."""
    counts = sum(expert_counts(t, t.rows_in(phase)) for t in traces).astype(float)
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("phase", ["all", "generated", "thinking", "prompt"])
def test_load_equals_that_of_traces(packed, traces, phase):
    found = packed.load(phase)
    assert np.array_equal(found.values, pooled_load(traces, phase))
    assert found.n == sum(t.rows_in(phase).sum() for t in traces)
    one = expert_load(traces[0], phase)
    assert (found.name, found.axes, found.labels, found.unit) == (one.name, one.axes, one.labels, one.unit)
    assert np.array_equal(found.chance, one.chance)


def test_load_by_mode_and_label(packed, traces):
    chosen = [t for i, t in enumerate(traces) if i % 2 == 0 and i % 3 == 0]
    found = packed.load("generated", mode="thinking", labels={"topic": "rhymes"})
    assert np.array_equal(found.values, pooled_load(chosen, "generated"))
    assert np.array_equal(packed.load(labels={"level": "1"}).values, pooled_load(traces[1::4], "all"))
    nothing = packed.load("all", mode="thinking", labels={"level": "no such level"})
    assert nothing.n == 0 and np.isnan(nothing.values).all()
    with pytest.raises(BadValue, match="Unknown phase 'x'"):
        packed.load("x")
    with pytest.raises(BadValue, match="No trace has the mode 'thinkin'; there are non-thinking, thinking"):
        packed.load(mode="thinkin")
    with pytest.raises(BadValue, match="No trace has the label 'task'; there are level, topic"):
        packed.coactivation(labels={"task": "sums"})


def test_coactivation_equals_that_of_traces(packed, traces):
    both = np.zeros((3, 8, 8))
    for trace in traces:
        for row in trace.expert_ids[trace.rows_in("answer")]:
            for layer, ids in enumerate(row):
                for i in ids:
                    both[layer, i, i] += 1
                for i, j in combinations(ids, 2):
                    both[layer, i, j] += 1
                    both[layer, j, i] += 1
    once = np.einsum("lee->le", both)[:, :, None]
    with np.errstate(invalid="ignore"):
        wanted = np.where(np.eye(8, dtype=bool), np.nan, both / once)
    found = packed.coactivation("answer")
    assert np.array_equal(found.values, wanted, equal_nan=True)
    assert found.n == sum(t.rows_in("answer").sum() for t in traces) and found.chance[0] == 1 / 7


def test_counts_by_prompt(packed, traces):
    found = packed.prompt_counts("generated", mode="thinking")
    wanted = [t for t in traces if t.provenance["mode"] == "thinking"]
    assert found.trace.tolist() == [0, 2, 4, 6, 8] and found.digest == ["d0", "d1", "d2", "d3", "d4"]
    for i, trace in enumerate(wanted):
        rows = trace.rows_in("generated")
        assert np.array_equal(found.counts[i], expert_counts(trace, rows)) and found.rows[i] == rows.sum()


def test_tokens_are_the_rows(packed, traces):
    table = pq.read_table(packed.path / "tokens").to_pydict()
    assert len(table["trace"]) == sum(t.num_rows for t in traces)
    assert len(list((packed.path / "tokens").iterdir())) > 2
    at = np.array(table["trace"]) == 4
    trace = traces[4]
    for name, dtype in (("expert_ids", np.uint8), ("expert_weights", np.float16), ("entropy", np.float32)):
        joined = b"".join(v for v, here in zip(table[name], at, strict=True) if here)
        assert np.array_equal(np.frombuffer(joined, dtype), getattr(trace, name).ravel())
    assert [v for v, here in zip(table["piece"], at, strict=True) if here] == list(trace.pieces[: trace.num_rows])


def test_more_than_255_experts_and_no_weights(tmp_path):
    trace = make_trace(30, experts=300, top_k=4, weights=False, summaries=False, scores=False)
    pack(record(tmp_path / "rec", [trace]), tmp_path / "out")
    with Collection.open(tmp_path / "out") as collection:
        assert np.array_equal(next(collection.batches()), trace.expert_ids)
        assert np.array_equal(collection.load().values, expert_load(trace).values)
        assert collection.db.sql("SELECT count(expert_weights) FROM tokens").fetchall() == [(0,)]


def test_shards_give_the_same_collection(tmp_path, traces):
    whole = record(tmp_path / "rec", traces)
    shards = [record(tmp_path / f"s{i}", traces, i, 3) for i in range(3)]
    pack(whole, tmp_path / "a")
    pack(shards[::-1], tmp_path / "b")
    for part in ("tokens", "traces.parquet", "counts"):
        assert pq.read_table(tmp_path / "a" / part).equals(pq.read_table(tmp_path / "b" / part))
    with pytest.raises(BadValue, match="have the same name"):
        pack([whole, shards[0]], tmp_path / "c")


def test_packing_again_does_nothing(tmp_path, traces):
    recording = record(tmp_path / "rec", traces)
    assert pack(recording, tmp_path / "out")["written"]
    assert not pack(recording, tmp_path / "out")["written"]
    with pytest.raises(BadValue, match="holds something else"):
        pack(record(tmp_path / "other", traces[:2]), tmp_path / "out")


def test_whole_or_not_at_all(tmp_path, traces):
    recording = record(tmp_path / "rec", [*traces[:2], make_trace(layers=4)])
    with pytest.raises(TraceError, match="comes from other routers than"):
        pack(recording, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rec"]
    with pytest.raises(TraceError, match="dense model"):
        pack(record(tmp_path / "dense", [make_trace(layers=0)]), tmp_path / "out")
    with pytest.raises(BadValue, match="is not a recording"):
        pack(tmp_path, tmp_path / "out")
    with open(recording / "index.jsonl", "a") as index:
        index.write('{"file": "../x"}\n')
    with pytest.raises(BadValue, match="line 4 is damaged"):
        pack(recording, tmp_path / "out")


def test_damaged_and_foreign_folders(packed, tmp_path):
    path = packed.path

    def damaged(change):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(path, tmp_path / "copy")
        change(tmp_path / "copy")
        with pytest.raises(TraceError) as error:
            Collection.open(tmp_path / "copy")
        assert "\n" not in str(error.value)
        return str(error.value)

    manifest = json.loads((path / "collection.json").read_text())
    assert "not a collection" in damaged(lambda p: (p / "collection.json").unlink())
    assert "not readable JSON" in damaged(lambda p: (p / "collection.json").write_text("{"))
    assert "not a collection" in damaged(lambda p: (p / "collection.json").write_text("{}"))
    newer = json.dumps(manifest | {"format_version": 2})
    assert "format version 2" in damaged(lambda p: (p / "collection.json").write_text(newer))
    for wrong in (
        {"files": {"../tokens/x.parquet": 1}},
        {"files": {"": 1}},
        {"files": {**manifest["files"], "traces.parquet": 9.0}},
        {"rows": float("inf")},
        *({"spec": [{**layer, "top_k": k} for layer in manifest["spec"]]} for k in ("2", 2.0)),
    ):
        text = json.dumps(manifest | wrong)
        assert "does not describe a collection" in damaged(lambda p: (p / "collection.json").write_text(text))  # noqa: B023
    assert "traces.parquet is missing" in damaged(lambda p: (p / "traces.parquet").unlink())
    assert "not a readable" in damaged(lambda p: (p / "traces.parquet").write_bytes(b"PAR1"))
    part = "tokens/part-00000.parquet"
    assert "not the file" in damaged(lambda p: shutil.copy(p / "traces.parquet", p / part))


def test_labels_are_what_prompts_may_not_use():
    assert packing.NO_LABELS == RESERVED


def test_the_documented_query_runs(packed, monkeypatch):
    text = (ROOT / "docs" / "collections.md").read_text(encoding="utf-8")
    query = re.search(r"```sql\n(.*?)```", text, re.S)[1]
    monkeypatch.chdir(packed.path.parent)
    rows = duckdb.sql(query).fetchall()
    load = packed.load("thinking", mode="thinking")
    assert rows and all(np.isclose(share, load.values[layer - 2, expert]) for layer, expert, share in rows)
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    names = {}
    exec(code, names)
    assert names["ids"].shape == (packed.manifest.rows, 3, 2)
