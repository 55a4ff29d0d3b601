"""GRPO with the `trl` library: the adapter that both reinforcement stages share.

Knows `trl`'s trainer, its log and its checkpoints; a stage brings prompts and rewards, which are plain functions of
what was asked and what was written. `trl` is imported where a stage starts, so that nothing else needs it.
"""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Qwen3MoeConfig, Qwen3MoeForCausalLM, TrainerCallback

from training.data.dialogues import Dialogue
from training.decode import Reply
from training.encode import prompt_text
from training.log import Log
from training.model import EXPERTS_FUNCTION
from training.train import device, save_whole

#: From the dialogue and the reply to a number.
Reward = Callable[[Dialogue, Reply], float]
FIELDS = ("step", "minutes", "reward", "deviation", "tokens", "balance")


@dataclass(frozen=True)
class RLRecipe:
    """Everything that decides a reinforcement stage. `minutes` are those that the process computed."""

    out: Path
    start: Path
    minutes: float = 0.0
    steps: int = 10_000
    seed: int = 7
    lr: float = 5e-5
    prompts: int = 3995
    prompts_a_step: int = 16
    generations: int = 8
    longest: int = 240
    temperature: float = 1.0
    save_steps: int = 10


def reinforce(
    recipe: RLRecipe,
    tokenizer: PreTrainedTokenizerBase,
    dialogue: Callable[[random.Random], Dialogue],
    rewards: dict[str, Reward],
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Runs (or continues) a stage, and says whether it came to its end; then its checkpoint is in `recipe.out`."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    checkpoint = recipe.out / "checkpoint.pt"
    if checkpoint.exists():
        return True
    recipe.out.mkdir(parents=True, exist_ok=True)
    state = torch.load(recipe.start, weights_only=True, map_location="cpu")
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**state["config"])).float()
    model.load_state_dict(state["model"])
    model.set_experts_implementation(EXPERTS_FUNCTION)
    rng = random.Random(f"{recipe.out.name}:{recipe.seed}")
    dialogues = [dialogue(rng) for _ in range(recipe.prompts)]
    rows = [{"prompt": prompt_text(tokenizer, d), "number": i} for i, d in enumerate(dialogues)]
    batch = recipe.prompts_a_step * recipe.generations
    settings = GRPOConfig(
        output_dir=str(recipe.out / "trainer"),
        per_device_train_batch_size=batch,
        num_generations=recipe.generations,
        max_completion_length=recipe.longest,
        temperature=recipe.temperature,
        learning_rate=recipe.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        max_steps=recipe.steps,
        max_grad_norm=1.0,
        beta=0.0,
        epsilon_high=0.28,
        mask_truncated_completions=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=recipe.save_steps,
        save_total_limit=1,
        seed=recipe.seed,
        bf16=False,
        use_cpu=device().type == "cpu",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )

    def judged(name: str, reward: Reward) -> Callable[..., list[float]]:
        def function(completion_ids: list[list[int]], number: list[int], **_: Any) -> list[float]:
            replies = [reply_of(tokenizer, ids, recipe.longest) for ids in completion_ids]
            return [reward(dialogues[i], reply) for i, reply in zip(number, replies, strict=True)]

        function.__name__ = name
        return function

    step, saved = last_whole(recipe.out / "trainer")
    log = Log(recipe.out / "log.csv", FIELDS)
    log.cut(step)
    watch = _Watch(recipe, log, stop)
    trainer = GRPOTrainer(
        model,
        reward_funcs=[judged(name, reward) for name, reward in rewards.items()],
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    watch.log.draw(f"{recipe.out.name}: reward", "step", ("reward", "deviation"))
    if watch.interrupted:
        return False
    progress = {
        "step": trainer.state.global_step,
        "tokens": int(trainer.state.num_input_tokens_seen),
        "seconds": watch.minutes * 60,
        "done": True,
    }
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    save_whole(checkpoint, {"model": weights, "config": state["config"], "progress": progress})
    return True


def last_whole(folder: Path) -> tuple[int, Path | None]:
    """The last saved step and its folder; 0 and None where there is none. The trainer's state is written last: a
    folder without it was cut short, and goes."""
    whole = {}
    for saved in folder.glob("checkpoint-*"):
        if (saved / "trainer_state.json").exists():
            whole[int(saved.name.split("-")[1])] = saved
        else:
            shutil.rmtree(saved)
    step = max(whole, default=0)
    return step, whole.get(step)


def reply_of(tokenizer: PreTrainedTokenizerBase, ids: list[int], longest: int) -> Reply:
    """A completion as the rewards read it. What was cut at the limit did not end."""
    eos = tokenizer.eos_token_id
    written = ids[: ids.index(eos)] if eos in ids else ids
    return Reply(written, tokenizer.decode(written), eos in ids or len(ids) < longest)


class _Watch(TrainerCallback):
    """Writes the log, and ends the training at the minutes' limit or where a stop is asked for."""

    def __init__(self, recipe: RLRecipe, log: Log, stop: Callable[[], bool]) -> None:
        self.log, self.interrupted = log, False
        self._limit, self._stop = recipe.minutes, stop
        rows = log.rows()
        self._before, self._began = float(rows[-1]["minutes"]) if rows else 0.0, time.process_time()

    @property
    def minutes(self) -> float:
        return self._before + (time.process_time() - self._began) / 60 / (
            1 if device().type == "cuda" else torch.get_num_threads()
        )

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "reward" in logs:
            values = (logs["reward"], logs["reward_std"], logs["completions/mean_length"], logs.get("aux_loss", 0.0))
            self.log.add(state.global_step, f"{self.minutes:.3f}", *(f"{value:.4f}" for value in values))

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        if self._stop():
            self.interrupted = control.should_training_stop = control.should_save = True
        elif self._limit and self.minutes >= self._limit:
            control.should_training_stop = True
