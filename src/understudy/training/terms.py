"""The terms of a task's loss: each gathers what its loss declares and gives one weighted part."""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.training.step import Step


class Term(nn.Module):
    """One part of the training loss: a weight that may grow in, and a value for each step.

    What the number of the step decides is set from outside (`set_step`), before the step is computed.

    Args:
        name: How logs and errors call it.
        weight: The factor on its value once the warm-up is over.
        warmup: Steps over which the factor grows linearly from 0.
    """

    clock: Tensor
    """(k,) float64: what the number of the step decides, where a captured graph sees it change."""

    def __init__(self, name: str, weight: float, warmup: int = 0) -> None:
        super().__init__()
        self.name = name
        self.weight = weight
        self.warmup = warmup
        self._now: tuple[float, ...] = ()
        self.register_buffer("clock", torch.full((2,), torch.nan, dtype=torch.float64), persistent=False)

    def factor(self, step: int) -> float:
        """The weight in force at a step.

        Example:
            >>> [Term("pkt", 2.0, warmup=4).factor(step) for step in (0, 1, 4, 9)]
            [0.5, 1.0, 2.0, 2.0]
        """
        return self.weight * min(1.0, (step + 1) / self.warmup) if self.warmup else self.weight

    def schedule(self, step: int) -> tuple[float, ...]:
        """What the step's number alone decides: the factor, and whatever else a term lets grow or begin."""
        return (self.factor(step),)

    def set_step(self, step: int) -> None:
        """Writes the step's schedule where the computation reads it; nothing where nothing changes."""
        now = self.schedule(step)
        for place, new in enumerate(now):
            if self._now[place : place + 1] != (new,):
                self.clock[place].fill_(new)
        self._now = now

    def weighted(self, value: Tensor) -> Tensor:
        """A value times the factor in force."""
        return self.clock[0].to(value.dtype) * value

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can record the term: none of its losses waits for the device."""
        return all(getattr(module, "capturable", True) for module in self.modules() if module is not self)

    def forward(self, step: Step) -> Tensor:
        """The unweighted value, a scalar with a graph."""
        raise NotImplementedError

    def draws(self, loss: nn.Module, step: Step, salt: int = 0) -> dict[str, torch.Generator]:
        """The ``generator`` argument of a loss that draws at random; nothing for one that does not.

        Args:
            loss: One of the term's losses.
            step: The step it is called in.
            salt: Tells several losses of one term apart.
        """
        if "generator" not in inspect.signature(loss.forward).parameters:
            return {}
        return {"generator": step.generator(_number(self.name) + salt)}


class SupervisedTerm(Term):
    """A loss on labels, over the rows of all processes; unlabelled rows (label -1) take no part in it."""

    def __init__(self, name: str, loss: nn.Module, source: str, weight: float, warmup: int = 0) -> None:
        super().__init__(name, weight, warmup)
        self.loss = loss
        self.source = source

    def forward(self, step: Step) -> Tensor:
        """The loss of all rows and their labels."""
        rows = step.everywhere(step.outputs[self.source])  # type: ignore[literal-required]
        value: Tensor = self.loss(rows, step.everywhere(step.labels), **self.draws(self.loss, step))
        return value


class DistillationTerm(Term):
    """A loss of the student's outputs against one teacher's.

    Args:
        name: How logs and errors call it.
        loss: A module from `understudy.losses`.
        source: Which output it compares (``embedding`` or ``logits``).
        teacher: The teacher's name in the task.
        weight: The factor on its value.
        warmup: Steps over which the factor grows.
        relational: Whether the loss compares the rows of the batch with each other.
        projection: What brings the student to the teacher's dimension, where the loss needs equal ones.
        columns: Where each training class stands among the teacher's classes, for losses on logits.
    """

    def __init__(
        self,
        name: str,
        loss: nn.Module,
        source: str,
        teacher: str,
        weight: float,
        warmup: int = 0,
        *,
        relational: bool = True,
        projection: nn.Module | None = None,
        columns: Tensor | None = None,
    ) -> None:
        super().__init__(name, weight, warmup)
        self.loss = loss
        self.source = source
        self.teacher = teacher
        self.relational = relational
        self.projection = projection
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, step: Step) -> Tensor:
        """The loss of the whole batch, or this process's share of a mean over rows."""
        student: Tensor = step.outputs[self.source]  # type: ignore[literal-required]
        taught: Tensor = step.taught[self.teacher][self.source]  # type: ignore[literal-required]
        columns = self.columns
        if isinstance(columns, Tensor):
            taught = taught[:, columns]
        if self.projection is not None:
            student = self.projection(student.float())
        if not self.relational:
            value: Tensor = self.loss(student, taught)
            return value * step.local_share()
        extra: dict[str, object] = {**self.draws(self.loss, step)}
        share = 1.0
        if len(step.counts) > 1 and getattr(self.loss, "splits_by_query", False):
            extra["queries"] = step.own_rows()  # each process asks for its own rows only
            share = step.local_share()
        related: Tensor = self.loss(step.everywhere(student), step.everywhere(taught), **extra)
        return related * share


class MapsTerm(Term):
    """A loss of one of the student's feature maps against one of a teacher's (hints, attention).

    Args:
        name: How logs and errors call it.
        loss: A module from `understudy.losses` that takes two maps (n, C, H, W).
        maps: The layer of the student and the layer of the teacher.
        teacher: The teacher's name in the task.
        weight: The factor on its value.
        warmup: Steps over which the factor grows.
    """

    def __init__(
        self, name: str, loss: nn.Module, maps: tuple[str, str], teacher: str, weight: float, warmup: int = 0
    ) -> None:
        super().__init__(name, weight, warmup)
        self.loss = loss
        self.maps = maps
        self.teacher = teacher

    def forward(self, step: Step) -> Tensor:
        """This process's share of a mean over rows."""
        mine, theirs = self.maps
        value: Tensor = self.loss(step.outputs["maps"][mine], step.taught[self.teacher]["maps"][theirs])
        return value * step.local_share()


class Projection(nn.Module):
    """A linear map from the student's to the teacher's dimension, in training only.

    Args:
        student_dim: d_S.
        teacher_dim: d_T.
        normalize: Divide the rows by their length afterwards, as the teacher's are.

    Example:
        >>> import torch
        >>> Projection(8, 16, normalize=True)(torch.randn(4, 8)).norm(dim=1).round(decimals=4).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, student_dim: int, teacher_dim: int, *, normalize: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(student_dim, teacher_dim, bias=False)
        nn.init.orthogonal_(self.linear.weight)
        self.normalize = normalize

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d_S) to (n, d_T)."""
        projected: Tensor = self.linear(rows)
        return F.normalize(projected, dim=1) if self.normalize else projected


def _number(name: str) -> int:
    """A number for a name that is the same in every process and Python."""
    salt = 0
    for letter in name.encode():
        salt = (salt * 131 + letter) % 1_000_003
    return salt
