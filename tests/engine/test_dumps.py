"""Recorder dumps, made here as SGLang lays them out; no engine was run."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from analysis.errors import BadValue
from app.engine.dumps import read_dump


def record(positions, seed=0):
    random = np.random.default_rng(seed)
    ids = np.argsort(random.random((3, len(positions), 8)), axis=-1)[..., :2].astype(np.int32)
    return {
        "topk_ids_of_layer": torch.from_numpy(ids),
        "positions": list(positions),
        "input_ids": [10 + p for p in positions],
        "rank": 0,
    }


def test_passes_are_joined_in_the_order_of_tokens(tmp_path):
    records = [record(range(4)), record([4], 1), record([5], 2)]
    torch.save({"records": records, "last_physical_to_logical_map": torch.arange(8).expand(3, 8)}, tmp_path / "d.pt")
    arrays, tokens = read_dump(tmp_path / "d.pt")
    wanted = np.concatenate([r["topk_ids_of_layer"].permute(1, 0, 2).numpy() for r in records])
    assert np.array_equal(arrays.expert_ids, wanted) and tokens.ids == [10, 11, 12, 13, 14, 15]


def test_a_cached_beginning_has_no_rows(tmp_path):
    torch.save({"records": [record([5, 4]), record([6], 1)]}, tmp_path / "d.pt")
    arrays, tokens = read_dump(tmp_path / "d.pt")
    assert arrays.start == 4 and len(arrays.expert_ids) == 3 and tokens is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


def test_code_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"records": [Evil()]}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(BadValue, match="without running code"):
            read_dump(tmp_path / name)
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        ({"logical_count": torch.zeros(1, 3, 8)}, "holds counts only"),
        ({"records": []}, "holds no records"),
        ([1], "holds no records"),
        ({"records": [{"x": 1}]}, "topk_ids_of_layer"),
        ({"records": [record(range(4)), record(range(2))]}, "several requests"),
        (
            {"records": [record(range(4))], "last_physical_to_logical_map": torch.tensor([[1, 0, 2, 3, 4, 5, 6, 7]])},
            "moved between devices",
        ),
    ],
)
def test_dumps_that_are_no_trace(tmp_path, dump, said):
    torch.save(dump, tmp_path / "d.pt")
    with pytest.raises(BadValue, match=said):
        read_dump(tmp_path / "d.pt")
    with pytest.raises(BadValue, match="There is no file"):
        read_dump(tmp_path / "absent.pt")
