"""Exclusion by equal codes, compared where the scores are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SameCodes:
    """A query does not find gallery rows that have all its codes, nor rows that nobody may find.

    The rule of re-identification: the same identity seen by the same camera is no answer, and junk is not
    ranked. The codes are compared a tile at a time, so that no list of pairs is ever kept, however many pairs
    there are; the cost is a small part of the search's.

    Attributes:
        query: (n,) or (n, f) integers, on any device: f codes a query.
        gallery: (m,) or (m, f) integers, codes of the same meaning.
        never: (m,) boolean, true where no query may find the gallery row; None where there is no such row.

    Example:
        >>> from understudy.search import topk
        >>> identity_and_camera = torch.tensor([[7, 1], [7, 2], [8, 1]])
        >>> rule = SameCodes(identity_and_camera[:1], identity_and_camera)
        >>> topk(torch.ones(1, 2), torch.ones(3, 2), 3, exclude=rule)[1].tolist()
        [[1, 2, -1]]
    """

    query: Tensor
    gallery: Tensor
    never: Tensor | None = None


class Codes(NamedTuple):
    """Each row's codes as one number.

    Attributes:
        query: (n,) int32.
        gallery: (m,) int32.
        never: (m,) boolean or None.
    """

    query: Tensor
    gallery: Tensor
    never: Tensor | None

    @classmethod
    def of_both(cls, same: SameCodes, queries: int, gallery: int, device: torch.device) -> Codes:
        """Numbers the combinations of codes.

        Raises:
            ValueError: Codes of another number or type.
        """
        ours = _columns("query", same.query, queries, device)
        theirs = _columns("gallery", same.gallery, gallery, device)
        if ours.shape[1] != theirs.shape[1]:
            raise ValueError(
                f"SameCodes needs equally many codes a row, got {ours.shape[1]} and {theirs.shape[1]}"
            )
        never = None if same.never is None else same.never.to(device)
        if never is not None and (never.dtype != torch.bool or never.shape != (gallery,)):
            raise ValueError(
                f"never must be boolean of shape ({gallery},), got {never.dtype} {tuple(never.shape)}"
            )
        number = torch.zeros(queries + gallery, dtype=torch.int64, device=device)
        for column in torch.cat([ours, theirs]).unbind(1):
            values, code = torch.unique(column, return_inverse=True)
            number = torch.unique(number * len(values) + code, return_inverse=True)[1]
        return cls(number[:queries].int(), number[queries:].int(), never)

    def seen_from(self, offset: int, size: int) -> Codes:
        """The same for the gallery rows ``offset`` to ``offset + size``."""
        here = slice(offset, offset + size)
        return Codes(self.query, self.gallery[here], None if self.never is None else self.never[here])

    def between(self, rows: range, columns: range) -> Tensor:
        """(r, c) boolean: the excluded pairs of a tile."""
        here = slice(columns.start, columns.stop)
        mask = self.query[rows.start : rows.stop, None] == self.gallery[here]
        return mask if self.never is None else mask.logical_or_(self.never[here])

    def among(self, columns: Tensor) -> Tensor:
        """(n, c) boolean: the excluded ones of some gallery rows (n, c) of all queries."""
        mask = self.query[:, None] == self.gallery[columns]
        return mask if self.never is None else mask.logical_or_(self.never[columns])


def _columns(side: str, codes: Tensor, rows: int, device: torch.device) -> Tensor:
    if codes.is_floating_point() or codes.ndim not in (1, 2) or len(codes) != rows:
        raise ValueError(
            f"SameCodes needs whole numbers ({rows},) or ({rows}, f) for the {side}, "
            f"got {codes.dtype} {tuple(codes.shape)}"
        )
    return (codes if codes.ndim == 2 else codes[:, None]).to(device, torch.int64)
