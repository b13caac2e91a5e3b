"""Batches of any images, for learning without labels."""

from __future__ import annotations

import numpy as np

from understudy.data.samplers.base import Sampler, deal
from understudy.errors import UserError


class Unlabelled(Sampler):
    """Every image once an epoch, in an order reshuffled each epoch; labels play no part.

    A last batch that the images do not fill is filled with images of another shuffle, none twice in a batch
    unless there are fewer images than places.

    Args:
        rows: (n,) manifest rows to draw from.
        batch_size: Images in a batch.
        seed: The seed of all plans.
        batches: Batches in an epoch; none: as many as hold every image.

    Raises:
        UserError: There is no image, or the batch is empty.

    Example:
        >>> plan = Unlabelled(np.array([7, 8, 9]), 2, seed=0).plan(0)
        >>> plan.shape, np.unique(plan).tolist()
        ((2, 2), [7, 8, 9])
    """

    def __init__(self, rows: np.ndarray, batch_size: int, *, seed: int, batches: int | None = None) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self._rows = np.asarray(rows, dtype=np.int64)
        if batch_size < 1:
            raise UserError(f"batch_size {batch_size} is empty: make it at least 1")
        if not len(self._rows):
            raise UserError("there is no image to draw from: check the manifest's 'split' column")
        self._batches = -(-len(self._rows) // batch_size) if batches is None else batches

    def __len__(self) -> int:
        return self._batches

    def plan(self, epoch: int) -> np.ndarray:
        """Shuffled manifest rows."""
        order = deal(len(self._rows), len(self), self.batch_size, self._generator(epoch))
        plan: np.ndarray = self._rows[order]
        return plan
