"""Networks, rendering and losses put through ``torch.compile``, and taken back where that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import nn

from understudy.errors import UserError
from understudy.training.objective.terms import MapsTerm
from understudy.training.processes import distributed
from understudy.training.task import Task

R = TypeVar("R")

_PATIENCE = timedelta(minutes=2)
"""How much later the compiler of another process may fail."""

WORTH = 1.5e11
"""Pixels that a run shows its student from which ``auto`` compiles: about 3 million images of 224 × 224.

A compiler takes 20 to 60 seconds the first time it sees a network and a batch size, and a compiled step saves
a quarter to a third of the time (``benchmarks/throughput.py``)."""


def compiles(
    wish: Literal["auto", "on", "off"], task: Task, device: torch.device, pixels: float
) -> tuple[bool, str | None]:
    """Whether a task is compiled, and what to say where it would be and cannot.

    Args:
        wish: The setting ``compile``.
        task: The task.
        device: Where it is.
        pixels: Pixels that the student is shown in the whole run.

    Returns:
        The decision, and a sentence or None.

    Example:
        >>> from understudy.models import build_embedder
        >>> from understudy.losses import MultiSimilarity
        >>> from understudy.training.objective.terms import SupervisedTerm
        >>> student = build_embedder({"backbone": "smallconv_8", "dim": 16})
        >>> task = Task(student, [SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0)])
        >>> compiles("auto", task, torch.device("cpu"), 1e12)
        (False, None)
    """
    if wish == "off" or (wish == "auto" and (device.type != "cuda" or pixels < WORTH)):
        return False, None
    obstacle = _obstacle(task)
    if obstacle is None:
        return True, None
    return False, f"nothing is compiled: {obstacle}"


class Compilation:
    """A task whose costly parts are compiled: what student and live teachers give, and the losses.

    Rendering, student and classifier become one function, so that a compiler can make one kernel of what
    stands between two convolutions; so does each live teacher. Losses that draw at random stay as they are.

    Args:
        task: The task; changed in place.
        say: Told in one sentence when the compiler fails and everything goes back to how it was.
        backend: As ``torch.compile`` takes it.
    """

    def __init__(self, task: Task, say: Callable[[str], None], *, backend: str = "inductor") -> None:
        self._task = task
        self._say = say
        self._proven = False

        def compiled(function: Callable[..., R]) -> Callable[..., R]:
            made: Callable[..., R] = torch.compile(function, dynamic=False, backend=backend)
            return made

        task.wrap(compiled)

    def guarded(self, step: Callable[..., R]) -> Callable[..., R]:
        """A step that is taken again without a compiler where the first one makes a compiler fail.

        Args:
            step: Computes loss, gradients and update; it begins anew when it is called again.

        Raises:
            UserError: The compiler fails in some of several processes, or elsewhere in each.
        """

        def take(*arguments: object) -> R:
            if self._proven:
                return step(*arguments)
            try:
                result = step(*arguments)
            except Exception as error:
                if not _compiler_failed(error):
                    raise
                reason = _reason(error)
                # a process that failed elsewhere, or nowhere, is in the middle of this very step
                point = f"compiler, after {distributed.exchanges()} exchanges"
                if not distributed.all_come_to(point, within=_PATIENCE):
                    raise UserError(f"{reason}, and not so in every process: set compile to 'off'") from error
                self._say(f"nothing is compiled: {reason}")
                self.undo()
                result = step(*arguments)
            self._proven = True
            return result

        return take

    def undo(self) -> None:
        """Everything as it was before."""
        self._task.wrap(None)


def _obstacle(task: Task) -> str | None:
    if any(isinstance(term, MapsTerm) for term in task.loss_terms()):
        return "feature maps are taken out of the networks"
    if any(isinstance(module, nn.SyncBatchNorm) for module in task.modules()):
        return "sync_bn exchanges messages inside the student"
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        return "there is no C compiler: install gcc"
    return None


def _compiler_failed(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _reason(error: Exception) -> str:
    """What a compiler says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]).rstrip(".:")[:300] or type(error).__name__
