"""Experts spread over devices: how evenly a placement shares the work, and how many devices a token must reach.

Knows which device holds which expert: a placement is an (L, E) array of device numbers, −1 for experts that a layer
does not have. Does not know devices' speed, copies of experts, or the network.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from analysis import balance
from analysis.errors import BadValue
from analysis.metrics import absent_experts, counts_with_absent
from analysis.pooling import Traces, as_traces, clean_ids
from analysis.statistic import Statistic
from analysis.trace import RouterSpec

_CHUNK = 16384  # rows looked at together


def in_blocks(spec: RouterSpec, devices: int) -> np.ndarray:
    """The placement of expert parallelism by default: the first E / devices experts on device 0, and so on.

    Raises:
        BadValue: fewer than one device.
    """
    return _placed(spec, devices, lambda experts: np.arange(experts) * devices // experts)


def in_turn(spec: RouterSpec, devices: int) -> np.ndarray:
    """Expert e on device e mod ``devices``.

    Raises:
        BadValue: fewer than one device.
    """
    return _placed(spec, devices, lambda experts: np.arange(experts) % devices)


def device_load(traces: Traces, placement: np.ndarray, phase: str = "all") -> Statistic:
    """Share of a layer's slots that each device works on. Axes layer, device.

    In [0, 1], sums to 1 over the devices; chance the share of the layer's experts that the device holds. NaN without
    a row in ``phase``. Source of the question: GShard (Lepikhin et al., 2020), expert parallelism.

    Raises:
        BadValue: the placement does not fit the routers, no traces, or traces of different routers.
    """
    loads, spec, placed, n = _loads(traces, placement, phase)
    held = np.stack([np.bincount(row[row >= 0], minlength=loads.shape[1]) for row in placed]) if len(placed) else loads
    experts = np.array([layer.num_experts for layer in spec.layers], np.float64)[:, None]
    return Statistic(
        "device load",
        loads,
        ("layer", "device"),
        {"layer": spec.layer_numbers},
        unit="share of slots",
        chance=held / experts,
        n=n,
        phase=phase,
    )


def device_imbalance(traces: Traces, placement: np.ndarray, phase: str = "all") -> Statistic:
    """Largest device load / mean device load, by layer: all wait for the fullest, so this is the slow-down.

    From 1 (even) to the number of devices. ``chance`` is the mean under uniform random routing of as many tokens; it is
    above 1 on short samples. These are loads over the whole sample; single batches are less even.

    Raises:
        BadValue: the placement does not fit the routers, no traces, or traces of different routers.
    """
    loads, spec, placed, n = _loads(traces, placement, phase)
    devices = loads.shape[1]
    chance = []
    for layer, row in zip(spec.layers, placed, strict=True):
        drawn = balance.uniform_loads(n, layer.num_experts, layer.top_k) if n else np.full((1, layer.num_experts), 0.0)
        held = drawn @ np.eye(devices)[row[: layer.num_experts]]
        chance.append(devices * held.max(axis=1).mean() if n else np.nan)
    return Statistic(
        "device imbalance",
        loads.max(axis=1, initial=0.0) * devices if len(loads) else np.zeros(0),
        ("layer",),
        {"layer": spec.layer_numbers},
        unit="times the mean",
        chance=np.array(chance, np.float64),
        n=n,
        phase=phase,
    )


def devices_reached(traces: Traces, placement: np.ndarray, phase: str = "all") -> Statistic:
    """Mean number of devices that hold a token's experts, by layer: what a token's state must be sent to.

    From 1 to min(k, devices); chance exact for k of E experts drawn at random. Tokens without an expert in the layer do
    not count. Source of the question: DeepSeek-V2 (2024), device-limited routing.

    Raises:
        BadValue: the placement does not fit the routers, no traces, or traces of different routers.
    """
    found = as_traces(traces)
    spec, placed = found[0].spec, _fitting(found[0].spec, placement)
    devices, experts = int(placed.max(initial=0)) + 1, spec.num_experts
    reached, counted, n = np.zeros(spec.num_moe_layers), np.zeros(spec.num_moe_layers), 0
    for trace in found:
        rows = np.flatnonzero(trace.rows_in(phase))
        n += len(rows)
        for start in range(0, len(rows), _CHUNK):
            block = clean_ids(trace.expert_ids[rows[start : start + _CHUNK]], experts)
            for layer in range(spec.num_moe_layers):
                holder = np.append(placed[layer], -1)[block[:, layer]]
                touched = np.zeros((len(block), devices + 1), bool)
                np.put_along_axis(touched, holder, True, axis=1)  # the last column takes "no expert"
                reached[layer] += np.count_nonzero(touched[:, :devices])
                counted[layer] += np.count_nonzero(touched[:, :devices].any(axis=1))
    chance = []
    for router, row in zip(spec.layers, placed, strict=True):
        held = np.bincount(row[row >= 0], minlength=devices).tolist()
        ways = comb(router.num_experts, router.top_k)
        chance.append(sum(1 - comb(router.num_experts - h, router.top_k) / ways for h in held))
    return Statistic(
        "devices reached",
        np.divide(reached, counted, out=np.full(reached.shape, np.nan), where=counted > 0),
        ("layer",),
        {"layer": spec.layer_numbers},
        unit="devices a token",
        chance=np.array(chance, np.float64),
        n=n,
        phase=phase,
    )


def _placed(spec: RouterSpec, devices: int, rule: Callable[[int], np.ndarray]) -> np.ndarray:
    if devices < 1:
        raise BadValue(f"A placement needs 1 device or more, not {devices}.")
    placement = np.full((spec.num_moe_layers, spec.num_experts), -1)
    for position, layer in enumerate(spec.layers):
        placement[position, : layer.num_experts] = rule(layer.num_experts)
    return placement


def _fitting(spec: RouterSpec, placement: np.ndarray) -> np.ndarray:
    placed, shape = np.asarray(placement, np.int64), (spec.num_moe_layers, spec.num_experts)
    if placed.shape != shape:
        raise BadValue(f"The placement has shape {list(placed.shape)}; these routers need {list(shape)}.")
    if ((placed < 0) != absent_experts(spec)).any():
        raise BadValue("The placement must name a device for every expert that a layer has, and −1 for no other.")
    return placed


def _loads(traces: Traces, placement: np.ndarray, phase: str) -> tuple[np.ndarray, RouterSpec, np.ndarray, int]:
    found = as_traces(traces)
    spec = found[0].spec
    placed = _fitting(spec, placement)
    rows = [trace.rows_in(phase) for trace in found]
    counts = np.sum([np.nan_to_num(counts_with_absent(t, r)) for t, r in zip(found, rows, strict=True)], axis=0)
    devices = int(placed.max(initial=0)) + 1
    work = np.zeros((spec.num_moe_layers, devices + 1))
    for layer in range(spec.num_moe_layers):
        work[layer] = np.bincount(np.where(placed[layer] < 0, devices, placed[layer]), counts[layer], devices + 1)
    total = work.sum(axis=1, keepdims=True)
    loads = np.divide(work[:, :devices], total, out=np.full((len(work), devices), np.nan), where=total > 0)
    return loads, spec, placed, sum(int(np.count_nonzero(r)) for r in rows)
