"""What analysis costs: `python -m benchmarks.analysis [--tokens N] [--pairs N] [--flips N] [--rounds N] [--json]`.

Load and co-activation of a trace at 48 layers, top-8 of 128, with heavy-tailed synthetic routing, and the paired
comparison of all experts by sign flips. Each runs once a round beside plain NumPy, in an order drawn anew; values are
medians. Times are the process's processor time, so other programs disturb them less; BLAS keeps to one thread. The
baseline of the load needs 3 GiB at the default size.
A ratio is the baseline's time divided by the row's: above 1 is faster.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is first imported

import argparse
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from analysis import coactivation, metrics
from analysis.permutation import sign_flips
from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingTrace, Step
from benchmarks.common import machine, report

LAYERS, EXPERTS, K = 48, 128, 8
OURS = ("load", "coactivation", "compare")
BASELINES = {
    "load": "load_bincount",
    "load_bincount_chunks": "load_bincount",
    "load_bincount_layers": "load_bincount",
    "compare": "compare_numpy",
}


def synthetic_trace(tokens: int) -> RoutingTrace:
    """Routing by a random preference of each layer plus Gumbel noise, the top 8; 2,000 different rows, drawn anew."""
    draw = np.random.default_rng(0)
    scores = draw.gumbel(size=(2000, LAYERS, EXPERTS)) + draw.normal(size=(LAYERS, EXPERTS))
    rows = np.argpartition(-scores, K, axis=-1)[..., :K].astype(np.uint8)
    spec = RouterSpec(tuple(LayerSpec(layer, EXPERTS, K) for layer in range(LAYERS)))
    return RoutingTrace(
        spec,
        np.zeros(tokens, np.int32),
        np.full(tokens, Phase.ANSWER, np.uint8),
        np.full(tokens, Origin.SAMPLED, np.uint8),
        np.zeros(tokens, np.uint16),
        (b"",) * tokens,
        0,
        np.full(tokens, Step.DECODE, np.uint8),
        rows[draw.integers(0, len(rows), tokens)],
    )


def load_bincount(ids: np.ndarray) -> np.ndarray:
    """One bincount over all ids plus layer offsets: 8 bytes of memory an id."""
    cells = ids + (np.arange(LAYERS) * EXPERTS)[:, None]
    return np.bincount(cells.ravel(), minlength=LAYERS * EXPERTS).reshape(LAYERS, EXPERTS)


def load_bincount_chunks(ids: np.ndarray) -> np.ndarray:
    """The same, 4,096 rows at a time, so that what is counted stays in the cache."""
    offsets = (np.arange(LAYERS) * EXPERTS)[:, None]
    found = np.zeros(LAYERS * EXPERTS, np.int64)
    for start in range(0, len(ids), 4096):
        found += np.bincount((ids[start : start + 4096] + offsets).ravel(), minlength=len(found))
    return found.reshape(LAYERS, EXPERTS)


def load_bincount_layers(ids: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(ids[:, layer].ravel(), minlength=EXPERTS) for layer in range(LAYERS)])


def compare_numpy(differences: np.ndarray, flips: int) -> tuple[np.ndarray, np.ndarray]:
    """(M,) p and max-T p of studentised differences: 100 flips at a time, in float64."""
    flat = differences.reshape(len(differences), -1)
    scaled = flat / np.sqrt((flat**2).sum(axis=0) * len(flat))
    observed, draw = np.abs(scaled.sum(axis=0)), np.random.default_rng(0)
    beyond, family = np.ones(len(observed)), np.ones(len(observed))
    for start in range(0, flips, 100):
        signs = draw.choice((-1.0, 1.0), (min(100, flips - start), len(flat)))
        flipped = np.abs(signs @ scaled)
        beyond += (flipped >= observed).sum(axis=0)
        family += (flipped.max(axis=1)[:, None] >= observed).sum(axis=0)
    return beyond / (flips + 1), family / (flips + 1)


def measure(tokens: int, pairs: int, flips: int, rounds: int) -> list[dict[str, Any]]:
    """The rows of the benchmark; the loads are checked to agree. Peak memory is that of ours alone, trace included."""
    trace = synthetic_trace(tokens)
    ids, words = trace.expert_ids, trace.expert_ids.view(np.uint64)
    differences = np.random.default_rng(1).normal(0.05, 1, (pairs, LAYERS, EXPERTS))
    tested = np.ones((LAYERS, EXPERTS), bool)
    contenders: dict[str, Callable[[], Any]] = {
        "load": lambda: metrics.expert_load(trace),
        "load_bincount": lambda: load_bincount(ids),
        "load_bincount_chunks": lambda: load_bincount_chunks(ids),
        "load_bincount_layers": lambda: load_bincount_layers(ids),
        "coactivation": lambda: coactivation.pair_counts(trace),
        "compare": lambda: sign_flips(differences, tested, flips),
        "compare_numpy": lambda: compare_numpy(differences, flips),
        "memory_read": lambda: words.max(),
    }
    for name in OURS:
        contenders[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    counts = metrics.expert_counts(trace)
    for baseline in (load_bincount, load_bincount_chunks, load_bincount_layers):
        if not np.array_equal(counts, baseline(ids)):
            raise AssertionError(f"the load is not that of {baseline.__name__}")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in random.Random(number).sample(list(contenders), len(contenders)):
            start = time.process_time()
            contenders[name]()
            seconds[name].append(time.process_time() - start)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    rows: list[dict[str, Any]] = [
        {"name": name, "value": round(value, 6), "unit": "s"} for name, value in middle.items()
    ]
    for row in rows:
        if base := BASELINES.get(row["name"]):
            row["ratio"] = round(middle[base] / middle[row["name"]], 3)
    return [*rows, {"name": "peak_memory", "value": round(peak / 2**30, 3), "unit": "GiB"}]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis", description=__doc__)
    for option, default in (("tokens", 1_000_000), ("pairs", 200), ("flips", 100_000), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default:,}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    for option in ("tokens", "pairs", "flips", "rounds"):
        if getattr(given, option) < 1:
            parser.error(f"--{option} must be at least 1, not {getattr(given, option)}")
    rows = measure(given.tokens, given.pairs, given.flips, given.rounds)
    about = [
        f"{given.tokens:,} tokens, {given.pairs} pairs, {given.flips:,} flips, {given.rounds} rounds; processor time."
    ]
    named = {"benchmark": "analysis", "machine": machine(f"NumPy {np.__version__}"), "rows": rows}
    report(named, as_json=given.json, about=about)


if __name__ == "__main__":
    main()
