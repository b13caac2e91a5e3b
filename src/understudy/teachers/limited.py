"""A teacher that costs something: asked so often, so fast, and again when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import torch
from torch import Tensor

from understudy.data.items import Items, View
from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError
from understudy.models.outputs import Outputs
from understudy.teachers.answers import named
from understudy.teachers.failing import told
from understudy.teachers.protocol import Teacher

T = TypeVar("T")

RETRIES = 3
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before the first repetition, and at most; each failure in a row doubles the wait."""

_MISTAKES = (TypeError, NameError, AttributeError, ImportError, NotImplementedError)


class Spent(UserError):
    """A budget of questions is spent; nothing was asked that it does not reach for."""


class LimitedTeacher:
    """Asks another teacher within a budget, at a rate, and once more when it fails.

    A batch that fails is asked about in halves, and a single image so often again as ``retries`` says, after
    waits that double from failure to failure: what fails now and then comes through, and what always fails is
    named. Mistakes in the program (a ``TypeError``, say) are not repeated.

    Args:
        teacher: The one that is asked.
        budget: How many images × views may be asked about, failures included; None: any number.
        rate: How many a second at most; no single question is about more than that. None: no limit.
        retries: How often a question about one image is repeated.
        clock, sleep: Tell and wait seconds.

    Attributes:
        spent: What was asked about, counted for the budget; set it to go on with an account.

    Example:
        >>> from understudy.teachers.callable import CallableTeacher
        >>> teacher = LimitedTeacher(CallableTeacher(lambda images: [[1.0, 2.0]] * len(images)), budget=3)
        >>> items = Items(torch.arange(2), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
        >>> teacher.embed(items).shape, teacher.spent
        (torch.Size([2, 2]), 2)
        >>> teacher.embed(items)
        Traceback (most recent call last):
        ...
        understudy.teachers.limited.Spent: the budget of 3 questions to the teacher '<lambda>' is spent (2
        were asked and 2 more are needed): raise its budget, or ask about fewer images
    """

    capturable = False

    def __init__(
        self,
        teacher: Teacher,
        *,
        budget: int | None = None,
        rate: float | None = None,
        retries: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.teacher = teacher
        self.name = teacher.name
        self.classes = teacher.classes
        self.supplies = teacher.supplies - {"maps"}
        self.view: View = teacher.view
        self.budget = budget
        self.rate = rate
        self.retries = retries
        self._clock, self._sleep = clock, sleep
        self._opened = 0
        self._next = 0.0
        self._failures = 0
        self._ids: Sequence[str] | None = None

    @property
    def dim(self) -> int:
        """The teacher's; asking for it may be a question too."""
        while True:
            try:
                return self.teacher.dim
            except Exception as error:  # a user's function may raise anything
                if isinstance(error, (UserError, *_MISTAKES)) or self._failures >= self.retries:
                    raise self._given_up(error, "a grey image") from error
                self._wait()

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images are shown to it, where it says so."""
        return getattr(self.teacher, "preprocessing", None)

    @property
    def normalised(self) -> bool | None:
        """Whether its vectors have length 1, where that is known."""
        return getattr(self.teacher, "normalised", None)

    @property
    def queries(self) -> int:
        """How many images × views the teacher was asked about."""
        return self.teacher.queries

    @property
    def spent(self) -> int:
        """How much of the budget is gone."""
        return self.queries - self._opened

    @spent.setter
    def spent(self, count: int) -> None:
        self._opened = self.queries - count

    def outputs(self, items: Items) -> Outputs:
        """The teacher's answers, asked for in as many parts as its rate and its failures want.

        Raises:
            Spent: The budget does not reach for the items; nothing more was asked.
            UserError: It failed too often; the image is named.
        """
        self._afford(len(items))
        most = len(items) if self.rate is None else max(1, int(self.rate))
        parts = [self._outputs(items[start : start + most]) for start in range(0, len(items), most)]
        return _joined(parts)

    def embed(self, items: Items) -> Tensor:
        """The embeddings alone, (n, dim)."""
        return self.outputs(items)["embedding"]

    def call_images(self, ids: Sequence[str]) -> None:
        """Tells the teacher what each manifest row is called, for errors."""
        self._ids = ids
        tell = getattr(self.teacher, "call_images", None)
        if tell is not None:
            tell(ids)

    def to(self, device: torch.device | str) -> Self:
        """Moves the teacher."""
        self.teacher.to(device)
        return self

    def _outputs(self, items: Items) -> Outputs:
        tries = 0
        while True:
            self._afford(len(items))
            self._keep_pace(len(items))
            try:
                given = self.teacher.outputs(items)
            except Exception as error:  # a user's function may raise anything
                if not self.retries or isinstance(error, (UserError, torch.OutOfMemoryError)):
                    raise
                tries += 1
                if isinstance(error, _MISTAKES):
                    raise self._given_up(error, named(items.rows, self._ids)) from error
                if len(items) == 1 and tries > self.retries:
                    raise self._given_up(error, f"{named(items.rows, self._ids)} {tries} times") from error
                self._wait()
                if len(items) > 1:
                    half = len(items) // 2
                    return _joined([self._outputs(items[:half]), self._outputs(items[half:])])
            else:
                self._failures = 0
                return given

    def _afford(self, count: int) -> None:
        if self.budget is not None and self.spent + count > self.budget:
            raise Spent(
                f"the budget of {self.budget} questions to the teacher {self.name!r} is spent ({self.spent} "
                f"were asked and {count} more are needed): raise its budget, or ask about fewer images"
            )

    def _keep_pace(self, count: int) -> None:
        if self.rate is None:
            return
        now = self._clock()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + count / self.rate

    def _wait(self) -> None:
        self._sleep(min(LONGEST_WAIT, FIRST_WAIT * 2**self._failures))
        self._failures += 1

    def _given_up(self, error: Exception, asked: str) -> Exception:
        if isinstance(error, UserError):
            return error
        return UserError(
            f"the teacher {self.name!r} failed on {asked} ({told(error)}): mend it, or leave that image out "
            "of the data"
        )


def _joined(parts: Sequence[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}  # type: ignore[literal-required, return-value]
