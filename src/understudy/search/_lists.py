"""Lists of gallery rows, one for each query, end to end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """A list of gallery rows for each of n queries.

    Attributes:
        starts: n + 1 numbers: where each query's list begins.
        query_of: Whose each entry is, int64.
        indices: The gallery rows, int64.
        gallery: The gallery's size.
    """

    starts: list[int]
    query_of: Tensor
    indices: Tensor
    gallery: int

    @classmethod
    def flatten(
        cls,
        exclude: Literal["self"] | Tensor | Sequence[Tensor],
        queries: int,
        gallery: int,
        device: torch.device,
    ) -> Lists:
        """The lists of an `Exclude` that has some.

        Raises:
            ValueError: Lists of another number, type or range.
        """
        if isinstance(exclude, str):
            if exclude != "self":
                raise ValueError(f"exclude is 'self', index lists, SameCodes or a function, got {exclude!r}")
            if queries != gallery:
                raise ValueError(
                    f"exclude='self' needs the query to be the gallery, got {queries} queries "
                    f"and {gallery} rows"
                )
            exclude = torch.arange(queries)
        if len(exclude) != queries:
            raise ValueError(f"exclude needs one list for each of {queries} queries, got {len(exclude)}")
        if isinstance(exclude, Tensor):
            table = (exclude if exclude.ndim == 2 else exclude[:, None]).to(device)
            kept = table >= 0
            lengths, indices = kept.sum(1), table[kept]
        else:
            lengths = torch.tensor([len(some) for some in exclude], dtype=torch.int64, device=device)
            indices = torch.cat(list(exclude)).to(device) if queries else lengths
        if indices.dtype != torch.int64 or (
            len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < gallery
        ):
            raise ValueError(f"exclude lists int64 gallery rows below {gallery}, got {indices.dtype}")
        return cls._of_lengths(lengths, indices, gallery)

    @classmethod
    def _of_lengths(cls, lengths: Tensor, indices: Tensor, gallery: int) -> Lists:
        numbers = torch.arange(len(lengths), device=lengths.device)
        return cls([0, *lengths.cumsum(0).tolist()], numbers.repeat_interleave(lengths), indices, gallery)

    @property
    def longest(self) -> int:
        """The length of the longest list."""
        return max((end - start for start, end in itertools.pairwise(self.starts)), default=0)

    def between(self, rows: range) -> tuple[Tensor, Tensor]:
        """The lists of consecutive queries: whose each entry is, from 0, and the gallery rows."""
        here = slice(self.starts[rows.start], self.starts[rows.stop])
        return self.query_of[here] - rows.start, self.indices[here]

    def of(self, rows: Tensor) -> Lists:
        """The lists of some queries (r,), which are then numbered anew."""
        starts = torch.tensor(self.starts, device=self.indices.device)
        lengths = starts[rows + 1] - starts[rows]
        ends = lengths.cumsum(0)
        places = torch.arange(int(ends[-1]) if len(rows) else 0, device=self.indices.device)
        places += (starts[rows] - ends + lengths).repeat_interleave(lengths)
        return self._of_lengths(lengths, self.indices[places], self.gallery)

    def among(self, columns: Tensor) -> Tensor:
        """Which of some gallery rows (n, c) of all queries in order are in their query's list."""
        keys = (self.query_of * self.gallery + self.indices).sort().values
        if not len(keys):
            return torch.zeros_like(columns, dtype=torch.bool)
        wanted = columns + self.gallery * torch.arange(len(columns), device=columns.device)[:, None]
        return keys[torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)] == wanted

    def seen_from(self, offset: int, size: int) -> Lists:
        """The same lists as seen from the gallery rows ``offset`` to ``offset + size``, numbered from 0."""
        inside = (self.indices >= offset) & (self.indices < offset + size)
        lengths = self.query_of[inside].bincount(minlength=len(self.starts) - 1)
        return self._of_lengths(lengths, self.indices[inside] - offset, size)
