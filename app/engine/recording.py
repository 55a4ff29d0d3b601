"""Recording a prompt set: every prompt, mode and sample to a trace file, with an index, resumable at any point.

Knows prompts, engines and a folder. Does not know the command line; progress goes to a function it is given.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from analysis import storage
from analysis.errors import BadValue, UserError
from analysis.recordings import INDEX, SETTINGS, index_entry
from analysis.show import edit_text
from analysis.trace import RoutingTrace
from app.engine.base import ChatRequest, Message, RouterEdit, SamplingParams
from app.engine.edit_rules import check_edits
from app.engine.local import LocalEngine
from app.engine.models import RUN_ERRORS, first_line
from app.engine.prompts import Prompt
from app.engine.thinking import effective_mode

MAX_SAMPLES = 10_000
ADDED_SETTINGS: dict[str, Any] = {"edits": [], "expert_outputs": False}
"""Settings that recordings of earlier versions do not name, with the value they had."""
OF_GENERATING = ("same_sampling", "thinking_budget", "max_new_tokens", "temperature", "top_p", "top_k", "seed")
"""Settings that mean nothing where texts are routed as they stand."""


@dataclass(frozen=True)
class RecordJob:
    """What to record; fields as the options of ``record``."""

    out: Path
    modes: tuple[str, ...] = ("thinking",)
    same_sampling: bool = False
    thinking_budget: int | None = None
    max_new_tokens: int = 2048
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0
    samples: int = 1
    forced: bool = False
    router_scores: bool = False
    edits: tuple[RouterEdit, ...] = ()
    expert_outputs: bool = False
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise BadValue(f"--samples must be from 1 to {MAX_SAMPLES:,}, not {str(self.samples)[:60]}.")
        self.sampling(SamplingParams())
        for seed in (self.seed, self.seed + self.samples - 1):
            ChatRequest((Message("user", "."),), thinking_budget=self.thinking_budget, seed=seed)

    def sampling(self, usual: SamplingParams) -> SamplingParams:
        """``usual`` with what is set here."""
        given: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        return replace(usual, max_tokens=self.max_new_tokens, **{k: v for k, v in given.items() if v is not None})


def expect_usable(job: RecordJob) -> None:
    """What can be known of the folder before a model is loaded for it; it is left as it is.

    Raises:
        BadValue: it cannot be written to, or holds a recording with other settings.
    """
    near = job.out
    try:
        while not near.exists():
            near = near.parent
        if not near.is_dir() or not os.access(near, os.W_OK):
            reason = errno.EROFS if near.is_dir() else errno.ENOTDIR
            raise OSError(reason, os.strerror(reason))
        if (kept := job.out / SETTINGS).exists():
            _expect_same(job.out, json.loads(kept.read_text(encoding="utf-8")), _settings(job))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _unusable(job.out, error) from None


def run_job(
    engine: LocalEngine, prompts: list[Prompt], job: RecordJob, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Record what is not recorded yet. A prompt that cannot be answered is named and passed over.

    Returns:
        ``{"out", "recorded", "skipped", "failed": [{"prompt", "problem"}]}``.

    Raises:
        UserError: the settings are impossible, or the folder holds another recording.
    """
    plan = list(_plan(prompts, job))
    check_edits(job.edits, engine.spec)
    for prompt, mode, sample in [] if job.forced else plan:
        _request(engine, job, prompt, mode, sample)
        if len(job.modes) > 1 and _effective(engine, prompt, "thinking") != "thinking":
            raise BadValue(
                f"Prompt {prompt.number + 1} holds /no_think, which decides the mode by itself; "
                "leave it out to record both modes."
            )
        if mode not in engine.capabilities.modes:
            raise BadValue(f"This model has no {mode} mode; it has {', '.join(engine.capabilities.modes)}.")
    done = _open_folder(engine, job)
    summary: dict[str, Any] = {"out": str(job.out), "recorded": 0, "skipped": 0, "failed": []}
    began = time.monotonic()
    for position, (prompt, mode, sample) in enumerate(plan, 1):
        name = f"{prompt.number:05d}-{mode}-{sample}.safetensors"
        if name in done:
            if done[name] != prompt.digest:
                raise BadValue(
                    f"{job.out} holds a recording of another prompt or label ({name}); choose another folder."
                )
            summary["skipped"] += 1
            continue
        try:
            trace = _record_one(engine, job, prompt, mode, sample)
            data = storage.to_bytes(trace)
        except (UserError, *RUN_ERRORS) as error:
            problem = str(error) if isinstance(error, UserError) else first_line(error)
            summary["failed"].append({"prompt": prompt.text[:200], "problem": problem})
            say(f"{position}/{len(plan)} {mode}: {problem}")
            continue
        entry = index_entry(name, trace, prompt.text, prompt.digest, sample, prompt.labels)
        _keep(job.out, data, entry)
        summary["recorded"] += 1
        left = (time.monotonic() - began) / summary["recorded"] * (len(plan) - position)
        say(
            f"{position}/{len(plan)} {mode}: {entry['thinking_tokens']} thinking and {entry['answer_tokens']} answer "
            f"tokens of {trace.num_tokens}; about {left:.0f} s left"
        )
    return summary


def _plan(prompts: list[Prompt], job: RecordJob) -> Iterator[tuple[Prompt, str, int]]:
    shard, shards = job.shard
    for prompt in prompts[shard - 1 :: shards]:
        if job.forced:
            if len(prompt.messages) > 1:
                raise BadValue(f"Prompt {prompt.number + 1} has messages; --forced routes a plain prompt as it stands.")
            yield prompt, "forced", 0
            continue
        for mode in job.modes:
            for sample in range(job.samples):
                yield prompt, mode, sample


def _effective(engine: LocalEngine, prompt: Prompt, mode: str) -> str:
    return effective_mode(prompt.messages, mode, soft_switch=engine.capabilities.soft_switch)


def _record_one(engine: LocalEngine, job: RecordJob, prompt: Prompt, mode: str, sample: int) -> RoutingTrace:
    if job.forced:
        wanted = {"router_scores": job.router_scores, "expert_outputs": job.expert_outputs}
        return engine.run_forced(prompt.text, edits=job.edits, **wanted)
    return engine.run(_request(engine, job, prompt, mode, sample))


def _request(engine: LocalEngine, job: RecordJob, prompt: Prompt, mode: str, sample: int) -> ChatRequest:
    return ChatRequest(
        prompt.messages,
        mode=mode,  # type: ignore[arg-type]
        thinking_budget=job.thinking_budget,
        sampling=job.sampling(
            engine.recommended_sampling("thinking" if job.same_sampling else _effective(engine, prompt, mode))
        ),
        seed=job.seed + sample,
        router_scores=job.router_scores,
        edits=job.edits,
        expert_outputs=job.expert_outputs,
    )


def _open_folder(engine: LocalEngine, job: RecordJob) -> dict[str, str]:
    """Make the folder, or take up the recording in it. Returns file → digest of the prompt of what is complete."""
    settings, facts = _settings(job), engine.provenance()
    settings["model"] = str(Path(engine.name).resolve()) if Path(engine.name).is_dir() else engine.name
    settings |= {"revision": facts["revision"], "quantization": facts["quantization"]}
    kept, index = job.out / SETTINGS, job.out / INDEX
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            _expect_same(job.out, json.loads(kept.read_text(encoding="utf-8")), settings)
        elif index.exists():
            raise BadValue(f"{job.out} holds an {INDEX} that is not a recording's; choose another folder.")
        else:
            text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
            storage.write_whole(kept, text.encode())
        return _read_index(index)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _unusable(job.out, error) from None


def _settings(job: RecordJob) -> dict[str, Any]:
    apart = ("out", "shard", "samples", "modes", *(OF_GENERATING if job.forced else ()))
    settings = {k: v for k, v in asdict(job).items() if k not in apart}
    return settings | {"edits": [edit_text(asdict(e)) for e in job.edits]}


def _unusable(out: Path, error: Exception) -> BadValue:
    return BadValue(f"{out} cannot be used for a recording: {getattr(error, 'strerror', None) or error}.")


def _expect_same(out: Path, before: dict[str, Any], settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if before.get(key, ADDED_SETTINGS.get(key)) != value:
            raise BadValue(
                f"{out} holds a recording with {key} = {before.get(key)!r}, not {value!r}; "
                "choose another folder, or the same settings to resume."
            )


def _read_index(path: Path) -> dict[str, str]:
    """What the index names and is there. A last line that a killed process left unfinished, and lines whose file is
    gone, are taken out of it; those prompts are recorded again.

    Raises:
        BadValue: another line cannot be read.
    """
    if not path.exists():
        return {}
    done: dict[str, str] = {}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue
        try:
            entry = json.loads(line)
            file, digest = str(entry["file"]), str(entry["digest"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadValue(f"{path}, line {number} is damaged; mend or remove it, then resume.") from None
        if (path.parent / file).is_file():
            done[file] = digest
            kept.append(line)
    if len(kept) < len(lines):
        storage.write_whole(path, b"".join(kept))
    return done


def _keep(out: Path, trace: bytes, entry: dict[str, Any]) -> None:
    """Write a trace, then its line of the index."""
    try:
        storage.write_whole(out / entry["file"], trace)
        with open(out / INDEX, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadValue(f"{out} cannot be written to: {error.strerror}. What was finished is kept.") from None
