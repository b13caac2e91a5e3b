"""Similarity KL: the softmax over a row's cosines to the batch matches the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, candidates, cosine_rows, require_positive


def similarity_kl(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    temperature: float = 0.1,
    teacher_temperature: float | None = None,
    include_self: bool = False,
    scale_by_t2: bool = True,
    exclude: Tensor | None = None,
) -> Tensor:
    """KL from the teacher's to the student's distribution over the batch, as each row sees it.

    With A and B the cosines of the student and of the teacher and σ the softmax of a row:

        L = (T²/n) Σ_i KL( σ(B_i/T_T) ‖ σ(A_i/T) )

    Source: S2SD, Roth et al., ICML 2021 (exact from the authors' code), with ``temperature=1,
    include_self=True``; the same form with a small temperature and without the diagonal serves distillation
    from a stronger teacher, as in CompRess and SEED. The paper writes the divergence the other way round; the
    code, followed here, is KL(target ‖ source). Normalises: yes, cosines. Labels: none. Dimensions: may
    differ. Teacher: outputs only. Relations: all pairs; PKT is its sister with the kernel (1 + cos)/2 in
    place of the exponential.

    At temperature 1 the cosines are nearly uniform and the value is about 4e-3 for random unit vectors, which
    is why S2SD weighs it with 50.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all.
        temperature: T, of the student, and of the teacher unless that has its own.
        teacher_temperature: T_T.
        include_self: Whether a row's cosine with itself, 1, is part of the list.
        scale_by_t2: Whether the factor T² stands before the sum; it keeps the gradient's size when T changes.
        exclude: (n, n) bool, pairs that do not count.

    Raises:
        ValueError: On wrong shapes, a temperature of 0 or less, or under 3 rows (2 with ``include_self``).

    Example:
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> similarity_kl(student, teacher, temperature=1.0, include_self=True)
        tensor(0.1201)
    """
    teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
    require_positive("similarity_kl", temperature=temperature, teacher_temperature=teacher_temperature)
    student, teacher = check_relational("similarity_kl", student, teacher, minimum=2 if include_self else 3)
    check_queries("similarity_kl", queries, student)
    mask = candidates("similarity_kl", student, queries, exclude)
    if include_self:
        # An excluded pair stays excluded; a row itself is the one candidate that exclusion does not cover.
        mask = mask | ~candidates("similarity_kl", student, queries, None)
    absent = torch.finfo(student.dtype).min / 2  # as good as −∞ and free of 0·∞
    q = (cosine_rows(student, queries) / temperature).masked_fill(~mask, absent).log_softmax(1)
    p = (cosine_rows(teacher, queries) / teacher_temperature).masked_fill(~mask, absent).log_softmax(1)
    divergence = (p.exp() * (p - q)).sum(1).mean()
    return divergence * temperature**2 if scale_by_t2 else divergence


class SimilarityKL(RelationalLoss):
    """The module of :func:`similarity_kl`.

    Args:
        temperature: T; S2SD's value is 1.
        teacher_temperature: The teacher's own; None for the same.
        include_self: Whether the diagonal is part of the list; S2SD includes it.
        scale_by_t2: Whether the loss carries the factor T².

    Example:
        >>> x = torch.eye(4)
        >>> SimilarityKL(temperature=1.0, include_self=True)(x, x)
        tensor(0.)
    """

    def __init__(
        self,
        temperature: float = 0.1,
        teacher_temperature: float | None = None,
        include_self: bool = False,
        scale_by_t2: bool = True,
    ) -> None:
        super().__init__()
        require_positive("similarity_kl", temperature=temperature)
        if teacher_temperature is not None:
            require_positive("similarity_kl", teacher_temperature=teacher_temperature)
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.include_self = include_self
        self.scale_by_t2 = scale_by_t2

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`similarity_kl`."""
        return similarity_kl(
            student,
            teacher,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
            include_self=self.include_self,
            scale_by_t2=self.scale_by_t2,
            queries=queries,
            exclude=exclude,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"temperature={self.temperature}, teacher_temperature={self.teacher_temperature}, "
            f"include_self={self.include_self}, scale_by_t2={self.scale_by_t2}"
        )
