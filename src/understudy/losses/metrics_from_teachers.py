"""Learning Metrics from Teachers: the student matches the teacher's vectors, or its distances.

Yu, Yazici, Liu, Herranz, Laskar, van de Weijer, "Learning Metrics from Teachers: Compact Networks for Image
Embedding", CVPR 2019.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import (
    RelationalLoss,
    candidates,
    distance_rows,
    mean_over_candidates,
    select,
)

Reduction = Literal["mean", "frobenius"]


def absolute_teacher(student: Tensor, teacher: Tensor, *, queries: Tensor | None = None) -> Tensor:
    """The mean distance between the student's vector of an image and the teacher's.

    L = mean_i ‖s_i − t_i‖₂, not squared; the gradient of a row that is met exactly is 0.

    Source: Yu et al. 2019, absolute teacher (their code adds 1e-6 to the differences; this does not).
    Labels: none. Dimensions: equal. Teacher: outputs only. Relations: none, so single rows are enough; the
    squared form is FitNet.

    Args:
        student: (n, d) embeddings.
        teacher: (n, d) embeddings of the same images.
        queries: Rows that count; None for all.

    Raises:
        ValueError: On wrong shapes, or unequal dimensions.

    Example:
        >>> absolute_teacher(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        tensor(2.5000)
    """
    student, teacher = check_relational("absolute_teacher", student, teacher, minimum=1, equal_dims=True)
    check_queries("absolute_teacher", queries, student)
    distances: Tensor = torch.linalg.vector_norm(select(student - teacher, queries), dim=1)
    return distances.mean()


def relative_teacher(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    reduction: Reduction = "mean",
    exclude: Tensor | None = None,
) -> Tensor:
    """How far the student's distances within the batch are from the teacher's.

    With D the n×n matrices of Euclidean distances:

    * ``mean``: L = 1/(n(n−1)) Σ_{i≠j} |D^S_ij − D^T_ij|, the paper's form for each pair;
    * ``frobenius``: L = ‖D^S − D^T‖_F, what the authors' code computes.

    The second grows with the batch: ‖D‖_F = √(n(n−1)) · RMS ≥ √(n(n−1)) · mean, and for errors of normal
    distribution RMS = √(π/2) · mean. A weight λ of the Frobenius form therefore corresponds to about
    λ·√(n(n−1)) of the mean form (to 1.25 times that for the loss's value): the published λ = 0.3, 0.1 and 1.0
    (CUB, Cars, SOP; batch 32) to about 10, 3 and 32.

    Source: Yu et al. 2019, relative teacher; the mean form from memory of the paper and two third-party
    re-implementations, the Frobenius form from the authors' code. Labels: none. Dimensions: may differ.
    Teacher: outputs only. Relations: distances of pairs; RKD distance scales them by their mean and uses a
    Huber loss.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all. The Frobenius norm is then of those rows, and does not split.
        reduction: ``mean`` or ``frobenius``.
        exclude: (n, n) bool, pairs that do not count.

    Raises:
        ValueError: On wrong shapes, fewer than 2 rows, or an unknown reduction.

    Example:
        >>> student, teacher = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> relative_teacher(student, teacher)
        tensor(2.)
        >>> relative_teacher(student, teacher, reduction="frobenius")
        tensor(2.8284)
    """
    _check_reduction(reduction)
    student, teacher = check_relational("relative_teacher", student, teacher)
    check_queries("relative_teacher", queries, student)
    mask = candidates("relative_teacher", student, queries, exclude)
    error = distance_rows(student, queries) - distance_rows(teacher, queries)
    if reduction == "mean":
        return mean_over_candidates(error.abs(), mask)
    norm: Tensor = torch.linalg.vector_norm(error * mask)
    return norm


def _check_reduction(reduction: str) -> None:
    if reduction not in get_args(Reduction):
        raise ValueError(f"relative_teacher needs a reduction of 'mean' or 'frobenius', got {reduction!r}")


class AbsoluteTeacher(RelationalLoss):
    """The module of :func:`absolute_teacher`.

    Example:
        >>> AbsoluteTeacher()(torch.zeros(2, 4), torch.ones(2, 4))
        tensor(2.)
    """

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`absolute_teacher`; there are no pairs to exclude."""
        del exclude
        return absolute_teacher(student, teacher, queries=queries)


class RelativeTeacher(RelationalLoss):
    """The module of :func:`relative_teacher`.

    Args:
        reduction: ``mean`` or ``frobenius``.

    Example:
        >>> RelativeTeacher()(torch.zeros(3, 4), torch.zeros(3, 8))
        tensor(0.)
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        _check_reduction(reduction)
        self.reduction = reduction
        self.splits_by_query = reduction == "mean"

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`relative_teacher`."""
        return relative_teacher(student, teacher, reduction=self.reduction, queries=queries, exclude=exclude)

    def extra_repr(self) -> str:
        """The settings."""
        return f"reduction={self.reduction!r}"
