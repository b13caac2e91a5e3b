"""Relaxed contrastive loss: the teacher's similarities instead of labels in a contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, candidates, distance_rows, require_positive


def relaxed_contrastive(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    sigma: float = 1.0,
    delta: float = 1.0,
    exclude: Tensor | None = None,
) -> Tensor:
    """A contrastive loss whose pairs are as positive as the teacher finds them similar.

    With w_ij = exp(−‖t_i − t_j‖²/σ) and the relative distance δ_ij = ‖s_i − s_j‖ / mean_k ‖s_i − s_k‖ (the
    mean runs over the whole row, the zero to itself included):

        L = (1/n) Σ_i Σ_j [ w_ij δ_ij² + (1 − w_ij) max(0, δ − δ_ij)² ]

    Relative distances do not depend on the student's scale, so it need not be normalised; the teacher's
    distances are taken as they come, so it should be (the authors' code normalises it). The loss is not zero
    where the student equals the teacher.

    Source: Kim, Kim, Cho, Kwak, "Embedding Transfer with Label Relaxation for Improved Metric Learning", CVPR
    2021, σ = δ = 1. Labels: none. Dimensions: may differ. Teacher: outputs only. Relations: all pairs.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all.
        sigma: σ, the squared distance over which the teacher's similarity falls to 1/e.
        delta: δ, the margin, in units of the mean distance.
        exclude: (n, n) bool, pairs that do not count, in the mean neither.

    Raises:
        ValueError: On wrong shapes, fewer than 3 rows, or σ or δ of 0 or less.

    Example:
        >>> student = torch.tensor([[0.0], [1.0], [2.0]])
        >>> relaxed_contrastive(student, torch.zeros(3, 2))
        tensor(4.8333)
    """
    require_positive("relaxed_contrastive", sigma=sigma, delta=delta)
    # Of two rows each is the other's mean distance: nothing would be left to learn.
    student, teacher = check_relational("relaxed_contrastive", student, teacher, minimum=3)
    check_queries("relaxed_contrastive", queries, student)
    mask = candidates("relaxed_contrastive", student, queries, exclude)
    weights = (-distance_rows(teacher, queries, squared=True) / sigma).exp()
    distances = distance_rows(student, queries)
    means = (distances * mask).sum(1, keepdim=True) / (mask.sum(1, keepdim=True) + 1)
    relative = distances / torch.where(means > 0, means, torch.ones_like(means))
    pull = weights * relative.square()
    push = (1 - weights) * (delta - relative).clamp_min(0).square()
    return ((pull + push) * mask).sum(1).mean()


class RelaxedContrastive(RelationalLoss):
    """The module of :func:`relaxed_contrastive`.

    Args:
        sigma: σ of the teacher's similarity.
        delta: δ, the margin.

    Example:
        >>> RelaxedContrastive()(torch.eye(4), torch.eye(4)).shape
        torch.Size([])
    """

    def __init__(self, sigma: float = 1.0, delta: float = 1.0) -> None:
        super().__init__()
        require_positive("relaxed_contrastive", sigma=sigma, delta=delta)
        self.sigma = sigma
        self.delta = delta

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`relaxed_contrastive`."""
        return relaxed_contrastive(
            student, teacher, sigma=self.sigma, delta=self.delta, queries=queries, exclude=exclude
        )

    def extra_repr(self) -> str:
        """The settings."""
        return f"sigma={self.sigma}, delta={self.delta}"
