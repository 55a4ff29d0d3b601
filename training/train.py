"""Trains the bundled model: `python -m training.train --out DIR [--tokens N] [--minutes M] [--resume]`.

Knows the loop: batches, loss, warmup-stable-decay schedule, log and checkpoints. The decay takes the last part of
whatever limit is reached first, tokens or minutes, so a slower machine trains less but still finishes well. `DIR`
receives `log.csv`, `tokenizer/` and `checkpoint.pt` (written to the side, then renamed: it is always whole).
"""

import argparse
import csv
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3MoeForCausalLM
from transformers.utils import logging as transformers_logging

from training.data import TASKS, sample
from training.data.dialogues import single, tokenizer_sample
from training.decode import greedy
from training.encode import Batch, make_batches, prompt_text
from training.model import Balance, RouterTap, make_config, make_model
from training.optimizer import make_optimizers
from training.tokenizer import PIECES, train_tokenizer

FIELDS = ("step", "tokens", "minutes", "loss", "balance", "lr", "tokens_per_second")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run. Limits of 0 are off; `overrides` change the model's config (tests use it)."""

    out: Path
    tokens: int = 0
    minutes: float = 0.0
    steps: int = 0
    seed: int = 7
    lr: float = 3e-3
    warmup_steps: int = 150
    decay_share: float = 0.5
    dialogues: int = 96
    parts: int = 4
    pieces: int = PIECES
    checkpoint_minutes: float = 4.0
    probe_minutes: float = 9.0
    threads: int = 2
    overrides: tuple[tuple[str, object], ...] = ()


@dataclass
class Progress:
    """How far a run has come; saved with every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def share(self, recipe: Recipe) -> float:
        """Share of the nearest limit, 0 to 1."""
        shares = [0.0]
        if recipe.tokens:
            shares.append(self.tokens / recipe.tokens)
        if recipe.minutes:
            shares.append(self.seconds / 60 / recipe.minutes)
        if recipe.steps:
            shares.append(self.step / recipe.steps)
        return min(1.0, max(shares))


def learning_rate(recipe: Recipe, step: int, share: float) -> float:
    """Linear warmup, then constant, then linear decay to zero over the last `decay_share` of the limit."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.lr * warm * min(1.0, max(0.0, 1 - share) / recipe.decay_share)


def batch_loss(model: Qwen3MoeForCausalLM, batch: Batch, balance: Balance) -> tuple[torch.Tensor, torch.Tensor]:
    """(summed cross-entropy of the learned tokens, balancing loss).

    Rows are padded on the right and attention is causal, so padding is never seen by a real token and needs no mask.
    """
    with RouterTap(model) as tap:
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        uneven = balance.loss(tap.take(), batch.real.flatten())
    wanted = batch.learned[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return F.cross_entropy(logits, batch.ids[:, 1:][wanted], reduction="sum"), uneven


def probe(model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerBase, seed: int, count: int = 10) -> str:
    """A short line of held-out accuracy per task, thinking/direct, of `count` problems each."""
    rng = random.Random(f"probe:{seed}")
    problems = [sample(rng, True, task) for task in TASKS for _ in range(count)]
    model.eval()
    right: dict[bool, list[bool]] = {}
    for thinks in (True, False):
        prompts = [
            tokenizer.encode(prompt_text(tokenizer, single(p, thinks)), add_special_tokens=False) for p in problems
        ]
        replies = greedy(model, tokenizer, prompts, max_new_tokens=230 if thinks else 48, batch=128)
        right[thinks] = [reply.answer == p.answer for reply, p in zip(replies, problems, strict=True)]
    model.train()
    parts = []
    for i, task in enumerate(TASKS):
        cut = slice(i * count, (i + 1) * count)
        parts.append(f"{task} {100 * sum(right[True][cut]) // count}/{100 * sum(right[False][cut]) // count}")
    return " · ".join(parts)


def train(recipe: Recipe, resume: bool = False, stop: Callable[[], bool] = lambda: False) -> Qwen3MoeForCausalLM:
    """Runs (or continues) a training and returns the model; its checkpoint is in `recipe.out`.

    `stop` is asked after every step; where it says true the run is saved and left, to be resumed another time.
    """
    if not (recipe.tokens or recipe.minutes or recipe.steps):
        raise ValueError("a limit is needed: tokens, minutes or steps")
    torch.set_num_threads(recipe.threads)
    transformers_logging.set_verbosity_error()
    recipe.out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(recipe)
    config = make_config(len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, **dict(recipe.overrides))
    model = make_model(config, recipe.seed)
    optimizers = make_optimizers(model, recipe.lr)
    progress = Progress()
    checkpoint = recipe.out / "checkpoint.pt"
    if resume and checkpoint.exists():
        progress = _load(checkpoint, model, optimizers)
        print(
            f"resumed at step {progress.step}, {progress.tokens / 1e6:.2f} M tokens, {progress.seconds / 60:.1f} min",
            flush=True,
        )
    parameters = list(model.parameters())
    balance = Balance(config.num_hidden_layers, config.num_experts)
    balance_weight = config.router_aux_loss_coef * config.num_hidden_layers
    print(f"{sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, {len(tokenizer)} token ids", flush=True)
    log = _Log(recipe.out / "log.csv", fresh=not progress.step)
    last = saved = probed = time.monotonic()
    model.train()
    while (share := progress.share(recipe)) < 1 and not stop():
        lr = learning_rate(recipe, progress.step, share)
        batches = make_batches(tokenizer, recipe.seed, progress.step, recipe.dialogues, recipe.parts)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad(set_to_none=True)
        learned, tokens = (
            sum(int(mask.sum()) for mask in masks)
            for masks in zip(*((b.learned, b.real) for b in batches), strict=True)
        )
        loss = uneven = 0.0
        for batch in batches:
            part, part_uneven = batch_loss(model, batch, balance)
            share_of_step = int(batch.real.sum()) / tokens
            (part / learned + balance_weight * share_of_step * part_uneven).backward()
            loss += part.item() / learned
            uneven += share_of_step * part_uneven.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        now = time.monotonic()
        progress.step += 1
        progress.tokens += tokens
        progress.seconds += now - last
        last = now
        log.add(progress, recipe, loss, uneven, lr)
        if now - saved > recipe.checkpoint_minutes * 60:
            _save(checkpoint, model, optimizers, progress)
            saved = time.monotonic()
        if recipe.probe_minutes and now - probed > recipe.probe_minutes * 60:
            print("  held out, thinking/direct %: " + probe(model, tokenizer, progress.step), flush=True)
            probed = time.monotonic()
    log.close()
    _save(checkpoint, model, optimizers, progress)
    print(
        f"finished: {progress.step} steps, {progress.tokens / 1e6:.2f} M tokens, {progress.seconds / 60:.1f} min",
        flush=True,
    )
    return model


def stop_on_signal() -> Callable[[], bool]:
    """Ctrl-C or a termination request ends a run after its present step instead of in the middle of it."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked)


def _tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    folder = recipe.out / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(tokenizer_sample(random.Random(recipe.seed), 9000), recipe.pieces).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _save(path: Path, model: Qwen3MoeForCausalLM, optimizers: list[torch.optim.Optimizer], progress: Progress) -> None:
    state = {
        "model": model.state_dict(),
        "config": model.config.to_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
        "progress": vars(progress),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _load(path: Path, model: Qwen3MoeForCausalLM, optimizers: list[torch.optim.Optimizer]) -> Progress:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return Progress(**state["progress"])


class _Log:
    """One CSV row and one printed line about every 20 seconds, of the means since the last."""

    def __init__(self, path: Path, fresh: bool, every: float = 20.0) -> None:
        self._file = path.open("w" if fresh else "a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if fresh:
            self._writer.writerow(FIELDS)
        self._every, self._rows = every, []  # type: ignore[var-annotated]
        self._since, self._tokens = time.monotonic(), -1

    def add(self, progress: Progress, recipe: Recipe, loss: float, balance: float, lr: float) -> None:
        if self._tokens < 0:
            self._tokens = progress.tokens
        self._rows.append((loss, balance))
        spent = time.monotonic() - self._since
        if spent < self._every and progress.share(recipe) < 1:
            return
        loss, balance = (sum(column) / len(self._rows) for column in zip(*self._rows, strict=True))
        speed = (progress.tokens - self._tokens) / spent
        minutes, share = progress.seconds / 60, progress.share(recipe)
        left = minutes * (1 - share) / max(share, 1e-9)
        self._writer.writerow(
            [
                progress.step,
                progress.tokens,
                f"{minutes:.3f}",
                f"{loss:.5f}",
                f"{balance:.4f}",
                f"{lr:.6f}",
                f"{speed:.0f}",
            ]
        )
        self._file.flush()
        print(
            f"step {progress.step:6d}  {progress.tokens / 1e6:7.3f} M tokens  loss {loss:.4f}  balance {balance:.3f}  "
            f"lr {lr:.5f}  {speed:6.0f} tokens/s  {minutes:5.1f} min, {left:.1f} left",
            flush=True,
        )
        self._rows, self._since, self._tokens = [], time.monotonic(), progress.tokens

    def close(self) -> None:
        self._file.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train the bundled model.")
    parser.add_argument("--out", type=Path, required=True, help="folder for log, tokenizer and checkpoint")
    parser.add_argument("--tokens", type=int, default=0, help="stop after this many tokens")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this many minutes (evaluation included)")
    parser.add_argument("--steps", type=int, default=0, help="stop after this many steps")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--lr", type=float, default=Recipe.lr)
    parser.add_argument(
        "--decay-share", type=float, default=Recipe.decay_share, help="share of the limit over which the rate decays"
    )
    parser.add_argument(
        "--probe-minutes", type=float, default=Recipe.probe_minutes, help="minutes between tests, 0 for none"
    )
    parser.add_argument("--dialogues", type=int, default=Recipe.dialogues, help="dialogues a step")
    parser.add_argument("--threads", type=int, default=Recipe.threads)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    given = vars(parser.parse_args(arguments))
    resume = given.pop("resume")
    train(replace(Recipe(out=given.pop("out")), **given), resume, stop_on_signal())


if __name__ == "__main__":
    main()
