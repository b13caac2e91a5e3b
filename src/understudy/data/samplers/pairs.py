"""All positive pairs across cameras: the batches of re-identification."""

from __future__ import annotations

import math

import numpy as np

from understudy.data.samplers.base import Sampler, deal
from understudy.data.samplers.classes import check_even, group_by_class
from understudy.errors import UserError

_MOST_PAIRS = 50_000_000


class CrossCameraPairs(Sampler):
    """Every pair of images of one class from two cameras once an epoch, reshuffled each epoch (DarkRank).

    A last batch that the pairs do not fill is filled with pairs of another shuffle.

    Args:
        rows: (n,) manifest rows to draw from.
        labels: Class codes of all manifest rows; rows with a negative code are left out.
        cameras: Camera codes of all manifest rows; rows with a negative code are in no pair.
        batch_size: Images in a batch; even.
        seed: The seed of all plans.

    Attributes:
        pairs: (p, 2) int64 manifest rows, each unordered pair once.

    Raises:
        UserError: The batch size is odd, there is no such pair, or there are more than 50 million.

    Example:
        >>> labels, cameras = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1])
        >>> CrossCameraPairs(np.arange(5), labels, cameras, 2, seed=0).pairs.tolist()
        [[0, 2], [1, 2], [3, 4]]
    """

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, cameras: np.ndarray, batch_size: int, *, seed: int
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        check_even(batch_size)
        groups = list(group_by_class(rows, labels).values())
        most = sum(len(members) * (len(members) - 1) // 2 for members in groups)
        if most > _MOST_PAIRS:
            raise UserError(
                f"the classes hold up to {most:,} pairs, too many to list: "
                "use a class-balanced sampler instead"
            )
        self.pairs = np.concatenate([np.empty((0, 2), np.int64), *(_across(m, cameras[m]) for m in groups)])
        if not len(self.pairs):
            raise UserError(
                "no class was seen by two cameras, so there are no cross-camera pairs: "
                "check the manifest's 'camera' column or use a class-balanced sampler"
            )

    def __len__(self) -> int:
        return math.ceil(len(self.pairs) / (self.batch_size // 2))

    def plan(self, epoch: int) -> np.ndarray:
        """Pairs of manifest rows beside each other."""
        order = deal(len(self.pairs), len(self), self.batch_size // 2, self._generator(epoch))
        plan: np.ndarray = self.pairs[order].reshape(len(self), self.batch_size)
        return plan


def _across(members: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    members, cameras = members[cameras >= 0], cameras[cameras >= 0]
    first, second = np.triu_indices(len(members), 1)
    apart = cameras[first] != cameras[second]
    return np.stack((members[first[apart]], members[second[apart]]), axis=1)
