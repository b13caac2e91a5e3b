"""Direct Match: squared distances to the query equal the teacher's."""

from __future__ import annotations

from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, candidates, distance_rows


def direct_match(
    student: Tensor, teacher: Tensor, *, queries: Tensor | None = None, exclude: Tensor | None = None
) -> Tensor:
    """Sum over a query's candidates of the squared difference of the two squared distances.

        L = mean over q of Σ_i (‖s_i − s_q‖² − ‖t_i − t_q‖²)²

    Source: the baseline of DarkRank, Chen, Wang, Zhang, AAAI 2018, equation (8). Normalises: no. Labels:
    none. Dimensions: may differ. Teacher: outputs only. Relations: all pairs with the query; RelativeTeacher
    is its sister on distances. Zero at student = teacher.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Row numbers that ask; None for all.
        exclude: (n, n) bool, True where the column may not answer the row.

    Raises:
        ValueError: On wrong shapes or fewer than 2 rows.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.0], [1.0], [2.0]])
        >>> teacher = torch.tensor([[0.0], [1.0], [3.0]])
        >>> direct_match(student, teacher)  # ((4 − 9)² + (1 − 4)²)·2 / 3
        tensor(22.6667)
    """
    student, teacher = check_relational("direct_match", student, teacher, minimum=2)
    check_queries("direct_match", queries, student)
    difference = distance_rows(student, queries, squared=True) - distance_rows(teacher, queries, squared=True)
    if exclude is not None:
        difference = difference * candidates("direct_match", student, queries, exclude)
    return difference.square().sum(1).mean()


class DirectMatch(RelationalLoss):
    """The module of :func:`direct_match`.

    Example:
        >>> import torch
        >>> x = torch.eye(4)
        >>> DirectMatch()(x, x)
        tensor(0.)
    """

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`direct_match`."""
        return direct_match(student, teacher, queries=queries, exclude=exclude)
