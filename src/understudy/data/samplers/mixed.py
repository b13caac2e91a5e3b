"""Labelled and unlabelled images in one batch."""

from __future__ import annotations

import numpy as np

from understudy.data.samplers.base import Sampler


class Mixed(Sampler):
    """The batch of one sampler followed by the batch of another.

    The shorter of the two goes on with its own next epoch as often as needed, so all its images keep coming.

    Args:
        labelled: Plans the first part of every batch.
        unlabelled: Plans the second part.
        batches: Batches in an epoch; none: those of the longer sampler.

    Attributes:
        parts: The two samplers.

    Example:
        >>> from understudy.data.samplers import Unlabelled
        >>> few, many = Unlabelled(np.arange(2), 1, seed=0), Unlabelled(np.arange(2, 8), 2, seed=0)
        >>> Mixed(few, many).plan(0).shape
        (3, 3)
    """

    def __init__(self, labelled: Sampler, unlabelled: Sampler, *, batches: int | None = None) -> None:
        self.seed = labelled.seed
        self.batch_size = labelled.batch_size + unlabelled.batch_size
        self.parts = (labelled, unlabelled)
        self._batches = max(len(labelled), len(unlabelled)) if batches is None else batches

    def __len__(self) -> int:
        return self._batches

    def plan(self, epoch: int) -> np.ndarray:
        """Rows of the first sampler, then rows of the second."""
        return np.concatenate([self._stretch(part, epoch) for part in self.parts], axis=1)

    def _stretch(self, part: Sampler, epoch: int) -> np.ndarray:
        """This epoch's share of the endless stream of a part's own epochs."""
        start, stop = epoch * len(self), (epoch + 1) * len(self)
        first, last = start // len(part), (stop - 1) // len(part)
        plans = np.concatenate([part.plan(own) for own in range(first, last + 1)])
        return plans[start - first * len(part) : stop - first * len(part)]
