"""The command line: ``python -m app COMMAND``. Here the commands that run a model: ``serve | check | record | noise``.

Knows arguments and what is printed. A user's mistake is one line on standard error and exit code 2; the page and the
engine are imported only by the commands that need them. What is done with files alone is in ``cli_files``.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from analysis.errors import BadValue, ModelError, UserError
from app import cli_files
from app.cli_files import a_path, print_json, print_text


class _Parser(argparse.ArgumentParser):
    """argparse with one line instead of the usage text when something is wrong."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    main_parser = _Parser(prog="python -m app", description="Watch a Qwen3 mixture-of-experts model route every token.")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="open the page")
    serve.add_argument("--model", help="folder or hub name (default: the bundled model)")
    _add_engine(serve)
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 for everyone on the network)")
    serve.add_argument("--port", type=int, help="port (default 7860; the next free one if it is taken)")
    serve.add_argument("--quantize", choices=("4bit", "8bit"), help="quantize the weights while loading")
    serve.add_argument("--open", action="store_true", help="open a browser where there is one")

    check = commands.add_parser("check", help="load a checkpoint and verify the capture of its routing")
    check.add_argument("model", metavar="M", help="folder or hub name")
    check.add_argument("--quantize", choices=("4bit", "8bit"), help="quantize the weights while loading")
    check.add_argument("--json", action="store_true", help="print JSON")

    record = commands.add_parser("record", help="answer (or route) every prompt of a file and keep the traces")
    record.add_argument("prompts", metavar="PROMPTS", type=a_path, help=".txt (a prompt a line) or .jsonl")
    record.add_argument("--out", metavar="DIR", type=a_path, required=True, help="folder of the traces and index.jsonl")
    record.add_argument("--model", help="folder or hub name (default: the bundled model)")
    _add_engine(record)
    record.add_argument("--quantize", choices=("4bit", "8bit"), help="quantize the weights while loading")
    record.add_argument(
        "--mode", choices=("thinking", "non-thinking", "both"), default="thinking", help="(default: thinking)"
    )
    record.add_argument("--same-sampling", action="store_true", help="with both: thinking's settings in both modes")
    record.add_argument("--thinking-budget", metavar="N", type=int, help="most thinking tokens (default: no limit)")
    record.add_argument("--max-new-tokens", metavar="N", type=int, default=2048, help="most tokens an answer (2048)")
    record.add_argument("--temperature", metavar="T", type=float, help="default: as Qwen3's authors recommend")
    record.add_argument("--top-p", metavar="P", type=float, help="as --temperature")
    record.add_argument("--top-k", metavar="K", type=int, help="as --temperature; 0 keeps all")
    record.add_argument("--seed", metavar="S", type=int, default=0, help="sample i of a prompt uses S + i (default 0)")
    record.add_argument("--samples", metavar="N", type=int, default=1, help="answers a prompt and mode")
    record.add_argument(
        "--forced",
        action="store_true",
        help="route each text as it stands, without generating: mode, limits, sampling, samples and seed are not used",
    )
    record.add_argument("--router-scores", action="store_true", help="also keep the scores of all experts")
    record.add_argument(
        "--expert-outputs", action="store_true", help="also measure what each expert adds (takes about twice as long)"
    )
    record.add_argument(
        "--edit",
        action="append",
        default=[],
        metavar="EDIT",
        help="change the routing: mask:LAYER:EXPERTS, boost:LAYER:EXPERTS:AMOUNT, force:LAYER:EXPERTS, "
        "ablate:LAYER:EXPERTS or top_k:LAYER:K; LAYER may be all, EXPERTS are numbers with commas; repeat for more",
    )
    record.add_argument("--shard", metavar="i/n", help="only every n-th prompt, beginning with the i-th (from 1)")
    record.add_argument("--json", action="store_true", help="print JSON")

    noise = commands.add_parser("noise", help="measure how far runs of the same text differ that ought to be the same")
    noise.add_argument(
        "model", metavar="M", nargs="?", default="", help="folder or hub name (default: the bundled model)"
    )
    noise.add_argument("--text", metavar="FILE", type=a_path, help="the text to route (default: one of our own)")
    noise.add_argument("--quantize", choices=("4bit", "8bit"), help="also compare with the model quantized")
    noise.add_argument("--one-dtype", action="store_true", help="make no copy of the model in another dtype")
    noise.add_argument("--json", action="store_true", help="print JSON")

    cli_files.add_parsers(commands)
    return main_parser


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--compile", action="store_true", help="compile the decode step: faster, after a first token that takes a while"
    )
    command.add_argument("--engine", choices=("local",), default="local", help="where the model runs (default: local)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may know fewer characters than the text
    try:
        return _COMMANDS[arguments.command](arguments)
    except UserError as error:
        print(f"python -m app {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        said = "the disk is full" if error.errno == errno.ENOSPC else named
        print(f"python -m app {arguments.command}: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; what was finished is kept" if arguments.command == "record" else ""
        print(f"stopped{kept}", file=sys.stderr)
        return 130


def _serve(arguments: argparse.Namespace) -> int:
    from app.server.serve import environment, launch
    from app.settings import Settings

    settings = Settings.from_env(
        environment(),
        model=arguments.model,
        quantize=arguments.quantize,
        compile=1 if arguments.compile else None,
        host=arguments.host,
        port=arguments.port,
    )
    launch(settings, open_browser=arguments.open)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from app.engine.opening import CHECK_KEYS, verify_checkpoint

    if not arguments.model:
        raise BadValue("The model's name is empty; give a folder or a hub name.")
    try:
        result = verify_checkpoint(arguments.model, arguments.quantize or "")
    except ModelError as error:
        if not arguments.json:
            raise
        print_json({"ok": False, **dict.fromkeys(CHECK_KEYS), "problems": [str(error)]})
        print(f"python -m app check: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print_json(result)
    elif result["ok"]:
        print_text(_check_sentence(arguments.model, result))
    else:
        for problem in result["problems"]:
            print(f"python -m app check: {problem}", file=sys.stderr)
    return 0 if result["ok"] else 1


def _check_sentence(model: str, result: dict[str, Any]) -> str:
    if not result["moe_layers"]:
        return f"{model}: ok. A dense {result['model_type']} model: it has no router, so there is no routing to show."
    return (
        f"{model}: ok. {result['layers_captured']} of {len(result['moe_layers'])} MoE layers captured, "
        f"{result['num_experts']} experts, top-{result['top_k']}; {result['ids_match']:.2%} of executed ids follow "
        f"from the routers' inputs ({result['ties']} ties apart); gate weights sum to "
        f"{result['weight_sum']['min']:.4f} to {result['weight_sum']['max']:.4f}."
    )


def _noise(arguments: argparse.Namespace) -> int:
    from app.engine.opening import measure_noise

    text = None
    if arguments.text:
        try:
            text = arguments.text.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise BadValue(f"{arguments.text} cannot be read as text: {reason}.") from None
    found = measure_noise(arguments.model, text, arguments.quantize or "", not arguments.one_dtype)
    if arguments.json:
        print_json(found)
        return 0
    text = arguments.text or "a text of our own (--text FILE for another)"
    layers = len(found["moe_layers"])
    print_text(
        f"{found['model']} in {found['dtype']}, {layers} MoE layers; {found['tokens']} tokens of {text}.\n"
        "Each way of running the text against one pass of prefill: expert ids that differ, and the largest\n"
        "difference in any expert's share of slots. decode: token by token; chunks: of 16; batch: padded, with "
        "others.\n"
        f"{'':<20} {'ids, mean of layers':>20} {'worst layer':>12} {'load, mean of layers':>22} {'worst layer':>12}"
    )
    for way, values in found["ways"].items():
        ids, load = values["ids"], values["load"]
        means = f"{sum(ids) / len(ids):20.3%} {max(ids):12.3%} {sum(load) / len(load):22.4f} {max(load):12.4f}"
        print_text(f"{way:<20} {means}")
    return 0


def _record(arguments: argparse.Namespace) -> int:
    from app.engine.base import RouterEdit
    from app.engine.prompts import read_prompts
    from app.engine.recording import RecordJob, expect_usable, run_job

    prompts = read_prompts(arguments.prompts)
    job = RecordJob(
        out=arguments.out,
        modes=("thinking", "non-thinking") if arguments.mode == "both" else (arguments.mode,),
        same_sampling=arguments.same_sampling,
        thinking_budget=arguments.thinking_budget,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        seed=arguments.seed,
        samples=arguments.samples,
        forced=arguments.forced,
        router_scores=arguments.router_scores,
        expert_outputs=arguments.expert_outputs,
        edits=tuple(RouterEdit.parse(text) for text in arguments.edit),
        shard=_shard(arguments.shard),
    )
    expect_usable(job)
    from app.engine.opening import open_engine

    engine = open_engine(arguments.model or "", arguments.quantize or "", arguments.compile)
    summary = run_job(engine, prompts, job, say=lambda line: print(line, file=sys.stderr, flush=True))
    if arguments.json:
        print_json(summary)
    else:
        found = f"{summary['recorded']} recorded, {summary['skipped']} were there already"
        print_text(f"{found}: {arguments.out}/index.jsonl")
    return 1 if summary["failed"] else 0


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    try:
        i, n = (int(part) for part in text.split("/"))
    except ValueError:
        raise BadValue(f"--shard must look like 2/4, not {text!r}.") from None
    if not 1 <= i <= n:
        raise BadValue(f"--shard {text} does not exist; i must be from 1 to n.")
    return i, n


_COMMANDS = {"serve": _serve, "check": _check, "record": _record, "noise": _noise, **cli_files.COMMANDS}
