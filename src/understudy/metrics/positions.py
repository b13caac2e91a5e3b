"""Where the relevant items of a query stand: the one thing that every measure of a ranking looks at."""

from __future__ import annotations

import torch
from torch import Tensor

BEYOND = 2**62
"""The rank of a relevant item that was not found, and of padding."""


def ranks_of(relevant: Tensor) -> Tensor:
    """The ranks of the relevant results of ranked lists.

    Args:
        relevant: (n, K) boolean, the j-th result of query i is relevant; the best result comes first.

    Returns:
        (n, P) int64, ascending in each row, counted from 1, padded with `BEYOND`; P is the largest number of
        relevant results of one list.

    Raises:
        ValueError: Not a boolean (queries, results) table.

    Example:
        >>> found = ranks_of(torch.tensor([[False, True, True], [False, False, False], [True, False, False]]))
        >>> found.where(found < BEYOND, 0).tolist()
        [[2, 3], [0, 0], [1, 0]]
    """
    if relevant.ndim != 2 or relevant.dtype != torch.bool:
        raise ValueError(
            f"relevant must be boolean (queries, results), got {relevant.dtype} of {tuple(relevant.shape)}"
        )
    if relevant.device.type != "cpu":
        return _ranks_on_device(relevant)
    rows, columns = relevant.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(relevant))
    most = int(counts.max()) if len(counts) else 0
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    ranks = torch.full((len(relevant), most), BEYOND, dtype=torch.int64, device=relevant.device)
    ranks[rows, places] = columns + 1
    return ranks


def _ranks_on_device(relevant: Tensor) -> Tensor:
    """The same, waiting for the device once instead of three times."""
    places = relevant.cumsum(1)
    most = int(places[:, -1:].max()) if relevant.numel() else 0
    ranks = torch.full((len(relevant), most + 1), BEYOND, dtype=torch.int64, device=relevant.device)
    columns = torch.arange(1, relevant.shape[1] + 1, device=relevant.device).expand(relevant.shape)
    # what is not relevant is written into a last column that nobody reads
    return ranks.scatter_(1, torch.where(relevant, places - 1, most), columns)[:, :most]


def found_among(ranks: Tensor, last: int | Tensor) -> Tensor:
    """How many of each query's positives have a rank up to ``last`` (one for all, or (n,)): (n,) int64."""
    if isinstance(last, Tensor):
        last = last[:, None]
    return (ranks <= last).sum(1)


def check_positions(ranks: Tensor, positives: Tensor) -> None:
    """Refuses what are not the ranks of each query's positives.

    Args:
        ranks: (n, P) int64, ascending in each row, from 1, padded with `BEYOND`.
        positives: (n,) int64, how many positives each query has.

    Raises:
        ValueError: Wrong shapes or types, ranks out of order, or more of them than positives.
    """
    if ranks.ndim != 2 or ranks.dtype != torch.int64:
        raise ValueError(
            f"ranks must be int64 (queries, positives), got {ranks.dtype} of {tuple(ranks.shape)}"
        )
    check_positives(positives, len(ranks))
    if bool(((ranks[:, 1:] <= ranks[:, :-1]) & (ranks[:, 1:] < BEYOND)).any()) or bool(
        (ranks[:, :1] < 1).any()
    ):
        raise ValueError("ranks count from 1 and ascend in each row, none twice, padded with metrics.BEYOND")
    if bool((found_among(ranks, BEYOND - 1) > positives).any()):
        raise ValueError("a query has more ranks than positives: pass each query's number of relevant items")


def check_positives(positives: Tensor, queries: int) -> None:
    """Refuses what is not a count for each query.

    Raises:
        ValueError: Wrong shape or type.
    """
    if positives.shape != (queries,) or positives.dtype != torch.int64:
        raise ValueError(
            f"positives must be one int64 count for each of {queries} queries, "
            f"got {positives.dtype} of {tuple(positives.shape)}"
        )


def check_cutoff(k: int) -> None:
    """Refuses a cut-off that is not a whole number from 1.

    Raises:
        ValueError: It is less.
    """
    if k < 1:
        raise ValueError(f"a cut-off is a whole number from 1, got {k}")


def share(counted: Tensor) -> float:
    """The share of true entries, counted in integers; NaN of none."""
    return int(counted.sum()) / len(counted) if len(counted) else float("nan")


def mean_over(values: Tensor, positives: Tensor) -> float:
    """The mean over the queries that have positives; NaN when there is none."""
    return float(values[positives > 0].mean())
