"""Mixtures of embeddings: who is mixed with whom, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from understudy.losses._distances import pairwise_distances

Pairs = Literal["random", "all", "neighbours"]

# A mixture shorter than this share of its parents' lengths has no direction worth restoring.
_SHORTEST = 0.1


def interpolate(
    x: Tensor, first: Tensor, second: Tensor, coefficient: Tensor, *, renormalize: bool = False
) -> Tensor:
    """Mixtures of rows: (1 − c) x_i + c x_j.

    Args:
        x: (n, d) embeddings.
        first: (m,) row numbers i.
        second: (m,) row numbers j.
        coefficient: (m,) c in [0, 1].
        renormalize: Gives each mixture the mixed length of its parents: 1 for unit vectors.

    Returns:
        (m, d); a mixture of length 0 stays 0.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> zero, one, half = torch.tensor([0]), torch.tensor([1]), torch.tensor([0.5])
        >>> interpolate(x, zero, one, half)
        tensor([[0.5000, 0.5000]])
        >>> interpolate(x, zero, one, half, renormalize=True)
        tensor([[0.7071, 0.7071]])
    """
    c = coefficient.unsqueeze(1).to(x.dtype)
    mixed = torch.lerp(x.index_select(0, first), x.index_select(0, second), c)
    if not renormalize:
        return mixed
    length = torch.linalg.vector_norm(mixed, dim=1, keepdim=True)
    wanted = _parents_length(x, first, second, c)
    return mixed * (wanted / torch.where(length > 0, length, torch.ones_like(length)))


def _parents_length(x: Tensor, first: Tensor, second: Tensor, c: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.lerp(lengths.index_select(0, first), lengths.index_select(0, second), c)


def drop_antipodal(
    sides: Sequence[Tensor], first: Tensor, second: Tensor, coefficient: Tensor
) -> tuple[Tensor, Tensor]:
    """Replaces pairs whose mixture has next to no length by their first parent alone, on all sides at once.

    The direction of such a mixture is noise, which renormalising would blow up. Setting j = i keeps the
    shapes independent of the values.

    Args:
        sides: (n, d) embeddings of student and teacher.
        first: (m,) row numbers i.
        second: (m,) row numbers j.
        coefficient: (m,) c.

    Returns:
        The second parents, i where dropped, and which pairs were dropped, (m,) bool.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        >>> first, second = torch.tensor([0, 0]), torch.tensor([1, 2])
        >>> drop_antipodal([x], first, second, torch.tensor([0.5, 0.5]))
        (tensor([0, 2]), tensor([ True, False]))
    """
    dropped = torch.zeros_like(first, dtype=torch.bool)
    for side in sides:
        x = side.detach()
        length = torch.linalg.vector_norm(interpolate(x, first, second, coefficient), dim=1)
        parents = _parents_length(x, first, second, coefficient.unsqueeze(1).to(x.dtype)).squeeze(1)
        dropped = dropped | (length < _SHORTEST * parents)
    return torch.where(dropped, first, second), dropped


def draw_pairs(
    teacher: Tensor, count: int, pairs: Pairs, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Who is mixed with whom.

    Args:
        teacher: (n, d) embeddings, n ≥ 2.
        count: The number of pairs; not used by ``all``.
        pairs: ``random``: every row is a first parent equally often (to within one), the second is any other
            row; ``all``: each of the n(n−1)/2 pairs once; ``neighbours``: rows with their nearest in the
            teacher's space, then with their second nearest, and so on.
        generator: The source of randomness.

    Returns:
        Two (count,) int64 vectors.

    Example:
        >>> draw_pairs(torch.tensor([[0.0], [1.0], [1.5]]), 3, "neighbours")
        (tensor([0, 1, 2]), tensor([1, 2, 1]))
    """
    n, device = teacher.shape[0], teacher.device
    if pairs == "all":
        rows = torch.triu_indices(n, n, offset=1, device=device)
        return rows[0], rows[1]
    order = torch.arange(count, device=device)
    if pairs == "neighbours":
        distances = pairwise_distances(teacher.detach()).fill_diagonal_(torch.inf)
        ranked = distances.sort(dim=1, stable=True).indices
        return order % n, ranked[order % n, order // n]
    shuffled = torch.rand(n, device=device, generator=generator).argsort()
    first = shuffled[order % n]
    step = torch.randint(1, n, (count,), device=device, generator=generator)
    return first, (first + step) % n
