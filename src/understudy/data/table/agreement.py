"""How well shortened numbers keep the order of neighbours."""

from __future__ import annotations

import numpy as np
import torch

SAMPLE = 20_000
"""Of how many items, spread over a table, the original vectors are kept until it is finished."""

_QUERIES, _NEIGHBOURS = 1000, 10


def sampled(first: int, items: int, count: int) -> np.ndarray:
    """Which of some items belong to the sample: about `SAMPLE`, evenly spread over all, or all of them.

    Args:
        first: Number of the first of them.
        items: How many there are.
        count: How many the whole table has.

    Returns:
        Their places, counted from ``first``.

    Example:
        >>> sampled(10, 3, 100).tolist(), len(sampled(0, 100_000, 100_000)), sampled(99_998, 2, 100_000)
        ([0, 1, 2], 20000, array([], dtype=int64))
    """
    numbers = np.arange(first, first + items, dtype=np.int64)
    if count <= SAMPLE:
        return numbers - first
    chosen = numbers * SAMPLE // count != (numbers - 1) * SAMPLE // count
    return np.flatnonzero(chosen).astype(np.int64)


def neighbour_agreement(exact: np.ndarray, kept: np.ndarray) -> float | None:
    """The mean overlap of the ten nearest neighbours (by cosine) of original and stored vectors.

    Args:
        exact: (n, d) float32, the original vectors.
        kept: The same as they are read from the table.

    Returns:
        Between 0 and 1, over at most 1,000 queries, evenly spread, each against all the others; None with
        fewer than twelve vectors, where everything is a neighbour.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
        >>> neighbour_agreement(x, x), neighbour_agreement(x, np.rint(x)) < 0.9
        (1.0, True)
    """
    from understudy.metrics import neighbour_overlap_at_k
    from understudy.search import topk

    if len(exact) < _NEIGHBOURS + 2:
        return None
    queries = np.unique(np.linspace(0, len(exact) - 1, _QUERIES).astype(np.int64))
    own = torch.from_numpy(queries)
    found = []
    for vectors in (exact, kept):
        gallery = torch.from_numpy(np.ascontiguousarray(vectors))
        found.append(topk(gallery[own], gallery, _NEIGHBOURS, exclude=own)[1])
    return neighbour_overlap_at_k(found[0], found[1], (_NEIGHBOURS,))[_NEIGHBOURS]
