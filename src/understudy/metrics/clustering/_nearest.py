"""Which centroid is nearest to each point, kept up while centroids come and move."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.search import full_float32


class Nearest:
    """The nearest of the centroids seen so far.

    Compares x·c − ‖c‖²/2, which is largest where ‖x − c‖² is smallest, a block of rows at a time.

    Args:
        points: (n, d) floating point.
        block_bytes: The memory for a block's scores.

    Attributes:
        number: (n,) int64, the nearest centroid; −1 before any was seen.
        score: (n,) its x·c − ‖c‖²/2.
    """

    def __init__(self, points: Tensor, block_bytes: int) -> None:
        self.points = points
        self.block_bytes = block_bytes
        self.squares = torch.linalg.vector_norm(points, dim=1).square_()
        self.number = torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
        self.score = points.new_full((len(points),), -torch.inf)

    @property
    def distance(self) -> Tensor:
        """(n,) squared distances to the nearest centroid, as exact as the points' type lets the scores be."""
        return torch.clamp(self.squares - 2 * self.score, min=0)

    def consider(self, centroids: Tensor, numbers: Tensor, rows: Tensor | None = None) -> None:
        """Moves points to those of the centroids that are nearer than what they have; a tie changes nothing.

        Args:
            centroids: (c, d).
            numbers: (c,) int64, what they are called, ascending: of two equally near the first is taken.
            rows: (r,) int64, the points concerned; by default all.
        """
        count = len(self.points) if rows is None else len(rows)
        if not count or not len(centroids):
            return
        width = (len(centroids) + (0 if rows is None else self.points.shape[1])) * self.points.element_size()
        height = min(count, max(1, self.block_bytes // width))
        room = self.points.new_empty(height, len(centroids))
        offset = torch.linalg.vector_norm(centroids, dim=1).square_().div_(-2)
        for start in range(0, count, height):
            some = slice(start, min(start + height, count)) if rows is None else rows[start : start + height]
            points = self.points[some]
            with full_float32():
                scores = torch.addmm(offset, points, centroids.T, out=room[: len(points)])
            best, place = scores.max(1)
            better = best > self.score[some]
            self.score[some] = torch.where(better, best, self.score[some])
            self.number[some] = torch.where(better, numbers[place], self.number[some])

    def forget(self, rows: Tensor) -> None:
        """Lets go of the centroid that some rows have, because it moved."""
        self.score[rows] = -torch.inf
