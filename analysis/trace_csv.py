"""A trace as a table for spreadsheets: CSV with a line a token and MoE layer. Knows traces, no file and no page.

Columns, in this order (K: the most experts that a token uses in any layer):

==================  ==================================================================================================
``token``           index of the token, from 0
``token_id``        its id in the model's vocabulary
``text``            its text; see ``plain_cell``
``phase``           prompt, thinking, answer or marker
``origin``          template, user, sampled or forced
``turn``            the exchange it belongs to, from 0
``step``            how its row was computed: prefill, decode or cached; empty where it has no row
``layer``           the model's own number of the layer; empty where the token has no row
``expert_1 … K``    ids of the experts that it used there, in the router's order; empty where it used fewer
``weight_1 … K``    their gate weights as applied; empty where the engine gave none
``entropy``         nats, of the router's distribution over all experts; this and the next two empty where not recorded
``margin``          the least score among the used experts minus the best one among the others that could be chosen
``top_k_mass``      router probability on the used experts before renormalising
==================  ==================================================================================================

The routing of a line is that used **by** its token. A token without a row (the last one of a turn; all, for a dense
model) has one line with its text only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice

import numpy as np

from analysis.trace import Origin, Phase, RoutingTrace, Step

FIRST = ("token", "token_id", "text", "phase", "origin", "turn", "step", "layer")
LAST = ("entropy", "margin", "top_k_mass")
BYTE_ORDER_MARK = "\ufeff"
"""At the head of the file, so that spreadsheets read it as UTF-8."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
"""What a cell begins with that a spreadsheet would run, and the apostrophe that keeps it from doing so."""
BLOCK = 2000  # lines joined at a time


def columns(trace: RoutingTrace) -> tuple[str, ...]:
    """The head line."""
    k = range(1, trace.spec.top_k + 1)
    return (*FIRST, *(f"expert_{i}" for i in k), *(f"weight_{i}" for i in k), *LAST)


def plain_cell(text: str) -> str:
    """``text`` as a cell that no spreadsheet takes for a formula: an apostrophe stands before one of ``FORMULA``. Take
    the first apostrophe of a cell away, and the text is as it was."""
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_blocks(trace: RoutingTrace) -> Iterator[str]:
    """The file in pieces of some thousand lines, to be written one after the other as UTF-8."""
    lines = _lines(trace)
    head: list[tuple[object, ...]] = [columns(trace)]
    yield BYTE_ORDER_MARK + _joined(head)
    while block := list(islice(lines, BLOCK)):
        yield _joined(block)


def _joined(lines: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue()


def _lines(trace: RoutingTrace) -> Iterator[tuple[object, ...]]:
    texts, layers = trace.texts(), trace.spec.layer_numbers
    empty = ("",) * (2 * trace.spec.top_k + len(LAST))
    for token in range(trace.num_tokens):
        row = token - trace.row_start
        known = (
            token,
            int(trace.token_ids[token]),
            plain_cell(texts[token]),
            Phase(int(trace.phase[token])).label,
            Origin(int(trace.origin[token])).label,
            int(trace.turn[token]),
        )
        if not layers or not 0 <= row < trace.num_rows:
            yield (*known, "", "", *empty)
            continue
        step = Step(int(trace.step[row])).label
        for layer, cells in zip(layers, _row_cells(trace, row), strict=True):
            yield (*known, step, layer, *cells)


def _row_cells(trace: RoutingTrace, row: int) -> list[tuple[object, ...]]:
    """For each layer of a row: ids, weights and the summaries. Digits are as many as the stored type holds."""
    none, k = trace.spec.no_expert, trace.spec.top_k
    ids = trace.expert_ids[row]
    weights = None if trace.expert_weights is None else trace.expert_weights[row].tolist()
    summaries = [_numbers(getattr(trace, name), row, len(ids)) for name in LAST]
    cells: list[tuple[object, ...]] = []
    for position, used in enumerate(ids.tolist()):
        named = ["" if expert == none else expert for expert in used]
        gates = [""] * k if weights is None else [f"{w:.5g}" for w in weights[position]]
        gates = [gate if expert != "" else "" for gate, expert in zip(gates, named, strict=True)]
        cells.append((*named, *gates, *(column[position] for column in summaries)))
    return cells


def _numbers(array: np.ndarray | None, row: int, layers: int) -> list[str]:
    return [""] * layers if array is None else [f"{value:.9g}" for value in array[row].tolist()]
