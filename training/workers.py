"""Several processes that train one model together, one core each: small matrices gain nothing from threads.

Knows sums and broadcasts between the processes; knows nothing of models.
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Team:
    """This process's place among `size` equal ones; the first (rank 0) decides, saves and speaks."""

    rank: int = 0
    size: int = 1

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replaces the tensor by its sum over all processes, in every one of them."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, *values: float) -> list[float]:
        """The first process's values, in every process."""
        told = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.broadcast(told, 0)
        return told.tolist()


ALONE = Team()


@contextmanager
def team(size: int) -> Iterator[Team]:
    """`with team(2) as team:` runs the block in this process and in size − 1 copies of it, which end with the block.

    To be entered before any computation that starts threads.
    """
    if size == 1:
        yield ALONE
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(1, size):
            sys.stdout.flush()
            child = os.fork()
            if not child:
                _work(folder, rank, size)
                try:
                    yield Team(rank, size)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        _work(folder, 0, size)
        try:
            yield Team(0, size)
        finally:
            dist.destroy_process_group()
            ended = [os.waitpid(child, 0)[1] for child in children]
        if any(ended):
            raise RuntimeError(f"a training process ended with {ended}")


def _work(folder: str, rank: int, size: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
