"""The terms of a task's loss: each gathers what its loss declares and gives one weighted part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.training.objective.prefixes import Prefixes
from understudy.training.objective.step import Step

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes a function of a function that computes the same."""


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

    def wrap(self, wrapper: Wrapper | None) -> None:
        """Lets losses be computed in another way, those that neither draw at random nor wait for the device.

        Args:
            wrapper: Makes a function of a function, such as ``torch.compile``; None: as it was.
        """
        for loss in (getattr(self, "loss", None), *getattr(self, "nested", ())):
            if isinstance(loss, nn.Module) and readable(loss):
                # what nn.Module.compile does, which has no way back
                loss._compiled_call_impl = None if wrapper is None else wrapper(loss._call_impl)  # noqa: SLF001

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
        if not _draws(loss):
            return {}
        return {"generator": step.generator(_number(self.name) + salt)}


class SupervisedTerm(Term):
    """A loss on labels, over the rows of all processes; unlabelled rows (label -1) take no part in it.

    Args:
        name: How logs and errors call it.
        loss: The loss of the whole output.
        source: Which output it looks at (``embedding``, ``raw`` or ``logits``).
        weight: The factor on its value.
        warmup: Steps over which the factor grows.
        prefixes: The lengths it looks at; the whole alone unless given.
        nested: A loss for each shorter length: its proxies, margins, … are of that length.
    """

    def __init__(
        self,
        name: str,
        loss: nn.Module,
        source: str,
        weight: float,
        warmup: int = 0,
        *,
        prefixes: Prefixes | None = None,
        nested: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__(name, weight, warmup)
        self.loss = loss
        self.source = source
        self.prefixes = prefixes or Prefixes()
        self.nested = nn.ModuleList(nested)

    def forward(self, step: Step) -> Tensor:
        """The loss of all rows and their labels, the mean over lengths."""
        labels = step.everywhere(step.labels)
        views = self.prefixes.views(step.outputs, self.source, step.everywhere)
        return self.prefixes.mean(
            loss(rows, labels, **self.draws(loss, step, place))
            for place, (loss, rows) in enumerate(zip((self.loss, *self.nested), views, strict=True))
        )


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
        projection: What brings the student into the teacher's space, where the loss needs that.
        owned: Whether the projection is trained as a part of the term; else it is the student's own.
        prefixes: The lengths it looks at, each against the whole teacher; the whole alone unless given.
        columns: Where each training class stands among the teacher's classes, for losses on logits.
        gallery: How many of the teacher's vectors of training images the loss takes as its gallery; they are
            handed over by `hang`. None: the loss takes none, or the batch's own.
    """

    hung: Tensor | None
    """(m, d_T) the teacher's vectors that are the loss's gallery."""

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
        owned: bool = True,
        prefixes: Prefixes | None = None,
        columns: Tensor | None = None,
        gallery: int | None = None,
    ) -> None:
        super().__init__(name, weight, warmup)
        self.loss = loss
        self.source = source
        self.teacher = teacher
        self.relational = relational
        self.projection = projection if owned else None
        self._shared = () if projection is None else (projection,)  # a tuple: neither state nor parameters
        self.prefixes = prefixes or Prefixes()
        self.register_buffer("columns", columns, persistent=False)
        self.gallery = gallery
        self.register_buffer("hung", None, persistent=False)

    def hang(self, vectors: Tensor) -> None:
        """Gives the loss its gallery: (m, d_T) vectors of the teacher."""
        self.hung = vectors

    def forward(self, step: Step) -> Tensor:
        """The loss of the whole batch, or this process's share of a mean over rows; the mean over lengths."""
        taught: Tensor = step.taught[self.teacher][self.source]  # type: ignore[literal-required]
        columns = self.columns
        if isinstance(columns, Tensor):
            taught = taught[:, columns]
        if not self.relational:
            views = self.prefixes.views(step.outputs, self.source)
            return (
                self.prefixes.mean(self.loss(self._met(rows), taught) for rows in views) * step.local_share()
            )
        extra: dict[str, Tensor] = {} if self.hung is None else {"gallery": self.hung}
        share = 1.0
        if len(step.counts) > 1 and getattr(self.loss, "splits_by_query", False):
            extra["queries"] = step.own_rows()  # each process asks for its own rows only
            share = step.local_share()
        taught = step.everywhere(taught)
        views = self.prefixes.views(step.outputs, self.source, step.everywhere)
        related = self.prefixes.mean(
            self.loss(self._met(rows), taught, **self.draws(self.loss, step, place), **extra)
            for place, rows in enumerate(views)
        )
        return related * share

    @property
    def projects(self) -> bool:
        """Whether the student is brought into the teacher's space."""
        return bool(self._shared)

    def _met(self, rows: Tensor) -> Tensor:
        """The student's rows where the teacher's are."""
        for projection in self._shared:
            rows = projection(rows.float())
        return rows


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


def readable(loss: nn.Module) -> bool:
    """Whether a compiler can read a loss: it neither draws at random nor waits for the device."""
    return all(getattr(part, "capturable", True) and not _draws(part) for part in loss.modules())


def _draws(loss: nn.Module) -> bool:
    """Whether a loss draws at random: as it says itself, else whether it could."""
    return bool(getattr(loss, "random", "generator" in inspect.signature(loss.forward).parameters))


def _number(name: str) -> int:
    """A number for a name that is the same in every process and Python."""
    salt = 0
    for letter in name.encode():
        salt = (salt * 131 + letter) % 1_000_003
    return salt
