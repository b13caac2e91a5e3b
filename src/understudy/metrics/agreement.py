"""How alike two models rank, without any label."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.metrics.ranked import check_cutoffs


def neighbour_overlap(a: Tensor, b: Tensor) -> Tensor:
    """The share of each query's k neighbours that two searches have in common: |A ∩ B| / k.

    Args:
        a: (n, k) int64 gallery rows, none twice in a row; −1 (nothing found) is in common with nothing.
        b: The same of another search.

    Returns:
        (n,) float64 between 0 and 1.

    Raises:
        ValueError: The tables are not int64 of one shape.

    Example:
        >>> student, teacher = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[3, 1, 9], [6, 5, 4]])
        >>> neighbour_overlap(student, teacher).tolist()
        [0.6666666666666666, 1.0]
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] == 0 or {a.dtype, b.dtype} != {torch.int64}:
        raise ValueError(
            "neighbour_overlap needs two int64 (queries, k) tables of one shape, "
            f"got {a.dtype} of {tuple(a.shape)} and {b.dtype} of {tuple(b.shape)}"
        )
    together = torch.cat([a, b], 1).sort(1).values
    twice = (together[:, 1:] == together[:, :-1]) & (together[:, 1:] >= 0)
    return twice.sum(1).double() / a.shape[1]


def neighbour_overlap_at_k(a: Tensor, b: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The mean over queries of `neighbour_overlap` of the first k neighbours.

    Args:
        a: (n, K) int64 gallery rows, the nearest first.
        b: The same of another search, of one shape with ``a``.
        ks: The cut-offs, each between 1 and K.

    Returns:
        The mean share for each k; NaN without queries.

    Raises:
        ValueError: The tables differ in shape or are not int64, or a cut-off is out of range.

    Example:
        >>> neighbour_overlap_at_k(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2, 1], [3, 5]]), (1, 2))
        {1: 0.5, 2: 0.75}
    """
    check_cutoffs(ks, a.shape[-1])
    return {k: float(neighbour_overlap(a[:, :k], b[:, :k]).mean()) for k in ks}


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of each query's scores (or distances) under two models.

    Pearson's correlation of the ranks; equal scores share the mean of their ranks.

    Args:
        a: (n, m) scores or distances of m gallery items, m ≥ 2.
        b: The same items' under another model, the same way round (both scores, or both distances).

    Returns:
        (n,) float64 between −1 and 1; 0 where one side's scores are all equal and so order nothing.

    Raises:
        ValueError: The tables differ in shape or have fewer than two items.

    Example:
        >>> teacher = torch.tensor([[0.1, 0.5, 0.9]])
        >>> rank_correlation(teacher**2, teacher).tolist(), rank_correlation(-teacher, teacher).tolist()
        ([1.0], [-1.0])
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < 2:
        raise ValueError(
            "rank_correlation needs two (queries, items) tables of one shape and at least 2 items, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    x, y = _centred_ranks(a), _centred_ranks(b)
    scale = (x.square().sum(1) * y.square().sum(1)).sqrt()
    return (x * y).sum(1) / torch.where(scale > 0, scale, 1)


def _centred_ranks(scores: Tensor) -> Tensor:
    """Each score's rank in its row, the mean rank among equals, less the mean of all ranks."""
    ordered, columns = scores.sort(1)
    places = torch.arange(scores.shape[1], device=scores.device)
    edge = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    differs = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(torch.cat([edge, differs], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([differs, edge], 1), places, len(places)).flip(1).cummin(1).values.flip(1)
    ranks = (first + last).double() / 2 - (len(places) - 1) / 2
    return torch.empty_like(ranks).scatter_(1, columns, ranks)
