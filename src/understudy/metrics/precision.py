"""How much of the first results is relevant."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.metrics.positions import BEYOND, check_cutoff, check_positions, found_among, mean_over


def precision_at_k(ranks: Tensor, positives: Tensor, k: int) -> Tensor:
    """Each query's P@K: the share of its first K results that is relevant (``P_K`` of trec_eval).

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives R.
        k: The cut-off K.

    Returns:
        (n,) float64, at most R / K.

    Raises:
        ValueError: Wrong shapes or types, ranks out of order, more of them than positives, or K below 1.

    Example:
        >>> precision_at_k(torch.tensor([[1, 3]]), torch.tensor([2]), 5).tolist()
        [0.4]
    """
    check_positions(ranks, positives)
    check_cutoff(k)
    return found_among(ranks, k).double() / k


def precision_at_k_revisited(ranks: Tensor, positives: Tensor, k: int) -> Tensor:
    """Each query's P@K as revisited Oxford and Paris measure it: K shrinks to the rank of the last positive.

    The share of relevant ones among the first min(K, rank of the last positive) results, so that a query with
    fewer positives than K can reach 1 (``compute_map`` of Radenović et al., "Revisiting Oxford and Paris",
    CVPR 2018). Their mP@K is its mean.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, junk not counted, padded with
            `BEYOND`. Where one was not found, it counts as far away: K stays.
        positives: (n,) int64, each query's number of positives R.
        k: The cut-off K.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: As `precision_at_k`.

    Example:
        >>> precision_at_k_revisited(torch.tensor([[1, 3]]), torch.tensor([2]), 5).tolist()
        [0.6666666666666666]
    """
    check_cutoff(k)
    looked_at = _last_rank(ranks, positives).clamp(min=1, max=k)
    return found_among(ranks, looked_at).double() / looked_at


def r_precision(ranks: Tensor, positives: Tensor) -> Tensor:
    """Each query's R-precision: the share of its first R results that is relevant, R its number of positives.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`; those beyond R
            are not looked at.
        positives: (n,) int64, each query's number of positives R.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: Wrong shapes or types, ranks out of order, or more of them than positives.

    Example:
        >>> r_precision(torch.tensor([[1, 3, 4]]), torch.tensor([3])).tolist()
        [0.6666666666666666]
    """
    check_positions(ranks, positives)
    return found_among(ranks, positives).double() / positives.clamp(min=1)


def inverse_negative_penalty(ranks: Tensor, positives: Tensor) -> Tensor:
    """Each query's INP: R / the rank of its last positive; what finding the hardest one costs.

    1 − NP with the negative penalty NP = (rank of the last − R) / rank of the last (Ye et al., "Deep Learning
    for Person Re-Identification: A Survey and Outlook", TPAMI 2021, section 5.1); mINP is its mean.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives R.

    Returns:
        (n,) float64; 0 where R is 0 or a positive was not found.

    Raises:
        ValueError: As `r_precision`.

    Example:
        >>> inverse_negative_penalty(torch.tensor([[1, 3], [1, 2]]), torch.tensor([2, 2])).tolist()
        [0.6666666666666666, 1.0]
    """
    last = _last_rank(ranks, positives)
    return torch.where(last < BEYOND, positives / last.double(), 0)


def mean_r_precision(ranks: Tensor, positives: Tensor) -> float:
    """The mean of `r_precision` over the queries that have positives.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `r_precision`.

    Example:
        >>> mean_r_precision(torch.tensor([[1, 3], [1, BEYOND]]), torch.tensor([2, 1]))
        0.75
    """
    return mean_over(r_precision(ranks, positives), positives)


def mean_inp(ranks: Tensor, positives: Tensor) -> float:
    """mINP: the mean of `inverse_negative_penalty` over the queries that have positives.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `r_precision`.

    Example:
        >>> mean_inp(torch.tensor([[1, 4], [1, BEYOND]]), torch.tensor([2, 1]))
        0.75
    """
    return mean_over(inverse_negative_penalty(ranks, positives), positives)


def _last_rank(ranks: Tensor, positives: Tensor) -> Tensor:
    """The rank of each query's R-th positive (n,); `BEYOND` where there is none or it was not found."""
    check_positions(ranks, positives)
    padded = torch.cat([ranks, torch.full_like(positives, BEYOND)[:, None]], 1)
    last = (positives - 1).clamp(max=ranks.shape[1]).where(positives > 0, ranks.shape[1])
    return padded.gather(1, last[:, None])[:, 0]
