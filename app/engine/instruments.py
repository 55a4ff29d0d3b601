"""What stands on a model while it answers: capture, edits and measured outputs, put on and taken off together.

Knows MoE layers and whose turn it is. Does not know tokens, sampling or caches.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.trace import RouterSpec, RoutingRows, Step
from app.engine.base import RouterEdit
from app.engine.capture import Pass, RoutingCapture
from app.engine.edit_rules import edited_spec
from app.engine.edits import PLAIN, RouterEdits
from app.engine.expert_outputs import OutputsCapture
from app.engine.moe_layer import MoELayer


@dataclass(frozen=True)
class Reading:
    """How one stream's passes are run and read.

    Attributes:
        slot: its place among the edits.
        edited: the spec that its edits need; None without edits.
        router_scores, outputs: what it wants besides ids and weights.
        passes, measured: what was kept and not delivered yet.
    """

    slot: int = PLAIN
    edited: RouterSpec | None = None
    router_scores: bool = False
    outputs: bool = False
    passes: list[Pass] = field(default_factory=list)
    measured: list[dict[str, np.ndarray]] = field(default_factory=list)


_LOCKS: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()


def lock_of(model: Any) -> threading.RLock:
    """One lock for all that runs ``model`` with hooks. It may be taken again by its owner: a forgotten stream may be
    closed by the garbage collector inside a step."""
    return _LOCKS.setdefault(model, threading.RLock())


class Instruments:
    """Usage::

        with instruments.reading(edits, rows=256) as reading:       # one stream
            with instruments.turn(reading):                         # one pass of it; others wait
                model(input_ids)
                instruments.keep(reading, instruments.capture.take(n))
        rows = instruments.deliver(reading, start, Step.PREFILL)

    Hooks are on the model while at least one stream is open, and on no other time, unless they are to be compiled with
    the model: then they stay. Passes that are no stream's turn go by. A stream's edits are in the tables while it is
    open, whatever ends it. All instruments of one model, of several engines too, take turns.
    """

    def __init__(self, layers: list[MoELayer], lock: threading.RLock, *, stay: bool = False) -> None:
        self.capture = RoutingCapture(layers)
        self.capture.listening = False
        self.spec = self.capture.spec
        self._edits = RouterEdits(layers)
        self._outputs = OutputsCapture(layers)
        self._stay = stay
        self._streams = 0
        self.lock = lock

    @property
    def most(self) -> int:
        """The most experts a token may use in any layer under the edits in force."""
        return self._edits.most

    @contextmanager
    def reading(
        self, edits: Sequence[RouterEdit], rows: int, *, router_scores: bool = False, outputs: bool = False
    ) -> Iterator[Reading]:
        """For the length of one stream, whose passes feed up to ``rows`` tokens.

        Raises:
            BadValue: ``edits`` do not fit the model.
        """
        reading = Reading(router_scores=router_scores, outputs=outputs and bool(self.spec.layers))
        with self.lock:
            if edits:
                reading = replace(reading, slot=self._edits.add(edits), edited=edited_spec(self.spec, edits))
            self._streams += 1
            self.capture.install()
            if edits or self._stay:
                self._edits.install(rows)
        try:
            yield reading
        finally:
            with self.lock:
                self._streams -= 1
                if reading.slot != PLAIN:
                    self._edits.drop(reading.slot)
                if not self._streams and not self._stay:
                    self.capture.remove()
                    self._edits.remove()

    @contextmanager
    def turn(self, reading: Reading) -> Iterator[None]:
        """For the length of one pass and its ``keep``, so that its rows belong to this stream alone."""
        with self.lock, self._edits.selected(reading.slot), self._outputs if reading.outputs else nullcontext():
            self.capture.discard()  # whatever else ran the model since the last pass
            self.capture.listening = True
            try:
                yield
            finally:
                self.capture.listening = False

    def keep(self, reading: Reading, taken: Pass) -> None:
        """Keep the pass just run."""
        reading.passes.append(taken)
        if reading.outputs:
            reading.measured.append(self._outputs.drain((reading.edited or self.spec).top_k))

    def close(self) -> None:
        """Take off hooks that stayed."""
        with self.lock:
            self.capture.remove()
            self._edits.remove()

    def deliver(self, reading: Reading, start: int, step: Step) -> RoutingRows:
        """The rows of what was kept since the last delivery, for tokens ``start``, ``start + 1``, …"""
        wanted = {"router_scores": reading.router_scores, "edited": reading.edited}
        rows = self.capture.rows_of(reading.passes, start, step, **wanted)  # type: ignore[arg-type]
        if reading.measured:
            names = reading.measured[0]
            joined = {name: np.concatenate([m[name] for m in reading.measured]) for name in names}
            unused = rows.expert_ids == (reading.edited or self.spec).no_expert
            for name in ("contribution", "output_max"):
                joined[name][unused] = 0.0
            rows = replace(rows, **joined)  # type: ignore[arg-type]
        reading.passes.clear()
        reading.measured.clear()
        return rows
