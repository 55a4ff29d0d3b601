"""The whole recipe in one command: `python -m training [--minutes M] [--out DIR] [--to DIR]`. Run again to continue."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from analysis import storage
from app.engine.catalogue import EXAMPLE, SUGGESTIONS
from app.engine.opening import open_engine
from training.evaluate import evaluate
from training.export import BUNDLED, export
from training.train import Recipe, stop_on_signal, train


def record_example() -> None:
    """The bundled model's answer that the page plays before the first message."""
    storage.save(open_engine().run(SUGGESTIONS[0], seed=0, router_scores=True), EXAMPLE)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, export and measure the bundled model."
    )
    parser.add_argument("--out", type=Path, default=Path("build/training"), help="folder for log and checkpoints")
    parser.add_argument("--to", type=Path, default=BUNDLED, help="folder of the finished model")
    parser.add_argument("--minutes", type=float, default=150.0, help="minutes of training")
    parser.add_argument("--n", type=int, default=200, help="held-out problems per task and mode")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args(arguments)
    stop = stop_on_signal()
    train(replace(Recipe(out=given.out), minutes=given.minutes, seed=given.seed), resume=True, stop=stop)
    if stop():
        return
    export(given.out, given.to)
    figures = given.out / "figures.json"
    figures.write_text(json.dumps(evaluate(given.to, given.n), indent=1) + "\n", encoding="utf-8")
    export(given.out, given.to, figures)
    if given.to == BUNDLED:
        record_example()
    print(f"finished: model and card in {given.to}, figures in {figures}")


if __name__ == "__main__":
    main()
