"""Gradient caching: a large batch's exact gradient on the memory of a small one.

A loss that compares the rows of a batch with each other cannot be accumulated over pieces of it. Instead
the batch is embedded piece by piece without a graph, the loss is computed on the whole, and each piece is
embedded once more with a graph into which the gradients of its rows are fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.data.batches import Batch
from understudy.data.samplers.base import share
from understudy.models.outputs import Outputs
from understudy.training.task import Task


def cached_backward(task: Task, batch: Batch, pieces: int) -> dict[str, Tensor]:
    """Accumulates into the parameters the gradient of the whole batch's loss, holding the graph of one piece.

    For networks without batch statistics, or with frozen ones, the gradient is that of the plain step. With
    training batch normalisation each piece is normalised by itself and moves the running statistics once.
    Dropout and other randomness repeat themselves in the second pass.

    Args:
        task: The task.
        batch: The whole batch.
        pieces: How many pieces to compute it in.

    Returns:
        The parts of the loss, as the task's forward, detached.
    """
    chunks = [batch.items[part] for part in _split(len(batch.labels), pieces)]
    device = batch.labels.device
    statistics = _batch_statistics(task)
    before: list[tuple[Tensor, Tensor | None]] = []
    first: list[Outputs] = []
    known = task.brought(batch)
    others = [name for name in task.taught_by() if name not in known]
    taught = [task.teach(chunk, others) for chunk in chunks]  # one that refuses leaves the student as it was
    with torch.no_grad():
        for chunk in chunks:
            before.append(random_state(device))
            first.append(task.outputs(chunk))
    for buffer, value in statistics:
        buffer.copy_(value)

    whole = _join(first)
    leaves = {path: value.detach().requires_grad_() for path, value in _tensors(whole)}
    parts = task.criterion(
        _rebuild(whole, leaves),
        known | {name: _join([piece[name] for piece in taught]) for name in others},
        batch.labels,
        batch.step,
        batch.counts,
    )
    parts["loss"].backward()  # type: ignore[no-untyped-call]

    after = random_state(device)
    start = 0
    for chunk, state in zip(chunks, before, strict=True):
        stop = start + len(chunk.rows)
        restore_random_state(state, device)
        pairs = [
            (value, cast("Tensor", leaves[path].grad)[start:stop])
            for path, value in _tensors(task.outputs(chunk))
            if leaves[path].grad is not None and value.requires_grad
        ]
        torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])
        start = stop
    restore_random_state(after, device)
    return {name: value.detach() for name, value in parts.items()}


def normalises_by_batch(module: nn.Module) -> bool:
    """Whether the module has batch normalisation that would use a batch's own statistics in training."""
    return any(isinstance(child, _BatchNorm) and child.training for child in module.modules())


def local_statistics(module: nn.Module) -> list[Tensor]:
    """The running statistics that batch normalisation takes from the rows of this process alone."""
    return [
        buffer
        for child in module.modules()
        if isinstance(child, _BatchNorm) and child.training and not isinstance(child, nn.SyncBatchNorm)
        for buffer in child.buffers()
        if buffer.is_floating_point()
    ]


def _split(rows: int, pieces: int) -> list[slice]:
    """Pieces that differ by one row at most: a single row at the end has no statistics of its own."""
    return [slice(*share(rows, piece, pieces)) for piece in range(min(pieces, rows))]


def _batch_statistics(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [
        (buffer, buffer.clone())
        for child in module.modules()
        if isinstance(child, _BatchNorm) and child.training
        for buffer in child.buffers()
    ]


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The states of the CPU's and, on a GPU, of that device's random numbers."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def restore_random_state(state: Sequence[Tensor | None], device: torch.device) -> None:
    """Goes back to what `random_state` gave; a GPU's part is passed over on another device."""
    assert state[0] is not None
    torch.set_rng_state(state[0])
    if state[1] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


def _tensors(outputs: Outputs) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    for name, value in outputs.items():
        if isinstance(value, Tensor):
            yield (name,), value
        elif isinstance(value, dict):
            for layer, tensor in value.items():
                yield (name, layer), tensor


def _join(pieces: list[Outputs]) -> Outputs:
    joined = {
        path: torch.cat([dict(_tensors(piece))[path] for piece in pieces]) for path, _ in _tensors(pieces[0])
    }
    return _rebuild(pieces[0], joined)


def _rebuild(like: Outputs, tensors: dict[tuple[str, ...], Tensor]) -> Outputs:
    built: dict[str, object] = {}
    for path, _ in _tensors(like):
        if len(path) == 1:
            built[path[0]] = tensors[path]
        else:
            cast("dict[str, Tensor]", built.setdefault(path[0], {}))[path[1]] = tensors[path]
    return cast("Outputs", built)
