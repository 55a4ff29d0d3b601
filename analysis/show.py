"""What ``show`` prints of a trace: the load figures of a phase as plain JSON values, and the same in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.metrics import expert_load, load_entropy, max_violation
from analysis.trace import RoutingTrace


def summarize(trace: RoutingTrace, phase: str = "all") -> dict[str, Any]:
    """Sizes, phases and load of ``trace``; ``rows`` and the load figures count the rows in ``phase``.

    ``load`` is a list a layer, one share of slots an expert, summing to 1; ``load_entropy`` is in nats. A figure that
    no row supports is null.
    """
    load = expert_load(trace, phase)
    return {
        "model": trace.provenance.get("model"),
        "mode": trace.provenance.get("mode"),
        "phase": phase,
        "tokens": trace.num_tokens,
        "rows": load.n,
        "phases": trace.phase_counts(),
        "prompt": trace.prompt,
        "answer": trace.text_of("answer"),
        "moe_layers": trace.spec.layer_numbers,
        "num_experts": trace.spec.shared_value("num_experts"),
        "top_k": trace.spec.shared_value("top_k"),
        "load": [_numbers(row[: layer.num_experts]) for layer, row in zip(trace.spec.layers, load.values, strict=True)],
        "max_violation": _numbers(max_violation(trace, phase).values),
        "load_entropy": _numbers(load_entropy(trace, phase).values),
        "gate_weights": trace.expert_weights is not None,
        "router_scores": trace.router_scores is not None,
        "expert_outputs": trace.contribution is not None,
        "edits": edits_of(trace.provenance),
        "finish_reason": trace.provenance.get("finish_reason"),
        "capture_check": trace.provenance.get("capture_check"),
    }


def describe(summary: dict[str, Any]) -> str:
    """``summarize``'s figures as a few lines of text, a row a layer."""
    phases = ", ".join(f"{count} {name}" for name, count in summary["phases"].items())
    said = [f"{name}: {summary[name]}" for name in ("prompt", "answer") if summary[name]]
    lines = [
        *said,
        f"{summary['model']} · {summary['mode']} · {summary['tokens']} tokens ({phases})",
        f"{summary['rows']} routing rows, phase {summary['phase']}",
    ]
    if summary["edits"]:
        lines.append(f"routing edited: {', '.join(summary['edits'])} (top-k below is the most that a token may use)")
    if not summary["moe_layers"]:
        return "\n".join([*lines, "A dense model: it has no router."])
    lines.append("layer  experts  top-k  busiest expert (share of slots, uniform)  MaxVio  load entropy (nats)")
    for i, layer in enumerate(summary["moe_layers"]):
        load = summary["load"][i]
        experts, k = (v[i] if isinstance(v, list) else v for v in (summary["num_experts"], summary["top_k"]))
        if load[0] is None:
            lines.append(f"{layer:5}  {experts:7}  {k:5}  no rows in this phase")
            continue
        busiest = max(range(len(load)), key=load.__getitem__)
        lines.append(
            f"{layer:5}  {experts:7}  {k:5}  {f'{busiest}: {load[busiest]:.1%} ({1 / experts:.1%})':40}"
            f"  {summary['max_violation'][i]:6.2f}  {summary['load_entropy'][i]:.3f} of {np.log(experts):.3f}"
        )
    return "\n".join(lines)


def edit_text(edit: Any) -> str:
    """A router edit of a provenance, as it is written on the command line; anything else as it stands."""
    try:
        layer = "all" if edit.get("layer") is None else edit["layer"]
        exact = float(edit.get("amount") or 0)
        amount = f"{exact:g}" if float(f"{exact:g}") == exact else repr(exact)
        if edit["kind"] == "top_k":
            return f"top_k:{layer}:{amount}"
        experts = ",".join(map(str, edit.get("experts") or ()))
        return f"{edit['kind']}:{layer}:{experts}" + (f":{amount}" if edit["kind"] == "boost" else "")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        text = str(edit)
        return text if len(text) <= 60 else text[:59] + "…"


def edits_of(provenance: dict[str, Any]) -> list[str]:
    """The edits of the routing, in words; none where a file has something else there than a list."""
    edits = provenance.get("edits")
    return [edit_text(edit) for edit in edits] if isinstance(edits, list) else []


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
