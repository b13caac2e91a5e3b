"""Soft DarkRank: the student's law over rankings of the batch should be the teacher's."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Generator, Tensor

from understudy.losses._ranked_lists import (
    Asking,
    asking_rows,
    check_asking,
    check_list,
    ranked_lists,
)
from understudy.losses._relations import RelationalLoss, require_positive, require_whole
from understudy.losses.darkrank_alpha import (
    TARGET_ENTROPY,
    Alpha,
    alpha_from_teacher,
    at_usual_steepness,
    check_alpha,
)
from understudy.losses.darkrank_score import darkrank_score
from understudy.losses.plackett_luce_exact import check_exact, exact_fits, plackett_luce_kl
from understudy.losses.plackett_luce_sampled import plackett_luce_kl_sampled

Method = Literal["auto", "exact", "sampled"]


def soft_darkrank(
    student: Tensor,
    teacher: Tensor,
    *,
    alpha: Alpha = 3.0,
    beta: float = 3.0,
    list_length: int | None = None,
    method: Method = "auto",
    num_samples: int = 32,
    tail: bool = False,
    detach_query: bool = False,
    queries: Tensor | None = None,
    exclude: Tensor | None = None,
    generator: Generator | None = None,
    target_entropy: float = TARGET_ENTROPY,
) -> Tensor:
    """Divergence of the student's law over all rankings of the list from the teacher's (ListNet).

    With the score S_i = −α‖q − x_i‖^β of candidate i for query q, on either side,

        L = mean over q of Σ_π P(π | teacher)·log [P(π | teacher) / P(π | student)]

    Source: DarkRank, Chen, Wang, Zhang, AAAI 2018, section on soft transfer, equations (4) and (5); the exact
    form over subsets and the sampled form are this project's own. Normalises: no. Labels: none. Dimensions:
    may differ. Teacher: outputs only. Relations: each query's list;
    :func:`~understudy.losses.darkrank_hard.hard_darkrank` is its limit for a teacher that is sure. Value and
    gradient are exactly zero at student = teacher.

    Exact costs n·2^n a query for a list of n and has 40·2^n bytes at work, in blocks of queries of at most
    256 MiB. ``auto`` is exact up to n = 20, where a query's tables take 40 MiB, and samples longer lists, at
    n·log n a draw. An exact step is cheap up to about n = 16, and refused above 24, where a query would take
    more than 1 GiB.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        alpha: Sharpness α of the score; 3 in the paper, 12.25 in the authors' command
            (:func:`~understudy.losses.darkrank_score.darkrank_from_authors`). ``auto``: of each batch, from
            the teacher's distances (:func:`~understudy.losses.darkrank_alpha.alpha_from_teacher`); the loss
            is then multiplied by 9/(α·β), which keeps its pull on the distances what it is at α = β = 3.
        beta: Power β of the distance; 3 in the paper, 4 in the authors' command.
        list_length: Only the teacher's L nearest make the list, ties by the lower index; None or more than
            there are: all. The authors use 4.
        method: Over all rankings, from draws without bias, or whichever suits the list's length.
        num_samples: Rankings drawn a query when sampled.
        tail: Keeps the candidates beyond the list in every normaliser: the law is then that of the ranking up
            to the first candidate from beyond the list.
        detach_query: Lets no gradient flow into the query's side of a distance, as in the authors' code.
        queries: Row numbers that ask; None for all.
        exclude: (n, n) bool, True where the column may not answer the row.
        generator: Source of the draws, on the embeddings' device. The draws of a row do not depend on which
            other rows ask.
        target_entropy: With ``auto``, how blind the teacher's first choice is to be on average: between 0,
            sure, and 1, all candidates alike.

    Raises:
        ValueError: On wrong shapes, fewer than 3 rows, or settings out of range.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[0.0], [1.0], [3.0]])
        >>> student = torch.tensor([[0.0], [1.0], [2.0]])
        >>> soft_darkrank(student, teacher, alpha=1.0, beta=1.0)
        tensor(0.0594)
    """
    check_alpha("soft_darkrank", alpha, target_entropy)
    _check(beta, list_length, method, num_samples, tail=tail)
    lists = ranked_lists(
        "soft_darkrank",
        student,
        teacher,
        queries,
        exclude,
        keep=None if tail else list_length,
        detach_query=detach_query,
        everyone=alpha == "auto",
    )
    sharpness = alpha_from_teacher(lists.everyone, beta, target_entropy) if alpha == "auto" else alpha
    a = darkrank_score(lists.teacher, sharpness, beta, lists.present)
    b = darkrank_score(lists.student, sharpness, beta, lists.present)
    tail_a = tail_b = None
    if list_length is not None and list_length < a.shape[1]:
        tail_a, tail_b = a[:, list_length:].logsumexp(1), b[:, list_length:].logsumexp(1)
        a, b = a[:, :list_length], b[:, :list_length]
    if method == "exact" or (method == "auto" and exact_fits(a.shape[1]) and a.device.type != "mps"):
        loss = plackett_luce_kl(a, b, teacher_tail=tail_a, student_tail=tail_b).mean()
    else:
        loss = plackett_luce_kl_sampled(
            a,
            b,
            num_samples,
            generator=generator,
            rows=queries,
            num_rows=None if queries is None else len(student),
            teacher_tail=tail_a,
            student_tail=tail_b,
        ).mean()
    return at_usual_steepness(loss, sharpness, beta) if isinstance(sharpness, Tensor) else loss


def _check(beta: float, list_length: int | None, method: str, num_samples: int, *, tail: bool) -> None:
    require_positive("soft_darkrank", beta=beta)
    require_whole("soft_darkrank", num_samples=num_samples)
    check_list("soft_darkrank", list_length, tail=tail)
    if method not in get_args(Method):
        raise ValueError(f"soft_darkrank needs a method of 'auto', 'exact' or 'sampled', got {method!r}")
    if method == "exact" and list_length is not None:
        check_exact(list_length)


class SoftDarkRank(RelationalLoss):
    """The module of :func:`soft_darkrank`.

    Args:
        alpha: Sharpness of the score −α·d^β, or ``auto``.
        beta: Power of the distance.
        list_length: The teacher's nearest that make a list; None for all.
        method: ``exact``, ``sampled``, or ``auto``: exact for lists up to 20.
        num_samples: Rankings drawn a query when sampled.
        tail: Whether candidates beyond the list stay in the normalisers.
        detach_query: Whether the query gets no gradient.
        queries: Which rows ask when the call does not say: all, or the first half of the batch as in the
            authors' code.
        target_entropy: Blindness of the teacher's first choice, with ``auto``.

    Example:
        >>> import torch
        >>> x = torch.eye(5)
        >>> SoftDarkRank(list_length=3)(x, x)
        tensor(0.)
    """

    random: ClassVar[bool] = True

    def __init__(
        self,
        alpha: Alpha = 3.0,
        beta: float = 3.0,
        list_length: int | None = None,
        method: Method = "auto",
        num_samples: int = 32,
        tail: bool = False,
        detach_query: bool = False,
        queries: Asking = "all",
        target_entropy: float = TARGET_ENTROPY,
    ) -> None:
        super().__init__()
        check_alpha("soft_darkrank", alpha, target_entropy)
        _check(beta, list_length, method, num_samples, tail=tail)
        check_asking("soft_darkrank", queries)
        self.alpha = alpha
        self.beta = beta
        self.list_length = list_length
        self.method: Method = method
        self.num_samples = num_samples
        self.tail = tail
        self.detach_query = detach_query
        self.queries: Asking = queries
        self.target_entropy = target_entropy
        self.splits_by_query = queries == "all"

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """See :func:`soft_darkrank`."""
        return soft_darkrank(
            student,
            teacher,
            alpha=self.alpha,
            beta=self.beta,
            list_length=self.list_length,
            method=self.method,
            num_samples=self.num_samples,
            tail=self.tail,
            detach_query=self.detach_query,
            queries=asking_rows(self.queries, student, queries),
            exclude=exclude,
            target_entropy=self.target_entropy,
            generator=generator,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"alpha={self.alpha!r}, beta={self.beta}, list_length={self.list_length}, "
            f"method={self.method!r}, num_samples={self.num_samples}, tail={self.tail}, "
            f"detach_query={self.detach_query}, queries={self.queries!r}, "
            f"target_entropy={self.target_entropy}"
        )
