"""SP: similarity-preserving distillation, the row-normalised Gram matrix of a batch."""

from __future__ import annotations

from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, candidates, product, select, unit


def similarity_preserving(
    student: Tensor, teacher: Tensor, *, queries: Tensor | None = None, exclude: Tensor | None = None
) -> Tensor:
    """The squared difference between the row-normalised Gram matrices.

    With G = X Xᵀ, diagonal included, and every row of G divided by its Euclidean length:

        L = (1/n²) ‖Ĝ_T − Ĝ_S‖²_F

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, equations 1–4 (from
    memory); the paper takes flattened activations for X, this takes embeddings. Normalises: the rows of G
    only. Labels: none. Dimensions: may differ. Teacher: outputs only. Relations: all pairs.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows of G that count; None for all.
        exclude: (n, n) bool, entries of G taken as 0 on both sides.

    Raises:
        ValueError: On wrong shapes or fewer than 2 rows.

    Example:
        >>> import torch
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> similarity_preserving(student, torch.tensor([[1.0], [1.0]]))
        tensor(0.2929)
    """
    student, teacher = check_relational("similarity_preserving", student, teacher)
    check_queries("similarity_preserving", queries, student)
    # The diagonal belongs to G: only what is excluded by name is left out.
    absent = ~candidates("similarity_preserving", student, queries, exclude)
    absent = absent & candidates("similarity_preserving", student, queries, None)
    error = _rows(student, queries, absent) - _rows(teacher, queries, absent)
    return error.square().mean()


def _rows(x: Tensor, queries: Tensor | None, absent: Tensor) -> Tensor:
    return unit(product(select(x, queries), x).masked_fill(absent, 0.0))


class SimilarityPreserving(RelationalLoss):
    """The module of :func:`similarity_preserving`.

    Example:
        >>> import torch
        >>> SimilarityPreserving()(torch.eye(4), torch.eye(4))
        tensor(0.)
    """

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`similarity_preserving`."""
        return similarity_preserving(student, teacher, queries=queries, exclude=exclude)
