"""Gallery rows that belong to each query (those it wants, those it must not see), however many each has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lists:
    """For each query a stretch of one row of gallery rows; queries may share a stretch.

    So the wanted rows of a class are held once, not once for each of its queries.

    Attributes:
        rows: (r,) int64 gallery rows.
        start: (n,) int64, where each query's stretch begins in ``rows``.
        length: (n,) int64.

    Example:
        >>> lists = Lists(torch.tensor([7, 5, 9]), torch.tensor([0, 1, 0]), torch.tensor([3, 1, 0]))
        >>> lists.padded(torch.tensor([1, 0])).tolist()
        [[5, -1, -1], [7, 5, 9]]
        >>> [some.tolist() for some in lists.separate(torch.tensor([0, 1, 2]))]
        [[7, 5, 9], [5], []]
    """

    rows: Tensor
    start: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.start)

    def padded(self, queries: Tensor) -> Tensor:
        """The lists of some queries, (r, longest of them) int64, filled up with −1."""
        length = self.length[queries]
        longest = int(length.max()) if len(queries) else 0
        place = torch.arange(longest, device=self.rows.device)
        missing = place >= length[:, None]
        where = (self.start[queries][:, None] + place).masked_fill_(missing, 0)
        if not len(self.rows):
            return where.fill_(-1)
        return self.rows[where].masked_fill_(missing, -1)

    def separate(self, queries: Tensor) -> tuple[Tensor, ...]:
        """The lists of some queries, each of its own length."""
        length = self.length[queries]
        ends = length.cumsum(0)
        total = int(ends[-1]) if len(ends) else 0
        place = torch.arange(total, device=self.rows.device) - (ends - length).repeat_interleave(length)
        all_rows = self.rows[self.start[queries].repeat_interleave(length) + place]
        return torch.split(all_rows, length.tolist())


def of_labels(query: Tensor, gallery: Tensor) -> Lists:
    """The gallery rows with each query's label, in ascending order.

    Args:
        query: (n,) int64.
        gallery: (m,) int64.

    Example:
        >>> of_labels(torch.tensor([4, 1]), torch.tensor([9, 4, 4])).padded(torch.arange(2)).tolist()
        [[1, 2], [-1, -1]]
    """
    ordered, rows = gallery.sort(stable=True)
    start = torch.searchsorted(ordered, query, right=False)
    return Lists(rows, start, torch.searchsorted(ordered, query, right=True) - start)


def of_pairs(query: Tensor, gallery: Tensor, queries: int) -> Lists:
    """The gallery rows that stand beside each query in a list of pairs.

    Args:
        query: (p,) int64 query rows.
        gallery: (p,) int64 gallery rows, one for each.
        queries: How many queries there are, n.

    Example:
        >>> of_pairs(torch.tensor([1, 0, 1]), torch.tensor([5, 6, 7]), 3).padded(torch.arange(3)).tolist()
        [[6, -1], [5, 7], [-1, -1]]
    """
    ordered, order = query.sort(stable=True)
    everyone = torch.arange(queries, device=query.device)
    start = torch.searchsorted(ordered, everyone, right=False)
    return Lists(gallery[order], start, torch.searchsorted(ordered, everyone, right=True) - start)


def joined(first: Tensor, second: Tensor) -> Tensor:
    """One code for each pair of codes, equal where both are.

    Args:
        first: (n,) int64, none negative, below 2**32.
        second: (n,) int64, none negative, below 2**31.

    Raises:
        ValueError: A code is too large: two pairs could become one.

    Example:
        >>> joined(torch.tensor([1, 1, 2]), torch.tensor([0, 0, 0])).unique(return_inverse=True)[1]
        tensor([0, 0, 1])
    """
    if len(first) and (int(first.max()) >= 2**32 or int(second.max()) >= 2**31):
        raise ValueError("labels must be below 2**32 and cameras below 2**31: number them from 0")
    return first * 2**31 + second
