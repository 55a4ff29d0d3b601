"""Strong-to-weak distillation: the pretrained student learns from a wider teacher what the four stages taught.

First off-policy (the teacher's distribution over the recipe's dialogues), then on-policy (over what the student itself
writes). Together they may compute as long as the four stages did.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase, Qwen3MoeConfig, Qwen3MoeForCausalLM

from training.data.dialogues import make_dialogue
from training.decode import written
from training.encode import Batch, Example, prompt_text
from training.model import EXPERTS_FUNCTION, Balance, RouterTap, hidden_states
from training.train import Loss, Recipe, device

LONGEST = 200


def teacher_of(run: Path) -> Qwen3MoeForCausalLM:
    state = torch.load(run / "teacher" / "checkpoint.pt", weights_only=True, map_location=device())
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**state["config"])).float().to(device()).eval()
    model.load_state_dict(state["model"])
    model.set_experts_implementation(EXPERTS_FUNCTION)
    return model.requires_grad_(False)


def loss_against(teacher: Qwen3MoeForCausalLM, own: bool) -> Loss:
    """The divergence from the teacher on the learned tokens; `own`: of the student's own text, student's side first."""

    def loss(student: Qwen3MoeForCausalLM, batch: Batch, balance: Balance) -> tuple[torch.Tensor, torch.Tensor]:
        wanted = batch.learned[:, 1:]
        with RouterTap(student) as tap:
            hidden = hidden_states(student, batch.ids, batch.lengths)
            uneven = balance.loss(tap.take())
        said = F.log_softmax(student.lm_head(hidden[:, :-1][wanted]), -1)
        with torch.no_grad():
            known = hidden_states(teacher, batch.ids, batch.lengths)
            meant = F.log_softmax(teacher.lm_head(known[:, :-1][wanted]), -1)
        first, second = (meant, said) if own else (said, meant)
        return F.kl_div(first, second, reduction="sum", log_target=True), uneven

    return loss


def own_examples(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, count: int, model: Qwen3MoeForCausalLM
) -> list[Example]:
    """Dialogues answered by the student as it stands, drawn at temperature 1."""
    prompts = [
        tokenizer.encode(prompt_text(tokenizer, make_dialogue(rng)), add_special_tokens=False) for _ in range(count)
    ]
    model.eval()
    torch.manual_seed(rng.getrandbits(32))
    replies = written(model, tokenizer, prompts, LONGEST, batch=count, temperature=1.0)
    model.train()
    end = tokenizer.eos_token_id
    return [
        Example([*prompt, *reply.ids, *([end] if reply.ended else [])], len(prompt))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


def off_policy(run: Path) -> Recipe:
    start = run / "pretraining" / "checkpoint.pt"
    return Recipe(run / "distillation-off", minutes=83, start=start, lr=2e-3, warmup_steps=50, decay_share=0.7)


def on_policy(run: Path) -> Recipe:
    start = run / "distillation-off" / "checkpoint.pt"
    return Recipe(
        run / "distillation-on", minutes=55, start=start, lr=3e-4, warmup_steps=10, dialogues=192, probe_minutes=0
    )
