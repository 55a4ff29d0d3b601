"""The recordings that ``tests.make_figures`` draws: those that come along, and a few made here with the bundled model.

Each part is worked out once, when it is asked for. Knows no figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis import edited, metrics, storage
from analysis.comparing import Comparison, compare_folders
from analysis.trace import RoutingTrace

ASSETS = Path(__file__).parents[1] / "assets"
GALLERY, MODEL = ASSETS / "traces" / "gallery", ASSETS / "mini-qwen3-moe"
STEPS, LAST = (0, 1, 2, 4, 8), 16  # of the short training: the earlier checkpoints and the last
TEXTS = 5  # that it is trained on and measured with


@dataclass(frozen=True)
class Reading:
    """One reading of a text: its routing, ln p of every token, and the (layer, expert) pairs that were edited."""

    trace: RoutingTrace
    logprobs: list[float | None]
    experts: list[tuple[int, int]]


class Recordings:
    """What the figures are drawn from."""

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        lines = (GALLERY / "index.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def traces(self) -> list[RoutingTrace]:
        return [storage.load(GALLERY / entry["file"]) for entry in self.entries]

    @property
    def one(self) -> RoutingTrace:
        """The first answer, with thinking."""
        return self.traces[0]

    @cached_property
    def pair(self) -> tuple[RoutingTrace, RoutingTrace]:
        """The first prompt in both modes."""
        return self.traces[0], self.traces[1]

    @cached_property
    def comparison(self) -> Comparison:
        return compare_folders([GALLERY], by="mode", phase="answer")

    @cached_property
    def controlled(self) -> Comparison:
        return compare_folders([GALLERY], by="mode", phase="answer", control="token")

    @cached_property
    def domains(self) -> dict[str, list[RoutingTrace]]:
        """The recordings by what was asked."""
        found: dict[str, list[RoutingTrace]] = {}
        for entry, trace in zip(self.entries, self.traces, strict=True):
            signs = (("+", "addition"), ("×", "multiplication"), ("42", "sorting"))
            task = next((name for sign, name in signs if sign in entry["prompt"]), "words")
            found.setdefault(task, []).append(trace)
        return found

    @cached_property
    def texts(self) -> dict[int, str]:
        """Token id → text."""
        return {int(i): text for trace in self.traces for i, text in zip(trace.token_ids, trace.texts(), strict=True)}

    @cached_property
    def experiment(self) -> list[Reading]:
        """The first answer read again: as it is, with the busiest expert of layers 2 and 3 ablated, and with two random
        counterparts of that edit."""
        import torch

        from app.engine.base import RouterEdit
        from app.engine.edit_controls import random_controls
        from app.engine.edit_rules import touched_experts
        from app.engine.opening import open_engine
        from app.engine.recorder import record

        torch.set_num_threads(1)
        engine, written = open_engine(str(MODEL)), self.one
        named = [(layer, edited.busiest_experts(written, "generated", 1, layer)[0][1]) for layer in (2, 3)]
        edits = tuple(RouterEdit("ablate", (expert,), layer) for layer, expert in named)
        load = metrics.expert_load(written, "generated").values
        made = []
        for one in ((), edits, *random_controls(edits, written.spec, load, n=2, seed=0)):
            events = list(engine.score(written.token_ids.tolist(), edits=one, logprobs=True))
            trace = record(events, engine.spec, engine.provenance())
            experts = [(layer, e) for layer, those in touched_experts(one, written.spec).items() for e in those]
            as_written = replace(trace, phase=written.phase, origin=written.origin)
            made.append(Reading(as_written, [event.logprob for event in events], experts))
        return made

    @cached_property
    def with_outputs(self) -> list[RoutingTrace]:
        """The same tokens, read once more with all router scores and every expert's output measured."""
        import torch

        from app.engine.opening import open_engine

        torch.set_num_threads(1)  # the model is small, and threads that wait for each other on a busy machine are not
        engine = open_engine(str(MODEL))
        return [
            engine.run_forced(trace.token_ids.tolist(), expert_outputs=True, router_scores=True)
            for trace in self.traces
        ]

    @cached_property
    def checkpoints(self) -> dict[int, list[RoutingTrace]]:
        """How the bundled model routes some recorded answers after so many steps (the key) of training on them."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from app.engine.local import LocalEngine

        torch.manual_seed(0)
        torch.set_num_threads(1)
        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(MODEL)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        texts = [trace.token_ids.tolist() for trace in self.traces[:: len(self.traces) // TEXTS]]
        found = {}
        for step in range(LAST + 1):
            if step in (*STEPS, LAST):
                engine = LocalEngine(model.eval(), tokenizer)
                found[step] = [engine.run_forced(text) for text in texts]
                engine.close()
            model.train()
            ids = torch.tensor([texts[step % len(texts)]])
            with torch.enable_grad():
                model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return found

    def occurrences(self, text: str, phase: str = "thinking") -> Iterator[tuple[RoutingTrace, int]]:
        """Where a token with this text stands."""
        for trace in self.traces:
            rows = trace.rows_in(phase)
            for index, piece in enumerate(trace.texts()):
                row = index - trace.row_start
                if piece == text and 0 <= row < trace.num_rows and rows[row]:
                    yield trace, index


def in_context(trace: RoutingTrace, index: int, around: int = 5) -> str:
    """The text around a token, which stands in brackets."""
    texts = trace.texts()
    before, after = texts[max(0, index - around) : index], texts[index + 1 : index + 1 + around]
    return f"… {''.join(before)}[{texts[index]}]{''.join(after)} …"
