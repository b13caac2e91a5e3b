"""Distances between two lists of nearest neighbours: their members and their order at once."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.metrics._inversions import inversions

ListMeasure = Literal["kendall", "footrule"]


def list_distance(a: Tensor, b: Tensor, measure: ListMeasure = "kendall", penalty: float = 0.5) -> Tensor:
    """How far two top-k lists of each query are apart, from 0 (the same list) to 1 (nothing in common).

    Fagin, Kumar and Sivakumar, "Comparing top k lists" (SIAM J. Discrete Mathematics 2003). An item of one
    list alone is known to stand behind the other's k.

    * ``kendall``: K⁽ᵖ⁾, the pairs of items that the lists order differently, over k² + p·k(k − 1). A pair of
      which one list holds both and the other one counts if the first puts the missing item ahead; a pair of
      which each list holds one counts; a pair that one list holds and the other does not is of unknown order
      and counts p (``penalty``; 0 is their optimistic, ½ their neutral choice).
    * ``footrule``: F⁽ᵏ⁺¹⁾, the sum over items of the difference of their places, a missing item standing at
      k + 1, over k(k + 1).

    For k = 1 both say whether the nearest neighbours differ.

    Args:
        a: (n, k) int64 gallery rows, the nearest first, none twice in a row; −1 (nothing found) is an item
            that no other list holds.
        b: The same of another search.
        measure: ``kendall`` or ``footrule``.
        penalty: p of K⁽ᵖ⁾, between 0 and 1.

    Returns:
        (n,) float64 between 0 and 1.

    Raises:
        ValueError: The tables are not int64 of one shape, or a setting is none.

    Example:
        >>> a, b = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 4]])
        >>> list_distance(a, b).tolist()  # 2 ahead of 3; 2 against 4: 2 of 9 + 3
        [0.16666666666666666]
        >>> list_distance(a, b, "footrule").tolist()  # places 1 1, 2 4, 3 2, 4 3: 4 of 12
        [0.3333333333333333]
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] == 0 or {a.dtype, b.dtype} != {torch.int64}:
        raise ValueError(
            "list_distance needs two int64 (queries, k) tables of one shape, "
            f"got {a.dtype} of {tuple(a.shape)} and {b.dtype} of {tuple(b.shape)}"
        )
    if measure not in get_args(ListMeasure):
        raise ValueError(f"measure is one of {', '.join(get_args(ListMeasure))}, got {measure!r}")
    if not 0 <= penalty <= 1:
        raise ValueError(f"penalty lies between 0 and 1, got {penalty}")
    place = _places(a, b)
    return _footrule(place) if measure == "footrule" else _kendall(place, penalty)


def _places(a: Tensor, b: Tensor) -> Tensor:
    """Where each item of a stands in b, counted from 0; k where b does not hold it: (n, k) int64."""
    k = a.shape[1]
    ordered, columns = b.sort(1)
    at = torch.searchsorted(ordered, a.contiguous()).clamp(max=k - 1)
    held = (ordered.gather(1, at) == a) & (a >= 0)
    return torch.where(held, columns.gather(1, at), k)


def _footrule(place: Tensor) -> Tensor:
    k = place.shape[1]
    here = torch.arange(k, device=place.device)
    held = place < k
    # The items of b alone stand where no item of a stands in b: their steps to k + 1 are all but those.
    of_both = torch.where(held, (here - place).abs(), 0).sum(1)
    of_a_alone = torch.where(held, 0, k - here).sum(1)
    of_b_alone = k * (k + 1) // 2 - torch.where(held, k - place, 0).sum(1)
    return (of_both + of_a_alone + of_b_alone).double() / (k * (k + 1))


def _kendall(place: Tensor, penalty: float) -> Tensor:
    k = place.shape[1]
    here = torch.arange(k, device=place.device)
    held = place < k
    common = held.sum(1)
    alone = k - common
    # Both hold both: items of both first, in the order of a, then the rest, which stays as it is.
    line = torch.where(held, place, k + here).gather(1, (here + torch.where(held, 0, k)).sort(1).indices)
    differently = inversions(line.argsort(1).argsort(1))
    # One holds both: what stands before a common item without being common, in each list.
    pairs = common * (common - 1) // 2
    ahead_in_a = torch.where(held, here, 0).sum(1) - pairs
    ahead_in_b = torch.where(held, place, 0).sum(1) - pairs
    certain = differently + ahead_in_a + ahead_in_b + alone * alone
    return (certain + penalty * (alone * (alone - 1)).double()) / (k * k + penalty * k * (k - 1))
