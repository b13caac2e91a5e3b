"""CC: correlation congruence, a Gaussian kernel between the images of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import (
    RelationalLoss,
    candidates,
    cosine_rows,
    require_positive,
    require_whole,
)


def correlation_congruence(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    gamma: float = 0.4,
    order: int | None = 2,
    exclude: Tensor | None = None,
) -> Tensor:
    """The squared difference between the Gaussian kernel matrices of student and teacher.

    For unit vectors exp(−γ‖x − y‖²) = exp(−2γ) · exp(2γ xᵀy), whose series in xᵀy is cut after ``order``:

        K(x, y) = exp(−2γ) Σ_{p≤P} (2γ)^p/p! (xᵀy)^p,  L = (1/n²) Σ_ij (K^T_ij − K^S_ij)²

    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019: reconstruction (γ =
    0.4 and P = 2 from third-party code; the paper adds a logit term and a cross-entropy, which are losses of
    their own here). Normalises: yes. Labels: none. Dimensions: may differ. Teacher: outputs only. Relations:
    all pairs. A file ``CC.py`` found in other repositories is another formula, which needs equal dimensions.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all.
        gamma: γ = 1/(2δ²).
        order: P; None for the Gaussian itself.
        exclude: (n, n) bool, pairs that do not count.

    Raises:
        ValueError: On wrong shapes, fewer than 2 rows, γ of 0 or less, or an order below 1.

    Example:
        >>> student, teacher = torch.eye(2), torch.ones(2, 1)
        >>> correlation_congruence(student, teacher, gamma=0.5, order=1)
        tensor(0.0677)
    """
    _check_settings(gamma, order)
    student, teacher = check_relational("correlation_congruence", student, teacher)
    check_queries("correlation_congruence", queries, student)
    mask = candidates("correlation_congruence", student, queries, exclude)
    error = _kernel(cosine_rows(student, queries), gamma, order) - _kernel(
        cosine_rows(teacher, queries), gamma, order
    )
    # The diagonal is the same on both sides, so it only counts in the mean.
    return (error * mask).square().mean()


def _check_settings(gamma: float, order: int | None) -> None:
    require_positive("correlation_congruence", gamma=gamma)
    if order is not None:
        require_whole("correlation_congruence", order=order)


def _kernel(cosines: Tensor, gamma: float, order: int | None) -> Tensor:
    if order is None:
        return (2 * gamma * (cosines - 1)).exp()
    total = torch.ones_like(cosines)
    for p in range(order, 0, -1):  # Horner
        total = 1 + total * cosines * (2 * gamma / p)
    return math.exp(-2 * gamma) * total


class CorrelationCongruence(RelationalLoss):
    """The module of :func:`correlation_congruence`.

    Args:
        gamma: γ of the Gaussian.
        order: Where its series is cut; None for the Gaussian itself.

    Example:
        >>> CorrelationCongruence()(torch.eye(4), torch.eye(4))
        tensor(0.)
    """

    def __init__(self, gamma: float = 0.4, order: int | None = 2) -> None:
        super().__init__()
        _check_settings(gamma, order)
        self.gamma = gamma
        self.order = order

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`correlation_congruence`."""
        return correlation_congruence(
            student, teacher, gamma=self.gamma, order=self.order, queries=queries, exclude=exclude
        )

    def extra_repr(self) -> str:
        """The settings."""
        return f"gamma={self.gamma}, order={self.order}"
