"""Pairs in memory give the same comparison as the folders they were saved to."""

from __future__ import annotations

import pytest

from analysis.comparing import compare_folders, to_json
from analysis.errors import BadValue
from analysis.pairs import PairSet
from analysis.storage import load
from tests.make_recording import both_modes, write_recording
from tests.make_traces import make_trace


def trace(number, line):
    """Prompts differ in length; a trace in thinking mode has a thinking phase."""
    thinking = line["mode"] == "thinking"
    return make_trace(40 + 3 * number, seed=2 * number + thinking, thinking=thinking)


@pytest.fixture
def folder(tmp_path):
    return write_recording(tmp_path / "recorded", both_modes(8), trace)


@pytest.mark.parametrize(("phase", "control"), [("generated", "none"), ("answer", "none"), ("generated", "position")])
def test_pairs_in_memory_are_compared_as_recorded_ones(folder, phase, control):
    files = sorted(folder.glob("*.safetensors"))
    pairs = [(load(a), load(b)) for a, b in zip(files[::2], files[1::2], strict=True)]
    found = to_json(PairSet(pairs, permutations=1000).compare(phase, control))
    assert found == to_json(compare_folders([folder], phase=phase, control=control, permutations=1000))


def test_a_comparison_is_worked_out_once(folder):
    files = sorted(folder.glob("*.safetensors"))
    pairs = PairSet([(load(a), load(b)) for a, b in zip(files[::2], files[1::2], strict=True)], permutations=1000)
    assert pairs.compare() is pairs.compare()
    assert pairs.compare("answer") is not pairs.compare()


def test_what_cannot_be_compared_is_said(folder):
    first, second = (load(file) for file in sorted(folder.glob("*.safetensors"))[:2])
    with pytest.raises(BadValue, match="needs at least 2"):
        PairSet([(first, second)]).compare()
    with pytest.raises(BadValue, match="Unknown control"):
        PairSet([(first, second)] * 2).compare(control="luck")
