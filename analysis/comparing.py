"""What ``compare`` does: recorded folders to a tested contrast, as plain JSON values and as text.

Knows the order of the steps; each is in a file of its own: ``recordings`` → ``shares`` → ``contrast`` → ``findings``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.confirmation import Confirmation, confirm
from analysis.contrast import MIN_COUNT, PERMUTATIONS, RATE, Contrast, contrast
from analysis.findings import Finding, finding, in_words
from analysis.recordings import Entry, Plan, plan
from analysis.shares import MIN_ROWS, Shares, measure
from analysis.sources import Reading, Sources, find_entries, sampled_apart
from analysis.words import Words

SHOWN = 20  # experts in the text
LEFT_OUT_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """A contrast with where it came from; ``plain`` is the same without the control, None where there was none.
    ``cautions`` are sentences on how it was recorded; ``confirmation`` is None unless it was asked for."""

    by: str
    cluster: str | None
    seed: int
    plan: Plan
    control: str
    contrast: Contrast
    plain: Contrast | None
    finding: Finding
    cautions: tuple[str, ...] = ()
    confirmation: Confirmation | None = None


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
    confirmed: bool = False,
) -> Comparison:
    """Usage::

        found = compare_folders([Path("recordings")], by="mode", control="token")
        print("\\n".join(in_words(found.finding)))

    Args:
        folders: recorded folders and collections.
        confirmed: also discover experts on a random half of the prompts and test them again on the other half.

    Raises:
        UserError: a folder, label, phase or number that cannot be used, or a damaged file.
    """
    made = plan(find_entries(folders), by, phase, groups, cluster)
    found = compare_plan(made, by, control, cluster, permutations, seed, min_rows, min_count, confirmed)
    if not sampled_apart(made):
        return found
    avoid = "; record --same-sampling avoids it" if by == "mode" else ""
    caution = f"the two sides were sampled with different settings, which may cause a difference by itself{avoid}"
    return replace(found, cautions=(caution,))


def compare_plan(
    made: Plan,
    by: str,
    control: str = "none",
    cluster: str | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    min_rows: int = MIN_ROWS,
    min_count: int = MIN_COUNT,
    confirmed: bool = False,
    opened: Callable[[Entry], Reading] | None = None,
) -> Comparison:
    """``compare_folders`` for traces that are chosen already; ``opened`` gives what an entry stands for, by default
    what its file holds. Cautions are for the caller to find.

    Raises:
        UserError: as ``compare_folders``.
    """
    if opened is None:
        with Sources() as sources:
            return compare_plan(
                made, by, control, cluster, permutations, seed, min_rows, min_count, confirmed, sources.open
            )

    def measured(part: Plan, by_control: str = control) -> Shares:
        return measure(part, by_control, min_rows, opened)

    again = confirm(made, measured, permutations, seed, min_count) if confirmed else None
    tested = contrast(measured(made), permutations, seed, min_count)
    plain = None if control == "none" else contrast(measured(made, "none"), permutations, seed, min_count)
    said = finding(tested, made.groups, made.phases, control, plain, again)
    return Comparison(by, cluster, seed, made, control, tested, plain, said, confirmation=again)


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
        "js_divergence": _known(c.divergence.values),
        "null_band": [_known(band) for band in c.divergence.band],
        "floor": [None if f is None else _known(f) for f in c.floors],
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
        "confirmation": None if found.confirmation is None else _confirmation(found.confirmation),
        "finding": asdict(found.finding),
        "sentences": {code: in_words(found.finding, Words(code)) for code in ("en", "ja", "zh")},
    }


def _known(values: np.ndarray) -> list[float | None]:
    """None for what cannot be computed: a layer in which a side selected nothing."""
    return [None if np.isnan(v) else float(v) for v in values]


def _bits(value: float | None) -> str:
    return "   -  " if value is None else f"{value:.4f}"


def _confirmation(found: Confirmation) -> dict[str, Any]:
    """Discovered experts, the least p of the confirmation half first."""
    numbers = found.halves[0].spec.layer_numbers
    order = np.argwhere(found.discovered)
    order = order[np.lexsort((-np.abs(found.difference[found.discovered]), found.p[found.discovered]))]
    return {
        "discovered": int(np.count_nonzero(found.discovered)),
        "confirmed": int(np.count_nonzero(found.confirmed)),
        "tested": found.tested,
        "tested_again": int(np.count_nonzero(found.tested_again)),
        "prompts": [[len(half.first), len(half.second)] for half in found.halves],
        "units": list(found.units),
        "smallest_p": list(found.smallest_p),
        "reachable": [bool(r) for r in found.reachable],
        "interval_level": found.level,
        "experts": [
            {
                "layer": numbers[layer],
                "expert": int(expert),
                "discovery_difference": float(found.discovery_difference[layer, expert]),
                "discovery_q": float(found.discovery_q[layer, expert]),
                "difference": float(found.difference[layer, expert]),
                "ci_low": float(found.low[layer, expert]),
                "ci_high": float(found.high[layer, expert]),
                "p": float(found.p[layer, expert]) if found.tested_again[layer, expert] else None,
                "q": float(found.q[layer, expert]) if found.tested_again[layer, expert] else None,
                "confirmed": bool(found.confirmed[layer, expert]),
            }
            for layer, expert in order
        ],
    }


def _reach(visible: int, tested: int) -> str:
    if visible > tested:
        return f"not even all {tested} tested experts together would be reported"
    return f"at least {visible} of {tested} tested experts must reach it together to be reported"


def _describe_confirmation(data: dict[str, Any]) -> list[str]:
    sizes = " and ".join(str(a) if a == b else f"{a} against {b}" for a, b in data["prompts"])
    lines = [
        "",
        f"discovered on one half of the prompts and tested on the other ({sizes} prompts): {data['discovered']} "
        f"discovered, {data['tested_again']} tested again, {data['confirmed']} confirmed",
    ]
    if not data["experts"]:
        return lines
    interval = f"on the other (points, {100 * data['interval_level']:.5g}% interval)"
    lines.append(f"layer  expert  discovered  {interval:44}  p, one-sided     q")
    for e in data["experts"][:SHOWN]:
        interval = f"{100 * e['difference']:+8.3f}  [{100 * e['ci_low']:+.3f}, {100 * e['ci_high']:+.3f}]"
        tested = "not tested again" if e["p"] is None else f"{e['p']:12.2g} {e['q']:8.2g}"
        lines.append(
            f"{e['layer']:5}  {e['expert']:6}  {100 * e['discovery_difference']:+10.3f}  {interval:44}  "
            f"{tested}{'' if e['confirmed'] or e['p'] is None else '   not confirmed'}"
        )
    if len(data["experts"]) > SHOWN:
        lines.append(f"… and {len(data['experts']) - SHOWN} more; --json has them all")
    return lines


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
        f"{data['smallest_p']:.2g}: {_reach(data['fewest_visible'], data['tested'])}",
    ]
    if data["coverage"]:
        lines.append(f"the control could use {data['coverage'][0]:.0%} and {data['coverage'][1]:.0%} of the rows")
    lines += [f"caution: {what}" for what in data["cautions"]]
    lines += [f"left out: {what}" for what in data["left_out"][:LEFT_OUT_SHOWN]]
    if len(data["left_out"]) > LEFT_OUT_SHOWN:
        lines.append(f"left out: {len(data['left_out']) - LEFT_OUT_SHOWN} more; --json names them")
    lines += ["", "layer  p (Holm)   JSD (bits, rarefied, all rows)  null band 95%      A/A' floor of each side"]
    for i, layer in enumerate(data["moe_layers"]):
        floors = "  ".join(_bits(None if f is None else f[i]) for f in data["floor"])
        low, high = map(_bits, data["null_band"][i])
        js = f"{_bits(data['js_divergence'][i]):>29}"
        lines.append(f"{layer:5}  {data['p_layer'][i]:8.2g}   {js}   {low} to {high}   {floors}")
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
    if data["confirmation"]:
        lines += _describe_confirmation(data["confirmation"])
    return "\n".join(lines)
