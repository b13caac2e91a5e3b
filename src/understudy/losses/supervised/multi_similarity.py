"""Multi-similarity: pairs that are hard within their row pull and push, the harder the more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from understudy.losses._checks import check_supervised
from understudy.losses._relations import cosine_rows, require_number, require_positive
from understudy.losses.supervised._base import SupervisedLoss, masked_mean, pair_masks


def multi_similarity(
    embedding: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    margin: float = 0.1,
) -> Tensor:
    """Mean over labelled rows of the soft hinges on their hard positives P and hard negatives N.

    With S the cosines,

        L_i = 1/α·log(1 + Σ_{k ∈ P_i} exp(−α(S_ik − λ))) + 1/β·log(1 + Σ_{k ∈ N_i} exp(β(S_ik − λ)))

    where a positive is hard when it is less than ``margin`` more similar than the most similar negative, and
    a negative when it is less than ``margin`` less similar than the least similar positive.

    Source: Wang et al., CVPR 2019; the defaults are S2SD's (Roth et al., ICML 2021): weights of positives and
    negatives 2 and 40, threshold 0.5, mining margin 0.1. Equals pytorch-metric-learning's MultiSimilarityLoss
    with MultiSimilarityMiner. Normalises: yes, cosines. Labels: needed.

    Args:
        embedding: (n, d).
        labels: (n,) int64; negative means unlabelled.
        alpha: α, sharpness on positives.
        beta: β, sharpness on negatives.
        base: λ, the similarity in the middle.
        margin: ε of the mining.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> multi_similarity(x, torch.tensor([0, 0, 1]))
        tensor(0.5712)
    """
    require_positive("multi_similarity", alpha=alpha, beta=beta)
    embedding = check_supervised("multi_similarity", embedding, labels)
    similarity = cosine_rows(embedding, None)
    same, different = pair_masks(labels)
    fixed = similarity.detach()
    hardest_negative = fixed.masked_fill(~different, -torch.inf).amax(1, keepdim=True)
    hardest_positive = fixed.masked_fill(~same, torch.inf).amin(1, keepdim=True)
    positives = same & (fixed - margin < hardest_negative)
    negatives = different & (fixed + margin > hardest_positive)
    rows = _soft_hinge(alpha * (base - similarity), positives) / alpha
    rows = rows + _soft_hinge(beta * (similarity - base), negatives) / beta
    return masked_mean(rows, labels >= 0)


def _soft_hinge(exponents: Tensor, mask: Tensor) -> Tensor:
    """(n,) log(1 + Σ exp) over a row's mask."""
    zero = torch.zeros_like(exponents[:, :1])
    return torch.cat([exponents.masked_fill(~mask, -torch.inf), zero], dim=1).logsumexp(1)


class MultiSimilarity(SupervisedLoss):
    """The module of :func:`multi_similarity`.

    Args:
        alpha: Sharpness on positives.
        beta: Sharpness on negatives.
        base: The similarity in the middle.
        margin: Of the mining.

    Example:
        >>> MultiSimilarity()(torch.eye(4), torch.tensor([0, 0, 1, 1]))
        tensor(0.6566)
    """

    def __init__(
        self, alpha: float = 2.0, beta: float = 40.0, base: float = 0.5, margin: float = 0.1
    ) -> None:
        super().__init__()
        require_positive("multi_similarity", alpha=alpha, beta=beta)
        require_number("multi_similarity", base=base)
        if margin != math.inf:  # which mines nothing
            require_number("multi_similarity", margin=margin)
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.margin = margin

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`multi_similarity`."""
        return multi_similarity(
            embedding, labels, alpha=self.alpha, beta=self.beta, base=self.base, margin=self.margin
        )

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha}, beta={self.beta}, base={self.base}, margin={self.margin}"
