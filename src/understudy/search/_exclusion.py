"""Which gallery rows a query must not see: itself, a list of each query's own, equal codes, or any rule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from understudy.search._codes import Codes, SameCodes
from understudy.search._lists import Lists

Rule = Callable[[Tensor, Tensor], Tensor]
Exclude = Literal["self"] | Tensor | Sequence[Tensor] | SameCodes | Rule
"""``"self"``: query i never finds gallery row i. A LongTensor (n,) or (n, m): the gallery rows query i must
not find, padded with −1. A sequence of n LongTensors: the same without padding. `SameCodes`: the gallery rows
with the query's own codes. A function of query rows (r,) and gallery rows (c,) that returns a boolean (r, c),
true where excluded."""


class Exclusion:
    """Blots excluded pairs out of scores.

    Args:
        exclude: One of the forms of `Exclude`, or None.
        queries: The number of queries.
        gallery: The size of the gallery.
        device: Where the scores are.

    Raises:
        ValueError: ``"self"`` with query and gallery of unequal size, or lists or codes of another number,
            type or range.
    """

    def __init__(self, exclude: Exclude | None, queries: int, gallery: int, device: torch.device) -> None:
        self.device = device
        self.lists: Lists | None = None
        self.codes: Codes | None = None
        self.rule: Rule | None = None
        if isinstance(exclude, SameCodes):
            self.codes = Codes.of_both(exclude, queries, gallery, device)
        elif callable(exclude):
            self.rule = exclude
        elif exclude is not None:
            self.lists = Lists.flatten(exclude, queries, gallery, device)

    def blot(self, scores: Tensor, rows: range, columns: range) -> None:
        """Sets the excluded entries of the tile ``scores`` (rows × columns) to −inf."""
        if self.codes is not None:
            scores.masked_fill_(self.codes.between(rows, columns), -torch.inf)
        if self.rule is not None:
            row_numbers = torch.arange(rows.start, rows.stop, device=self.device)
            column_numbers = torch.arange(columns.start, columns.stop, device=self.device)
            scores.masked_fill_(self._asked(row_numbers, column_numbers), -torch.inf)
        if self.lists is not None:
            query_of, indices = self.lists.between(rows)
            if len(columns) == self.lists.gallery:  # the usual case on a GPU, which need not be waited for
                scores[query_of, indices] = -torch.inf
                return
            inside = (indices >= columns.start) & (indices < columns.stop)
            scores[query_of[inside], indices[inside] - columns.start] = -torch.inf

    def of(self, rows: Tensor) -> Exclusion:
        """The same for some of the queries (r,), which are then numbered anew."""
        some = copy.copy(self)
        if self.lists is not None:
            some.lists = self.lists.of(rows)
        if self.codes is not None:
            some.codes = self.codes._replace(query=self.codes.query[rows])
        if self.rule is not None:
            rule = self.rule
            some.rule = lambda queries, columns: rule(rows[queries], columns)
        return some

    def seen_from(self, offset: int, size: int) -> Exclusion:
        """The same for the gallery rows ``offset`` to ``offset + size``, which are then numbered anew."""
        some = copy.copy(self)
        if self.lists is not None:
            some.lists = self.lists.seen_from(offset, size)
        if self.codes is not None:
            some.codes = self.codes.seen_from(offset, size)
        if self.rule is not None:
            rule = self.rule
            some.rule = lambda queries, columns: rule(queries, columns + offset)
        return some

    def among(self, columns: Tensor) -> Tensor:
        """Which of some gallery rows of each query are excluded; a rule is asked a query at a time.

        Args:
            columns: (n, c) int64 gallery rows of all queries in order.

        Returns:
            (n, c) boolean.
        """
        if self.codes is not None:
            return self.codes.among(columns)
        if self.lists is not None:
            return self.lists.among(columns)
        if self.rule is None or not len(columns):
            return torch.zeros_like(columns, dtype=torch.bool)
        numbers = torch.arange(len(columns), device=self.device)
        each = zip(numbers[:, None], columns, strict=True)
        return torch.cat([self._asked(number, some) for number, some in each])

    def _asked(self, rows: Tensor, columns: Tensor) -> Tensor:
        assert self.rule is not None
        mask = self.rule(rows, columns)
        shape = (len(rows), len(columns))
        if mask.dtype != torch.bool or mask.shape != shape:
            raise ValueError(
                f"an exclusion rule returns a boolean tensor of shape {shape}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
        return mask
