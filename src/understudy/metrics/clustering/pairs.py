"""Which pairs of items two partitions keep together."""

from __future__ import annotations

from torch import Tensor

from understudy.metrics.clustering._contingency import contingency


def pairwise_f1(labels: Tensor, clusters: Tensor) -> float:
    """F1 over pairs of items: a pair is found if it is in one cluster and right if it is of one class.

    2·TP / (pairs in one cluster + pairs of one class), the "F1" that metric learning reports beside NMI
    (Manning, Raghavan and Schütze, "Introduction to Information Retrieval", section 16.3, with β = 1). The
    pairs are counted in whole numbers, exact up to three thousand million items. It is no mean of F1 scores
    of classes.

    Args:
        labels: (n,) whole numbers, n ≥ 1.
        clusters: (n,) whole numbers on the same device.

    Returns:
        Between 0 and 1; 1 when neither partition keeps any pair together, for then they are the same.

    Raises:
        ValueError: Not two equally long rows of whole numbers, or none at all.

    Example:
        >>> import torch
        >>> pairwise_f1(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 4, 4, 4]))  # 2 of 4 and 4 pairs
        0.5
    """
    counts = contingency(labels, clusters)
    both, of_classes, of_clusters = map(_pairs, (counts.cells, counts.classes, counts.clusters))
    return 2 * both / (of_classes + of_clusters) if of_classes + of_clusters else 1.0


def _pairs(sizes: Tensor) -> int:
    return int((sizes * (sizes - 1) // 2).sum())
