"""The mutual information that two partitions of given sizes share by chance."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 2**19  # numbers of a table


def expected_mutual_information(classes: Tensor, clusters: Tensor) -> float:
    """The mean mutual information, in nats, of random partitions with these sizes.

    Vinh, Epps and Bailey, "Information theoretic measures for clusterings comparison" (JMLR 2010), equation
    24a: the overlap m of a class of a and a cluster of b among n items is hypergeometric, and the expectation
    is Σ_a Σ_b Σ_m m/n · log(n·m / (a·b)) · P(m; n, a, b). A term depends on the two sizes alone, so equal
    sizes are computed once: n items have no more than √(2n) different sizes, however many classes.

    P comes from the ratios of its neighbours and sums to 1. (Differences of log-factorials, the usual way,
    lose a digit for each digit of n.)

    Args:
        classes: (C,) int64 sizes, all at least 1.
        clusters: (K,) int64 sizes with the same sum n.

    Example:
        >>> import math
        >>> two = torch.tensor([1, 1])  # both partitions are {x}, {y} in any order: always log 2
        >>> expected_mutual_information(two, two) / math.log(2)
        1.0
    """
    a_sizes, a_times = torch.unique(classes.cpu(), return_counts=True)
    b_sizes, b_times = torch.unique(clusters.cpu(), return_counts=True)
    n, total = int((a_sizes * a_times).sum()), 0.0
    for a, times in zip(a_sizes.tolist(), a_times.tolist(), strict=True):
        start = 0
        while start < len(b_sizes):
            # sizes ascend: the first of a chunk says how many more of its kind fit, its last how wide it is
            stop = start + max(1, _CHUNK // (1 + min(a, int(b_sizes[start]))))
            while (stop - start - 1) * (1 + min(a, int(b_sizes[start:stop][-1]))) > _CHUNK:
                stop = start + (stop - start + 1) // 2
            b, b_times_here = b_sizes[start:stop, None], b_times[start:stop]
            total += times * float((b_times_here * _expected(n, a, b)).sum())
            start = stop
    return total


def _expected(n: int, a: int, b: Tensor) -> Tensor:
    """Σ_m m/n · log(n·m / (a·b)) · P(m; n, a, b) of one size a and each of the sizes b (r, 1)."""
    m = torch.arange(min(a, int(b.max())) + 1) + (a + b - n).clamp(min=0)
    # P(m + 1) / P(m); 0 beyond the smaller of the two sizes, and all after it
    ratio = ((a - m).clamp(min=0) * (b - m).clamp(min=0)).double() / ((m + 1) * (n - a - b + m + 1))
    steps = ratio[:, :-1].log().cumsum(1)
    chance = torch.cat([torch.zeros_like(ratio[:, :1]), steps], 1).softmax(1)
    information = m.double() / n * torch.log(m.clamp(min=1) * (n / (a * b.double())))
    return (information * chance).sum(1)
