"""AdamW for vectors, embeddings and routers; Muon (momentum, orthogonalised per matrix) for all other matrices.

Knows parameters and their names; knows nothing of data or schedules. Muon's step is scaled to the size of AdamW's, so
that one learning rate serves both. Processes that train together share Muon's work and keep the same weights.
"""

from collections import defaultdict

import torch

from training.workers import ALONE, Team

ADAM_NAMES = ("embed_tokens", "lm_head", "gate.weight", "norm")


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """`[M, a, b]` → matrices of the same singular vectors and singular values near 1 (Newton–Schulz iteration)."""
    wide = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if wide else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        square = torch.bmm(x, x.transpose(1, 2))
        x = 3.4445 * x + torch.bmm(-4.7750 * square + 2.0315 * torch.bmm(square, square), x)
    return x.transpose(1, 2) if wide else x


class Muon(torch.optim.Optimizer):
    """Muon over 2-D matrices and over stacks of them (3-D: every expert is a matrix of its own)."""

    def __init__(
        self,
        parameters: list[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        together: Team = ALONE,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._team = together

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = torch.lerp(parameter.grad, state["momentum"], group["momentum"])
                rows, columns = parameter.shape[-2:]
                shapes[rows, columns].append((parameter, direction.view(-1, rows, columns)))
            for (rows, columns), pairs in shapes.items():
                update = self._shared(torch.cat([direction for _, direction in pairs]))
                scale = 0.2 * max(rows, columns) ** 0.5
                for (parameter, _), part in zip(pairs, update.split([d.shape[0] for _, d in pairs]), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(part.view_as(parameter), alpha=-group["lr"] * scale)

    def _shared(self, matrices: torch.Tensor) -> torch.Tensor:
        """All of them orthogonalised, every process a part."""
        rank, size = self._team.rank, self._team.size
        own = slice(len(matrices) * rank // size, len(matrices) * (rank + 1) // size)
        update = torch.zeros_like(matrices)
        update[own] = orthogonalise(matrices[own])
        return self._team.sum(update)


def make_optimizers(
    model: torch.nn.Module, lr: float, weight_decay: float = 0.1, together: Team = ALONE
) -> list[torch.optim.Optimizer]:
    """[Muon, AdamW] over all of the model's parameters; vectors are not decayed."""
    muon, decayed, plain = [], [], []
    for name, parameter in model.named_parameters():
        if not any(part in name for part in ADAM_NAMES):
            muon.append(parameter)
        elif parameter.ndim > 1:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    adam = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=lr,
        betas=(0.9, 0.95),
        fused=True,
    )
    return [Muon(muon, lr, weight_decay=weight_decay, together=together), adam]
