"""Soft targets: the student's class probabilities are the teacher's, both softened by a temperature."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, require_positive, select


def soft_target(
    student: Tensor, teacher: Tensor, *, temperature: float = 4.0, queries: Tensor | None = None
) -> Tensor:
    """Mean over rows of KL(softmax(t_i/T) ‖ softmax(s_i/T)) of the logits.

    Source: knowledge distillation, Hinton, Vinyals, Dean, 2015, as in DarkRank (Chen et al., AAAI 2018),
    equation (7). The factor T² that keeps the gradient's size when T changes is not in the value; it is the
    loss's default weight, 16 at the paper's T = 4. Labels: none. Dimensions: the same classes. Teacher: its
    logits. Relations: none, so single rows are enough. Zero at student = teacher.

    Args:
        student: (n, classes) logits.
        teacher: (n, classes) logits of the same images.
        temperature: T, of both.
        queries: Rows that count; None for all.

    Raises:
        ValueError: On wrong shapes, unequal numbers of classes, or a temperature of 0 or less.

    Example:
        >>> import torch
        >>> soft_target(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0]]).log(), temperature=1.0)
        tensor(0.1308)
    """
    require_positive("soft_target", temperature=temperature)
    student, teacher = check_relational("soft_target", student, teacher, minimum=1, equal_dims=True)
    check_queries("soft_target", queries, student)
    log_p = (select(teacher, queries) / temperature).log_softmax(1)
    log_q = (select(student, queries) / temperature).log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


class SoftTarget(RelationalLoss):
    """The module of :func:`soft_target`.

    Args:
        temperature: T.

    Example:
        >>> import torch
        >>> SoftTarget()(torch.eye(3), torch.eye(3))
        tensor(0.)
    """

    inputs: ClassVar[tuple[str, ...]] = ("logits",)

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        require_positive("soft_target", temperature=temperature)
        self.temperature = temperature

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`soft_target`; there are no pairs to exclude."""
        del exclude
        return soft_target(student, teacher, temperature=self.temperature, queries=queries)

    def extra_repr(self) -> str:
        """The settings."""
        return f"temperature={self.temperature}"
