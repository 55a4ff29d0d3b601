"""The supervised loop that pretraining, the cold start, the fusion and the teacher's training share.

Knows batches, loss, warmup-stable-decay schedule, log and checkpoints; a stage brings its examples. A stage's folder
receives `log.csv`, `log.svg` and `checkpoint.pt` (written to the side, then renamed: it is always whole). What a step
learns depends on the seed and its number alone, so a resumed run continues exactly where it stopped.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3MoeForCausalLM
from transformers.utils import logging as transformers_logging

from training.data import TASKS, sample
from training.data.dialogues import single, tokenizer_sample
from training.decode import greedy
from training.encode import Batch, Example, batches_of, prompt_text
from training.log import Log
from training.model import Balance, RouterTap, hidden_states, make_config, make_model
from training.optimizer import make_optimizers
from training.tokenizer import PIECES, train_tokenizer
from training.workers import Team, team

FIELDS = ("step", "tokens", "minutes", "loss", "balance", "lr", "tokens_per_second")
Examples = Callable[[random.Random, PreTrainedTokenizerBase, int, Qwen3MoeForCausalLM], list[Example]]
Loss = Callable[[Qwen3MoeForCausalLM, Batch, Balance], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a supervised stage. `overrides` change the model's config (tests use it).

    `minutes` are those that the first process computed: neither pauses nor what other programs take count.
    """

    out: Path
    minutes: float = 0.0
    steps: int = 0
    start: Path | None = None
    seed: int = 7
    lr: float = 3e-3
    warmup_steps: int = 150
    decay_share: float = 0.5
    dialogues: int = 96
    shards: int = 2
    parts: int = 2
    checkpoint_minutes: float = 2.0
    probe_minutes: float = 12.0
    workers: int = 0
    overrides: tuple[tuple[str, object], ...] = ()


@dataclass
class Progress:
    """How far a stage has come, and whether to its end; saved with every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    done: bool = False

    def share(self, recipe: Recipe) -> float:
        """Share of the nearest limit, 0 to 1. Limits of 0 are off."""
        shares = [0.0]
        if recipe.minutes:
            shares.append(self.seconds / 60 / recipe.minutes)
        if recipe.steps:
            shares.append(self.step / recipe.steps)
        return min(1.0, max(shares))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learning_rate(recipe: Recipe, step: int, share: float) -> float:
    """Linear warmup, then constant, then linear decay to zero over the last `decay_share` of the limit (0: none)."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    falling = min(1.0, max(0.0, 1 - share) / recipe.decay_share) if recipe.decay_share else 1.0
    return recipe.lr * warm * falling


def batch_loss(model: Qwen3MoeForCausalLM, batch: Batch, balance: Balance) -> tuple[torch.Tensor, torch.Tensor]:
    """(summed cross-entropy of the learned tokens, balancing loss)."""
    with RouterTap(model) as tap:
        hidden = hidden_states(model, batch.ids, batch.lengths)
        uneven = balance.loss(tap.take())
    wanted = batch.learned[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted])
    return F.cross_entropy(logits, batch.ids[:, 1:][wanted], reduction="sum"), uneven


def probe(model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerBase, seed: int, count: int = 8) -> str:
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


def train(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    stop: Callable[[], bool] = lambda: False,
    loss: Loss | None = None,
) -> bool:
    """Runs (or continues) a stage, and says whether it came to its end; its checkpoint is in `recipe.out`.

    `stop` is asked after every step; where it says true the run is saved and left, to be resumed another time.
    """
    if not (recipe.minutes or recipe.steps):
        raise ValueError("a limit is needed: minutes or steps")
    transformers_logging.set_verbosity_error()
    recipe.out.mkdir(parents=True, exist_ok=True)
    size = recipe.workers or (1 if device().type == "cuda" else min(recipe.shards, os.cpu_count() or 1))
    threads = torch.get_num_threads()
    if size > 1:
        torch.set_num_threads(1)
    with team(size) as together:
        progress = _train(recipe, tokenizer, examples, stop, loss or batch_loss, together)
    torch.set_num_threads(threads)
    return progress.done


def _train(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    examples: Examples,
    stop: Callable[[], bool],
    loss_of: Loss,
    together: Team,
) -> Progress:
    config = make_config(len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, **dict(recipe.overrides))
    model = make_model(config, recipe.seed).to(device())
    optimizers = make_optimizers(model, recipe.lr, together=together)
    balance = Balance(config.num_hidden_layers, config.num_experts, device())
    progress = Progress()
    checkpoint = recipe.out / "checkpoint.pt"
    if checkpoint.exists():
        progress = _load(checkpoint, model, optimizers, balance)
    elif recipe.start:
        model.load_state_dict(torch.load(recipe.start, weights_only=True, map_location=device())["model"])
    gradient = _one_gradient(model)
    balance_weight = config.router_aux_loss_coef * config.num_hidden_layers
    log = Log(recipe.out / "log.csv", FIELDS) if not together.rank else None
    if log:
        log.cut(progress.step)
        print(f"{recipe.out.name}: {gradient.numel() / 1e6:.2f} M parameters, step {progress.step}", flush=True)
    last, saved, probed = time.thread_time(), progress.seconds, progress.seconds
    began, since = time.monotonic(), progress.tokens
    sums = torch.zeros(3)
    model.train()
    while True:
        share, ended = together.agree(progress.share(recipe), float(stop()))
        if share >= 1 or ended:
            break
        lr = learning_rate(recipe, progress.step, share)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        gradient.zero_()
        batches = []
        for shard in range(together.rank, recipe.shards, together.size):
            rng = random.Random(f"{recipe.seed}:{progress.step}:{shard}")
            drawn = examples(rng, tokenizer, recipe.dialogues // recipe.shards, model)
            batches += batches_of(drawn, recipe.parts, device())
        counts = torch.tensor([[int(b.learned.sum()), b.ids.numel()] for b in batches]).sum(0)
        learned, tokens = together.sum(counts).tolist()
        step = torch.zeros(3)
        for batch in batches:
            part, uneven = loss_of(model, batch, balance)
            share_of_step = batch.ids.numel() / tokens
            (part / learned + balance_weight * share_of_step * uneven).backward()
            step += torch.tensor([part.item() / learned, share_of_step * uneven.item(), 0.0])
        together.sum(gradient)
        together.sum(balance.state).div_(together.size)
        gradient.mul_((1 / (gradient.norm() + 1e-6)).clamp(max=1.0))
        for optimizer in optimizers:
            optimizer.step()
        sums += together.sum(step) + torch.tensor([0.0, 0.0, 1.0])
        now = time.thread_time()
        progress.step += 1
        progress.tokens += tokens
        progress.seconds += now - last
        last = now
        if not log:
            continue
        spent = time.monotonic() - began
        if spent > 20 or progress.share(recipe) >= 1:
            loss, uneven_mean = (sums[:2] / sums[2]).tolist()
            minutes, speed = progress.seconds / 60, (progress.tokens - since) / spent
            log.add(
                progress.step,
                progress.tokens,
                f"{minutes:.3f}",
                f"{loss:.5f}",
                f"{uneven_mean:.4f}",
                f"{lr:.6f}",
                f"{speed:.0f}",
            )
            began, since, sums = time.monotonic(), progress.tokens, torch.zeros(3)
        if progress.seconds - saved > recipe.checkpoint_minutes * 60:
            _save(checkpoint, model, optimizers, balance, progress)
            saved = progress.seconds
        if recipe.probe_minutes and progress.seconds - probed > recipe.probe_minutes * 60:
            print("  held out, thinking/direct %: " + probe(model, tokenizer, progress.step), flush=True)
            probed = progress.seconds
            last = time.thread_time()
    progress.done = progress.share(recipe) >= 1
    if log:
        _save(checkpoint, model, optimizers, balance, progress)
        log.draw(f"{recipe.out.name}: loss", "tokens", ("loss",))
        print(f"{recipe.out.name}: {progress.step} steps, {progress.tokens / 1e6:.2f} M tokens", flush=True)
    return progress


def stop_on_signal() -> Callable[[], bool]:
    """Ctrl-C or a termination request ends a run after its present step instead of in the middle of it."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked)


def tokenizer_in(run: Path, seed: int = Recipe.seed, pieces: int = PIECES) -> PreTrainedTokenizerBase:
    """The run's tokenizer, trained where there is none yet."""
    folder = run / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(tokenizer_sample(random.Random(seed), 9000), pieces).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _one_gradient(model: Qwen3MoeForCausalLM) -> torch.Tensor:
    """All gradients as views of one tensor, so that processes add them up in one go."""
    parameters = list(model.parameters())
    gradient = torch.zeros(sum(p.numel() for p in parameters), device=device())
    start = 0
    for parameter in parameters:
        parameter.grad = gradient[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return gradient


def _save(
    path: Path,
    model: Qwen3MoeForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    balance: Balance,
    progress: Progress,
) -> None:
    save_whole(
        path,
        {
            "model": model.state_dict(),
            "config": model.config.to_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "balance": balance.state,
            "progress": vars(progress),
        },
    )


def save_whole(path: Path, state: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _load(
    path: Path, model: Qwen3MoeForCausalLM, optimizers: list[torch.optim.Optimizer], balance: Balance
) -> Progress:
    state = torch.load(path, weights_only=True, map_location=device())
    model.load_state_dict(state["model"])
    if "optimizers" in state:  # a checkpoint that was kept (see keep.py) has none: momentum is soon there again
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        balance.state.copy_(state["balance"])
    return Progress(**{**state["progress"], "done": False})
