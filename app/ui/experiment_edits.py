"""The edits of an experiment as values: made of fields, of text or of what an answer shows, described, and undone.

Knows requests, specifications and traces. Does not know Gradio. What comes from outside is checked here.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.edited import busiest_experts
from analysis.errors import BadValue
from analysis.metrics import expert_load
from analysis.show import edit_text
from analysis.trace import RouterSpec, RoutingTrace
from analysis.words import Words
from app.engine.base import EDITS, ChatRequest, RouterEdit
from app.engine.edit_rules import check_edits
from app.server import limits

Edits = tuple[RouterEdit, ...]

MAX_EDITS, MAX_PAST, MAX_TEXT, MAX_LINE = 256, 50, 8000, 160
ALL = "all"
MANY = 8
"""Experts of the preset that takes those a phase uses most."""

PRESETS = ("busiest", "thinking", "every", "half", "one")


@dataclass(frozen=True)
class History:
    """The edits that are set, and the sets before them, the latest last."""

    edits: Edits = ()
    past: tuple[Edits, ...] = ()

    def changed(self, edits: Edits) -> History:
        """With ``edits`` in place of those that are set."""
        return self if edits == self.edits else History(edits, (*self.past, self.edits)[-MAX_PAST:])

    def undone(self) -> History:
        """One step back; as it is where there is none."""
        return History(self.past[-1], self.past[:-1]) if self.past else self

    def without(self, index: Any) -> History:
        """Without the edit number ``index``; as it is where there is none."""
        known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(self.edits)
        return self.changed(self.edits[:index] + self.edits[index + 1 :]) if known else self


def checked(edits: Sequence[RouterEdit], spec: RouterSpec, words: Words) -> Edits:
    """``edits``, each of them once.

    Raises:
        BadValue: too many, or they do not fit the model or each other.
    """
    once = tuple(dict.fromkeys(edits))
    if len(once) > MAX_EDITS:
        raise BadValue(words("tabs.experiment.too_many", n=len(once), most=MAX_EDITS))
    check_edits(once, spec)
    return once


def from_fields(kind: Any, layers: Any, experts: Any, amount: Any, spec: RouterSpec, words: Words) -> Edits:
    """The edits that the fields say: one a chosen layer, or one for all.

    Args:
        layers: a list of "all" and layer numbers.
        experts: text such as "3, 17 or 4-7".

    Raises:
        BadValue: a field is missing or cannot be meant; one sentence that names it.
    """
    if kind not in EDITS:
        raise BadValue(f"Unknown edit {str(kind)[:40]!r}; expected one of {', '.join(EDITS)}.")
    chosen = layers if isinstance(layers, list | tuple) else [layers]
    if not chosen or chosen == [None]:
        raise BadValue(words("tabs.experiment.no_layer"))
    numbers: list[int | None] = [None]
    if ALL not in chosen:
        numbers = [limits.whole(layer, words("tabs.layer"), 0, 10**6) for layer in chosen]
    if kind == "top_k":
        most = max((layer.num_experts for layer in spec.layers), default=1)
        k = limits.whole(amount, words("tabs.experiment.amount_top_k"), 1, most)
        return tuple(RouterEdit("top_k", layer=layer, amount=float(k)) for layer in numbers)
    ids = _experts(experts, words)
    boost = limits.number(amount, words("tabs.experiment.amount_boost"), -1e6, 1e6) if kind == "boost" else 0.0
    return tuple(RouterEdit(kind, ids, layer, boost) for layer in numbers)


def _experts(text: Any, words: Words) -> tuple[int, ...]:
    text = limits.clean_text("" if text is None else text, MAX_TEXT, "text").strip()
    found: list[int] = []
    for part in re.split(r"[\s,;、，]+|\bor\b|\band\b", text):
        if not part:
            continue
        match = re.fullmatch(r"([0-9]{1,6})(?:[-–~]([0-9]{1,6}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not 0 <= last - first < 65_536:
            raise BadValue(words("tabs.experiment.bad_experts", value=part[:40]))
        found += range(first, last + 1)
    if not found:
        raise BadValue(words("tabs.experiment.no_expert"))
    return tuple(dict.fromkeys(found))


def to_text(edits: Sequence[RouterEdit]) -> str:
    """The edits as the command line takes them after ``--edit``, a blank between two."""
    return " ".join(edit_text(asdict(edit)) for edit in edits)


def from_text(text: Any) -> Edits:
    """What ``to_text`` gives; ``--edit`` before each is allowed.

    Raises:
        BadValue: an edit cannot be read; one sentence that repeats it.
    """
    parts = limits.clean_text("" if text is None else text, MAX_TEXT, "text").split()
    return tuple(RouterEdit.parse(part.removeprefix("--edit=")) for part in parts if part != "--edit")


def describe(edit: RouterEdit, words: Words) -> str:
    """The edit in plain words: "layer 3: expert 12 masked"."""
    say = lambda key, **values: words(f"tabs.experiment.{key}", **values)  # noqa: E731
    where = say("where_all") if edit.layer is None else say("where_one", layer=edit.layer)
    shown = ", ".join(map(str, edit.experts[:12])) + (", …" if len(edit.experts) > 12 else "")
    who = say("who_one" if len(edit.experts) == 1 else "who_many", experts=shown)
    amount = f"{edit.amount:g}" if edit.kind == "top_k" else f"{edit.amount:+g}"
    key = "chip.top_k_one" if edit.kind == "top_k" and edit.amount == 1 else f"chip.{edit.kind}"
    return say(key, where=where, who=who, amount=amount)


def in_brief(edits: Sequence[RouterEdit], words: Words) -> str:
    """The edits in one line that may be cut short; "" for none."""
    line = "; ".join(describe(edit, words) for edit in edits)
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def usable(trace: RoutingTrace, spec: RouterSpec) -> bool:
    """Whether ``trace`` is of a model with these layers and experts and has routing rows."""
    sizes = [[(layer.layer, layer.num_experts) for layer in one.layers] for one in (trace.spec, spec)]
    return sizes[0] == sizes[1] and bool(trace.num_rows) and bool(spec.layers)


def preset(name: Any, trace: RoutingTrace | None, layer: Any, spec: RouterSpec, words: Words) -> tuple[Edits, str]:
    """The edits of a preset, and a sentence of what in ``trace`` they were taken from.

    Raises:
        BadValue: it needs an answer and there is none; or the edits do not fit the model.
    """
    if name not in PRESETS or not spec.layers:
        raise BadValue(words("tabs.experiment.no_preset"))
    if name in ("half", "one"):
        ks = {entry.layer: max(1, entry.top_k // 2) if name == "half" else 1 for entry in spec.layers}
        whole = [RouterEdit("top_k", amount=float(k)) for k in set(ks.values())]
        each = [RouterEdit("top_k", layer=number, amount=float(k)) for number, k in ks.items()]
        usual = sorted({entry.top_k for entry in spec.layers})
        evidence = words("tabs.experiment.from_model", k=", ".join(map(str, usual)))
        return checked(whole if len(whole) == 1 else each, spec, words), evidence
    if trace is None or not usable(trace, spec):
        raise BadValue(words("tabs.experiment.no_evidence"))
    phase = "thinking" if name == "thinking" else "generated"
    rows = trace.rows_in(phase)
    if not rows.any():
        if name == "thinking":
            raise BadValue(words("tabs.experiment.no_thinking"))
        phase = "all"
    number = layer if layer in spec.layer_numbers and not isinstance(layer, bool) else spec.layer_numbers[0]
    if name == "busiest":
        kind, found = "mask", busiest_experts(trace, phase, 1, number)
    elif name == "thinking":
        kind, found = "mask", busiest_experts(trace, phase, MANY)
    else:
        kind, found = "ablate", [e for one in spec.layer_numbers for e in busiest_experts(trace, phase, 1, one)]
    load = expert_load(trace, phase)
    shares = [load.values[spec.position(at), expert] for at, expert in found]
    uniform = [1 / spec.layers[spec.position(at)].num_experts for at, _ in found]
    evidence = words(
        "tabs.experiment.evidence",
        share=f"{100 * sum(shares) / len(shares):.3g}",
        uniform=f"{100 * sum(uniform) / len(uniform):.3g}",
        phase=words(f"figures.phase.{phase}"),
        n=f"{load.n:,}",
    )
    return checked(grouped(kind, found), spec, words), evidence


def grouped(kind: str, experts: Sequence[tuple[int, int]]) -> Edits:
    """One edit a layer of (layer, expert) pairs."""
    layers = sorted({layer for layer, _ in experts})
    return tuple(RouterEdit(kind, tuple(sorted(e for at, e in experts if at == layer)), layer) for layer in layers)


def command(request: ChatRequest, model: str) -> str:
    """Shell lines that record the answer to ``request`` under its edits again; ``model`` is "" for the bundled one."""
    sampling = request.sampling
    assert sampling
    prompt = json.dumps({"prompt": request.messages[-1].content}, ensure_ascii=False)
    options = {
        "--model": model,
        "--mode": request.mode,
        "--temperature": f"{sampling.temperature:g}",
        "--top-p": f"{sampling.top_p:g}",
        "--max-new-tokens": str(sampling.max_tokens),
        "--seed": str(request.seed),
    }
    parts = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
    parts += [f"--edit {edit_text(asdict(edit))}" for edit in request.edits]
    record = f"python -m app record prompt.jsonl --out edited {' '.join(parts)}"
    return f"printf '%s\\n' {shlex.quote(prompt)} > prompt.jsonl\n{record}"


def with_edits(request: ChatRequest, edits: Sequence[RouterEdit]) -> ChatRequest:
    return replace(request, edits=tuple(edits))
