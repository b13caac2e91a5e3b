"""What several processes share: rows gathered with their gradients, one writer, the same random numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many processes train together (1 without a process group)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process (0 without a process group)."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sizes(rows: int, device: torch.device) -> list[int]:
    """The number of rows each process holds, in rank order."""
    if world() == 1:
        return [rows]
    mine = torch.tensor([rows], device=device)
    every = [torch.zeros_like(mine) for _ in range(world())]
    dist.all_gather(every, mine)
    return [int(count) for count in torch.cat(every).tolist()]


def gather(local: Tensor, counts: list[int] | None = None) -> Tensor:
    """Concatenates the rows of all processes; the gradient of a row flows back to where it came from.

    The backward pass sums, over the processes, the gradients that each holds for a row. A loss that every
    process computes in full on the gathered rows therefore gives, after the averaging of parameter gradients
    that data-parallel training does, exactly the gradient of one process on the whole batch; so does a loss
    of which process r computes only its n_r of n queries, weighted by ``world · n_r / n``.

    Args:
        local: (n_r, …) rows of this process; the counts may differ between processes.
        counts: Rows of every process, where they are known already.

    Returns:
        (n, …) rows of all processes in rank order.

    Example:
        >>> gather(torch.eye(2)).shape
        torch.Size([2, 2])
    """
    if world() == 1:
        return local
    counts = counts or sizes(local.shape[0], local.device)
    if local.requires_grad:
        return _Gather.apply(local, counts)  # type: ignore[no-any-return]
    return _all_gather(local, counts)


def mean_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Averages the gradients over the processes, in one flat message for each type."""
    if world() == 1:
        return
    groups: dict[torch.dtype, list[torch.nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            groups.setdefault(parameter.dtype, []).append(parameter)
    for group in groups.values():
        flat = torch.cat([p.grad.flatten() for p in group if p.grad is not None])
        dist.all_reduce(flat)
        flat /= world()
        pieces = torch.split(flat, [p.numel() for p in group])
        for parameter, piece in zip(group, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def _all_gather(local: Tensor, counts: list[int]) -> Tensor:
    longest = max(counts)
    padded = local.new_zeros((longest, *local.shape[1:]))
    padded[: local.shape[0]] = local
    every = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(every, padded)
    return torch.cat([piece[:count] for piece, count in zip(every, counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _all_gather(local.detach(), counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]], None
