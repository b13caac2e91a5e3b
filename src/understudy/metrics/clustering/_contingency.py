"""The counts that every measure between two partitions is a function of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Contingency(NamedTuple):
    """How two partitions of n items cut each other.

    Attributes:
        items: n.
        classes: (C,) int64, the sizes of the classes, none 0.
        clusters: (K,) int64, the sizes of the clusters, none 0.
        cells: (m,) int64, the items of each pair of a class and a cluster that meet, none 0; m ≤ n.
        cell_class: (m,) int64, the pair's class as a place in ``classes``.
        cell_cluster: (m,) int64, the pair's cluster as a place in ``clusters``.
    """

    items: int
    classes: Tensor
    clusters: Tensor
    cells: Tensor
    cell_class: Tensor
    cell_cluster: Tensor

    @property
    def identical(self) -> bool:
        """Whether both partitions are the same but for the names."""
        return len(self.classes) == len(self.cells) == len(self.clusters)


def contingency(labels: Tensor, clusters: Tensor) -> Contingency:
    """Counts the pairs of labels, of which only those that occur are kept.

    Args:
        labels: (n,) whole numbers, n ≥ 1; any, negative ones too.
        clusters: (n,) whole numbers on the same device.

    Raises:
        ValueError: Not two equally long rows of whole numbers, or none at all.

    Example:
        >>> contingency(torch.tensor([7, 7, 9]), torch.tensor([0, 1, 1])).cells.tolist()
        [1, 1, 1]
    """
    for name, codes in (("labels", labels), ("clusters", clusters)):
        if codes.ndim != 1 or codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise ValueError(
                f"{name} must be (n,) whole numbers, got {codes.dtype} of shape {tuple(codes.shape)}"
            )
    if len(labels) != len(clusters) or not len(labels):
        raise ValueError(
            f"labels and clusters must be of one length, at least 1, got {len(labels)} and {len(clusters)}"
        )
    _, a, classes = torch.unique(labels, return_inverse=True, return_counts=True)
    _, b, sizes = torch.unique(clusters, return_inverse=True, return_counts=True)
    pairs, cells = torch.unique(a * len(sizes) + b, return_counts=True)
    return Contingency(len(labels), classes, sizes, cells, pairs // len(sizes), pairs % len(sizes))
