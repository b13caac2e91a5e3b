"""How far a figure would move with other queries: bootstrap confidence intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_CHUNK_BYTES = 4 * 2**20
"""The memory of the draws that are looked at together."""


def interval(
    per_query: Tensor, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a measure's mean over queries.

    The queries are drawn with replacement, as many as there are, ``resamples`` times; the interval spans the
    middle ``confidence`` of the means (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
    section 13.3). It speaks of other queries of the same kind against the same gallery, not of another
    gallery or another training run. Below about 50 queries it is a little too narrow; and so it is where
    queries come in groups that stand or fall together, such as the images of a class.

    Args:
        per_query: (n,) a value for each counted query, boolean or floating point, as
            `RankMetrics.per_query` gives it.
        confidence: Between 0 and 1.
        resamples: How many times the queries are drawn.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        The lower and the upper end; both NaN without queries.

    Raises:
        ValueError: Not a vector, NaN among the values, or settings out of range.

    Example:
        >>> low, high = interval(torch.tensor([True] * 80 + [False] * 20))
        >>> 0.70 < low < 0.73, 0.87 < high < 0.90
        (True, True)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, got {confidence}")
    values = checked(per_query)
    if not len(values):
        return float("nan"), float("nan")
    means = _resampled_means(values, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def checked(per_query: Tensor) -> npt.NDArray[np.float64]:
    """The values in float64.

    Raises:
        ValueError: Not a vector, or NaN among the values.
    """
    if per_query.ndim != 1:
        raise ValueError(f"per_query must be one value for each query, got shape {tuple(per_query.shape)}")
    values: npt.NDArray[np.float64] = per_query.detach().to("cpu", torch.float64).numpy()
    if np.isnan(values).any():
        raise ValueError("per_query holds NaN: leave out the queries that have no positives")
    return values


def chunks(total: int, row_bytes: int) -> list[int]:
    """How many of ``total`` rows to look at together, each time."""
    most = max(1, _CHUNK_BYTES // max(1, row_bytes))
    return [min(most, total - start) for start in range(0, total, most)]


def _resampled_means(
    values: npt.NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> npt.NDArray[Any]:
    """The mean of each resample: (resamples,) float64."""
    if resamples < 1:
        raise ValueError(f"resamples is a whole number from 1, got {resamples}")
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if 16 * len(distinct) <= n:  # drawing how often each value occurs is the same, and quicker
        drawn = [
            generator.multinomial(n, counts / n, size=some) @ distinct
            for some in chunks(resamples, 8 * len(distinct))
        ]
    else:
        drawn = [values[generator.integers(n, size=(some, n))].sum(1) for some in chunks(resamples, 16 * n)]
    return np.concatenate(drawn) / n
