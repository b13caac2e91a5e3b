"""What the processes of a group tell each other before and while they search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor


class Together:
    """A group of processes that refuse together: an error in one must not leave the others waiting.

    Args:
        device: Where the tensors are that the group exchanges.
        group: The processes; None: all of them.
    """

    def __init__(self, device: torch.device, group: dist.ProcessGroup | None) -> None:
        self.device = device
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Every process raises a ValueError when the block raises one in any of them."""
        error: ValueError | None = None
        try:
            yield
        except ValueError as problem:
            error = problem
        failed = [rank for rank, (bad,) in enumerate(self.told([int(error is not None)])) if bad]
        if error is not None:
            raise error
        if failed:
            raise ValueError(f"process {failed[0]} refused its part of the search: its own error says why")

    def told(self, numbers: list[int]) -> list[list[int]]:
        """The whole numbers that every process tells, by rank; equally many from each."""
        found = self.gathered(torch.tensor(numbers, dtype=torch.int64, device=self.device))
        return [some.tolist() for some in found]

    def gathered(self, x: Tensor) -> list[Tensor]:
        """A tensor of every process, by rank; one shape and type in all of them."""
        x = x.contiguous()
        found = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(found, x, group=self.group)
        return found
