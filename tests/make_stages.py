"""Recordings of training stages as ``python -m training`` leaves them: the same texts through checkpoints of one model.

The checkpoints here route at random, each text a little more like the last one from stage to stage: they show what
recordings of stages look like, and say nothing about a training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.trace import RoutingTrace
from tests.make_recording import write_recording
from tests.make_traces import make_trace

TEXTS = ("sums", "dates")


def stage_trace(stage: str, place: float, text: int) -> RoutingTrace:
    """Text number ``text`` as ``stage`` routes it: a share ``place`` of its tokens as the last checkpoint does."""
    last = make_trace(40, 3, 16, 4, seed=text)
    own = make_trace(40, 3, 16, 4, seed=1000 + text + round(100 * place))
    settled = (np.arange(40) < 40 * place)[:, None, None]
    arrays: dict[str, Any] = {
        name: np.where(settled, getattr(last, name), getattr(own, name)) for name in ("expert_ids", "expert_weights")
    }
    facts = {"mode": "forced", "revision": stage, "messages": None, "model": f"tiny {stage}"}
    return replace(last, **arrays).with_provenance(**facts)


def write_stages(folder: Path, stages: Sequence[str], texts: Sequence[str] = TEXTS) -> Path:
    """A folder a stage in ``folder``/stages; ``stages`` are given in the order of training."""
    lines = [{"prompt": f"text {n}", "mode": "forced", "text": name} for n, name in enumerate(texts)]
    for number, stage in enumerate(stages, 1):

        def trace(
            n: int, line: dict[str, Any], stage: str = stage, place: float = number / len(stages)
        ) -> RoutingTrace:
            return stage_trace(stage, place, n)

        write_recording(folder / "stages" / stage, lines, trace)
    return folder
