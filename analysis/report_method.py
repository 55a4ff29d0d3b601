"""How a report's numbers came about, what they cannot show, and the commands that give them again.

Knows the comparison and the settings of recorded folders. Does not compute anything.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.contrast import MIN_COUNT, RATE, SKEWED_COUNT
from analysis.group_js import DRAWS, PERMUTATIONS
from analysis.recordings import SETTINGS, Entry
from analysis.report_html import Html, details, foreign, items, join, tag
from analysis.report_sections import Content, phase_name
from analysis.shares import MIN_ROWS
from analysis.words import Words

LEFT_OUT_SHOWN = 20
BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "mini-qwen3-moe"


def method(content: Content, words: Words) -> Html:
    """What was done, one point a line."""
    found = content.comparison
    if found is None:
        return _points([(name, words(f"report.method.{name}")) for name in ("load", "balance")], words)
    contrast, test, shares = found.contrast, found.contrast.test, found.contrast.shares
    a, b = found.plan.groups
    phases = " / ".join(phase_name(p, words) for p in dict.fromkeys(found.plan.phases))
    tested = int(contrast.tested.sum())
    kind = "paired" if shares.paired else "unpaired"
    control = found.control if found.control == "none" or shares.paired else f"{found.control}_unpaired"
    lines = [
        ("compared", words("report.method.compared", a=a, b=b, by=found.by, phases=phases)),
        ("unit", words(f"report.method.unit_{shares.design}", n=len(shares.first), m=len(shares.second))),
    ]
    if found.cluster:
        lines.append(("clusters", words("report.method.clusters", label=found.cluster, n=contrast.units)))
    number = f"{test.permutations:,}"
    floor = "no_floor" if all(f is None for f in contrast.floors) else "floor"
    lines += [
        ("test", words(f"report.method.test_{kind}")),
        ("permutations", words(f"report.method.{'exact' if test.exact else 'drawn'}", n=number, seed=found.seed)),
        (
            "smallest",
            words(
                "report.method.smallest",
                p=f"{test.smallest_p:.2g}",
                visible=f"{contrast.fewest_visible:,}",
                tested=f"{tested:,}",
            ),
        ),
        ("corrections", words("report.method.corrections", rate=f"{RATE:.0%}")),
        ("intervals", words("report.method.intervals", level=f"{100 * contrast.level:.5g}%")),
        ("counted", words("report.method.counted", rows=MIN_ROWS, least=MIN_COUNT, skewed=SKEWED_COUNT)),
        ("divergence", words("report.method.divergence", draws=DRAWS, permutations=PERMUTATIONS)),
        ("floor", words(f"report.method.{floor}")),
        ("control", words(f"report.method.control_{control}")),
    ]
    if shares.coverage:
        coverage = [f"{share:.0%}" for share in shares.coverage]
        lines.append(("coverage", words("report.method.coverage", a=a, b=b, first=coverage[0], second=coverage[1])))
    lines += [("load", words("report.method.load")), ("balance", words("report.method.balance"))]
    return join([_points(lines, words), _left_out(content, words)])


def _points(lines: Sequence[tuple[str, str]], words: Words) -> Html:
    parts = [part for name, said in lines for part in (tag("dt", words(f"report.point.{name}")), tag("dd", said))]
    return tag("dl", *parts)


def _left_out(content: Content, words: Words) -> Html:
    assert content.comparison is not None
    left = content.comparison.contrast.shares.left_out
    if not left:
        return tag("p", words("report.nothing_left_out"))
    said = [foreign(what.in_words(words)) for what in left]
    rest = details(words("report.left_out_more", n=f"{len(said) - LEFT_OUT_SHOWN:,}"), items(said[LEFT_OUT_SHOWN:]))
    return join(
        [
            tag("h3", words("report.left_out")),
            items(said[:LEFT_OUT_SHOWN]),
            rest if len(said) > LEFT_OUT_SHOWN else "",
        ]
    )


def limits(content: Content, words: Words) -> Html:
    """What nobody should read into the report."""
    found = content.comparison
    keys = ["cause", "sample", "load"]
    if found is None:
        keys.insert(0, "described")
    else:
        keys += ["silence", "positions"] if content.by != "phase" else ["silence", "phases"]
        keys += ["words"] if found.control == "none" else []
        keys += ["weights"] if content.by == "model" else []
    return items([words(f"report.limit.{key}") for key in [*keys, "noise", "index"]])


def reproduce(report: Sequence[str], compare: Sequence[str], entries: Sequence[Entry], words: Words) -> Html:
    """The commands: how it was recorded, as far as the folders say, how this file is made, and the numbers alone.

    Args:
        report, compare: the arguments of these commands; no ``compare`` where nothing was compared.
    """
    folders = list(dict.fromkeys(entry.path.parent for entry in entries))
    recorded = [line for folder in folders if (line := _record_command(folder, entries))]
    shown = []
    if recorded:
        shown += [tag("p", words("report.reproduce_record")), _code(recorded)]
    shown += [tag("p", words("report.reproduce_report")), _code([_line(report)])]
    if compare:
        shown += [tag("p", words("report.reproduce_compare")), _code([_line(compare)])]
    return join([*shown, tag("p", words("report.reproduce_noise"))])


def _record_command(folder: Path, entries: Sequence[Entry]) -> str:
    """``record`` with the settings that the folder names; "" where it names none."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        lines = [entry.line for entry in entries if entry.path.parent == folder]
        return _line(["record", "PROMPTS", "--out", str(folder), *_recorded_options(settings, lines)])
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return ""


def _recorded_options(settings: dict[str, Any], lines: Sequence[dict[str, Any]]) -> list[str]:
    model = str(settings.get("model") or "")
    said = ["--model", model] if model and Path(model) != BUNDLED else []
    modes = {line.get("hard_switch") for line in lines} & {"thinking", "non-thinking"}
    if modes:
        said += ["--mode", "both" if len(modes) > 1 else str(modes.pop())]
    quantization = str(settings.get("quantization") or "")
    said += [part for bits in ("4bit", "8bit") if quantization.startswith(bits) for part in ("--quantize", bits)]
    names = ("thinking_budget", "max_new_tokens", "temperature", "top_p", "top_k", "seed")
    for name in names:
        if settings.get(name) is not None:
            said += [f"--{name.replace('_', '-')}", str(settings[name])]
    samples = 1 + max((int(line.get("sample") or 0) for line in lines), default=0)
    said += ["--samples", str(samples)] if samples > 1 else []
    flags = ("same_sampling", "forced", "router_scores", "expert_outputs")
    said += [f"--{name.replace('_', '-')}" for name in flags if settings.get(name)]
    return said + [part for edit in settings.get("edits") or [] for part in ("--edit", str(edit))]


def _line(parts: Sequence[str]) -> str:
    return "python -m app " + shlex.join(parts)


def _code(lines: Sequence[str]) -> Html:
    return tag("pre", tag("code", "\n".join(lines)), tabindex="0")
