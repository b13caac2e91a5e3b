"""The k largest of each row, ties going to the lower column: what `torch.topk` leaves open."""

from __future__ import annotations

import torch
from torch import Tensor


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row in descending order; equal scores in ascending order of column.

    `torch.topk` chooses and orders equal scores as it likes. Asking it for one more than k shows which rows
    hold equal scores, and only those are put right, so that rows without ties cost what `torch.topk` costs.
    Entries of −inf (excluded) come in no particular order.

    Args:
        scores: (n, m) without NaN.
        k: How many, 1 ≤ k ≤ m.

    Returns:
        The scores (n, k) and their columns (n, k) int64.

    Example:
        >>> values, columns = largest(torch.tensor([[2.0, 7.0, 2.0, 7.0, 2.0]]), k=3)
        >>> values.tolist(), columns.tolist()
        ([[7.0, 7.0, 2.0]], [[1, 3, 0]])
    """
    values, columns = torch.topk(scores, min(k + 1, scores.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    values, columns = values[:, :k].contiguous(), columns[:, :k].contiguous()
    at_the_end = tied[:, k - 1 : k].any(1)
    rows = (tied.any(1) & ~at_the_end).nonzero()[:, 0]
    if len(rows):
        _reorder(columns, values, rows, scores.shape[1])
    rows = at_the_end.nonzero()[:, 0]
    for some in torch.split(rows, max(1, scores.shape[0] // 8)) if len(rows) else ():
        _choose_again(scores[some], columns, values, some)
    return values, columns


def _reorder(columns: Tensor, values: Tensor, rows: Tensor, width: int) -> None:
    """The right columns were chosen; puts those of equal scores in ascending order, in place."""
    some = values[rows]
    group = torch.zeros_like(some, dtype=torch.int64)
    group[:, 1:] = (some[:, 1:] != some[:, :-1]).cumsum(1)
    group *= width
    columns[rows] = (columns[rows] + group).sort(1).values - group


def _choose_again(scores: Tensor, columns: Tensor, values: Tensor, rows: Tensor) -> None:
    """More scores equal the last one than there is room for: takes the first of them, in place.

    Args:
        scores: (r, m), the rows concerned; holds −inf only beyond the k-th largest.
        columns: (n, k) int64, written at ``rows``.
        values: (n, k), written at ``rows``.
        rows: (r,) int64.
    """
    k = values.shape[1]
    last = values[rows, -1:]
    above = (values[rows] > last).sum(1, keepdim=True)
    equal = scores == last
    chosen = (scores > last) | (equal & (equal.cumsum(1, dtype=torch.int32) <= k - above))
    ascending = chosen.nonzero()[:, 1].view(-1, k)
    values[rows], order = scores.gather(1, ascending).sort(dim=1, descending=True, stable=True)
    columns[rows] = ascending.gather(1, order)
