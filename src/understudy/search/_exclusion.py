"""Which gallery rows a query must not see: itself, a list of each query's own, or any rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Exclude = Literal["self"] | Tensor | Sequence[Tensor] | Callable[[Tensor, Tensor], Tensor]
"""``"self"``: query i never finds gallery row i. A LongTensor (n,) or (n, m): the gallery rows query i must
not find, padded with −1. A sequence of n LongTensors: the same without padding. A function of query rows (r,)
and gallery rows (c,) that returns a boolean (r, c), true where excluded."""


class Exclusion:
    """Blots excluded pairs out of a tile of scores.

    Args:
        exclude: One of the forms of `Exclude`, or None.
        queries: The number of queries.
        gallery: The size of the gallery.
        device: Where the scores are.

    Raises:
        ValueError: ``"self"`` with query and gallery of unequal size, or lists of another number, type or
            range.
    """

    def __init__(self, exclude: Exclude | None, queries: int, gallery: int, device: torch.device) -> None:
        self.rule = exclude if callable(exclude) else None
        self.device = device
        self.starts: list[int] | None = None
        if exclude is not None and not callable(exclude):
            self.starts, self.query_of, self.indices = _flatten(exclude, queries, gallery, device)

    def blot(self, scores: Tensor, rows: range, columns: range) -> None:
        """Sets the excluded entries of the tile ``scores`` (rows × columns) to −inf."""
        if self.rule is not None:
            row_numbers = torch.arange(rows.start, rows.stop, device=self.device)
            column_numbers = torch.arange(columns.start, columns.stop, device=self.device)
            mask = self.rule(row_numbers, column_numbers)
            if mask.dtype != torch.bool or mask.shape != scores.shape:
                raise ValueError(
                    f"an exclusion rule returns a boolean tensor of shape {tuple(scores.shape)}, "
                    f"got {mask.dtype} of shape {tuple(mask.shape)}"
                )
            scores.masked_fill_(mask, -torch.inf)
        if self.starts is not None:
            here = slice(self.starts[rows.start], self.starts[rows.stop])
            query_of, indices = self.query_of[here], self.indices[here]
            inside = (indices >= columns.start) & (indices < columns.stop)
            scores[query_of[inside] - rows.start, indices[inside] - columns.start] = -torch.inf


def _flatten(
    exclude: Literal["self"] | Tensor | Sequence[Tensor], queries: int, gallery: int, device: torch.device
) -> tuple[list[int], Tensor, Tensor]:
    """All lists end to end: where each query's begins, whose each entry is, and the gallery rows."""
    if isinstance(exclude, str):
        if exclude != "self":
            raise ValueError(f"exclude is 'self', index lists or a function, got {exclude!r}")
        if queries != gallery:
            raise ValueError(
                f"exclude='self' needs the query to be the gallery, got {queries} queries and {gallery} rows"
            )
        exclude = torch.arange(queries)
    if len(exclude) != queries:
        raise ValueError(f"exclude needs one list for each of {queries} queries, got {len(exclude)}")
    if isinstance(exclude, Tensor):
        table = exclude.to(device).view(queries, -1)
        kept = table >= 0
        lengths, indices = kept.sum(1), table[kept]
    else:
        lengths = torch.tensor([len(some) for some in exclude], dtype=torch.int64, device=device)
        indices = torch.cat([some.to(device) for some in exclude]) if queries else lengths
    if indices.dtype != torch.int64 or (
        len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < gallery
    ):
        raise ValueError(f"exclude lists int64 gallery rows below {gallery}, got {indices.dtype}")
    query_of = torch.arange(queries, device=device).repeat_interleave(lengths)
    return [0, *lengths.cumsum(0).tolist()], query_of, indices
