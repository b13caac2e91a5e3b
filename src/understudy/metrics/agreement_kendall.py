"""Kendall's correlation of two rankings: of all pairs of items, how many do they order alike."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.metrics._inversions import inversions


def kendall_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's τ-b of each query's scores (or distances) under two models.

    (C − D) / √((P − Tₐ)(P − T_b)): of P = m(m − 1)/2 pairs of items, C are ordered alike by both, D the
    other way round, Tₐ and T_b are equal for one of them (Kendall, "The treatment of ties in ranking
    problems", Biometrika 1945; SciPy's ``kendalltau``). Without ties, (1 + τ)/2 is the share of pairs on
    whose order the two agree. A query costs three sorts and log₂ m passes over its m items; memory is that of
    a few copies of the tables.

    Args:
        a: (n, m) scores or distances of m gallery items, m ≥ 2.
        b: The same items' under another model, the same way round (both scores, or both distances).

    Returns:
        (n,) float64 between −1 and 1; 0 where one side's scores are all equal and so order nothing.

    Raises:
        ValueError: The tables differ in shape or have fewer than two items.

    Example:
        >>> student, teacher = torch.tensor([[0.9, 0.8, 0.2]]), torch.tensor([[4.0, 3.0, 3.5]])
        >>> round(kendall_correlation(student, teacher).item(), 12)  # two of three pairs agree
        0.333333333333
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < 2:
        raise ValueError(
            "kendall_correlation needs two (queries, items) tables of one shape and at least 2 items, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    # Rows in the order of a, equal ones in that of b; then their order by b, equal ones as they stand.
    sorted_b, by_b = b.sort(dim=1, stable=True)
    sorted_a, within_b = a.gather(1, by_b).sort(dim=1, stable=True)
    lined_up = sorted_b.gather(1, within_b)
    apart = inversions(lined_up.sort(dim=1, stable=True).indices)

    same_a, same_b = sorted_a[:, 1:] == sorted_a[:, :-1], sorted_b[:, 1:] == sorted_b[:, :-1]
    tied_a, tied_b = _tied_pairs(same_a), _tied_pairs(same_b)
    tied_both = _tied_pairs(same_a & (lined_up[:, 1:] == lined_up[:, :-1]))
    pairs = a.shape[1] * (a.shape[1] - 1) // 2
    surplus = (pairs - tied_a - tied_b + tied_both - 2 * apart).double()
    scale = ((pairs - tied_a).double() * (pairs - tied_b).double()).sqrt()
    return surplus / torch.where(scale > 0, scale, 1)


def _tied_pairs(same: Tensor) -> Tensor:
    """The pairs of equal items in each row of sorted ones, told which equal the one before: (n,) int64."""
    if not bool(same.any()):
        return same.new_zeros(len(same), dtype=torch.int64)
    places = torch.arange(1, same.shape[1] + 1, device=same.device)
    # An item makes as many pairs as there are steps back to the first of its equals.
    first = torch.where(same, 0, places).cummax(1).values
    return (places - first).sum(1)
