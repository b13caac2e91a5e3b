"""Pairs: those of one class come close, those of two keep a distance."""

from __future__ import annotations

from torch import Tensor

from understudy.losses._checks import check_supervised
from understudy.losses._distances import pairwise_distances
from understudy.losses._relations import require_number
from understudy.losses.supervised._base import SupervisedLoss, masked_mean, mean_of_positive, pair_masks


def contrastive(
    embedding: Tensor, labels: Tensor, *, margin: float = 1.0, positive_margin: float = 0.0
) -> Tensor:
    """Mean of [d − m₊]₊ over unmet positive pairs, plus mean of [m − d]₊ over unmet negative pairs.

    Source: Hadsell, Chopra, LeCun, CVPR 2006, in the form of pytorch-metric-learning's ContrastiveLoss, which
    it equals: distances not squared, pairs that meet their margin out of the mean. Normalises: no. Labels:
    needed. Relations: pairs; :func:`verification` is its sister with squares and the mean over all pairs.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        margin: m, what pairs of two classes should keep.
        positive_margin: m₊, below which pairs of one class are close enough.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [2.0], [2.5]])
        >>> contrastive(x, torch.tensor([0, 0, 1]))  # 2 + [1 − 0.5]₊
        tensor(2.5000)
    """
    embedding = check_supervised("contrastive", embedding, labels)
    distances = pairwise_distances(embedding)
    same, different = pair_masks(labels)
    apart = mean_of_positive((distances - positive_margin).relu(), same)
    return apart + mean_of_positive((margin - distances).relu(), different)


def verification(embedding: Tensor, labels: Tensor, *, margin: float = 0.9) -> Tensor:
    """Mean over all pairs of ½d² for one class and ½[m − d]₊² for two.

    Source: Sun et al., NIPS 2014, as DarkRank (Chen et al., AAAI 2018) uses it, weight 5, margin 0.9, on
    normalised embeddings; a reconstruction, as that paper does not print the formula. Normalises: no. Labels:
    needed. Relations: pairs.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        margin: m.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [0.5], [0.8]])
        >>> verification(x, torch.tensor([0, 0, 1]))  # (½·0.25 + ½·0.01 + ½·0.36) / 3
        tensor(0.1033)
    """
    embedding = check_supervised("verification", embedding, labels)
    distances = pairwise_distances(embedding)
    same, different = pair_masks(labels)
    gaps = (margin - distances).relu()
    halves = 0.5 * (distances.square() * same + gaps.square() * different)
    return masked_mean(halves, same | different)


class Contrastive(SupervisedLoss):
    """The module of :func:`contrastive`.

    Args:
        margin: What pairs of two classes should keep.
        positive_margin: Below which pairs of one class are close enough.

    Example:
        >>> import torch
        >>> Contrastive()(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        tensor(1.4142)
    """

    def __init__(self, margin: float = 1.0, positive_margin: float = 0.0) -> None:
        super().__init__()
        require_number("contrastive", margin=margin, positive_margin=positive_margin)
        self.margin = margin
        self.positive_margin = positive_margin

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`contrastive`."""
        return contrastive(embedding, labels, margin=self.margin, positive_margin=self.positive_margin)

    def extra_repr(self) -> str:
        """The settings."""
        return f"margin={self.margin}, positive_margin={self.positive_margin}"


class Verification(SupervisedLoss):
    """The module of :func:`verification`.

    Args:
        margin: What pairs of two classes should keep.

    Example:
        >>> import torch
        >>> Verification()(torch.eye(3), torch.tensor([0, 0, 0]))
        tensor(1.0000)
    """

    def __init__(self, margin: float = 0.9) -> None:
        super().__init__()
        require_number("verification", margin=margin)
        self.margin = margin

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`verification`."""
        return verification(embedding, labels, margin=self.margin)

    def extra_repr(self) -> str:
        """The setting."""
        return f"margin={self.margin}"
