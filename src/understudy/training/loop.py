"""The one training loop: steps, gradients, the clock and checkpoints; of distillation it knows nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from understudy.data.batches import Batch
from understudy.heap import kept_memory
from understudy.models.embedder import Embedder
from understudy.models.outputs import Outputs
from understudy.teachers import Spent
from understudy.training.caching import (
    cached_backward,
    local_statistics,
    random_state,
    restore_random_state,
)
from understudy.training.capture import CapturedStep
from understudy.training.compiling import Compilation
from understudy.training.ema import MovingAverage
from understudy.training.guard import NaNGuard
from understudy.training.optim import load_optimiser, set_rate
from understudy.training.processes import distributed
from understudy.training.processes.gathering import copy_from_writer, mean_gradients, means
from understudy.training.processes.voting import StopVote
from understudy.training.signals import Stopped, StopRequest
from understudy.training.task import Task


class Loop:
    """Trains a task for a number of steps.

    Args:
        task: Gives ``loss`` and its parts for a batch.
        optimiser: Over the task's parameters.
        batches: Gives the batches from a step on, the same ones every time it is asked.
        steps: Steps in the whole run.
        rate: The factor on the learning rate at a step.
        clip: Largest norm of the gradient, or None.
        pieces: Pieces a batch is computed in (gradient caching).
        graph: Record a step as a CUDA graph and replay it; `why_not` must have nothing against it.
        compilation: What compiled the task's parts, or None.
        average: A moving average of the student to keep, or None.
        log_every: Steps between calls of ``on_log``.
        checkpoint_every: Steps between calls of ``on_checkpoint``.
        evaluate_every: Steps between calls of ``on_evaluate``; 0 for never.
        on_log: Told the step, the mean of each part since the last call, and images per second.
        on_checkpoint: Given the loop's state to write down.
        on_evaluate: Told the step.

    Attributes:
        step: Steps taken so far.
    """

    def __init__(
        self,
        task: Task,
        optimiser: torch.optim.Optimizer,
        batches: Callable[[int], Iterator[Batch]],
        *,
        steps: int,
        rate: Callable[[int], float],
        clip: float | None = None,
        pieces: int = 1,
        graph: bool = False,
        compilation: Compilation | None = None,
        average: MovingAverage[Embedder] | None = None,
        log_every: int = 20,
        checkpoint_every: int = 200,
        evaluate_every: int = 0,
        on_log: Callable[[int, dict[str, float], float], None] = lambda *_: None,
        on_checkpoint: Callable[[int, dict[str, Any]], None] = lambda *_: None,
        on_evaluate: Callable[[int], None] = lambda *_: None,
    ) -> None:
        self.task = task
        self.optimiser = optimiser
        self.batches = batches
        self.steps = steps
        self.rate = rate
        self.clip = clip
        self.pieces = pieces
        self.graph = graph
        self.compilation = compilation
        self.average = average
        self.log_every = log_every
        self.checkpoint_every = checkpoint_every
        self.evaluate_every = evaluate_every
        self.on_log = on_log
        self.on_checkpoint = on_checkpoint
        self.on_evaluate = on_evaluate
        self.step = 0
        self._parameters = [p for p in task.parameters() if p.requires_grad]
        self._sums: dict[str, Tensor] = {}
        self._summed = 0

    def run(self, stop: StopRequest | None = None) -> None:
        """Trains from the current step to the last.

        Args:
            stop: Asked after every step; when it says so, a checkpoint is written and the run ends. Several
                processes end after the same step, whichever of them was asked.

        Raises:
            NotFinite: A loss part or the gradient became NaN or infinite.
            Stopped: Somebody asked for it.
            Spent: The budget of a teacher is spent; a checkpoint is written.
        """
        self.task.train()
        copy_from_writer(self.task)
        device = next(self.task.parameters()).device
        guard = NaNGuard(device)
        take = self._taker(guard)
        try:
            with kept_memory(device):
                asked = self._train(take, guard, StopVote(stop))
        except Spent as spent:  # teachers are asked before anything of a step has changed
            guard.check()
            self.on_checkpoint(self.step, self.state())
            raise Spent(f"{spent}; step {self.step} of {self.steps} is kept, go on with --resume") from None
        finally:
            del take  # a recorded step goes before the processes part, whose messages are in it
        if asked:
            raise Stopped(f"stopped by {asked} after step {self.step} of {self.steps}")

    def _train(
        self, take: Callable[[Batch], dict[str, Tensor]], guard: NaNGuard, vote: StopVote
    ) -> str | None:
        """Takes the steps; gives the signal that stopped it before the last."""
        clock = _Clock()
        # no batch too many is asked for: the first of an epoch may be dear
        for batch in islice(self.batches(self.step), max(0, self.steps - self.step)):
            set_rate(self.optimiser, self.rate(self.step))
            self._add(take(batch))
            if self.average is not None:
                self.average.update(self.task.student, self.step)
            clock.count(sum(batch.counts or (len(batch.labels),)))
            self.step += 1
            if self._due(self.log_every):
                guard.check()
                self.on_log(self.step, self._means(), clock.rate())
            if self.evaluate_every and self._due(self.evaluate_every):
                guard.check()
                self.on_evaluate(self.step)
                self.task.train()
                clock.forget()
            asked = vote()
            if asked or self._due(self.checkpoint_every):
                guard.check()
                self.on_checkpoint(self.step, self.state())
                clock.forget()
            if asked and self.step < self.steps:
                break
        else:
            asked = None
        vote.hear()
        return asked

    def state(self) -> dict[str, Any]:
        """Everything that decides how the run goes on, as tensors and plain values; asked of all at once."""
        device = next(self.task.parameters()).device
        own = {
            "sums": {name: float(value) for name, value in self._sums.items()},
            "random": list(random_state(device)),
        }
        return {
            "step": self.step,
            "task": self.task.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.model.state_dict(),
            "summed": self._summed,
            "processes": distributed.gather_objects(own),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state that `state` gave.

        Another number of processes may have given it: what is logged next is then the mean over those, and a
        process that was not among them draws random numbers of its own.
        """
        given = state["processes"]
        own = given[distributed.rank()] if distributed.rank() < len(given) else None
        sums = [own["sums"]] if own and len(given) == distributed.world() else [one["sums"] for one in given]
        self.step = state["step"]
        self.task.load_state_dict(state["task"])
        load_optimiser(self.optimiser, state["optimiser"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
        device = next(self.task.parameters()).device
        self._sums = {
            name: torch.tensor(sum(one[name] for one in sums) / len(sums), device=device) for name in sums[0]
        }
        self._summed = state["summed"]
        if own is not None:
            restore_random_state(own["random"], device)

    def _taker(self, guard: NaNGuard) -> Callable[[Batch], dict[str, Tensor]]:
        """What takes a step: as it is, or recorded as a graph where that is wanted and can be."""
        self.optimiser.found_inf = guard.found_inf  # type: ignore[attr-defined]
        statistics = local_statistics(self.task)

        def compute(batch: Batch, taught: dict[str, Outputs], number: Tensor | int) -> dict[str, Tensor]:
            self.optimiser.zero_grad(set_to_none=True)
            if self.pieces > 1:
                parts = cached_backward(self.task, batch, self.pieces)
                guard.watch(number, parts)
            else:
                parts = self.task(batch, taught)
                guard.watch(number, parts)
                parts["loss"].backward()
            mean_gradients(self._parameters, statistics)
            norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
            guard.watch(number, {"gradient": norm})
            guard.agree()
            if self.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(self._parameters, self.clip, norm)
            self.optimiser.step()
            return {name: value.detach() for name, value in parts.items()}

        take = compute if self.compilation is None else self.compilation.guarded(compute)
        if self.graph:
            return CapturedStep(self.task, take)
        return lambda batch: take(batch, {}, batch.step)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def _add(self, parts: Mapping[str, Tensor]) -> None:
        for name, value in parts.items():
            # a recorded step gives the same memory every time: the first value is copied
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._summed += 1

    def _means(self) -> dict[str, float]:
        values = means(torch.stack(list(self._sums.values())).double()) / self._summed
        named = dict(zip(self._sums, values.tolist(), strict=True))
        self._sums, self._summed = {}, 0
        return named


class _Clock:
    """Images a second since the last time it was asked, evaluations and checkpoints left out."""

    def __init__(self) -> None:
        self._images = 0
        self._start = time.perf_counter()

    def count(self, images: int) -> None:
        self._images += images

    def rate(self) -> float:
        now = time.perf_counter()
        rate = self._images / max(1e-9, now - self._start)
        self._images, self._start = 0, now
        return rate

    def forget(self) -> None:
        self._images, self._start = 0, time.perf_counter()
