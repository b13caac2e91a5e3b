"""PKT: probabilistic knowledge transfer, the neighbourhood probabilities of a cosine kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import RelationalLoss, candidates, cosine_rows

_SMALLEST_KERNEL = 1e-7


def pkt(
    student: Tensor, teacher: Tensor, *, queries: Tensor | None = None, exclude: Tensor | None = None
) -> Tensor:
    """KL between the teacher's and the student's conditional neighbourhood probabilities.

    With the kernel K(x, y) = (1 + cos(x, y))/2:

        p_j|i = K(t_i, t_j) / Σ_{k≠i} K(t_i, t_k),  q likewise of the student,
        L = (1/n) Σ_i Σ_{j≠i} p_j|i · log(p_j|i / q_j|i)

    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV
    2018. The paper sums over rows, this is the mean over rows. The authors' code keeps the diagonal and takes
    the mean over all n² entries, which is 1/n of this. The kernel is kept above 1e-7, for antipodal rows.
    Normalises: yes, cosines. Labels: none. Dimensions: may differ. Teacher: outputs only. Relations: all
    pairs; :func:`~understudy.losses.similarity_kl` is its sister with an exponential kernel.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all.
        exclude: (n, n) bool, pairs that do not count.

    Raises:
        ValueError: On wrong shapes or fewer than 3 rows.

    Example:
        >>> student = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> pkt(student, student)
        tensor(0.)
        >>> pkt(student, torch.tensor([[1.0], [1.0], [1.0]]))
        tensor(0.0393)
    """
    student, teacher = check_relational("pkt", student, teacher, minimum=3)
    check_queries("pkt", queries, student)
    mask = candidates("pkt", student, queries, exclude)
    q = _log_probabilities(cosine_rows(student, queries), mask)
    p = _log_probabilities(cosine_rows(teacher, queries), mask)
    return (p.exp() * (p - q) * mask).sum(1).mean()


def _log_probabilities(cosines: Tensor, mask: Tensor) -> Tensor:
    """Row-wise log p; entries outside ``mask`` are finite and mean nothing, rows without any as well."""
    kernel = ((1 + cosines) / 2).clamp_min(_SMALLEST_KERNEL)
    total = (kernel * mask).sum(1, keepdim=True)
    return kernel.log() - torch.where(total > 0, total, torch.ones_like(total)).log()


class PKT(RelationalLoss):
    """The module of :func:`pkt`.

    Example:
        >>> PKT()(torch.eye(4), torch.eye(4))
        tensor(0.)
    """

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`pkt`."""
        return pkt(student, teacher, queries=queries, exclude=exclude)
