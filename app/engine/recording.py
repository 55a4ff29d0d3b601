"""Recording a prompt set: every prompt, mode and sample to a trace file, with an index, resumable at any point.

Knows prompts, engines and a folder. Does not know the command line; progress goes to a function it is given.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from analysis import storage
from analysis.errors import BadValue, UserError
from analysis.trace import RoutingTrace
from app.engine.base import ChatRequest, Message, SamplingParams
from app.engine.local import LocalEngine
from app.engine.recorder import record

INDEX = "index.jsonl"
SETTINGS = "settings.json"
RESERVED = frozenset(
    ("file", "prompt", "messages", "mode", "sample", "seed", "answer", "thinking", "thinking_tokens", "answer_tokens",
     "finish_reason")
)  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """A prompt of the set: its place in the file from 0, its messages, and its labels."""

    number: int
    messages: tuple[Message, ...]
    labels: dict[str, Any]

    @property
    def text(self) -> str:
        return self.messages[-1].content


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
    shard: tuple[int, int] = (1, 1)


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a ``.txt`` (one a line) or ``.jsonl`` file (``prompt`` or ``messages``; other keys are labels).

    Raises:
        BadValue: naming the file, the line and what was expected.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise BadValue(f"{path} must end in .txt or .jsonl.")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise BadValue(f"There is no file {path}.") from None
    except UnicodeDecodeError:
        raise BadValue(f"{path} is not a text file in UTF-8.") from None
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}.") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            prompts.append(Prompt(len(prompts), (Message("user", line.strip()),), {}))
        else:
            prompts.append(_parse_line(f"{path}, line {number}", line, len(prompts)))
    if not prompts:
        raise BadValue(f"{path} holds no prompt.")
    return prompts


def _parse_line(where: str, line: str, number: int) -> Prompt:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise BadValue(f"{where} is not JSON.") from None
    if not isinstance(data, dict) or ("prompt" in data) == ("messages" in data):
        raise BadValue(f"{where} must be an object with either prompt or messages.")
    prompt, messages = data.pop("prompt", None), data.pop("messages", None)
    taken = RESERVED & set(data)
    if taken:
        raise BadValue(f"{where} has a label {min(taken)!r}, a name the index uses itself; rename it.")
    if messages is None:
        messages = [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadValue(f"{where}: messages must be a list of objects with role and content.")
    try:
        parsed = tuple(Message(m.get("role"), m.get("content")) for m in messages)
        ChatRequest(parsed)
    except BadValue as error:
        raise BadValue(f"{where}: {error}") from None
    return Prompt(number, parsed, data)


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
    for prompt, mode, sample in [] if job.forced else plan:
        _request(engine, job, prompt, mode, sample)
        if mode not in engine.capabilities.modes:
            raise BadValue(f"This model has no {mode} mode; it has {', '.join(engine.capabilities.modes)}.")
    done = _open_folder(engine, job)
    summary: dict[str, Any] = {"out": str(job.out), "recorded": 0, "skipped": 0, "failed": []}
    began = time.monotonic()
    for position, (prompt, mode, sample) in enumerate(plan, 1):
        name = f"{prompt.number:05d}-{mode}-{sample}.safetensors"
        if name in done:
            if done[name] != prompt.text:
                raise BadValue(f"{job.out} holds a recording of other prompts ({name}); choose another folder.")
            summary["skipped"] += 1
            continue
        try:
            trace = _record_one(engine, job, prompt, mode, sample)
        except UserError as error:
            summary["failed"].append({"prompt": prompt.text[:200], "problem": str(error)})
            say(f"{position}/{len(plan)} {mode}: {error}")
            continue
        storage.save(trace, job.out / name)
        entry = _index_entry(name, prompt, mode, sample, job, trace)
        _append(job.out / INDEX, entry)
        summary["recorded"] += 1
        left = (time.monotonic() - began) / summary["recorded"] * (len(plan) - position)
        say(
            f"{position}/{len(plan)} {mode}: {entry['thinking_tokens']} thinking and {entry['answer_tokens']} answer "
            f"tokens of {trace.num_tokens}; about {left:.0f} s left"
        )
    return summary


def _plan(prompts: list[Prompt], job: RecordJob) -> Iterator[tuple[Prompt, str, int]]:
    if job.samples < 1:
        raise BadValue(f"--samples must be at least 1, not {job.samples}.")
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


def _sampling(engine: LocalEngine, job: RecordJob, mode: str) -> SamplingParams:
    base = engine.recommended_sampling("thinking" if job.same_sampling else mode)
    given: dict[str, Any] = {"temperature": job.temperature, "top_p": job.top_p, "top_k": job.top_k}
    return replace(base, max_tokens=job.max_new_tokens, **{k: v for k, v in given.items() if v is not None})


def _record_one(engine: LocalEngine, job: RecordJob, prompt: Prompt, mode: str, sample: int) -> RoutingTrace:
    if job.forced:
        return engine.run_forced(prompt.text, router_scores=job.router_scores)
    request = _request(engine, job, prompt, mode, sample)
    with closing(engine.stream(request)) as events:
        return record(events, engine.spec, engine.provenance(request))


def _request(engine: LocalEngine, job: RecordJob, prompt: Prompt, mode: str, sample: int) -> ChatRequest:
    return ChatRequest(
        prompt.messages,
        mode=mode,  # type: ignore[arg-type]
        thinking_budget=job.thinking_budget,
        sampling=_sampling(engine, job, mode),
        seed=job.seed + sample,
        router_scores=job.router_scores,
    )


def _index_entry(
    name: str, prompt: Prompt, mode: str, sample: int, job: RecordJob, trace: RoutingTrace
) -> dict[str, Any]:
    counts = trace.phase_counts()
    return {
        "file": name,
        "prompt": prompt.text,
        "mode": mode,
        "answer": trace.text_of("answer"),
        "thinking": trace.text_of("thinking"),
        "thinking_tokens": counts["thinking"],
        "answer_tokens": counts["answer"],
        "sample": sample,
        "seed": None if job.forced else job.seed + sample,
        "finish_reason": trace.provenance.get("finish_reason"),
        **prompt.labels,
    }


def _open_folder(engine: LocalEngine, job: RecordJob) -> dict[str, str]:
    """Make the folder, or take up the recording in it. Returns file → prompt of what is complete."""
    settings = {k: v for k, v in asdict(job).items() if k not in ("out", "shard", "samples", "modes")}
    settings["model"] = engine.name
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        kept = job.out / SETTINGS
        if kept.exists():
            before = json.loads(kept.read_text(encoding="utf-8"))
            for key, value in settings.items():
                if before.get(key) != value:
                    raise BadValue(
                        f"{job.out} holds a recording with {key} = {before.get(key)!r}, not {value!r}; "
                        "choose another folder, or the same settings to resume."
                    )
        else:
            kept.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return _read_index(job.out / INDEX)
    except (OSError, ValueError, AttributeError) as error:
        raise BadValue(f"{job.out} cannot be used for a recording: {error}") from None


def _read_index(path: Path) -> dict[str, str]:
    """What the index names; a last line cut off by a killed process is dropped from the file."""
    if not path.exists():
        return {}
    done, whole = {}, 0
    data = path.read_bytes()
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        if (path.parent / entry["file"]).is_file():
            done[entry["file"]] = entry["prompt"]
        whole += len(line)
    if whole < len(data):
        with open(path, "r+b") as file:
            file.truncate(whole)
    return done


def _append(path: Path, entry: dict[str, Any]) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadValue(f"{path} cannot be written: {error.strerror}. What was finished is kept.") from None
