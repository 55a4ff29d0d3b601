"""The whole recipe in one command: `python -m training [STAGE…] [--out DIR] [--to DIR]`. Run again to continue."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from analysis import storage
from app.engine.catalogue import EXAMPLE, SUGGESTIONS
from app.engine.opening import open_engine
from training.evaluate import evaluate
from training.export import BUNDLED, export
from training.stages import STAGES
from training.train import Recipe, stop_on_signal, tokenizer_in


def record_example() -> None:
    """The bundled model's answer that the page plays before the first message."""
    storage.save(open_engine().run(SUGGESTIONS[0], seed=0, router_scores=True), EXAMPLE)


def run_stage(name: str, out: Path, scale: float, seed: int) -> bool:
    """A stage in a process of its own, so that it starts without another's threads and memory."""
    command = [sys.executable, "-m", "training", name, "--out", str(out), "--scale", str(scale), "--seed", str(seed)]
    return subprocess.run(command, check=False).returncode == 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, export and measure the bundled model, stage by stage."
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"only these, of {', '.join(STAGES)}")
    parser.add_argument("--out", type=Path, default=Path("build/training"), help="folder for logs and checkpoints")
    parser.add_argument("--to", type=Path, default=BUNDLED, help="folder of the finished model")
    parser.add_argument("--scale", type=float, default=1.0, help="of every stage's minutes; 0.05 is a quick try")
    parser.add_argument("--n", type=int, default=200, help="held-out problems per task and mode")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.stages if name not in STAGES]:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    if len(given.stages) == 1:
        stop = stop_on_signal()
        tokenizer = tokenizer_in(given.out, given.seed)
        return 0 if STAGES[given.stages[0]](given.out, tokenizer, given.scale, stop) else 1
    for name in given.stages or STAGES:
        if not run_stage(name, given.out, given.scale, given.seed):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
