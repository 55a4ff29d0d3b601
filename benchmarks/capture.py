"""What capture costs: `python -m benchmarks.capture [--pairs N] [--tokens N] [--json]`.

Greedy decoding of the same tokens without capture, with ours, and with other ways to read the routing; eager, compiled
over a static cache (`compiled_`), and on a GPU in CUDA graphs (`graph_`); and the prompt's pass (`prefill_`). In every
round each contender runs once, in an order drawn anew, so drift hits all alike. A value is the median over rounds; a
ratio is the median over rounds of a contender's speed divided by the speed without capture in the same round, with its
quartiles. A contender that cannot run has no value and a note that says why.

`memory_32k` is the size of a trace of 32,768 tokens at 48 layers, top-8 of 128; `memory_32k_peak` what recording it
takes at most.

nnsight and TransformerLens are in benchmarks/requirements.txt. Everything about CUDA was written without a GPU at hand:
it has not been run.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from analysis.errors import ModelError
from analysis.trace import LayerSpec, Origin, Phase, RouterSpec, RoutingRows, Step
from app.engine.base import TokenEvent
from app.engine.models import first_line, load_model
from app.engine.recorder import record
from benchmarks.common import machine, report
from benchmarks.contenders import CONTENDERS, Contender

PEERS = {"nnsight": "nnsight", "transformer_lens": "transformer-lens"}
OURS = ("no_capture", "capture", "capture_scores")
COMPILED, GRAPH = "compiled_", "graph_"
SHAPES = {
    "qwen3-30b-a3b": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "max_position_embeddings": 40960,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    }
}


def contender_names(device: torch.device) -> list[str]:
    """Every contender that has a row on ``device``."""
    names = [*CONTENDERS, *(COMPILED + name for name in CONTENDERS)]
    return names + [GRAPH + name for name in OURS[:2]] if device.type == "cuda" else names


def measure(
    model: Any,
    names: Sequence[str],
    *,
    pairs: int = 20,
    tokens: int = 64,
    prompt: int = 128,
    experts: str = "batched_mm",
) -> tuple[list[dict[str, Any]], dict[str, Contender]]:
    """The rows of ``names``, and the contenders that ran, with what they read in the last round.

    Args:
        model: in evaluation mode, on its device.
        names: of ``contender_names``.
        pairs: rounds, after one that is not counted.
        tokens: decoded by each contender in each round.
        prompt: tokens of the prompt, at random.
        experts: the experts implementation of compiled decoding; eager decoding keeps the model's own.
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    fed = torch.randint(vocabulary, (1, prompt), generator=generator).to(model.device)
    notes: dict[str, dict[str, Any]] = {name: {} for name in names}
    running = {
        name: contender
        for name in names
        if (contender := _start(name, model, fed, tokens, experts, notes[name])) is not None
    }
    for name, contender in running.items():
        if contender.told != running[_baseline(name, running)].told:
            notes[name]["note"] = "decoded other tokens than without capture"
        ids = contender.expert_ids()
        if "capture" in running and ids is not None:
            notes[name]["ids_match"] = round(float(np.mean(ids == running["capture"].expert_ids())), 5)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    gc.collect()
    gc.freeze()
    for number in range(pairs):
        for name in random.Random(number).sample(list(running), len(running)):
            gc.collect()
            seconds[name].append(_run(running[name], fed, tokens))
    gc.unfreeze()
    rows = [_row(name, 1, tokens, seconds, running, notes[name]) for name in names]
    eager = [name for name in names if name in CONTENDERS]
    rows += [_row(name, 0, prompt, seconds, running, notes[name]) for name in eager]
    return rows, running


def memory_rows(tokens: int = 32768, layers: int = 48, experts: int = 128, k: int = 8) -> list[dict[str, Any]]:
    """Host memory of a decoded trace: its arrays, and the most that recording it took (numpy and Python objects)."""
    spec = RouterSpec(tuple(LayerSpec(layer, experts, k) for layer in range(layers)))
    ids = np.arange(layers * k, dtype=spec.id_dtype).reshape(1, layers, k) % experts
    weights, one = np.full((1, layers, k), 1 / k, np.float16), np.ones((1, layers), np.float32)

    def events() -> Any:
        for index in range(tokens):
            arrays = [array.copy() for array in (ids, weights, one, one, one)]
            rows = RoutingRows(index, Step.DECODE, arrays[0], arrays[1], None, *arrays[2:])
            yield TokenEvent(index, index % 1000, b"%d" % index, "", Phase.THINKING, Origin.SAMPLED, 0, rows)

    tracemalloc.start()
    trace = record(events(), spec, {})
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert trace.num_rows == tokens
    name = "memory_32k"
    return [
        {"name": name, "value": round(kept / 2**20, 1), "unit": "MiB"},
        {"name": f"{name}_peak", "value": round(peak / 2**20, 1), "unit": "MiB", "ratio": round(peak / kept, 2)},
        {"name": f"{name}_per_token", "value": round(kept / tokens, 1), "unit": "bytes"},
    ]


def random_model(shape: str, device: torch.device) -> Any:
    """Random bfloat16 weights of ``shape``, made on ``device``."""
    with torch.device(device):
        model = Qwen3MoeForCausalLM._from_config(Qwen3MoeConfig(**SHAPES[shape]), dtype=torch.bfloat16)
    return model.eval()


@torch.inference_mode()
def _start(
    name: str, model: Any, ids: torch.Tensor, tokens: int, experts: str, notes: dict[str, Any]
) -> Contender | None:
    """The contender after one run; None, and a note, where it cannot run. Ours must run in eager decoding."""
    graphs = name.startswith(GRAPH)
    compiled = graphs or name.startswith(COMPILED)
    kind = name.removeprefix(COMPILED).removeprefix(GRAPH)
    try:
        options = {"compiled": True, "graphs": graphs, "experts": experts} if compiled else {}
        contender = CONTENDERS[kind](model, ids.shape[1] + tokens + 1, **options)
        _run(contender, ids, tokens)
        if ids.is_cuda:
            notes["waits"] = _waits_for_device(contender, ids)
            _run(contender, ids, tokens)
    except ModuleNotFoundError as error:
        notes["note"] = f"not installed: {error.name}"
    except Exception as error:  # whatever another library raises is why its row is empty
        if name in OURS:
            raise
        problem = f"{type(error).__name__}: {first_line(error)[:100]}"
        notes["note"] = f"does not compile into one graph: {problem}" if compiled else problem
    else:
        return contender
    return None


@torch.inference_mode()
def _run(contender: Contender, ids: torch.Tensor, tokens: int) -> tuple[float, float]:
    """(seconds of the prompt's pass, seconds of ``tokens`` decode steps); every pass ends with its token on the
    host, so the device has nothing left to do."""
    start = time.perf_counter()
    token = contender.prefill(ids)
    prefilled = time.perf_counter()
    for _ in range(tokens):
        token = contender.decode(token)
    contender.finish()
    return prefilled - start, time.perf_counter() - prefilled


def _waits_for_device(contender: Contender, ids: torch.Tensor) -> bool:
    """Whether a decode step makes the host wait for the device before its results are read."""
    token = contender.prefill(ids)
    torch.cuda.set_sync_debug_mode("error")
    try:
        contender.step(token)
    except RuntimeError as error:
        if "synchroniz" not in str(error).lower():
            raise
        return True
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return False


def _baseline(name: str, running: dict[str, Contender]) -> str:
    prefix = next((p for p in (COMPILED, GRAPH) if name.startswith(p)), "")
    return prefix + OURS[0] if prefix + OURS[0] in running else name


def _row(
    name: str,
    part: int,
    count: int,
    seconds: dict[str, list[tuple[float, float]]],
    running: dict[str, Contender],
    notes: dict[str, Any],
) -> dict[str, Any]:
    row = {"name": name if part else f"prefill_{name}", "value": None, "unit": "tokens/s", **notes}
    if name not in seconds:
        return row
    own = [times[part] for times in seconds[name]]
    base = [times[part] for times in seconds[_baseline(name, running)]]
    row["value"] = round(count / statistics.median(own), 1)
    ratios = [b / o for b, o in zip(base, own, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return {**row, "ratio": round(statistics.median(ratios), 3), "ratio_iqr": [round(low, 3), round(high, 3)]}


def _versions(device: torch.device) -> str:
    found = [f"torch {torch.__version__}", f"transformers {version('transformers')}"]
    for package in PEERS.values():
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([*found, torch.cuda.get_device_name(device)] if device.type == "cuda" else found)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="", help="a folder or hub name (default: the bundled model)")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="random weights of this shape instead, on the device")
    parser.add_argument("--device", help="cpu, cuda, … (default: where the model is loaded; for --shape a GPU if any)")
    parser.add_argument("--pairs", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens decoded in each (default 64)")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt (default 128)")
    parser.add_argument("--threads", type=int, help="PyTorch's threads (default: its own choice)")
    parser.add_argument("--experts", default="batched_mm", help="experts of compiled decoding (default batched_mm)")
    parser.add_argument("--only", help="contenders, separated by commas (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    for option in ("pairs", "tokens", "prompt", "threads"):
        if getattr(given, option) is not None and getattr(given, option) < 1:
            parser.error(f"--{option} must be at least 1, not {getattr(given, option)}")
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        if given.shape:
            device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
            model = random_model(given.shape, device)
        else:
            model = load_model(given.model).model
            model = model.to(given.device) if given.device else model
    except ModelError as error:
        parser.error(str(error))
    every = contender_names(model.device)
    names = given.only.split(",") if given.only else every
    if unknown := [name for name in names if name not in every]:
        parser.error(f"--only knows no {unknown[0]!r}; choose from {', '.join(every)}")
    rows, _ = measure(model, names, pairs=given.pairs, tokens=given.tokens, prompt=given.prompt, experts=given.experts)
    what = given.shape or given.model or "the bundled model"
    threads = "1 thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads"
    result = {
        "benchmark": "capture",
        "machine": machine(threads, _versions(model.device)),
        "model": what,
        "pairs": given.pairs,
        "rows": [*rows, *memory_rows()],
    }
    about = [
        f"{what}, {str(model.dtype).removeprefix('torch.')} on {model.device}: {given.tokens} tokens after a prompt of "
        f"{given.prompt}, {given.pairs} rounds.",
        "Median tokens/s; ratio to the row without capture, median over rounds [quartiles]. Of memory: peak / trace.",
    ]
    report(result, as_json=given.json, about=about)


if __name__ == "__main__":
    main()
