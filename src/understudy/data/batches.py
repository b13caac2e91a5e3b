"""Batches: what a step of training is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.answers import Answers, AnswerStream
from understudy.data.augmentation import Augmentation
from understudy.data.counter import hashed
from understudy.data.items import Items
from understudy.data.pixels import Pixels, PixelStream
from understudy.data.samplers import BatchStream, Step
from understudy.data.streaming import AHEAD
from understudy.data.views import Views


@dataclass(frozen=True)
class Batch:
    """The items of one step.

    Attributes:
        items: What the models are asked to embed.
        labels: (n,) int64 class codes, -1 for unlabelled items.
        step: Number of the (global) batch in the whole run.
        counts: How many items every process has of it, in the order of their ranks; None where nobody said.
        taught: What teachers have said about the items, by teacher, where it was read ahead.
    """

    items: Items
    labels: Tensor
    step: int
    counts: tuple[int, ...] | None = None
    taught: Mapping[str, Answers] = field(default_factory=dict)


class Batches:
    """The endless stream of batches, on a device.

    Views are numbered so that an image that is drawn twice, in one batch, a later one or a later epoch, is
    seen differently: by its place in the run (batch number × batch size + place in the global batch), or,
    with a finite ``num_views``, by its place in the batch plus a hash of row and batch number, modulo
    ``num_views`` (copies less than ``num_views`` places apart in a batch then always differ, and each view of
    an image comes as often as another). Nothing but the stream's position has to be kept to resume.

    Images that do not lie on the device, and stored answers of teachers, are asked for some batches before
    they are needed, but never before their epoch has begun: a sampler may look at the student then.

    Args:
        content: The decoded images, or the texts of **all** manifest rows.
        labels: Class codes of all manifest rows, -1 for unlabelled ones.
        stream: Gives the rows.
        augmentation: What may vary between views; none or all off: clean images. Texts have no views.
        seed: The seed of the views.
        device: Where batches go.
        stored: What looks up the stored answers of teachers, by their names, see `AnswerStream`.

    Example:
        >>> from understudy.data.samplers import Unlabelled
        >>> stream = BatchStream(Unlabelled(np.arange(3), 2, seed=0))
        >>> batch = next(iter(Batches(["a", "b", "c"], np.array([0, 0, -1]), stream)))
        >>> batch.items.rows.tolist(), batch.items.content, batch.labels.tolist()
        ([2, 0], ['c', 'a'], [-1, 0])
    """

    def __init__(
        self,
        content: Pixels | Sequence[str],
        labels: np.ndarray,
        stream: BatchStream,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        stored: Mapping[str, Callable[[Items], Answers]] | None = None,
    ) -> None:
        self.stream = stream
        self._content = content
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self._augmentation = augmentation or Augmentation()
        self._seed = seed
        self._device = torch.device(device)
        self._stored = dict(stored or {})
        self._begin()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        most = 1 if self._images is None and self._answers is None else 1 + AHEAD
        while not self._coming or (len(self._coming) < most and self.stream.planned):
            self._coming.append(self._ask(self.stream.state_dict(), next(self.stream)))
        return self._batch(self._coming.popleft())

    def state_dict(self) -> dict[str, int]:
        """The position of the batch that comes next."""
        return self._coming[0].position if self._coming else self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues where another stream of the same sampler and seed stood."""
        self.stream.load_state_dict(state)
        self._begin()

    def _begin(self) -> None:
        """Forgets what was asked for."""
        self._coming: deque[_Coming] = deque()
        content = self._content
        self._images = PixelStream(content) if isinstance(content, Pixels) and content.streamed else None
        self._answers = AnswerStream(self._stored, self._device) if self._stored else None

    def _ask(self, position: dict[str, int], step: Step) -> _Coming:
        rows = torch.from_numpy(step.rows)
        items = Items(rows, None, self._views(step, rows))
        if self._images is not None:
            self._images.ask(rows)
        answers = dict if self._answers is None else self._answers.ask(items)
        return _Coming(position, step, items, answers)

    def _batch(self, coming: _Coming) -> Batch:
        items, step = coming.items, coming.step
        if self._images is not None:
            content: Any = self._images.give()
        elif isinstance(self._content, Pixels):
            # Rows go by themselves to where the pixels are, so pixels in the host's memory meet no device
            # twice.
            content = self._content.gather(items.rows)
        else:
            content = [self._content[row] for row in step.rows]
        items = replace(items, content=content).to(self._device)
        return Batch(items, self._labels[items.rows], step.number, step.counts, coming.answers())

    def _views(self, step: Step, rows: Tensor) -> Views | None:
        if self._augmentation.off or not isinstance(self._content, Pixels):
            return None
        places = torch.arange(step.start, step.start + len(rows))
        count = self._augmentation.num_views
        if count is None:
            numbers = step.number * self.stream.sampler.batch_size + places
        else:
            numbers = (hashed(self._seed, rows, torch.full_like(rows, step.number)) + places).remainder(count)
        return Views(self._augmentation, self._seed, rows, numbers)


@dataclass(frozen=True)
class _Coming:
    """A batch that was asked for: where the stream stood before, rows and views on the host, answers."""

    position: dict[str, int]
    step: Step
    items: Items
    answers: Callable[[], dict[str, Answers]]
