"""FitNet: the student's vector is the teacher's."""

from __future__ import annotations

from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, select


def fitnet(student: Tensor, teacher: Tensor, *, queries: Tensor | None = None) -> Tensor:
    """Mean over rows of ‖s_i − t_i‖².

    Source: FitNets, Romero et al., ICLR 2015, on the embedding, as DarkRank (Chen et al., AAAI 2018) compares
    with. Normalises: no. Labels: none. Dimensions: equal. Teacher: outputs only. Relations: none, so single
    rows are enough; AbsoluteTeacher is its sister without the square. Zero at student = teacher.

    Args:
        student: (n, d) embeddings.
        teacher: (n, d) embeddings of the same images.
        queries: Rows that count; None for all.

    Raises:
        ValueError: On wrong shapes or unequal dimensions.

    Example:
        >>> import torch
        >>> fitnet(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        tensor(12.5000)
    """
    student, teacher = check_relational("fitnet", student, teacher, minimum=1, equal_dims=True)
    check_queries("fitnet", queries, student)
    return select(student - teacher, queries).square().sum(1).mean()


class FitNet(RelationalLoss):
    """The module of :func:`fitnet`.

    Example:
        >>> import torch
        >>> FitNet()(torch.zeros(2, 4), torch.ones(2, 4))
        tensor(4.)
    """

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`fitnet`; there are no pairs to exclude."""
        del exclude
        return fitnet(student, teacher, queries=queries)
