"""Tuples of a query, its positive and mined negatives: the pairs of the query, the others left alone."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._checks import check_supervised
from understudy.losses._relations import require_number, require_whole
from understudy.losses.supervised._base import SupervisedLoss


def tuple_contrastive(
    embedding: Tensor, labels: Tensor, *, negatives: int = 5, margin: float = 0.85
) -> Tensor:
    """Mean over tuples of ½‖q − p‖² + Σ_k ½[m − ‖q − n_k‖]₊².

    Source: the contrastive loss of Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human
    annotation", TPAMI 2019, as their code applies it (margin 0.85 with GeM pooling, five negatives); that
    adds the tuples of a batch up, which at its 5 tuples is 5 times this mean, and 1e-6 to every difference.
    Normalises: no. Labels: of use only to leave unlabelled rows out; who is whose positive is told by the
    place in the batch. Relations: of a tuple's first row to its others; :func:`contrastive` and
    :func:`verification` are its sisters on all pairs of a batch.

    Args:
        embedding: (tuples × (2 + negatives), d), tuple after tuple: the query, its positive, its negatives.
        labels: (tuples × (2 + negatives),) int64; a pair with a negative label takes no part.
        negatives: Negatives of each query.
        margin: m, the distance that negatives should keep.

    Returns:
        A scalar; pairs that coincide pass no gradient on.

    Raises:
        ValueError: The rows are no whole number of tuples.

    Example:
        >>> x = torch.tensor([[0.0], [0.6], [0.35], [2.0]])  # ½·0.36 + ½·0.25 + 0
        >>> tuple_contrastive(x, torch.tensor([0, 0, 1, 2]), negatives=2)
        tensor(0.3050)
    """
    embedding = check_supervised("tuple_contrastive", embedding, labels)
    size = 2 + negatives
    if len(embedding) % size:
        raise ValueError(
            f"tuple_contrastive needs whole tuples of {size} rows (a query, its positive, {negatives} "
            f"negatives), got {len(embedding)} rows"
        )
    tuples = embedding.view(-1, size, embedding.shape[1])
    squares = (tuples[:, :1] - tuples[:, 1:]).square().sum(2)
    apart = squares > 0
    distances = torch.where(apart, squares, 1.0).sqrt() * apart  # the root has no slope at 0
    losses = 0.5 * torch.cat([squares[:, :1], (margin - distances[:, 1:]).relu().square()], dim=1)
    known = labels.view(-1, size) >= 0
    pairs = known[:, :1] & known[:, 1:]
    return (losses * pairs).sum() / pairs.any(1).sum().clamp_min(1)


class TupleContrastive(SupervisedLoss):
    """The module of :func:`tuple_contrastive`.

    Args:
        negatives: Negatives of each query; a run fills in those of its sampler ``tuples``.
        margin: The distance that negatives should keep.

    Example:
        >>> TupleContrastive(negatives=1)(torch.zeros(3, 4), torch.tensor([0, 0, 1]))  # ½·0.85²
        tensor(0.3613)
    """

    def __init__(self, negatives: int = 5, margin: float = 0.85) -> None:
        super().__init__()
        require_whole("tuple_contrastive", negatives=negatives)
        require_number("tuple_contrastive", margin=margin)
        self.negatives = negatives
        self.margin = margin

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`tuple_contrastive`."""
        return tuple_contrastive(embedding, labels, negatives=self.negatives, margin=self.margin)

    def extra_repr(self) -> str:
        """The settings."""
        return f"negatives={self.negatives}, margin={self.margin}"
