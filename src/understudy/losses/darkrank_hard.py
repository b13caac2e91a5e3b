"""Hard DarkRank: the student should find the teacher's ranking of the batch likely."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._ranked_lists import (
    Asking,
    asking_rows,
    check_asking,
    check_list,
    ranked_lists,
)
from understudy.losses._relations import RelationalLoss, require_positive
from understudy.losses.darkrank_alpha import (
    TARGET_ENTROPY,
    Alpha,
    alpha_from_teacher,
    at_usual_steepness,
    check_alpha,
)
from understudy.losses.darkrank_score import darkrank_score
from understudy.losses.plackett_luce import plackett_luce_log_likelihood


def hard_darkrank(
    student: Tensor,
    teacher: Tensor,
    *,
    alpha: Alpha = 3.0,
    beta: float = 3.0,
    list_length: int | None = None,
    tail: bool = False,
    detach_query: bool = False,
    queries: Tensor | None = None,
    exclude: Tensor | None = None,
    target_entropy: float = TARGET_ENTROPY,
) -> Tensor:
    """Negative log-likelihood under the student of the order in which the teacher ranks the batch (ListMLE).

    With the score S_i = −α‖q − x_i‖^β of candidate i for query q, candidates in ascending order of their
    distance from q for the teacher, and Plackett–Luce probabilities of rankings,

        L = mean over q of −Σ_k [ S_k − log Σ_{m ≥ k} exp S_m ]

    Source: DarkRank, Chen, Wang, Zhang, AAAI 2018, section on hard transfer, equations (1), (4) and (6).
    Normalises: no. Labels: none. Dimensions: may differ. Teacher: outputs only, and of them only the order,
    unless α is read off its distances. Relations: each query's list; the limit of
    :func:`~understudy.losses.darkrank_soft.soft_darkrank` for a teacher that is sure of its ranking. The
    value grows about as L·log L with the length of the list, and stays above zero at student = teacher. With
    n rows it takes O(n²) memory and no device synchronisation.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        alpha: Sharpness α of the score; 3 in the paper, 12.25 in the authors' command
            (:func:`~understudy.losses.darkrank_score.darkrank_from_authors`). ``auto``: of each batch, from
            the teacher's distances (:func:`~understudy.losses.darkrank_alpha.alpha_from_teacher`); the loss
            is then multiplied by 9/(α·β), which keeps its pull on the distances what it is at α = β = 3.
        beta: Power β of the distance; 3 in the paper, 4 in the authors' command.
        list_length: Only the teacher's L nearest make the list, ties by the lower index; None or more than
            there are: all. The authors use all.
        tail: Keeps the candidates beyond the list in every normaliser (a partial likelihood of the top L).
        detach_query: Lets no gradient flow into the query's side of a distance, as in the authors' code.
        queries: Row numbers that ask; None for all.
        exclude: (n, n) bool, True where the column may not answer the row.
        target_entropy: With ``auto``, how blind the teacher's first choice is to be on average: between 0,
            sure, and 1, all candidates alike.

    Raises:
        ValueError: On wrong shapes, fewer than 3 rows, or settings out of range.

    Example:
        >>> teacher = torch.tensor([[0.0], [1.0], [3.0]])
        >>> student = torch.tensor([[0.0], [1.0], [2.0]])
        >>> hard_darkrank(student, teacher, alpha=1.0, beta=1.0)  # (log(1 + 1/e) + log 2 + log(1 + 1/e)) / 3
        tensor(0.4399)
    """
    check_alpha("hard_darkrank", alpha, target_entropy)
    require_positive("hard_darkrank", beta=beta)
    check_list("hard_darkrank", list_length, tail=tail)
    lists = ranked_lists(
        "hard_darkrank",
        student,
        teacher,
        queries,
        exclude,
        keep=None if tail else list_length,
        detach_query=detach_query,
        everyone=alpha == "auto",
    )
    sharpness = alpha_from_teacher(lists.everyone, beta, target_entropy) if alpha == "auto" else alpha
    scores = darkrank_score(lists.student, sharpness, beta, lists.present)
    loss = -plackett_luce_log_likelihood(scores, top=list_length)
    if lists.present is not None:
        loss = loss - _order_of_absent(lists.present, list_length).to(loss.dtype)
    loss = loss.mean()
    return at_usual_steepness(loss, sharpness, beta) if isinstance(sharpness, Tensor) else loss


def _order_of_absent(present: Tensor, top: int | None) -> Tensor:
    """(q,) what the choices among absent candidates, which are all alike, add to the loss."""
    absent = (~present).sum(1).double()
    counted = (~present)[:, :top].sum(1)
    return torch.lgamma(absent + 1) - torch.lgamma(absent - counted + 1)


class HardDarkRank(RelationalLoss):
    """The module of :func:`hard_darkrank`.

    Args:
        alpha: Sharpness of the score −α·d^β, or ``auto``.
        beta: Power of the distance.
        list_length: The teacher's nearest that make a list; None for all.
        tail: Whether candidates beyond the list stay in the normalisers.
        detach_query: Whether the query gets no gradient.
        queries: Which rows ask when the call does not say: all, or the first half of the batch as in the
            authors' code.
        target_entropy: Blindness of the teacher's first choice, with ``auto``.

    Example:
        >>> x = torch.eye(4)
        >>> HardDarkRank(list_length=2)(x, x)  # candidates equally far: one of two equally likely orders
        tensor(0.6931)
    """

    def __init__(
        self,
        alpha: Alpha = 3.0,
        beta: float = 3.0,
        list_length: int | None = None,
        tail: bool = False,
        detach_query: bool = False,
        queries: Asking = "all",
        target_entropy: float = TARGET_ENTROPY,
    ) -> None:
        super().__init__()
        check_alpha("hard_darkrank", alpha, target_entropy)
        require_positive("hard_darkrank", beta=beta)
        check_list("hard_darkrank", list_length, tail=tail)
        check_asking("hard_darkrank", queries)
        self.alpha = alpha
        self.beta = beta
        self.list_length = list_length
        self.tail = tail
        self.detach_query = detach_query
        self.queries = queries
        self.target_entropy = target_entropy
        self.splits_by_query = queries == "all"

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`hard_darkrank`."""
        return hard_darkrank(
            student,
            teacher,
            alpha=self.alpha,
            beta=self.beta,
            list_length=self.list_length,
            tail=self.tail,
            detach_query=self.detach_query,
            queries=asking_rows(self.queries, student, queries),
            exclude=exclude,
            target_entropy=self.target_entropy,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"alpha={self.alpha!r}, beta={self.beta}, list_length={self.list_length}, tail={self.tail}, "
            f"detach_query={self.detach_query}, queries={self.queries!r}, "
            f"target_entropy={self.target_entropy}"
        )
