"""Recording a prompt set: what is passed over, what is refused, and what a failure leaves behind."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.errors import BadValue
from analysis.recordings import read_index
from app.engine.base import Message, RouterEdit
from app.engine.local import LocalEngine
from app.engine.prompts import Prompt
from app.engine.recording import RecordJob, expect_usable, run_job
from tests.tiny_models import tiny_moe, tokenizer

TEXTS = ("one", "two", "three", "four")
PROMPTS = [Prompt(i, (Message("user", text),), {}) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def engine():
    return LocalEngine(tiny_moe(), tokenizer(), name="tiny")


@pytest.fixture
def job(tmp_path):
    return RecordJob(tmp_path / "rec", forced=True)


def test_a_prompt_that_fails_is_named_and_the_rest_is_recorded(engine, job, monkeypatch):
    routed = engine.run_forced

    def run(text, **options):
        if text == "two":
            raise torch.OutOfMemoryError("CUDA out of memory.\nSome more lines.")
        trace = routed(text, **options)
        return replace(trace, entropy=trace.entropy * np.nan) if text == "three" else trace

    monkeypatch.setattr(engine, "run_forced", run)
    summary = run_job(engine, PROMPTS, job)
    assert summary["recorded"] == 2 and [entry["prompt"] for entry in read_index(job.out)] == ["one", "four"]
    assert summary["failed"] == [
        {"prompt": "two", "problem": "CUDA out of memory."},
        {"prompt": "three", "problem": "The trace's entropy holds a value that is not a number."},
    ]


def test_a_full_disk_leaves_nothing_half_written(engine, job, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadValue, match="No space left"):
            run_job(engine, PROMPTS, job)
        assert list(job.out.iterdir()) == []
    run_job(engine, PROMPTS[:1], job)
    before = sorted(path.name for path in job.out.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadValue, match="cannot be written to: No space left"):
        run_job(engine, PROMPTS, job)
    assert sorted(path.name for path in job.out.iterdir()) == before


def test_options_of_answers_do_not_part_recordings_of_forced_text(engine, job):
    run_job(engine, PROMPTS, job)
    assert run_job(engine, PROMPTS, replace(job, seed=1, temperature=0.5))["skipped"] == len(PROMPTS)


def test_edits_that_differ_in_a_late_digit_are_different(engine, job):
    edited = [replace(job, edits=(RouterEdit("boost", (1,), 0, amount),)) for amount in (1.2345678, 1.2345679)]
    run_job(engine, PROMPTS[:1], edited[0])
    kept = json.loads((job.out / "settings.json").read_text())["edits"]
    assert [RouterEdit.parse(text) for text in kept] == list(edited[0].edits)
    with pytest.raises(BadValue, match="recording with edits = "):
        run_job(engine, PROMPTS[:1], edited[1])


@pytest.mark.parametrize("name", ["settings.json", "index.jsonl"])
def test_damaged_files_of_a_recording_are_one_sentence(engine, job, name):
    run_job(engine, PROMPTS[:1], job)
    (job.out / name).write_text("[" * 100_000 + "\n")
    with pytest.raises(BadValue) as error:
        run_job(engine, PROMPTS, job)
    assert str(job.out) in str(error.value) and "\n" not in str(error.value)


def test_what_forbids_a_recording_is_said_before_a_model_is_loaded(engine, job, tmp_path):
    expect_usable(job)
    assert not job.out.exists()
    run_job(engine, PROMPTS[:1], job)
    expect_usable(job)
    with pytest.raises(BadValue, match="recording with router_scores = False"):
        expect_usable(replace(job, router_scores=True))
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadValue, match="cannot be used for a recording: Not a directory"):
            expect_usable(replace(job, out=out))
