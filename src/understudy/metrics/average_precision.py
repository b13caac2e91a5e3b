"""Average precision in the forms that papers use: they share the name and little else."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.metrics.positions import BEYOND, check_cutoff, check_positions, mean_over

Normaliser = Literal["min", "relevant"]
"""What AP@K divides by: min(R, K), so that a perfect list gives 1, or R, the number of positives."""


def average_precision(ranks: Tensor, positives: Tensor) -> Tensor:
    """Each query's AP: 1/R · Σ_j j / rank_j over all its positives, the whole gallery ranked.

    The rectangular form of information retrieval (``map`` of trec_eval), which the toolkits of person
    re-identification use. Revisited Oxford/Paris interpolate: `trapezoidal_average_precision`.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64, each query's number of positives R.

    Returns:
        (n,) float64; 0 where R is 0. A positive that was not found adds nothing.

    Raises:
        ValueError: Wrong shapes or types, ranks out of order, or more of them than positives.

    Example:
        >>> average_precision(torch.tensor([[1, 3], [2, BEYOND]]), torch.tensor([2, 1])).tolist()
        [0.8333333333333333, 0.5]
    """
    return _sum_of_precisions(ranks, positives, BEYOND - 1) / positives.clamp(min=1)


def average_precision_at_k(
    ranks: Tensor, positives: Tensor, k: int, normaliser: Normaliser = "min"
) -> Tensor:
    """Each query's AP@K: Σ_{j: rank_j ≤ K} j / rank_j, divided by min(R, K) or by R.

    Papers differ in the divisor. ``"relevant"`` is ``map_cut_K`` of trec_eval: a query with R > K never
    reaches 1. ``"min"`` always can. (The code of S2SD and of "Revisiting Training Strategies" computes its
    mAP@1000 with the size of the query's class, R + 1, as the divisor: no query reaches 1. Multiply
    ``"relevant"`` by R / (R + 1) to compare.)

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`; those beyond K
            are not looked at.
        positives: (n,) int64, each query's number of positives R.
        k: The cut-off K.
        normaliser: ``"min"`` or ``"relevant"``.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: As `average_precision`, or a cut-off below 1, or another normaliser.

    Example:
        >>> ranks, positives = torch.tensor([[1, 3, 9, 10]]), torch.tensor([4])
        >>> average_precision_at_k(ranks, positives, 3).tolist()  # (1/1 + 2/3) / 3
        [0.5555555555555555]
        >>> average_precision_at_k(ranks, positives, 3, "relevant").tolist()
        [0.41666666666666663]
    """
    check_cutoff(k)
    if normaliser not in get_args(Normaliser):
        raise ValueError(f"normaliser is one of {', '.join(get_args(Normaliser))}, got {normaliser!r}")
    most = k if normaliser == "min" else BEYOND
    return _sum_of_precisions(ranks, positives, k) / positives.clamp(min=1, max=most)


def average_precision_at_r(ranks: Tensor, positives: Tensor) -> Tensor:
    """Each query's AP@R: 1/R · Σ_{j: rank_j ≤ R} j / rank_j.

    Its mean over queries is MAP@R (Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020,
    section 3.2).

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`; those beyond R
            are not looked at.
        positives: (n,) int64, each query's number of positives R.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: As `average_precision`.

    Example:
        >>> ranks = torch.tensor([[1, 2, 4], [2, BEYOND, BEYOND]])
        >>> average_precision_at_r(ranks, torch.tensor([4, 1])).tolist()  # (1/1 + 2/2 + 3/4) / 4, and 0
        [0.6875, 0.0]
    """
    return _sum_of_precisions(ranks, positives, positives[:, None]) / positives.clamp(min=1)


def trapezoidal_average_precision(ranks: Tensor, positives: Tensor) -> Tensor:
    """Each query's AP by the trapezoidal rule, as revisited Oxford and Paris measure it.

    1/R · Σ_j (p_j + q_j) / 2 with p_j = (j − 1) / (rank_j − 1), the precision just before the j-th positive
    (1 at rank 1), and q_j = j / rank_j, the precision there (``compute_ap`` of Radenović et al., "Revisiting
    Oxford and Paris", CVPR 2018). Never more than `average_precision`: they must not be compared.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, junk not counted, padded with
            `BEYOND`.
        positives: (n,) int64, each query's number of positives R.

    Returns:
        (n,) float64; 0 where R is 0.

    Raises:
        ValueError: As `average_precision`.

    Example:
        >>> trapezoidal_average_precision(torch.tensor([[1, 3]]), torch.tensor([2])).tolist()
        [0.7916666666666666]
    """
    check_positions(ranks, positives)
    order = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    before = torch.where(ranks > 1, (order - 1) / (ranks - 1).clamp(min=1).double(), 1)
    steps = torch.where(ranks < BEYOND, before + order / ranks.double(), 0) / 2
    return steps.sum(1) / positives.clamp(min=1)


def mean_average_precision(ranks: Tensor, positives: Tensor) -> float:
    """The mAP of re-identification and of information retrieval: the mean of `average_precision`.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `average_precision`.

    Example:
        >>> mean_average_precision(torch.tensor([[1, 3], [2, BEYOND]]), torch.tensor([2, 1]))
        0.6666666666666666
    """
    return mean_over(average_precision(ranks, positives), positives)


def map_at_k(ranks: Tensor, positives: Tensor, k: int, normaliser: Normaliser = "min") -> float:
    """mAP@K: the mean of `average_precision_at_k` over the queries that have positives.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64; queries with none are left out.
        k: The cut-off K.
        normaliser: ``"min"`` or ``"relevant"``, see `average_precision_at_k`.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `average_precision_at_k`.

    Example:
        >>> map_at_k(torch.tensor([[1, 3], [5, BEYOND]]), torch.tensor([2, 1]), 1)
        0.5
    """
    return mean_over(average_precision_at_k(ranks, positives, k, normaliser), positives)


def map_at_r(ranks: Tensor, positives: Tensor) -> float:
    """MAP@R: the mean of `average_precision_at_r` over the queries that have positives.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, padded with `BEYOND`.
        positives: (n,) int64; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `average_precision`.

    Example:
        >>> map_at_r(torch.tensor([[1, BEYOND], [2, BEYOND], [BEYOND, BEYOND]]), torch.tensor([1, 2, 0]))
        0.625
    """
    return mean_over(average_precision_at_r(ranks, positives), positives)


def trapezoidal_map(ranks: Tensor, positives: Tensor) -> float:
    """The mAP of revisited Oxford and Paris: the mean of `trapezoidal_average_precision`.

    Args:
        ranks: (n, P) int64 ranks of each query's positives, ascending, junk not counted, padded with
            `BEYOND`.
        positives: (n,) int64; queries with none are left out.

    Returns:
        A number between 0 and 1; NaN when no query is left.

    Raises:
        ValueError: As `average_precision`.

    Example:
        >>> trapezoidal_map(torch.tensor([[1, 3], [1, 2]]), torch.tensor([2, 2]))
        0.8958333333333333
    """
    return mean_over(trapezoidal_average_precision(ranks, positives), positives)


def _sum_of_precisions(ranks: Tensor, positives: Tensor, last: int | Tensor) -> Tensor:
    """Σ_j j / rank_j over the ranks up to ``last``: (n,) float64."""
    check_positions(ranks, positives)
    order = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    return torch.where(ranks <= last, order / ranks.double(), 0).sum(1)
