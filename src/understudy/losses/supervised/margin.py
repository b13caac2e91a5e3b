"""Margin loss with distance-weighted negatives, and R-Margin, which sometimes pushes positives."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from understudy.losses._checks import check_supervised
from understudy.losses._distances import pairwise_distances, widest
from understudy.losses._relations import require_positive, require_whole
from understudy.losses.supervised._base import SupervisedLoss, pair_masks


def distance_weights(
    distances: Tensor, negatives: Tensor, dim: int, *, cutoff: float = 0.5, upper_cutoff: float | None = 1.4
) -> Tensor:
    """Probabilities of negatives that make their distances uniform, were they uniform on the sphere.

    Proportional to 1/q(d), where q(d) ∝ d^(D−2)·(1 − d²/4)^((D−3)/2) is the law of the distance of two random
    unit vectors in D dimensions.

    Source: Wu et al., ICCV 2017. Equals the weights of pytorch-metric-learning's
    DistanceWeightedMiner. The published code of S2SD has no upper cut-off.

    Args:
        distances: (n, n) of normalised embeddings.
        negatives: (n, n) bool.
        dim: D of the embedding.
        cutoff: Nearer negatives count as that far.
        upper_cutoff: Negatives beyond are left out, as their hinge is likely met; None keeps them.

    Returns:
        (n, n); rows add up to 1, or are 0 where there is no negative.

    Example:
        >>> d = torch.tensor([[0.0, 1.0, 1.2, 1.9]])
        >>> distance_weights(d, d > 0, dim=3)  # 1/d in three dimensions
        tensor([[0.0000, 0.5455, 0.4545, 0.0000]])
    """
    clamped = widest(distances.detach()).clamp_min(cutoff)
    rest = 1 - clamped.square() / 4
    allowed = negatives & (rest > 0)
    if upper_cutoff is not None:
        allowed = allowed & (clamped < upper_cutoff)
    log_weights = (2 - dim) * clamped.log() - (dim - 3) / 2 * rest.clamp_min(
        torch.finfo(rest.dtype).tiny
    ).log()
    weights = log_weights.masked_fill(~allowed, -torch.inf).softmax(1)
    return torch.where(allowed, weights, 0.0).to(distances.dtype)


def draw(weights: Tensor, generator: Generator | None = None) -> Tensor:
    """For every (a, p) an index drawn with probabilities from row a, by looking a uniform number up.

    Rows that add up to 0 give indices without meaning.

    Example:
        >>> draw(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([[1, 1],
                [0, 0]])
    """
    cumulative = widest(weights).cumsum(1)
    cumulative = cumulative / cumulative[:, -1:].clamp_min(torch.finfo(cumulative.dtype).tiny)
    uniform = torch.rand(weights.shape, dtype=cumulative.dtype, device=weights.device, generator=generator)
    return torch.searchsorted(cumulative, uniform, right=True).clamp_max(weights.shape[1] - 1)


def margin(
    distances: Tensor,
    positives: Tensor,
    negatives: Tensor,
    beta: Tensor,
    *,
    width: float = 0.2,
    swapped: Tensor | None = None,
) -> Tensor:
    """Sum over triplets of [d_ap − β + m]₊ + [β − d_an + m]₊, divided by the number of hinges above 0.

    Source: Wu et al., ICCV 2017. Equals pytorch-metric-learning's MarginLoss on the same triplets.

    Args:
        distances: (n, n).
        positives: (n, n) bool, the pairs (a, p) in use.
        negatives: (n, n) int64, the negative n of the triplet (a, p, n).
        beta: β, a scalar or (n,) for each anchor.
        width: m.
        swapped: (n, n) bool, pairs whose positive is pushed in the place of a negative, and not pulled.

    Example:
        >>> d = torch.tensor([[0.0, 1.5, 1.3], [1.5, 0.0, 2.0], [1.3, 2.0, 0.0]])
        >>> pair = torch.zeros(3, 3, dtype=torch.bool)
        >>> pair[0, 1] = True
        >>> margin(d, pair, torch.full((3, 3), 2), torch.tensor(1.2))  # (0.5 + 0.1) / 2
        tensor(0.3000)
    """
    beta = beta.unsqueeze(1) if beta.ndim else beta
    pulls = (distances - beta + width).relu()
    away = distances.gather(1, negatives)
    if swapped is not None:
        pulls = pulls * ~swapped
        away = torch.where(swapped, distances, away)
    pushes = (beta - away + width).relu()
    unmet = ((pulls > 0) & positives).sum() + ((pushes > 0) & positives).sum()
    return ((pulls + pushes) * positives).sum() / unmet.clamp_min(1)


class Margin(SupervisedLoss):
    """Margin loss: positives nearer than β − m, distance-weighted negatives farther than β + m.

    Every pair of one class draws one negative. For normalised embeddings, as the weights assume.

    Source: Wu et al., ICCV 2017; S2SD (Roth et al., ICML 2021) uses m = 0.2, β from 1.2, cut-off 0.5.
    Normalises: no. Labels: needed. Equals pytorch-metric-learning's MarginLoss on the triplets drawn.

    Args:
        num_classes: For a β of each class; None for a single one.
        width: m.
        beta: β at the start.
        learn_beta: Whether β is trained.
        cutoff: Nearer negatives count as that far when drawing.
        upper_cutoff: Negatives beyond are not drawn; None for no bound, as in S2SD's code.
        swap: Probability that a pair's positive is pushed in the place of a negative; above 0 it is R-Margin.

    Example:
        >>> x = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [1.0, 0.0], [0.5, 1.0], [0.6, 1.0]]))
        >>> Margin(num_classes=None)(x, torch.tensor([0, 0, 1, 1])).requires_grad
        True
    """

    random: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int | None,
        width: float = 0.2,
        beta: float = 1.2,
        learn_beta: bool = True,
        cutoff: float = 0.5,
        upper_cutoff: float | None = 1.4,
        swap: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive("margin", width=width, beta=beta, cutoff=cutoff)
        if num_classes is not None:
            require_whole("margin", num_classes=num_classes)
        if upper_cutoff is not None:
            require_positive("margin", upper_cutoff=upper_cutoff)
            if upper_cutoff <= cutoff:
                raise ValueError(
                    f"margin needs an upper_cutoff above its cutoff {cutoff}, or no negative is ever drawn, "
                    f"got {upper_cutoff}"
                )
        if not 0 <= swap <= 1:
            raise ValueError(f"margin needs a swap between 0 and 1, got {swap}")
        self.width = width
        self.cutoff = cutoff
        self.upper_cutoff = upper_cutoff
        self.swap = swap
        self.beta = nn.Parameter(
            torch.full(() if num_classes is None else (num_classes,), float(beta)), requires_grad=learn_beta
        )

    def forward(self, embedding: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        """The loss of a batch; see :class:`SupervisedLoss`."""
        embedding = check_supervised("margin", embedding, labels)
        distances = pairwise_distances(embedding)
        same, different = pair_masks(labels)
        weights = distance_weights(
            distances, different, embedding.shape[1], cutoff=self.cutoff, upper_cutoff=self.upper_cutoff
        )
        negatives = draw(weights, generator)
        usable = weights.any(1, keepdim=True)
        swapped = None
        if self.swap:
            chance = torch.rand(distances.shape, device=distances.device, generator=generator)
            swapped = chance < self.swap
            usable = usable | swapped
        beta = self.beta if self.beta.ndim == 0 else self.beta[labels.clamp_min(0)]
        return margin(
            distances, same & usable, negatives, beta.to(distances.dtype), width=self.width, swapped=swapped
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"beta of shape {tuple(self.beta.shape)}, width={self.width}, cutoff={self.cutoff}, "
            f"upper_cutoff={self.upper_cutoff}, swap={self.swap}"
        )


class RMargin(Margin):
    """R-Margin: :class:`Margin` where a fifth of the positives is pushed, against too compact classes.

    Source: Roth et al., ICML 2020 (their code: an anchor then has no pull, and one of its positives in the
    place of the negative); β 0.6 as in S2SD's tables. There one positive an anchor is drawn, here every pair
    is one; with two images a class the two are the same.

    Args:
        num_classes: For a β of each class; None for a single one.
        width: m.
        beta: β at the start.
        learn_beta: Whether β is trained.
        cutoff: Nearer negatives count as that far when drawing.
        upper_cutoff: Negatives beyond are not drawn; None for no bound.
        swap: Probability that a pair's positive is pushed.

    Example:
        >>> RMargin(num_classes=100).swap
        0.2
    """

    def __init__(
        self,
        num_classes: int | None,
        width: float = 0.2,
        beta: float = 0.6,
        learn_beta: bool = True,
        cutoff: float = 0.5,
        upper_cutoff: float | None = 1.4,
        swap: float = 0.2,
    ) -> None:
        super().__init__(num_classes, width, beta, learn_beta, cutoff, upper_cutoff, swap)
