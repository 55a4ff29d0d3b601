"""python -m training"""
import argparse
from dataclasses import replace
from pathlib import Path

from training import pretraining
from training.train import stop_on_signal, tokenizer_in, train


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("stages", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    given = parser.parse_args(arguments)
    stop = stop_on_signal()
    train(pretraining.recipe(given.out), tokenizer_in(given.out), pretraining.examples, stop)


if __name__ == "__main__":
    main()
