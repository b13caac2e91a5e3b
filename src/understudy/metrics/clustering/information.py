"""How much two partitions say about each other."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from understudy.metrics.clustering._contingency import Contingency, contingency
from understudy.metrics.clustering._expected import expected_mutual_information


def nmi(labels: Tensor, clusters: Tensor) -> float:
    """Normalised mutual information with the arithmetic mean: 2·I / (H(labels) + H(clusters)).

    The normalisation of metric learning (Manning, Raghavan and Schütze, "Introduction to Information
    Retrieval", equation 16.2) and scikit-learn's default; other packages divide by the geometric mean or the
    larger entropy. It grows with the number of clusters: see `ami`.

    Args:
        labels: (n,) whole numbers, n ≥ 1.
        clusters: (n,) whole numbers on the same device. Names do not matter, only who is together.

    Returns:
        Between 0 (independent) and 1 (the same partition); 1 when both are one single group, 0 when one is.

    Raises:
        ValueError: Not two equally long rows of whole numbers, or none at all.

    Example:
        >>> nmi(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 3, 3]))
        1.0
        >>> round(nmi(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])), 4)  # I = log 2
        0.8
    """
    counts = contingency(labels, clusters)
    if counts.identical:
        return 1.0
    information = _mutual_information(counts)
    return max(0.0, 2 * information / (_entropy(counts.classes) + _entropy(counts.clusters)))


def ami(labels: Tensor, clusters: Tensor) -> float:
    """Adjusted mutual information: (I − E[I]) / ((H(labels) + H(clusters))/2 − E[I]).

    E[I] is what random partitions with the same sizes would share, so chance scores 0 however many clusters
    there are (Vinh, Epps and Bailey, JMLR 2010, the arithmetic form; scikit-learn's default). Partitions that
    agree less than chance score below 0.

    Args:
        labels: (n,) whole numbers, n ≥ 1.
        clusters: (n,) whole numbers on the same device.

    Returns:
        At most 1, the same partition; 0 when only one of the two is a single group.

    Raises:
        ValueError: Not two equally long rows of whole numbers, or none at all.

    Example:
        >>> ami(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 3, 3]))
        1.0
        >>> round(ami(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])), 4)  # worse than chance
        -0.5
    """
    counts = contingency(labels, clusters)
    if counts.identical:
        return 1.0
    if min(len(counts.classes), len(counts.clusters)) == 1:
        return 0.0
    expected = expected_mutual_information(counts.classes, counts.clusters)
    room = (_entropy(counts.classes) + _entropy(counts.clusters)) / 2 - expected
    return (_mutual_information(counts) - expected) / max(room, sys.float_info.epsilon)


def _mutual_information(counts: Contingency) -> float:
    """In nats: Σ m/n · log(n·m / (a·b)) over the pairs that meet."""
    n, m = counts.items, counts.cells.double()
    a, b = counts.classes[counts.cell_class].double(), counts.clusters[counts.cell_cluster].double()
    return float((m / n * (torch.log(m / a) - torch.log(b / n))).sum())


def _entropy(sizes: Tensor) -> float:
    """In nats, of a partition into groups of these sizes."""
    share = sizes.double() / sizes.sum()
    return float(-(share * share.log()).sum())
