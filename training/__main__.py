"""The whole recipe in one command: `python -m training [STAGE…] [--out DIR] [--to DIR]`. Run again to continue."""

import argparse
import json
import math
import random
import signal
import subprocess
import sys
from pathlib import Path

from transformers import AutoTokenizer

from analysis.storage import write_whole
from training.data import REASONING
from training.evaluate import STAGES as MEASURED
from training.evaluate import Examiner, evaluate, of_run, progress_of, stage_model
from training.export import BUNDLED, export
from training.keep import RESULTS
from training.stages import STAGES
from training.traces import record_gallery, record_stages
from training.train import Recipe, stop_on_signal, tokenizer_in

#: The two models that may be bundled: trained through the four stages, or distilled from the wider teacher.
FINISHED = ("general-rl", "distillation-on")


def better(run: Path, n: int) -> str:
    """The finished stage that answers more reasoning problems rightly when it thinks. They are drawn with another seed
    than the card's; some are the same.

    Raises:
        FileNotFoundError: none is finished.
    """
    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    done = [stage for stage in FINISHED if progress_of(run, stage).get("done")]
    models = {stage: model for stage in done if (model := stage_model(run, stage)) is not None}
    if not models:
        raise FileNotFoundError(f"{run} has neither {' nor '.join(FINISHED)} finished: run the stages before `finish`")
    if len(models) == 1:
        return next(iter(models))
    shares = {}
    for stage, model in models.items():
        tasks = Examiner(model, tokenizer).accuracy(random.Random("choice"), n)["tasks"]
        right = [row["thinking"]["share"] for row in tasks if row["name"] in REASONING]
        shares[stage] = sum(right) / len(right)
        print(f"{stage}: {100 * shares[stage]:.1f}% of the reasoning problems right when it thinks")
    return max(shares, key=lambda stage: shares[stage])


def lost(run: Path) -> list[Path]:
    """Folders of stages that were run and can neither be measured any more nor were."""
    begun = (run / stage for stage in MEASURED if (run / stage / "log.csv").exists())
    return [
        folder
        for folder in begun
        if not (folder / "checkpoint.pt").exists() and not all((folder / name).exists() for name in RESULTS)
    ]


def finish(run: Path, to: Path, n: int) -> None:
    """The better model, measured, with its card and its traces.

    Raises:
        FileNotFoundError: a stage of the run can neither be measured nor was it, or none is finished.
    """
    if gone := lost(run):
        raise FileNotFoundError(f"{gone[0]} has neither weights nor all that they would give: run that stage again")
    chosen = run / better(run, max(1, n // 4))
    export(chosen, chosen / "model")
    measured = {**evaluate(chosen / "model", n), **of_run(run, max(1, n // 4))}
    figures = run / "figures.json"
    write_whole(figures, (json.dumps(measured, indent=1) + "\n").encode())
    export(chosen, to, figures)
    if to.resolve() == BUNDLED:
        record_stages(run)
        record_gallery()
    print(f"finished: model and card in {to}, figures in {figures}")


def more_than_nothing(text: str) -> float:
    """
    Raises:
        ValueError: it is no number above 0.
    """
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, measure and export the bundled model, stage by stage."
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"only these, of: {', '.join(STAGES)}, finish")
    parser.add_argument("--out", type=Path, default=Path("build/training"), help="folder for logs and checkpoints")
    parser.add_argument("--to", type=Path, default=BUNDLED, help="folder of the finished model")
    parser.add_argument(
        "--scale", type=more_than_nothing, default=1.0, help="of every stage's minutes; 0.02 is a quick try"
    )
    parser.add_argument("--n", type=int, default=200, help="held-out problems per task and mode")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.stages if name not in (*STAGES, "finish")]:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)} and finish")
    if given.stages == ["finish"]:
        try:
            finish(given.out, given.to, given.n)
        except FileNotFoundError as error:
            parser.error(str(error))
        return 0
    if len(given.stages) == 1:
        stop = stop_on_signal()
        return 0 if STAGES[given.stages[0]](given.out, tokenizer_in(given.out), given, stop) else 1
    again = [folder for folder in lost(given.out) if folder.name not in given.stages]
    if again and "finish" in given.stages:
        parser.error(f"{again[0]} has neither weights nor all that they would give: name its stage, too")
    options = [f"--{name}={getattr(given, name)}" for name in ("out", "to", "scale", "n", "seed")]
    for name in given.stages or [*STAGES, "finish"]:
        if run_alone(name, options):
            return 1
    return 0


def run_alone(stage: str, options: list[str]) -> int:
    """A stage in a process of its own, without another's threads and memory; a stop asked of this one is passed on."""
    process = subprocess.Popen([sys.executable, "-m", "training", stage, *options])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
