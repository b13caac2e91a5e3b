"""Batches: what a step of training is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.counter import hashed
from understudy.data.items import Items
from understudy.data.pixels import Pixels, PixelStream
from understudy.data.samplers import BatchStream, Step
from understudy.data.views import Views


@dataclass(frozen=True)
class Batch:
    """The items of one step.

    Attributes:
        items: What the models are asked to embed.
        labels: (n,) int64 class codes, -1 for unlabelled items.
        step: Number of the (global) batch in the whole run.
        counts: How many items every process has of it, in the order of their ranks; None where nobody said.
    """

    items: Items
    labels: Tensor
    step: int
    counts: tuple[int, ...] | None = None


class Batches:
    """The endless stream of batches, on a device.

    Views are numbered so that an image that is drawn twice, in one batch, a later one or a later epoch, is
    seen
    differently: by its place in the run (batch number × batch size + place in the global batch), or, with a
    finite ``num_views``, by its place in the batch plus a hash of row and batch number, modulo ``num_views``
    (copies less than ``num_views`` places apart in a batch then always differ, and each view of an image
    comes as often as another). Nothing but the stream's position has to be kept to resume.

    Images that do not lie on the device are asked for some batches before they are needed, but never before
    their epoch has begun: a sampler may look at the student then.

    Args:
        content: The decoded images, or the texts of **all** manifest rows.
        labels: Class codes of all manifest rows, -1 for unlabelled ones.
        stream: Gives the rows.
        augmentation: What may vary between views; none or all off: clean images. Texts have no views.
        seed: The seed of the views.
        device: Where batches go.

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
    ) -> None:
        self.stream = stream
        self._content = content
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self._augmentation = augmentation or Augmentation()
        self._seed = seed
        self._device = torch.device(device)
        self._coming: deque[tuple[dict[str, int], Step]] = deque()
        self._images = self._open()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        most = 1 if self._images is None else 1 + self._images.ahead
        while not self._coming or (len(self._coming) < most and self.stream.planned):
            place = self.stream.state_dict()
            step = next(self.stream)
            self._coming.append((place, step))
            if self._images is not None:
                self._images.ask(torch.from_numpy(step.rows))
        return self._batch(self._coming.popleft()[1])

    def state_dict(self) -> dict[str, int]:
        """The position of the batch that comes next."""
        return self._coming[0][0] if self._coming else self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues where another stream of the same sampler and seed stood."""
        self.stream.load_state_dict(state)
        self._coming.clear()
        self._images = self._open()

    def _open(self) -> PixelStream | None:
        if isinstance(self._content, Pixels) and self._content.streamed:
            return PixelStream(self._content)
        return None

    def _batch(self, step: Step) -> Batch:
        rows = torch.from_numpy(step.rows)
        if isinstance(self._content, Pixels):
            # Rows go by themselves to where the pixels are, so pixels in the host's memory meet no device
            # twice.
            images = self._content.gather(rows) if self._images is None else self._images.give()
            items = Items(rows, images, self._views(step, rows)).to(self._device)
        else:
            items = Items(rows.to(self._device), [self._content[row] for row in step.rows])
        return Batch(items, self._labels[items.rows], step.number, step.counts)

    def _views(self, step: Step, rows: Tensor) -> Views | None:
        if self._augmentation.off:
            return None
        places = torch.arange(step.start, step.start + len(rows))
        count = self._augmentation.num_views
        if count is None:
            numbers = step.number * self.stream.sampler.batch_size + places
        else:
            numbers = (hashed(self._seed, rows, torch.full_like(rows, step.number)) + places).remainder(count)
        return Views(self._augmentation, self._seed, rows, numbers)
