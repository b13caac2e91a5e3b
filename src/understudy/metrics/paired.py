"""Whether one model is better than another on the same queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from understudy.metrics.bootstrap import checked, chunks, interval


@dataclass(frozen=True)
class PairedTest:
    """What a paired comparison of two models says.

    Attributes:
        difference: The mean over queries of the first model's value minus the second's.
        low: The lower end of the bootstrap interval of the difference.
        high: The upper end.
        p_value: How often a difference at least as large, either way, would come about if the two models were
            interchangeable on every query.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_test(
    a: Tensor, b: Tensor, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Compares two models by a measure's values on the same queries.

    The p-value is Fisher's randomisation test: if the models do not differ, each query's difference could as
    well have had the other sign. Two-sided; over all assignments of signs where they are no more than
    ``resamples``, else over that many random ones, with the observed one counted in, so that it is never 0
    (Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation", CIKM 2007). The interval is `understudy.metrics.bootstrap.interval` of the differences.

    Args:
        a: (n,) the first model's value for each query, boolean or floating point.
        b: (n,) the second model's for the same queries in the same order: compare `RankMetrics.rows` first.
        confidence: Of the interval.
        resamples: How many random signs, and how many resamples of the bootstrap.
        seed: Of both.

    Returns:
        The difference of the means, its interval and the p-value.

    Raises:
        ValueError: The vectors differ in length, are empty or hold NaN, or settings are out of range.

    Example:
        >>> import torch
        >>> found = paired_test(torch.tensor([0.9, 0.8, 0.9, 0.7]), torch.tensor([0.5, 0.7, 0.6, 0.5]))
        >>> round(found.difference, 3), found.p_value  # 2 of the 16 assignments of signs are as extreme
        (0.25, 0.125)
    """
    first, second = checked(a), checked(b)
    if first.shape != second.shape or not len(first):
        raise ValueError(
            "paired_test needs the values of two models on the same queries, at least one, "
            f"got {len(first)} and {len(second)}"
        )
    if resamples < 1:
        raise ValueError(f"resamples is a whole number from 1, got {resamples}")
    low, high = interval(
        a.double().cpu() - b.double().cpu(), confidence=confidence, resamples=resamples, seed=seed
    )
    differences = first - second
    p_value = _p_value(differences[differences != 0], resamples, np.random.default_rng(seed))
    return PairedTest(float(differences.mean()), low, high, p_value)


def _p_value(differences: npt.NDArray[np.float64], resamples: int, generator: np.random.Generator) -> float:
    """The share of assignments of signs whose sum is as far from 0; ``differences`` holds no zeros."""
    n = len(differences)
    exact = n < 63 and 2**n <= resamples
    words = -(-n // 8)
    total = 2**n if exact else resamples
    extreme, start = 0, 0
    # A sum over signs is twice the sum over the positive ones, less the sum of all.
    reach = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    for some in chunks(total, 9 * n):
        if exact:
            numbers = np.arange(start, start + some, dtype="<u8")
            drawn = numbers.view(np.uint8).reshape(some, 8)[:, :words]
        else:
            drawn = np.frombuffer(generator.bytes(some * words), dtype=np.uint8).reshape(some, words)
        signs = np.unpackbits(drawn, axis=1, count=n, bitorder="little")
        sums = 2 * (signs.astype(np.float64) @ differences) - differences.sum()
        extreme += int((np.abs(sums) >= reach).sum())
        start += some
    return extreme / total if exact else (extreme + 1) / (total + 1)
