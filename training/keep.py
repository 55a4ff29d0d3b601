"""A run made small enough to be kept with the project: `python -m training.keep [RUN] [TO]`.

Of every stage its log, plot, figures and traces; weights, in bfloat16, only of the stages that others still need: the
pretraining, from which the distillation begins, and the last that has begun. To go on, copy it back and name the stages
that are missing. Knows files; trains and measures nothing.
"""

import argparse
import shutil
from pathlib import Path

import torch

from training.stages import STAGES
from training.train import save_whole

RESULTS = ("log.csv", "log.svg", "measured.json", "routes.npz")


def keep(run: Path, to: Path) -> None:
    """Writes the small copy of `run` to `to`, in place of what was there."""
    begun = [stage for stage in STAGES if (run / stage / "checkpoint.pt").exists()]
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run / "tokenizer", to / "tokenizer")
    for stage in STAGES:
        (to / stage).mkdir()
        for name in RESULTS:
            if (run / stage / name).exists():
                shutil.copy(run / stage / name, to / stage / name)
        if (run / stage / "traces").exists():
            shutil.copytree(run / stage / "traces", to / stage / "traces")
        if stage in {"pretraining", *begun[-1:]}:
            _shrink(run / stage / "checkpoint.pt", to / stage / "checkpoint.pt")
        if not any((to / stage).iterdir()):
            (to / stage).rmdir()


def _shrink(checkpoint: Path, to: Path) -> None:
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    once: dict[int, torch.Tensor] = {}  # tied weights stay one tensor
    weights = {
        name: once.setdefault(value.data_ptr(), value.to(torch.bfloat16)) for name, value in state["model"].items()
    }
    save_whole(to, {"model": weights, "config": state["config"], "progress": state["progress"]})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.keep", description="Keep a run, small.")
    parser.add_argument("run", type=Path, nargs="?", default=Path("build/training"))
    parser.add_argument("to", type=Path, nargs="?", default=Path(__file__).parent / "run")
    given = parser.parse_args()
    keep(given.run, given.to)


if __name__ == "__main__":
    main()
