"""Sums of the rows of each cluster that do not depend on the order of adding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CHUNK = 2**21  # numbers that are converted at a time


class ClusterSums:
    """The mean of each cluster's rows, kept up as rows move between clusters.

    Floating-point sums depend on the order, and a GPU adds in no fixed order. Here every number is a whole
    multiple of one power of two, chosen so that the sum of all rows fits 63 bits: adding and taking away are
    exact, so moving rows to and fro leaves no trace, and the same rows give the same mean to the bit. What
    rounding there is happens once a number, below 2⁻⁴⁰ of the largest for a million rows.

    Args:
        points: (n, d) floating point, finite.
        k: The number of clusters.

    Example:
        >>> sums = ClusterSums(torch.tensor([[1.0], [2.0], [6.0]]), 2)
        >>> sums.move(torch.tensor([0, 1, 2]), torch.tensor([-1, -1, -1]), torch.tensor([0, 0, 1]))
        >>> sums.means(torch.tensor([0, 1])).tolist(), sums.counts.tolist()
        ([[1.5], [6.0]], [2, 1])
    """

    def __init__(self, points: Tensor, k: int) -> None:
        self.points = points
        largest = max(abs(float(end)) for end in torch.aminmax(points)) or 1.0
        self.scale = 2.0 ** math.floor(61 - math.log2(len(points)) - math.log2(largest))
        self.counts = torch.zeros(k, dtype=torch.int64, device=points.device)
        self._sums = torch.zeros(k, points.shape[1], dtype=torch.int64, device=points.device)

    def move(self, rows: Tensor, before: Tensor, after: Tensor) -> None:
        """Takes rows out of the clusters ``before`` (−1: out of none) and puts them into ``after``."""
        chunk = max(1, _CHUNK // self.points.shape[1])
        for start in range(0, len(rows), chunk):
            some, old, new = (part[start : start + chunk] for part in (rows, before, after))
            whole = (self.points[some].double() * self.scale).round().long()
            self._sums.index_add_(0, new, whole)
            self.counts += torch.bincount(new, minlength=len(self.counts))
            left = old >= 0
            self._sums.index_add_(0, old[left], whole[left], alpha=-1)
            self.counts -= torch.bincount(old[left], minlength=len(self.counts))

    def means(self, numbers: Tensor) -> Tensor:
        """(len(numbers), d) means of clusters that are not empty, in the points' type."""
        sums, counts = self._sums[numbers].double(), self.counts[numbers, None]
        return (sums / counts / self.scale).to(self.points.dtype)
