"""Commands that need recordings and no model: ``compare | report | show | pack | import``.

Knows arguments and what is printed. Does not know engines or the page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from analysis.errors import BadValue, TraceError
from analysis.trace import PHASE_GROUPS


def a_path(text: str) -> Path:
    """A path that was given; ``Path("")`` would be the folder one happens to be in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; give a name")
    return Path(text)


def add_parsers(commands: Any) -> None:
    """Their arguments, each command a parser of its own."""
    compare = commands.add_parser("compare", help="test which experts two groups of recordings use differently")
    compare.add_argument(
        "folders", metavar="DIR", type=a_path, nargs="+", help="folders of record, or of pack; several are joined"
    )
    _add_comparison(compare)
    compare.add_argument("--json", action="store_true", help="print JSON")

    report = commands.add_parser("report", help="write one offline HTML file on recordings, compared where they can be")
    report.add_argument(
        "places", metavar="DIR", type=a_path, nargs="+", help="folders of record, or trace files; several are joined"
    )
    report.add_argument("--out", metavar="REPORT.html", type=a_path, required=True, help="the file to write")
    _add_comparison(report)
    report.add_argument("--title", metavar="TEXT", default="", help="heading of the report (default: what is compared)")
    report.add_argument("--json", action="store_true", help="print JSON: what was written")

    show = commands.add_parser("show", help="print what a trace holds")
    show.add_argument("trace", metavar="TRACE", type=a_path, help="a .safetensors file of record or of the page")
    show.add_argument("--phase", choices=tuple(PHASE_GROUPS), default="all", help="rows that count (default: all)")
    show.add_argument("--json", action="store_true", help="print JSON")

    pack = commands.add_parser("pack", help="write recordings as one folder of Parquet, for any number of traces")
    pack.add_argument("folders", metavar="DIR", type=a_path, nargs="+", help="a folder of record, or its shards")
    pack.add_argument("--out", metavar="COLLECTION", type=a_path, required=True, help="the folder to make")
    pack.add_argument("--summaries", action="store_true", help="also keep entropy, margin and top-k mass")
    pack.add_argument("--json", action="store_true", help="print JSON")

    importing = commands.add_parser("import", help="make a trace of routing arrays that came from elsewhere")
    importing.add_argument("file", metavar="FILE", type=a_path, help=".npy, .npz, an answer in .json, a recorder's .pt")
    importing.add_argument(
        "--from", dest="source", choices=("vllm", "sglang", "npz"), required=True, help="who made it"
    )
    importing.add_argument("--spec", metavar="CONFIG.json", type=a_path, required=True, help="the model's config.json")
    importing.add_argument("--tokens", metavar="FILE", type=a_path, help="JSON: token ids, or an object with token_ids")
    importing.add_argument("--out", metavar="TRACE", type=a_path, required=True, help="the trace file to write")
    importing.add_argument("--json", action="store_true", help="print JSON")


def _add_comparison(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--by", metavar="mode|phase|model|LABEL", default="mode", help="what tells the two groups apart (default: mode)"
    )
    command.add_argument("--groups", metavar=("A", "B"), nargs=2, help="the two values, where there are more")
    command.add_argument(
        "--phase",
        choices=("generated", "thinking", "answer", "prompt"),
        default="generated",
        help="(default: generated)",
    )
    command.add_argument(
        "--control",
        choices=("none", "token", "position"),
        default="none",
        help="compare only the same token ids, or the same positions, of both sides (default: none)",
    )
    command.add_argument(
        "--confirm",
        dest="confirmed",
        action="store_true",
        help="also discover experts on a random half of the prompts and test them again on the other half",
    )
    command.add_argument("--cluster", metavar="LABEL", help="prompts that share its value stay together in the test")
    command.add_argument("--permutations", metavar="N", type=int, default=100_000, help="(default: 100,000)")
    command.add_argument("--seed", metavar="S", type=int, default=0, help="of permutations and halves (default 0)")
    command.add_argument("--language", choices=("en", "ja", "zh"), default="en", help="of what is said (default: en)")


def _comparison(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of ``_add_comparison`` that concern the test."""
    if arguments.seed < 0:
        raise BadValue(f"--seed must be 0 or more, not {arguments.seed}.")
    names = ("by", "phase", "control", "cluster", "permutations", "seed", "confirmed")
    return {**{name: getattr(arguments, name) for name in names}, "groups": tuple(arguments.groups or ())}


def _compare(arguments: argparse.Namespace) -> int:
    from analysis.comparing import compare_folders, describe, to_json

    found = compare_folders(arguments.folders, **_comparison(arguments))
    data = to_json(found)
    if arguments.json:
        print_json(data)
    else:
        print_text(describe(data, arguments.language))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from analysis.report import Options, write_report
    from app import __version__

    options = Options(**_comparison(arguments), language=arguments.language, title=arguments.title)
    summary = write_report(arguments.places, arguments.out, options, __version__)
    if arguments.json:
        print_json(summary)
        return 0
    found = summary["finding"] if summary["compared"] else "No comparison (it says why)."
    size = f"{summary['bytes'] / 1e6:.1f} MB"
    print_text(f"{summary['out']}: recordings {summary['traces']}, prompts {summary['prompts']}, {size}. {found}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from analysis.show import describe, summarize
    from analysis.storage import load

    summary = summarize(load(arguments.trace), arguments.phase)
    if arguments.json:
        print_json(summary)
    else:
        print_text(describe(summary))
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from analysis.packing import pack

    summary = pack(arguments.folders, arguments.out, arguments.summaries)
    if arguments.json:
        print_json(summary)
        return 0
    state = "packed" if summary["written"] else "was packed already"
    print_text(
        f"{summary['out']} {state}: {summary['traces']} traces, {summary['rows']} routed tokens, "
        f"{summary['bytes'] / 1e6:.1f} MB (the traces: {summary['trace_bytes'] / 1e6:.1f} MB)"
    )
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from analysis.config_spec import read_config
    from analysis.import_files import read_arrays, read_tokens
    from analysis.imports import to_trace
    from analysis.storage import read_provenance, save

    try:
        if arguments.out.exists():
            read_provenance(arguments.out)
    except TraceError:
        raise BadValue(f"{arguments.out} exists and is not a trace; choose another name or remove it.") from None
    facts = read_config(arguments.spec)
    if arguments.source == "sglang" and arguments.file.suffix == ".pt":
        from app.engine.dumps import read_dump

        arrays, tokens = read_dump(arguments.file)
    else:
        arrays, tokens = read_arrays(arguments.file, arguments.source, facts)
    if arguments.tokens:
        tokens = read_tokens(arguments.tokens)
    trace = to_trace(arrays, facts, arguments.source, tokens, str(arguments.file))
    save(trace, arguments.out)
    summary = {
        "out": str(arguments.out),
        "tokens": trace.num_tokens,
        "rows": trace.num_rows,
        "moe_layers": trace.spec.layer_numbers,
        "num_experts": trace.spec.num_experts,
        "top_k": trace.spec.top_k,
        "gate_weights": trace.expert_weights is not None,
        "tokens_known": tokens is not None,
    }
    if arguments.json:
        print_json(summary)
    else:
        weights = "with gate weights" if summary["gate_weights"] else "gate weights not available from this engine"
        print_text(f"{arguments.out}: {trace.num_rows} rows, {trace.spec.num_moe_layers} MoE layers, {weights}")
    return 0


COMMANDS = {"compare": _compare, "report": _report, "show": _show, "pack": _pack, "import": _import}


def print_json(data: Any) -> None:
    """One line of JSON, text as it is."""
    print_text(json.dumps(data, ensure_ascii=False, allow_nan=False))


def print_text(text: str) -> None:
    """Text from files may hold what no terminal can show; flushed here, where a full disk can still be reported."""
    print(text.encode("utf-8", "replace").decode(), flush=True)
