"""Triplets: an anchor's positives are nearer than its negatives, by a margin."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.losses._checks import check_supervised
from understudy.losses._distances import pairwise_distances
from understudy.losses._relations import require_number
from understudy.losses.supervised._base import (
    SupervisedLoss,
    hinge_sums,
    masked_mean,
    mean_of_positive,
    pair_masks,
)

Reduction = Literal["unmet", "mean"]


def batch_hard_triplet(
    embedding: Tensor, labels: Tensor, *, margin: float = 0.2, reduction: Reduction = "unmet"
) -> Tensor:
    """Mean over anchors of [d to the farthest positive − d to the nearest negative + m]₊.

    Source: Hermans, Beyer, Leibe, 2017. Learning Metrics from Teachers (Yu et al., CVPR 2019) trains with
    ``margin=0, reduction="mean"`` on normalised embeddings (their code). With ``reduction="unmet"`` it equals
    pytorch-metric-learning's TripletMarginLoss with BatchHardMiner. Normalises: no. Labels: needed.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        margin: m.
        reduction: ``unmet``: the mean over anchors whose hinge is above 0; ``mean``: over all anchors that
            have a positive and a negative.

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [3.0]])
        >>> batch_hard_triplet(x, torch.tensor([0, 0, 1]), margin=0.5)  # anchor 1: 2 − 1 + 0.5; 0 is met
        tensor(1.5000)
        >>> batch_hard_triplet(x, torch.tensor([0, 0, 1]), margin=0.5, reduction="mean")
        tensor(0.7500)
    """
    _check_reduction(reduction)
    embedding = check_supervised("batch_hard_triplet", embedding, labels)
    distances = pairwise_distances(embedding)
    same, different = pair_masks(labels)
    farthest = distances.masked_fill(~same, -torch.inf).max(1).values
    nearest = distances.masked_fill(~different, torch.inf).min(1).values
    anchors = same.any(1) & different.any(1)
    hinges = (farthest - nearest + margin).relu()
    return mean_of_positive(hinges, anchors) if reduction == "unmet" else masked_mean(hinges, anchors)


def _check_reduction(reduction: str) -> None:
    if reduction not in get_args(Reduction):
        raise ValueError(f"batch_hard_triplet needs a reduction of 'unmet' or 'mean', got {reduction!r}")


def triplet(embedding: Tensor, labels: Tensor, *, margin: float = 0.9, squared: bool = True) -> Tensor:
    """Mean over all triplets of [d_ap² − d_an² + m]₊, met or not.

    Source: Schroff, Kalenichenko, Philbin, CVPR 2015 (squared distances), as DarkRank (Chen et al., AAAI
    2018) uses it, weight 0.1, margin 0.9, on normalised embeddings; a reconstruction, as that paper does not
    print the formula. O(n² log n) work and O(n²) memory for the n³ triplets. Normalises: no. Labels: needed.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        margin: m.
        squared: Whether distances are squared.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [1.5]])
        >>> triplet(x, torch.tensor([0, 0, 1]))  # ([1 − 2.25 + 0.9]₊ + [1 − 0.25 + 0.9]₊) / 2
        tensor(0.8250)
    """
    embedding = check_supervised("triplet", embedding, labels)
    distances = pairwise_distances(embedding, squared=squared)
    same, different = pair_masks(labels)
    sums = hinge_sums(distances, distances, different, margin)
    triplets = (same.sum(1) * different.sum(1)).sum()
    return ((sums * same).sum() / triplets.clamp_min(1)).to(embedding.dtype)


def lmnn(embedding: Tensor, labels: Tensor, *, margin: float = 0.9, push: float = 0.1) -> Tensor:
    """Mean over positive pairs of ½d_ap² + push·mean over negatives of [½d_ap² − ½d_an² + m]₊.

    Source: large-margin nearest neighbours (Weinberger, Saul, 2009) as in DarkRank's published code, the only
    loss on labels there. The code takes only the first half of the batch, which comes in pairs, as anchors,
    and all but the pair as negatives; here every positive pair is one, and negatives are of another class.
    Normalises: no. Labels: needed.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        margin: m.
        push: Weight of the hinges.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [1.5]])
        >>> lmnn(x, torch.tensor([0, 0, 1]))  # ½ + 0.1·([½ − 1.125 + 0.9]₊ + [½ − 0.125 + 0.9]₊) / 2
        tensor(0.5775)
    """
    embedding = check_supervised("lmnn", embedding, labels)
    halves = pairwise_distances(embedding, squared=True) / 2
    same, different = pair_masks(labels)
    hinges = hinge_sums(halves, halves, different, margin) / different.sum(1, keepdim=True).clamp_min(1)
    return masked_mean(halves + push * hinges.to(halves.dtype), same)


class BatchHardTriplet(SupervisedLoss):
    """The module of :func:`batch_hard_triplet`.

    Args:
        margin: How much nearer positives should be.
        reduction: ``unmet`` or ``mean``.

    Example:
        >>> BatchHardTriplet()(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        tensor(0.2000)
    """

    def __init__(self, margin: float = 0.2, reduction: Reduction = "unmet") -> None:
        super().__init__()
        require_number("batch_hard_triplet", margin=margin)
        _check_reduction(reduction)
        self.margin = margin
        self.reduction: Reduction = reduction

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`batch_hard_triplet`."""
        return batch_hard_triplet(embedding, labels, margin=self.margin, reduction=self.reduction)

    def extra_repr(self) -> str:
        """The settings."""
        return f"margin={self.margin}, reduction={self.reduction!r}"


class Triplet(SupervisedLoss):
    """The module of :func:`triplet`.

    Args:
        margin: How much nearer positives should be.
        squared: Whether distances are squared.

    Example:
        >>> Triplet()(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        tensor(0.9000)
    """

    def __init__(self, margin: float = 0.9, squared: bool = True) -> None:
        super().__init__()
        require_number("triplet", margin=margin)
        self.margin = margin
        self.squared = squared

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`triplet`."""
        return triplet(embedding, labels, margin=self.margin, squared=self.squared)

    def extra_repr(self) -> str:
        """The settings."""
        return f"margin={self.margin}, squared={self.squared}"


class LMNN(SupervisedLoss):
    """The module of :func:`lmnn`.

    Args:
        margin: How much nearer positives should be, in halves of squared distances.
        push: Weight of the hinges.

    Example:
        >>> LMNN()(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        tensor(1.0900)
    """

    def __init__(self, margin: float = 0.9, push: float = 0.1) -> None:
        super().__init__()
        require_number("lmnn", margin=margin)
        require_number("lmnn", minimum=0, push=push)
        self.margin = margin
        self.push = push

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`lmnn`."""
        return lmnn(embedding, labels, margin=self.margin, push=self.push)

    def extra_repr(self) -> str:
        """The settings."""
        return f"margin={self.margin}, push={self.push}"
