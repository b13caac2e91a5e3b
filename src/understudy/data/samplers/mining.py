"""Hard negatives: the images of other classes that a model finds nearest."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_SCORES = 4_000_000


def hardest_negatives(
    queries: Tensor, pool: Tensor, query_classes: Tensor, pool_classes: Tensor, count: int
) -> Tensor:
    """The nearest images of other classes for each query, at most one of each class, the nearest first.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2019:
    going down the ranked pool and passing over the query's class and those already taken. That is the nearest
    image of each class, and of these the nearest; so no ranking is needed. Images at one distance go by their
    place in the pool. Memory is bounded by a block of queries.

    Args:
        queries: (n, d) embeddings.
        pool: (m, d) embeddings.
        query_classes: (n,) class codes, on the same device.
        pool_classes: (m,) class codes.
        count: Negatives of each query.

    Returns:
        (n, count) int64 places in the pool.

    Raises:
        ValueError: The pool has too few classes besides a query's own.

    Example:
        >>> pool = torch.tensor([[0.1], [0.2], [0.3], [0.9]])
        >>> hardest_negatives(torch.zeros(1, 1), pool, torch.tensor([0]), torch.tensor([0, 1, 1, 2]), 2)
        tensor([[1, 3]])
    """
    classes, column = torch.unique(pool_classes, return_inverse=True)
    own = query_classes[:, None] == classes[None, :]
    fewest = len(classes) - int(own.any(1).any())
    if fewest < count:
        raise ValueError(
            f"the pool has {fewest} classes besides a query's own, and {count} negatives are wanted"
        )
    places = torch.arange(len(pool), device=pool.device)
    halves = pool.square().sum(1) / 2
    size = max(1, _BLOCK_SCORES // len(pool))
    found = []
    for start in range(0, len(queries), size):
        # q·x − ½|x|² falls as the distance grows, whatever the length of q
        scores = queries[start : start + size] @ pool.T - halves
        columns = column.expand_as(scores)
        best = scores.new_full((len(scores), len(classes)), -torch.inf)
        best.scatter_reduce_(1, columns, scores, "amax")
        at_best = torch.where(scores == best.gather(1, columns), places, len(pool))
        nearest = torch.full_like(best, len(pool), dtype=torch.int64)
        nearest.scatter_reduce_(1, columns, at_best, "amin")
        best.masked_fill_(own[start : start + size], -torch.inf)
        nearest, order = nearest.sort(1)  # equal scores then keep the order of the pool
        order = best.gather(1, order).sort(dim=1, descending=True, stable=True).indices[:, :count]
        found.append(nearest.gather(1, order))
    return torch.cat(found)
