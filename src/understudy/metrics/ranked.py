"""Whether a query finds anything at all: Recall@K and CMC@k."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.metrics.positions import BEYOND, check_cutoff, check_positions, share


def first_rank(ranks: Tensor, positives: Tensor) -> Tensor:
    """The rank of each query's first positive, counted from 1.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives.

    Returns:
        (n,) int64; `BEYOND` where none was found.

    Raises:
        ValueError: Wrong shapes or types, ranks out of order, or more of them than positives.

    Example:
        >>> first_rank(torch.tensor([[2, 5], [3, BEYOND]]), torch.tensor([2, 4])).tolist()
        [2, 3]
    """
    check_positions(ranks, positives)
    return torch.cat([ranks[:, :1], torch.full_like(positives, BEYOND)[:, None]], 1)[:, 0]


def recall_at_k(ranks: Tensor, positives: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The share of queries with a positive among their first k results: the Recall@K of metric learning.

    It equals CMC@k of re-identification. It is not the recall of information retrieval, which is the share of
    a query's positives that were found.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives; queries with none are left out.
        ks: The cut-offs, from 1.

    Returns:
        The share for each k; NaN when no query is left.

    Raises:
        ValueError: As `first_rank`, or a cut-off below 1.

    Example:
        >>> ranks = torch.tensor([[2, 3], [1, BEYOND], [BEYOND, BEYOND], [BEYOND, BEYOND]])
        >>> recall_at_k(ranks, torch.tensor([3, 1, 2, 0]), (1, 2))
        {1: 0.3333333333333333, 2: 0.6666666666666666}
    """
    for k in ks:
        check_cutoff(k)
    first = first_rank(ranks, positives)[positives > 0]
    return {k: share(first <= k) for k in ks}


def cmc(ranks: Tensor, positives: Tensor, longest: int = 50) -> Tensor:
    """The cumulative matching characteristic: the share of queries with a positive up to each rank.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives; queries with none are left out.
        longest: The last rank of the curve.

    Returns:
        (longest,) float64, never falling; entry k − 1 is CMC@k, `recall_at_k` of k. NaN when no query
        is left.

    Raises:
        ValueError: As `recall_at_k`.

    Example:
        >>> cmc(torch.tensor([[2, 3], [1, BEYOND]]), torch.tensor([2, 1]), longest=3).tolist()
        [0.5, 1.0, 1.0]
    """
    check_cutoff(longest)
    first = first_rank(ranks, positives)[positives > 0]
    reached = torch.bincount(first[first <= longest] - 1, minlength=longest).cumsum(0)
    return reached.double() / len(first)


def check_cutoffs(ks: Sequence[int], longest: int) -> None:
    """Refuses cut-offs that a list of ``longest`` results cannot answer.

    Raises:
        ValueError: There is none, or one lies outside 1 … ``longest``.
    """
    if not ks or min(ks) < 1 or max(ks) > longest:
        raise ValueError(f"cut-offs lie between 1 and the lists' {longest} results, got {list(ks)}")
