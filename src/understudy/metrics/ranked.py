"""Measures of a ranked list: what of the first results is relevant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def first_relevant(relevant: Tensor) -> Tensor:
    """The rank of each query's first relevant result, counted from 1.

    Args:
        relevant: (n, K) boolean, the j-th result of query i is relevant; the best result comes first.

    Returns:
        (n,) int64; K + 1 where none of the K results is relevant.

    Raises:
        ValueError: Not a boolean (queries, results) table.

    Example:
        >>> first_relevant(torch.tensor([[False, True, True], [False, False, False]])).tolist()
        [2, 4]
    """
    _check(relevant)
    last = relevant.new_ones(len(relevant), 1)
    return torch.cat([relevant, last], 1).to(torch.uint8).argmax(1) + 1


def average_precision_at_r(relevant: Tensor, positives: Tensor) -> Tensor:
    """Each query's AP@R: 1/R · Σ_{i ≤ R} P(i) · rel(i), with R its number of relevant gallery items.

    P(i) is the precision of the first i results. Its mean over queries is MAP@R (Musgrave, Belongie and Lim,
    "A Metric Learning Reality Check", ECCV 2020, section 3.2).

    Args:
        relevant: (n, K) boolean ranked lists, K no less than the largest R.
        positives: (n,) int64, each query's R.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: Wrong shapes or types, or lists too short for R.

    Example:
        >>> lists = torch.tensor([[True, True, False, True], [False, True, False, False]])
        >>> average_precision_at_r(lists, torch.tensor([4, 1])).tolist()  # (1/1 + 2/2 + 3/4) / 4, and 0
        [0.6875, 0.0]
    """
    _check(relevant, positives)
    longest = int(positives.max()) if len(positives) else 0
    if longest > relevant.shape[1]:
        raise ValueError(f"AP@R needs lists of {longest} results, the largest R, got {relevant.shape[1]}")
    ranks = torch.arange(1, longest + 1, device=relevant.device)
    hits = relevant[:, :longest] & (ranks <= positives[:, None])
    precision = hits.cumsum(1).double() / ranks
    return (precision * hits).sum(1) / positives.clamp(min=1)


def recall_at_k(relevant: Tensor, ks: Sequence[int], positives: Tensor | None = None) -> dict[int, float]:
    """The share of queries with a relevant result among their first k: the Recall@K of metric learning.

    It equals CMC@k of re-identification. It is not the recall of information retrieval, which is the share of
    a query's relevant items that were found.

    Args:
        relevant: (n, K) boolean ranked lists.
        ks: The cut-offs, each between 1 and K.
        positives: (n,) int64, the number of relevant items in each query's gallery: queries with none are
            left out. By default every query counts.

    Returns:
        The share for each k; NaN when no query is left.

    Raises:
        ValueError: Wrong shapes or types, or a cut-off out of range.

    Example:
        >>> lists = torch.tensor([[False, True], [True, False], [False, False], [False, False]])
        >>> recall_at_k(lists, (1, 2))
        {1: 0.25, 2: 0.5}
        >>> recall_at_k(lists, (1, 2), positives=torch.tensor([1, 3, 2, 0]))
        {1: 0.3333333333333333, 2: 0.6666666666666666}
    """
    check_cutoffs(ks, relevant.shape[-1])
    _check(relevant, positives)
    first = first_relevant(relevant)
    if positives is not None:
        first = first[positives > 0]
    return {k: share(first <= k) for k in ks}


def map_at_r(relevant: Tensor, positives: Tensor) -> float:
    """MAP@R: the mean of `average_precision_at_r` over the queries that have positives.

    Args:
        relevant: (n, K) boolean ranked lists, K no less than the largest R.
        positives: (n,) int64, each query's R; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `average_precision_at_r`.

    Example:
        >>> map_at_r(torch.tensor([[True, False], [False, True], [False, False]]), torch.tensor([1, 2, 0]))
        0.625
    """
    return float(average_precision_at_r(relevant, positives)[positives > 0].mean())


def share(counted: Tensor) -> float:
    """The share of true entries, counted in integers; NaN of none."""
    return int(counted.sum()) / len(counted) if len(counted) else float("nan")


def check_cutoffs(ks: Sequence[int], longest: int) -> None:
    """Refuses cut-offs that a list of ``longest`` results cannot answer.

    Raises:
        ValueError: There is none, or one lies outside 1 … ``longest``.
    """
    if not ks or min(ks) < 1 or max(ks) > longest:
        raise ValueError(f"cut-offs lie between 1 and the lists' {longest} results, got {list(ks)}")


def _check(relevant: Tensor, positives: Tensor | None = None) -> None:
    if relevant.ndim != 2 or relevant.dtype != torch.bool:
        raise ValueError(
            f"relevant must be boolean (queries, results), got {relevant.dtype} of {tuple(relevant.shape)}"
        )
    if positives is not None and (positives.shape != relevant.shape[:1] or positives.dtype != torch.int64):
        raise ValueError(
            f"positives must be one int64 count for each of {len(relevant)} queries, "
            f"got {positives.dtype} of {tuple(positives.shape)}"
        )
