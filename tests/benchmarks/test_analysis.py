"""The benchmark of analysis runs and has the rows of its contract; the fast counts are those of a plain loop."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis import metrics
from analysis.coactivation import count_pairs
from benchmarks.analysis import main, synthetic_trace


def test_the_rows_of_the_contract(capsys):
    main(["--tokens", "2000", "--pairs", "16", "--flips", "200", "--rounds", "1", "--json"])
    said = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in said["rows"]}
    names = {"load", "load_bincount", "coactivation", "compare", "compare_numpy", "memory_read", "peak_memory"}
    assert said["benchmark"] == "analysis" and names <= set(rows)
    assert all(row["value"] >= 0 for row in rows.values()) and rows["load"]["ratio"] > 0


@pytest.mark.parametrize("k", [1, 3, 8])
def test_load_of_many_rows_with_and_without_an_expert(k):
    trace = synthetic_trace(2 * metrics._MANY + 3)
    ids = trace.expert_ids[:, :, :k].copy()
    ids[::7, ::2, -1] = trace.spec.no_expert
    spec = replace(trace.spec, layers=tuple(replace(layer, top_k=k) for layer in trace.spec.layers))
    trace = replace(trace, spec=spec, expert_ids=ids)
    for rows in (None, np.ones(len(ids), bool), np.arange(len(ids)) % 9 > 0):
        found = metrics.expert_counts(trace, rows)
        chosen = ids if rows is None else ids[rows]
        for layer in (0, 1, 47):
            assert found[layer].tolist() == [np.count_nonzero(chosen[:, layer] == e) for e in range(128)]


@pytest.mark.parametrize(("dtype", "experts"), [(np.uint8, 7), (np.uint16, 300)])
def test_pairs_are_those_of_a_loop(dtype, experts):
    draw = np.random.default_rng(0)
    ids = np.argsort(draw.random((60, 2, experts)), axis=-1)[..., :4].astype(dtype)
    ids[::5, 1, 2:] = np.iinfo(dtype).max
    wanted = np.zeros((2, experts, experts), np.int64)
    for row in ids:
        for layer, used in enumerate(row):
            real = [e for e in used if e < experts]
            for a in real:
                for b in real:
                    wanted[layer, a, b] += 1
    np.testing.assert_array_equal(count_pairs(ids, experts), wanted)
