"""What ``compare`` does: recorded folders to a tested contrast, as plain JSON values and as text.

Knows the order of the steps; each is in a file of its own: ``recordings`` → ``shares`` → ``contrast`` → ``findings``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.contrast import MIN_COUNT, PERMUTATIONS, RATE, Contrast, contrast
from analysis.findings import Finding, finding, in_words
from analysis.recordings import Entry, Plan, plan, read_entries, sampled_apart
from analysis.shares import MIN_ROWS, measure
from analysis.storage import load
from analysis.trace import RoutingTrace
from analysis.words import Words

SHOWN = 20  # experts in the text
LEFT_OUT_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """A contrast with where it came from; ``plain`` is the same without the control, None where there was none.
    ``cautions`` are sentences on how it was recorded."""

    by: str
    cluster: str | None
    seed: int
    plan: Plan
    control: str
    contrast: Contrast
    plain: Contrast | None
    finding: Finding
    cautions: tuple[str, ...] = ()


def compare_folders(
    folders: Sequence[Path],
    by: str = "mode",
    phase: str = "generated",
    control: str = "none",
    cluster: str | None = None,
    groups: Sequence[str] = (),
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    min_rows: int = MIN_ROWS,
    min_count: int = MIN_COUNT,
) -> Comparison:
    """Usage::

        found = compare_folders([Path("recordings")], by="mode", control="token")
        print("\\n".join(in_words(found.finding)))

    Raises:
        UserError: a folder, label, phase or number that cannot be used, or a damaged file.
    """
    entries = read_entries(folders)
    found = compare_entries(entries, by, phase, control, cluster, groups, permutations, seed, min_rows, min_count)
    apart = sampled_apart(folders) if by == "mode" else []
    cautions = tuple(
        f"{folder}: the modes were sampled with different settings, which may cause a difference by itself; "
        "record --same-sampling avoids it"
        for folder in apart
    )
    return replace(found, cautions=cautions)


def compare_entries(
    entries: Sequence[Entry],
    by: str = "mode",
    phase: str = "generated",
    control: str = "none",
    cluster: str | None = None,
    groups: Sequence[str] = (),
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    min_rows: int = MIN_ROWS,
    min_count: int = MIN_COUNT,
) -> Comparison:
    """``compare_folders`` for traces wherever they lie; its cautions are for the caller to find."""
    made = plan(entries, by, phase, groups, cluster)
    return compare_plan(made, by, control, cluster, permutations, seed, min_rows, min_count)


def compare_plan(
    made: Plan,
    by: str,
    control: str = "none",
    cluster: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    min_rows: int = MIN_ROWS,
    min_count: int = MIN_COUNT,
    opened: Callable[..., RoutingTrace] = load,
) -> Comparison:
    """``compare_folders`` for traces that are chosen already; ``opened`` gives an entry's trace by its path.

    Raises:
        UserError: as ``compare_folders``.
    """
    tested = contrast(measure(made, control, min_rows, opened), permutations, seed, min_count)
    plain = None
    if control != "none":
        plain = contrast(measure(made, "none", min_rows, opened), permutations, seed, min_count)
    said = finding(tested, made.groups, made.phases, control, plain)
    return Comparison(by, cluster, seed, made, control, tested, plain, said)


def to_json(found: Comparison) -> dict[str, Any]:
    """``compare --json``. ``experts`` are those tested, the least q first; differences are shares of slots, the first
    group's minus the second's; ``p_family`` is max-T; ``layers`` are tested as wholes."""
    c, shares, test = found.contrast, found.contrast.shares, found.contrast.test
    numbers = shares.spec.layer_numbers
    order = np.argwhere(c.tested)
    order = order[np.lexsort((-np.abs(c.difference[c.tested]), test.p[c.tested], c.q[c.tested]))]
    experts = [
        {
            "layer": numbers[layer],
            "expert": int(expert),
            "difference": float(c.difference[layer, expert]),
            "ci_low": float(c.low[layer, expert]),
            "ci_high": float(c.high[layer, expert]),
            "p": float(test.p[layer, expert]),
            "q": float(c.q[layer, expert]),
            "p_family": float(test.p_family[layer, expert]),
            "first": float(shares.first[:, layer, expert].mean()),
            "second": float(shares.second[:, layer, expert].mean()),
        }
        for layer, expert in order
    ]
    return {
        "by": found.by,
        "groups": list(found.plan.groups),
        "phases": list(found.plan.phases),
        "paired": shares.paired,
        "pairs": len(shares.first) if shares.paired else 0,
        "prompts": [len(shares.first), len(shares.second)],
        "rows": list(shares.rows),
        "cluster": found.cluster,
        "units": c.units,
        "left_out": list(map(str, shares.left_out)),
        "cautions": list(found.cautions),
        "control": found.control,
        "coverage": None if shares.coverage is None else list(shares.coverage),
        "moe_layers": numbers,
        "num_experts": shares.spec.shared_value("num_experts"),
        "js_divergence": c.divergence.values.tolist(),
        "null_band": c.divergence.band.tolist(),
        "floor": [None if f is None else f.tolist() for f in c.floors],
        "p_layer": c.p_layer.tolist(),
        "permutations": test.permutations,
        "exact": test.exact,
        "seed": found.seed,
        "smallest_p": test.smallest_p,
        "fewest_visible": c.fewest_visible,
        "tested": int(c.tested.sum()),
        "interval_level": c.level,
        "significant": int(c.significant.sum()),
        "significant_family": int(np.count_nonzero(c.tested & (test.p_family < RATE))),
        "significant_without_control": None if found.plain is None else int(found.plain.significant.sum()),
        "kept_under_control": None if found.plain is None else found.finding.kept,
        "experts": experts,
        "finding": asdict(found.finding),
        "sentences": {code: in_words(found.finding, Words(code)) for code in ("en", "ja", "zh")},
    }


def describe(data: dict[str, Any], language: str = "en") -> str:
    """``to_json``'s values as text: the finding, the layers, and the experts with the least q."""
    a, b = data["groups"]
    size = (
        f"{data['pairs']} pairs" if data["paired"] else f"{data['prompts'][0]} against {data['prompts'][1]} prompts"
    ) + (f" in {data['units']} clusters" if data["cluster"] else "")
    flips = "sign flips" if data["paired"] else "label permutations"
    phases = " and ".join(dict.fromkeys(data["phases"]))
    lines = [
        *data["sentences"][language],
        "",
        f"{a} against {b}: {size}, {data['rows'][0]} and {data['rows'][1]} rows, phase {phases}, "
        f"control {data['control']}",
        f"{'all ' if data['exact'] else ''}{data['permutations']:,} {flips}, smallest attainable p "
        f"{data['smallest_p']:.2g}: at least {data['fewest_visible']} of {data['tested']} tested experts must reach it "
        "together to be reported",
    ]
    if data["coverage"]:
        lines.append(f"the control could use {data['coverage'][0]:.0%} and {data['coverage'][1]:.0%} of the rows")
    lines += [f"caution: {what}" for what in data["cautions"]]
    lines += [f"left out: {what}" for what in data["left_out"][:LEFT_OUT_SHOWN]]
    if len(data["left_out"]) > LEFT_OUT_SHOWN:
        lines.append(f"left out: {len(data['left_out']) - LEFT_OUT_SHOWN} more; --json names them")
    lines += ["", "layer  p (Holm)   JSD (bits, rarefied, all rows)  null band 95%      A/A' floor of each side"]
    for i, layer in enumerate(data["moe_layers"]):
        floors = "  ".join("   -  " if f is None else f"{f[i]:.4f}" for f in data["floor"])
        low, high = data["null_band"][i]
        js = f"{data['js_divergence'][i]:29.4f}"
        lines.append(f"{layer:5}  {data['p_layer'][i]:8.2g}   {js}   {low:.4f} to {high:.4f}   {floors}")
    interval = f"difference (points, {100 * data['interval_level']:.5g}% interval)"
    lines += ["", f"layer  expert  {a[:14]:>14}  {b[:14]:>14}  {interval:44}  p        q    max-T p"]
    for e in data["experts"][:SHOWN]:
        interval = f"{100 * e['difference']:+8.3f}  [{100 * e['ci_low']:+.3f}, {100 * e['ci_high']:+.3f}]"
        lines.append(
            f"{e['layer']:5}  {e['expert']:6}  {e['first']:14.3%}  {e['second']:14.3%}  {interval:38}"
            f"  {e['p']:8.2g} {e['q']:8.2g}   {e['p_family']:8.2g}"
        )
    if len(data["experts"]) > SHOWN:
        lines.append(f"… and {len(data['experts']) - SHOWN} more; --json has them all")
    return "\n".join(lines)
