"""The wire format of the live view: what the browser is sent while tokens stream, and a whole turn at once.

Knows token events and traces, and turns them into JSON values. Does not know Gradio, pages or where a run is kept.

A chunk is a dict:

=============  ==========================================================================================
``run``        id of the run; a new id replaces the picture
``seq``        number of the chunk, from 0; a view that misses one pulls a snapshot
``header``     only where ``first`` is 0, see ``header``
``first``      index of the first token of ``tokens``
``tokens``     ``[[text, phase, origin], …]``
``row_start``  index of the token that the first row belongs to
``rows``       number of rows R
``ids``        base64 of little-endian uint8 or uint16 [R, L, K], C order; "" where R or L is 0
``weights``    base64 of uint8 [R, L, K], round(255 · w / weight_max); None where the engine gives none
``t``          server clock in ms since 1970 when the newest row was received; None in a snapshot of a trace
``done``       nothing more will come
``finish_reason``  why, or None
=============  ==========================================================================================

Chunks overlap harmlessly: a view takes from each what it does not have yet. About 1 KB a token for 48 layers, top-8.
"""

from __future__ import annotations

import base64
import codecs
import math
import secrets
import threading
import time
from typing import Any

import numpy as np

from analysis.metrics import even_gate
from analysis.trace import RouterSpec, RoutingRows, RoutingTrace, display_texts
from app.engine.base import TokenEvent

Chunk = dict[str, Any]


class LiveFeed:
    """One run on its way to the page. Usage::

        feed = LiveFeed(run, engine.spec, title=engine.card.title)
        for event in engine.stream(request):
            feed.add(event)
            ...  # ten times a second: yield history, feed.chunk()

    ``snapshot`` may be called from another thread than ``add`` and ``chunk``.
    """

    def __init__(
        self, run: str, spec: RouterSpec, *, title: str = "", gate_weights: bool = True, lang: str | None = None
    ) -> None:
        self.run = run
        self.spec = spec
        self._header = header(spec, title=title, gate_weights=gate_weights, lang=lang)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lock = threading.Lock()
        self._tokens: list[list[Any]] = []
        self._blocks: list[RoutingRows] = []
        self._row_start: int | None = None
        self._row_end = 0
        self._time: int | None = None
        self._reason: str | None = None
        self._seq = 0
        self._sent = (0, 0, False)  # tokens, blocks, done

    def add(self, event: TokenEvent) -> None:
        """Take in the next event; an index or a row that does not follow the last one is a fault of the engine."""
        with self._lock:
            if event.index != len(self._tokens):
                raise RuntimeError(f"token {event.index} follows {len(self._tokens) - 1}")
            text = self._decoder.decode(event.piece)
            shown = text if text or not event.piece else "‹" + event.piece.hex() + "›"
            self._tokens.append([shown, int(event.phase), int(event.origin)])
            if event.rows is not None and len(event.rows):
                if self._row_start is None:
                    self._row_start = self._row_end = event.rows.start
                if event.rows.start != self._row_end:
                    raise RuntimeError(f"row {event.rows.start} arrived where row {self._row_end} was expected")
                self._blocks.append(event.rows)
                self._row_end += len(event.rows)
                self._time = time.time_ns() // 1_000_000
            if event.finish_reason:
                self._reason = event.finish_reason

    def finish(self, reason: str = "stopped") -> None:
        """The run ended without saying so: stopped by its user or broken. Keeps a reason that was already given."""
        with self._lock:
            self._reason = self._reason or reason

    def chunk(self) -> Chunk | None:
        """What became known since the last call; None where that is nothing."""
        with self._lock:
            now = (len(self._tokens), len(self._blocks), self._reason is not None)
            if now == self._sent:
                return None
            tokens, blocks, _ = self._sent
            made = self._make(tokens, blocks, seq=self._seq)
            self._sent, self._seq = now, self._seq + 1
            return made

    def snapshot(self) -> Chunk:
        """Everything ``chunk`` has given so far, as one chunk. What is added later is for the chunks to come."""
        with self._lock:
            return self._make(0, 0, seq=max(0, self._seq - 1), until=self._sent[:2])

    def _make(self, token: int, block: int, *, seq: int, until: tuple[int, int] | None = None) -> Chunk:
        tokens_end, blocks_end = until or (len(self._tokens), len(self._blocks))
        blocks = self._blocks[block:blocks_end]
        weights: np.ndarray | None = None
        if blocks and all(b.expert_weights is not None for b in blocks):
            weights = np.concatenate([b.expert_weights for b in blocks if b.expert_weights is not None])
        ids = np.concatenate([b.expert_ids for b in blocks]) if blocks else None
        return _chunk(
            self.run,
            self.spec,
            seq=seq,
            head=self._header if token == 0 else None,
            first=token,
            tokens=self._tokens[token:tokens_end],
            row_start=blocks[0].start if blocks else self._row_end,
            ids=ids,
            weights=weights,
            time_ms=self._time,
            reason=self._reason if until is None or self._sent[2] else None,
        )


def snapshot(
    trace: RoutingTrace,
    run: str,
    *,
    title: str | None = None,
    lang: str | None = None,
    autoplay: float | None = None,
) -> Chunk:
    """A whole trace as one finished chunk: to open a file, to remount, to fill a gap.

    Args:
        title: the model's name for people; None for the one in the trace's provenance.
        autoplay: play it from the start at so many tokens a second; None shows its end.
    """
    title = str(trace.provenance.get("model", "")) if title is None else title
    weights = trace.expert_weights
    head = header(trace.spec, title=title, gate_weights=weights is not None, lang=lang, autoplay=autoplay)
    phases, origins = trace.phase.tolist(), trace.origin.tolist()
    tokens = [list(token) for token in zip(display_texts(trace.pieces), phases, origins, strict=True)]
    return _chunk(
        run,
        trace.spec,
        seq=0,
        head=head,
        first=0,
        tokens=tokens,
        row_start=trace.row_start,
        ids=trace.expert_ids,
        weights=weights,
        time_ms=None,
        reason=str(trace.provenance.get("finish_reason", "stop")),
    )


def pointer(run: str, token: int | None = None, layer: int | None = None, *, play: bool = False) -> Chunk:
    """A value that makes the view pull ``run``: better than ``snapshot`` as a value for a long trace.

    Args:
        token: the token to rest on, once the view has it; None leaves the view as it is.
        layer: the model's number of the layer to highlight with it.
        play: play a finished run from its start, at the pace that is set.

    No two are equal: the browser hears only of a value that has changed.
    """
    made: Chunk = {"run": run, "seq": -1, "pull": True, "nonce": secrets.token_hex(4)}
    if token is not None:
        made["select"] = {"index": token, "layer": layer}
    if play:
        made["play"] = True
    return made


def header(
    spec: RouterSpec,
    *,
    title: str = "",
    gate_weights: bool = True,
    lang: str | None = None,
    autoplay: float | None = None,
) -> dict[str, Any]:
    """What a view must know before it can draw: layer numbers, experts and top-k per layer, the id's dtype and the
    id that means "no expert", what a weight byte of 255 stands for, the weight without preference, the model's title,
    and the language."""
    return {
        "layers": [int(layer.layer) for layer in spec.layers],
        "experts": [int(layer.num_experts) for layer in spec.layers],
        "top_k": [int(layer.top_k) for layer in spec.layers],
        "k": int(spec.top_k),
        "dtype": spec.id_dtype.name,
        "no_expert": spec.no_expert,
        "gate_weights": bool(gate_weights),
        "weight_max": weight_max(spec),
        "even_weight": even_weight(spec),
        "title": title,
        "lang": lang,
        "autoplay": autoplay,
    }


def even_weight(spec: RouterSpec) -> float | None:
    """The gate weight without any preference (``metrics.even_gate``); None where there is none, or layers differ."""
    levels = {even_gate(layer) for layer in spec.layers}
    level = levels.pop() if len(levels) == 1 else math.nan
    return level if math.isfinite(level) else None


def weight_max(spec: RouterSpec) -> float:
    """The largest gate weight the routers can give, factors of single experts left out, and so the value of a weight
    byte of 255; what is larger is drawn as large."""
    return max((float(layer.scale) for layer in spec.layers), default=1.0)


def _chunk(
    run: str,
    spec: RouterSpec,
    *,
    seq: int,
    head: dict[str, Any] | None,
    first: int,
    tokens: list[list[Any]],
    row_start: int,
    ids: np.ndarray | None,
    weights: np.ndarray | None,
    time_ms: int | None,
    reason: str | None,
) -> Chunk:
    chunk: Chunk = {"run": run, "seq": seq}
    if head is not None:
        chunk["header"] = head
    chunk.update(
        first=first,
        tokens=tokens,
        row_start=int(row_start),
        rows=0 if ids is None else len(ids),
        ids="" if ids is None else _base64(ids.astype(spec.id_dtype.newbyteorder("<"), copy=False)),
        weights=None if weights is None else _base64(_quantised(weights, weight_max(spec))),
        t=time_ms,
        done=reason is not None,
        finish_reason=reason,
    )
    return chunk


def _quantised(weights: np.ndarray, largest: float) -> np.ndarray:
    scaled = np.nan_to_num(weights.astype(np.float32)) * np.float32(255.0 / largest)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
