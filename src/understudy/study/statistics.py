"""What several seeds say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_ROUNDING = 1e-12
"""The share of the figures' size below which a spread is that of floating point, not of the seeds."""


@dataclass(frozen=True)
class PairedTest:
    """A paired t test over seeds.

    Attributes:
        first: The row compared against.
        second: The row expected ahead.
        metric: The figure compared.
        difference: Mean of second − first over the seeds.
        t: Mean difference over its standard error; positive when the second row is ahead. None when every
            seed differs by the same amount, so that there is no error to compare it with.
        p: Two-sided probability of a difference as large by chance; None where t is: it is no certainty.
        seeds: How many pairs.
    """

    first: str
    second: str
    metric: str
    difference: float
    t: float | None
    p: float | None
    seeds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the sample standard deviation (n − 1 in the denominator; 0 for one value).

    Example:
        >>> mean_and_deviation([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def paired_test(first: str, second: str, metric: str, a: Sequence[float], b: Sequence[float]) -> PairedTest:
    """Compares two rows seed by seed.

    Args:
        first: Name of the first row.
        second: Name of the second row.
        metric: The figure's name.
        a: The first row's figures, in the order of the seeds.
        b: The second row's, for the same seeds.

    Raises:
        ValueError: The rows have different numbers of seeds, or fewer than two.

    Example:
        >>> test = paired_test("alone", "distilled", "recall@1", [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
        >>> round(test.difference, 3), round(test.t, 3), round(test.p, 3)
        (2.0, 3.464, 0.074)
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"a paired test needs the same two or more seeds in both rows, got {len(a)} and {len(b)}"
        )
    from scipy.stats import ttest_rel

    differences = [y - x for x, y in zip(a, b, strict=True)]
    mean, deviation = mean_and_deviation(differences)
    rounding = _ROUNDING * max(map(abs, (*a, *b)))
    if deviation <= rounding:
        t, p = (0.0, 1.0) if abs(mean) <= rounding else (None, None)
        return PairedTest(first, second, metric, mean, t, p, len(a))
    result = ttest_rel(b, a)
    return PairedTest(first, second, metric, mean, float(result.statistic), float(result.pvalue), len(a))


def gap_closed(row: Sequence[float], alone: Sequence[float], teacher: Sequence[float]) -> list[float] | None:
    """Which share of the way from the student alone to its teacher a row goes, for each seed.

    (row − alone) / (teacher − alone), the numerator seed by seed, the denominator of the means: so the mean
    is the share that the means say, and the spread that of the differences.

    Args:
        row: The row's figures, in the order of the seeds.
        alone: The student's without a teacher, for the same seeds.
        teacher: The teacher's, of however many seeds.

    Returns:
        One value for each seed; None where the teacher is not ahead, so that there is no gap.

    Example:
        >>> [round(share, 2) for share in gap_closed([0.6, 0.7], [0.5, 0.5], [0.9])]
        [0.25, 0.5]
    """
    start, end = mean_and_deviation(alone)[0], mean_and_deviation(teacher)[0]
    if end <= start:
        return None
    return [(ours - theirs) / (end - start) for ours, theirs in zip(row, alone, strict=True)]
