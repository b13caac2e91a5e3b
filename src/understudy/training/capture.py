"""A training step recorded once as a CUDA graph and replayed: small networks are bound by kernel launches."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from torch import Tensor

from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.models.outputs import Outputs
from understudy.training.processes import distributed
from understudy.training.task import Task

Compute = Callable[[Batch, "dict[str, Outputs]", "Tensor | int"], "dict[str, Tensor]"]
"""Computes one step (forward, backward, update) from a batch, what was taught outside, and its number."""

_WARM_UP = 3


class CapturedStep:
    """Records a step and replays it for every further batch of the same shape.

    The first steps run as they are, on a stream of their own, so that the optimiser and cuDNN have made what
    they make once. Then the step is recorded: rendering, student, teachers, losses, backward pass and update.
    A replay copies the batch into the recorded one's memory and launches the graph. What changes from step to
    step (learning rates, weights of the losses, seeds, the step's number) lies on the device and is written
    before.
    Teachers whose answers cannot be recorded are asked before each replay.

    Args:
        task: The task; `why_not` must have nothing against it.
        compute: Computes one step.

    Example:
        >>> why_not(torch.device("cpu"), pieces=1)
        'graphs are recorded on CUDA devices only'
    """

    def __init__(self, task: Task, compute: Compute) -> None:
        self._task = task
        self._compute = compute
        self._inside = task.taught_in_graph()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._steps = 0
        self._batch: Batch | None = None
        self._taught: dict[str, Outputs] = {}
        self._number = torch.zeros((), dtype=torch.int64, device=next(task.parameters()).device)
        self._parts: dict[str, Tensor] = {}

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Takes one training step; the parts of its loss are overwritten by the next."""
        outside = taught_outside(self._task, batch, self._inside)
        odd = self._batch is not None and len(batch.labels) != len(self._batch.labels)
        if self._steps < _WARM_UP or odd:
            self._steps += 1
            return self._beside(batch, outside)
        self._task.set_step(batch.step)
        self._task.draws.seed_for(batch.step)
        self._number.fill_(batch.step)
        if self._graph is None:
            self._record(batch, outside)
        else:
            assert self._batch is not None
            _copy_batch(batch, self._batch)
            _copy_outputs(outside, self._taught)
            self._task.asked_again(len(batch.labels))
        cast("torch.cuda.CUDAGraph", self._graph).replay()
        return self._parts

    def _beside(self, batch: Batch, outside: dict[str, Outputs]) -> dict[str, Tensor]:
        """One step as it is, on another stream, as a recording asks for."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            parts = self._compute(batch, outside, batch.step)
        torch.cuda.current_stream().wait_stream(self._stream)
        return parts

    def _record(self, batch: Batch, outside: dict[str, Outputs]) -> None:
        """Records the step with this batch's memory as the place of all further ones; computes nothing."""
        self._batch, self._taught = batch, outside
        self._graph = torch.cuda.CUDAGraph()
        for generator in self._task.draws.all():
            self._graph.register_generator_state(generator)
        torch.cuda.synchronize()
        # NCCL's watchdog asks the device for events while the step is recorded
        mode = "thread_local" if distributed.world() > 1 else "global"
        # on a stream of its own: PyTorch's default one stays on the GPU of the process's first recording
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode=mode):
            self._parts = self._compute(batch, outside, self._number)


def taught_outside(task: Task, batch: Batch, inside: Collection[str]) -> dict[str, Outputs]:
    """What a recorded step must be given: all answers that change with the batch and are not recorded.

    Args:
        task: The task.
        batch: The batch, which may bring answers along.
        inside: The teachers whose answers are recorded.
    """
    known = task.brought(batch)
    names = [name for name in task.taught_by() if name not in inside and name not in known]
    return known | (task.teach(batch.items, names) if names else {})


def why_not(device: torch.device, *, pieces: int, task: Task | None = None) -> str | None:
    """What speaks against recording a step, in a few words; None if nothing does.

    Args:
        device: Where the task is.
        pieces: Pieces that a batch is computed in.
        task: The task.
    """
    if device.type != "cuda":
        return "graphs are recorded on CUDA devices only"
    if distributed.world() > 1 and not distributed.has_nccl():
        return "the processes do not talk through NCCL"
    if pieces > 1:
        return "the batch is computed in pieces"
    bound = [] if task is None else [term.name for term in task.loss_terms() if not term.capturable]
    if bound:
        return f"the loss {bound[0]!r} waits for the device"
    return None


def _copy_batch(source: Batch, target: Batch) -> None:
    target.labels.copy_(source.labels, non_blocking=True)
    _copy_items(source.items, target.items)


def _copy_items(source: Items, target: Items) -> None:
    target.rows.copy_(source.rows, non_blocking=True)
    target.content.copy_(source.content, non_blocking=True)
    if source.views is not None and target.views is not None:
        target.views.rows.copy_(source.views.rows, non_blocking=True)
        target.views.numbers.copy_(source.views.numbers, non_blocking=True)


def _copy_outputs(source: dict[str, Outputs], target: dict[str, Outputs]) -> None:
    for name, outputs in source.items():
        for key, value in cast("dict[str, Any]", outputs).items():
            kept = cast("dict[str, Any]", target[name])[key]
            pairs = [(value, kept)] if isinstance(value, Tensor) else [(value[k], kept[k]) for k in value]
            for new, old in pairs:
                old.copy_(new, non_blocking=True)
