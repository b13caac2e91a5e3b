"""How far orders are from being sorted: what Kendall's measures count."""

from __future__ import annotations

import torch
from torch import Tensor


def inversions(orders: Tensor) -> Tensor:
    """The pairs of each row that stand in the wrong order.

    The numbers are distributed by their highest bit, then within each half by the next, and so on; before
    each step a smaller number passes the larger ones that stand before it in its group. All rows at once,
    about log₂ m passes over them.

    Args:
        orders: (n, m) whole numbers, each row a permutation of 0 … m − 1.

    Returns:
        (n,) int64, from 0 (ascending) to m(m − 1)/2 (descending).

    Example:
        >>> inversions(torch.tensor([[0, 1, 2], [1, 2, 0], [2, 1, 0]])).tolist()
        [0, 2, 3]
    """
    n, m = orders.shape
    size = 1 << max(0, m - 1).bit_length()
    rest = torch.arange(m, size, dtype=torch.int32, device=orders.device).expand(n, -1)
    numbers = torch.cat([orders.int(), rest], 1)  # what is appended is in order
    total = torch.zeros(n, dtype=torch.int64, device=orders.device)
    half = size // 2
    while half:
        groups = numbers.view(n, -1, 2 * half)  # each holds 2·half consecutive numbers
        upper = (groups & half).bool()
        places = torch.arange(2 * half, dtype=torch.int32, device=orders.device)
        # A smaller number passes as many as it moves up.
        total += torch.where(upper, 0, places).view(n, -1).sum(1) - size // (2 * half) * (
            half * (half - 1) // 2
        )
        parts = [torch.masked_select(groups, mask).view(n, -1, half) for mask in (~upper, upper)]
        numbers = torch.stack(parts, 2)
        half //= 2
    return total
