"""A run made small enough to be kept with the project: `python -m training.keep [RUN] [TO]`.

Of every stage its log, plot, figures and traces; weights, in bfloat16, only where they are still needed: of the last
stage that has begun, of those that the distillation and the choice of the bundled model begin from, and of any whose
figures, routing or traces are not there yet. To go on, copy it back and name the stages that are missing. Knows files;
trains and measures nothing.
"""

import argparse
import shutil
from pathlib import Path

import torch

from training.export import NOTE
from training.stages import STAGES
from training.train import save_whole

LOGS = ("log.csv", "log.svg")
RESULTS = ("measured.json", "routes.npz", "traces")
OF_THE_RUN = ("figures.json", NOTE)
NEEDED = ("pretraining", "general-rl", "teacher")


def keep(run: Path, to: Path) -> None:
    """Writes the small copy of `run` to `to`; what was there goes when the copy is whole.

    Raises:
        FileNotFoundError: there is no run.
    """
    if not (run / "tokenizer").exists():
        raise FileNotFoundError(f"no training run at {run}")
    partial = to.with_name(to.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _copy(run, partial)
    shutil.rmtree(to, ignore_errors=True)
    partial.replace(to)


def _copy(run: Path, to: Path) -> None:
    begun = [stage for stage in STAGES if (run / stage / "checkpoint.pt").exists()]
    shutil.copytree(run / "tokenizer", to / "tokenizer")
    for name in OF_THE_RUN:
        if (run / name).exists():
            shutil.copy(run / name, to / name)
    for stage in STAGES:
        (to / stage).mkdir()
        found = [name for name in (*LOGS, *RESULTS) if (run / stage / name).exists()]
        for name in found:
            path = run / stage / name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, to / stage / name)
        if stage in begun and (stage in (*NEEDED, begun[-1]) or not set(RESULTS) <= set(found)):
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
    try:
        keep(given.run, given.to)
    except FileNotFoundError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
