"""What a report is made of: recordings read once, a trace at a time; only sums, counts and facts stay in memory.

Knows recorded folders and trace files. Does not know tests (``comparing``) or pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis import counts as from_counts
from analysis.coactivation import count_pairs, lift_of, routed_tokens
from analysis.errors import BadValue
from analysis.metrics import absent_experts, expert_counts, per_layer
from analysis.recordings import INDEX, NO_LABELS, Entry, read_entries
from analysis.report_provenance import Facts, together
from analysis.report_sample import SummarySample
from analysis.sources import load_recorded
from analysis.statistic import Statistic
from analysis.storage import load
from analysis.trace import PHASE_GROUPS, Phase, RouterSpec, RoutingTrace

PHASES = tuple(phase.label for phase in Phase)
PAIR_TOKENS = 20  # below which an expert's company is not shown: ratios of rare experts are wild


@dataclass
class Group:
    """The traces that share a value of the label compared.

    Attributes:
        name: that value; "" where all traces are one group.
        spec: the routers.
        traces: how many.
        prompts: their digests.
        tokens, rows: by phase; a turn's last token has no row.
        counts: by phase, (L, E) selections.
        summaries: by phase, how sure the routers were.
        facts: where the traces come from.
    """

    name: str
    spec: RouterSpec
    traces: int = 0
    prompts: set[str] = field(default_factory=set)
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    summaries: dict[str, SummarySample] = field(default_factory=lambda: {p: SummarySample(p) for p in PHASES})
    facts: Facts = field(default_factory=Facts)

    def add(self, entry: Entry, trace: RoutingTrace) -> None:
        self.traces += 1
        self.prompts.add(entry.digest)
        for name, number in trace.phase_counts().items():
            self.tokens[name] += number
        for name in PHASES:
            rows = trace.rows_in(name)
            self.rows[name] += int(np.count_nonzero(rows))
            self.counts[name] = self.counts.get(name, 0) + expert_counts(trace, rows)
            self.summaries[name].add(trace)
        self.facts.add(trace.provenance)

    def rows_in(self, phase: str) -> int:
        """Rows in a phase or group of phases."""
        return sum(self.rows[part.label] for part in PHASE_GROUPS[phase])

    def load(self, phase: str) -> Statistic:
        """``metrics.expert_load`` of all its traces together."""
        return from_counts.load(**self._counted(phase))

    def balance(self, measure: str, phase: str) -> Statistic:
        """A measure of ``counts.balance_of`` of all its traces together."""
        return from_counts.balance_of(measure, **self._counted(phase))

    def _counted(self, phase: str) -> dict[str, Any]:
        found = np.sum([self.counts[part.label] for part in PHASE_GROUPS[phase]], axis=0).astype(np.float64)
        found[absent_experts(self.spec)] = np.nan
        return {
            "counts": found,
            "top_k": per_layer(self.spec, lambda layer: layer.top_k).astype(int),
            "layers": self.spec.layer_numbers,
            "n": self.rows_in(phase),
            "phase": phase,
        }


@dataclass(frozen=True)
class Recorded:
    """Attributes:
    spec: the routers of all traces.
    groups: in the order of the comparison.
    prompts: (prompt, labels, number of traces), one a prompt.
    beside: traces that belong to neither group.
    """

    spec: RouterSpec
    groups: tuple[Group, ...]
    prompts: tuple[tuple[str, str, int], ...]
    beside: int


def find_entries(paths: Sequence[Path]) -> list[Entry]:
    """Every trace of recorded folders and of trace files, each once.

    Raises:
        UserError: a path is neither, or is damaged.
    """
    found: dict[Path, Entry] = {}
    for path in paths:
        if path.is_dir():
            entries = read_entries([path])
        elif path.is_file():
            entries = [_entry(path)]
        else:
            raise BadValue(f"{path} does not exist; give a recorded folder or a trace file.")
        for entry in entries:
            found.setdefault(entry.path.resolve(), entry)
    return list(found.values())


def _entry(path: Path) -> Entry:
    """A trace file by itself: what an index would say of it stands in its provenance."""
    if path.name == INDEX:
        raise BadValue(f"{path} is an index; give the folder that holds it.")
    trace = load(path)
    about = trace.provenance
    asked = json.dumps(about.get("messages"), sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    line = {"file": path.name, "prompt": trace.prompt} | {
        name: about[name] for name in ("mode", "seed") if about.get(name) is not None
    }
    return Entry(path, trace.prompt, digest, str(about.get("model_name") or about.get("model") or ""), line)


def gather(entries: Sequence[Entry], by: str, names: Sequence[str] = ()) -> Recorded:
    """Read every trace once.

    Args:
        by: the label whose values make the groups; "phase" makes one group of all.
        names: the groups wanted and their order; all, in the order they come in, where it is empty.

    Raises:
        UserError: a trace is damaged, dense or of other routers than the others.
    """
    groups: dict[str, Group] = {}
    prompts: dict[str, tuple[str, str, int]] = {}
    spec: RouterSpec | None = None
    beside = 0
    for entry in entries:
        name = _group_of(entry, by)
        if names and by != "phase" and name not in names:
            beside += 1
            continue
        trace = load_recorded(entry.path, entry.line)
        spec = spec or trace.spec
        if not trace.spec.num_moe_layers:
            raise BadValue(f"{entry.path} comes from a dense model: it has no router to report on.")
        if trace.spec != spec:
            raise BadValue(f"{entry.path} comes from other routers than the traces before it; report on them apart.")
        group = groups.setdefault(name, Group(name, spec))
        group.add(entry, trace)
        text, labels, number = prompts.get(entry.digest, (entry.prompt, _labels(entry), 0))
        prompts[entry.digest] = text, labels, number + 1
    if spec is None:
        raise BadValue(f"No trace has {by} {' or '.join(names)}.")
    ordered = [groups[name] for name in names if name in groups] if names and by != "phase" else list(groups.values())
    return Recorded(spec, tuple(ordered), tuple(prompts.values()), beside)


def merged(groups: Sequence[Group]) -> Group:
    """Several groups as one, for what is said of all recordings together."""
    whole = replace(groups[0], name="", facts=together([g.facts for g in groups]))
    whole.traces = sum(g.traces for g in groups)
    whole.prompts = set().union(*(g.prompts for g in groups))
    for name in ("tokens", "rows", "counts"):
        setattr(whole, name, {phase: sum(getattr(g, name)[phase] for g in groups) for phase in PHASES})
    return whole


def pair_lift(entries: Sequence[Entry], by: str, name: str, phase: str, layer: int) -> Statistic:
    """``coactivation.coactivation_lift`` of one layer, its model's number, over all traces of a group; experts with
    fewer than ``PAIR_TOKENS`` tokens are left out. Reads the group's traces again."""
    both: Any = 0
    routed: Any = 0
    n = 0
    for entry in entries:
        if _group_of(entry, by) == name:
            trace = load_recorded(entry.path, entry.line)
            position, rows = trace.spec.position(layer), np.flatnonzero(trace.rows_in(phase))
            spec = RouterSpec((trace.spec.layers[position],))
            both = both + count_pairs(trace.expert_ids[rows][:, [position]], spec.num_experts)
            routed, n = routed + routed_tokens(trace, rows)[[position]], n + len(rows)
    return lift_of(both, routed, n, spec, phase, PAIR_TOKENS)


def _group_of(entry: Entry, by: str) -> str:
    return "" if by == "phase" else entry.label(by) or ""


def _labels(entry: Entry) -> str:
    """What the index says of a prompt beyond the keys that every recording has."""
    return ", ".join(f"{key}: {entry.label(key)}" for key in entry.line if key not in NO_LABELS)
