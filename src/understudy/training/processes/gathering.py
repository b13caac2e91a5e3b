"""What several processes compute together: rows gathered with their gradients, and averages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from understudy.training.processes.distributed import rank, talking, world


def sizes(rows: int, device: torch.device) -> tuple[int, ...]:
    """The number of rows each process holds, in rank order; waits for the device."""
    if world() == 1:
        return (rows,)
    mine = torch.tensor([rows], device=device)
    every = torch.empty(world(), dtype=mine.dtype, device=device)
    with talking():
        dist.all_gather_into_tensor(every, mine)
    return tuple(int(count) for count in every.tolist())


def gather(local: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Concatenates the rows of all processes; the gradient of a row flows back to where it came from.

    The backward pass sums, over the processes, the gradients that each holds for a row. A loss that every
    process computes in full on the gathered rows therefore gives, after the averaging of parameter gradients
    that data-parallel training does, exactly the gradient of one process on the whole batch; so does a loss
    of which process r computes only its n_r of n queries, weighted by ``world · n_r / n``.

    Args:
        local: (n_r, …) rows of this process; the counts may differ between processes.
        counts: Rows of every process, where they are known already; nothing then waits for the device.

    Returns:
        (n, …) rows of all processes in rank order.

    Example:
        >>> gather(torch.eye(2)).shape
        torch.Size([2, 2])
    """
    if world() == 1:
        return local
    counts = tuple(counts or sizes(local.shape[0], local.device))
    if local.requires_grad:
        return _Gather.apply(local, counts)  # type: ignore[no-any-return]
    return _all_gather(local, counts)


def mean_gradients(parameters: Sequence[torch.nn.Parameter], statistics: Sequence[Tensor] = ()) -> None:
    """Averages the gradients over the processes, in one flat message for each type.

    Args:
        parameters: A gradient that a process does not have counts as zero.
        statistics: Tensors that are averaged in place with them: the running statistics of batch
            normalisation, so that every process holds the same model after every step.
    """
    if world() == 1:
        return
    groups: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            groups.setdefault(parameter.dtype, []).append(parameter.grad)
    for statistic in statistics:
        groups.setdefault(statistic.dtype, []).append(statistic)
    for group in groups.values():
        mean = means(torch.cat([tensor.flatten() for tensor in group]))
        pieces = torch.split(mean, [tensor.numel() for tensor in group])
        torch._foreach_copy_(group, [p.view_as(t) for p, t in zip(pieces, group, strict=True)])


def means(values: Tensor) -> Tensor:
    """The average of a tensor over the processes, on each of them.

    Example:
        >>> means(torch.ones(2)).tolist()
        [1.0, 1.0]
    """
    if world() == 1:
        return values
    total = values.clone()
    with talking():
        dist.all_reduce(total)
    return total / world()


def copy_from_writer(module: torch.nn.Module) -> None:
    """Gives every process the writer's parameters and buffers."""
    if world() == 1:
        return
    for tensor in (*module.parameters(), *module.buffers()):
        written = tensor.detach().contiguous()
        with talking():
            dist.broadcast(written, src=0)
        tensor.detach().copy_(written)


def _all_gather(local: Tensor, counts: tuple[int, ...]) -> Tensor:
    longest = max(counts)
    padded = local.contiguous()
    if local.shape[0] < longest:
        padded = torch.cat([local, local.new_zeros((longest - local.shape[0], *local.shape[1:]))])
    every = local.new_empty((longest * len(counts), *local.shape[1:]))
    with talking():
        dist.all_gather_into_tensor(every, padded)
    if min(counts) == longest:
        return every
    pieces = torch.split(every, longest)
    return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        return _all_gather(local.detach(), counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        with talking():
            dist.all_reduce(total)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]], None
