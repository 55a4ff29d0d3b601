"""A trace as CSV: every stored figure comes back from the file, and no cell of it is run by a spreadsheet."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.trace import Origin, Phase, RoutingTrace, Step
from analysis.trace_csv import BYTE_ORDER_MARK, FORMULA, columns, csv_blocks, plain_cell
from tests.make_traces import make_mixed_trace, make_trace, without_rows

ASCII_FORMULA = "=+-@\t\r\n"


def read(trace: RoutingTrace) -> list[dict[str, str]]:
    """The lines of the file, as a reader of CSV finds them in its bytes."""
    data = "".join(csv_blocks(trace)).encode("utf-8")
    text = data.decode("utf-8")
    assert text.startswith(BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK), newline="")))


def plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell


@pytest.mark.parametrize("trace", [make_trace(), make_trace(5, 4, 300, 3, first_layer=2), make_mixed_trace()])
def test_every_figure_comes_back(trace: RoutingTrace) -> None:
    lines = read(trace)
    layers, k = trace.spec.num_moe_layers, trace.spec.top_k
    routed = [line for line in lines if line["layer"]]
    assert len(routed) == trace.num_rows * layers and len(lines) == len(routed) + trace.num_tokens - trace.num_rows
    ids = np.array([[int(line[f"expert_{i + 1}"] or trace.spec.no_expert) for i in range(k)] for line in routed])
    assert np.array_equal(ids.reshape(trace.expert_ids.shape), trace.expert_ids)
    gates = np.array([[float(line[f"weight_{i + 1}"] or 0) for i in range(k)] for line in routed]).astype(np.float16)
    assert np.array_equal(gates.reshape(trace.expert_weights.shape), trace.expert_weights)  # type: ignore[union-attr]
    for name in ("entropy", "margin", "top_k_mass"):
        stored = getattr(trace, name)
        if stored is None:
            assert {line[name] for line in lines} == {""}
        else:
            found = np.array([float(line[name]) for line in routed]).astype(np.float32)
            assert np.array_equal(found.reshape(stored.shape), stored)
    assert [int(line["layer"]) for line in routed[:layers]] == trace.spec.layer_numbers
    steps = [Step[line["step"].upper()] for line in routed[::layers]]
    assert np.array_equal(steps, trace.step)


def test_every_token_comes_back_once_with_its_text() -> None:
    trace = make_trace()
    tokens = {line["token"]: line for line in read(trace)}
    assert [plain(line["text"]) for line in tokens.values()] == trace.texts()
    assert [int(line["token_id"]) for line in tokens.values()] == trace.token_ids.tolist()
    assert [Phase[line["phase"].upper()] for line in tokens.values()] == trace.phase.tolist()
    assert [Origin[line["origin"].upper()] for line in tokens.values()] == trace.origin.tolist()
    assert list(tokens) == [str(i) for i in range(trace.num_tokens)]


@pytest.mark.parametrize("trace", [make_trace(6, 0), without_rows(make_trace(6))])
def test_tokens_without_routing_have_a_line_each(trace: RoutingTrace) -> None:
    lines = read(trace)
    assert len(lines) == 7 and all(not line["layer"] and not line.get("expert_1") for line in lines)
    assert [plain(line["text"]) for line in lines] == trace.texts()


def test_weights_that_were_not_recorded_are_empty_and_not_zero() -> None:
    assert {line["weight_1"] for line in read(make_trace(weights=False))} == {""}


@pytest.mark.parametrize(
    "text", ["=1+1", '=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'x", "'"]
)
def test_no_text_is_taken_for_a_formula(text: str) -> None:
    trace = replace(make_trace(1), pieces=(b"ok", text.encode()))
    cell = read(trace)[-1]["text"]
    assert cell[0] == "'" and cell[1:] == text


@given(st.text())
def test_a_plain_cell_never_begins_a_formula_and_can_be_undone(text: str) -> None:
    cell = plain_cell(text)
    assert cell[:1] not in tuple(ASCII_FORMULA) and plain(cell) == text
    assert cell == text or text[0] in FORMULA


def test_commas_quotes_and_lines_stay_in_their_cell() -> None:
    trace = replace(make_trace(1), pieces=(b'a,"b"\r\nc', "日本\n".encode()))
    assert [line["text"] for line in read(trace) if line["layer"] in ("", "0")] == ['a,"b"\r\nc', "日本\n"]


def test_the_columns_are_those_that_the_module_documents() -> None:
    from analysis import trace_csv

    for name in columns(make_trace()):
        known = name.rsplit("_", 1)[0] + "_1 … K" if name[-1].isdigit() else name
        assert f"``{known}``" in str(trace_csv.__doc__), name
