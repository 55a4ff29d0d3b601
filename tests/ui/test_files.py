"""Saving and opening recordings through the tab's functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.errors import BadValue, TraceError
from analysis.words import Words
from app.ui.files_tab import file_name, provenance_html, read, write
from tests.make_traces import make_trace


def say(key: str, **values: object) -> str:
    return Words("en")(f"page.{key}", **values)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    trace = make_trace()
    again = read(write(trace, tmp_path), 20, say)
    assert np.array_equal(again.expert_ids, trace.expert_ids) and again.pieces == trace.pieces


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    assert write(make_trace(seed=1), tmp_path) != write(make_trace(seed=2), tmp_path)


@pytest.mark.parametrize("model", ["../../etc/passwd", "Qwen/Qwen3-30B-A3B", "", "日本", "a" * 300, "C:\\x"])
def test_the_file_name_is_plain_whatever_the_model_is_called(model: str) -> None:
    name = file_name(make_trace(model=model))
    assert name.endswith(".safetensors") and "/" not in name and "\\" not in name and ".." not in name
    assert name.isascii() and len(name) < 120


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    big = tmp_path / "big.safetensors"
    with big.open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(BadValue, match="30.0 MB; at most 20 MB"):
        read(big, 20, say)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64, b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_foreign_file_gets_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(TraceError) as raised:
        read(file, 20, say)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_gone_is_a_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="choose it again"):
        read(tmp_path / "gone.safetensors", 20, say)


def test_provenance_is_readable_and_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    trace = make_trace(model=hostile, versions={"<b>": hostile}, capture_check={"ok": True, "ids_match": 0.998})
    shown = provenance_html(trace, say, Words("en"))
    assert "<script" not in shown and "<b>" not in shown and "&lt;script" in shown
    assert "99.8% of ids agree" in shown


@pytest.mark.parametrize("check", [{"ok": False}, {"ok": "yes"}, "passed", ["ok"]])
def test_only_a_check_that_passed_is_called_so(check: object) -> None:
    assert "not passed" in provenance_html(make_trace(capture_check=check), say, Words("en"))
