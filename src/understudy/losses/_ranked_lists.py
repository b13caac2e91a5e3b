"""Each query's candidates in the order in which the teacher ranks them."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._distances import pairwise_distances
from understudy.losses._relations import candidates, distance_rows, require_whole, select

Asking = Literal["all", "first_half"]


class RankedLists(NamedTuple):
    """Squared distances (q, m) from queries to candidates, the teacher's nearest first.

    Attributes:
        teacher: As the teacher has them.
        student: As the student has them, in the teacher's order.
        present: (q, m) bool, False at the end of a list from which candidates were excluded; None: all are.
        everyone: (n, m) the teacher's lists of all rows where they were wished for, else those of the
            asking; infinite where nobody is present.
    """

    teacher: Tensor
    student: Tensor
    present: Tensor | None
    everyone: Tensor


def check_list(name: str, list_length: int | None, *, tail: bool) -> None:
    """Checks the length of the list: one item alone has nothing to be ranked against, unless there is a tail.

    Raises:
        ValueError: When it is too short.
    """
    if list_length is not None:
        require_whole(name, minimum=1 if tail else 2, list_length=list_length)


def ranked_lists(
    name: str,
    student: Tensor,
    teacher: Tensor,
    queries: Tensor | None,
    exclude: Tensor | None,
    *,
    keep: int | None,
    detach_query: bool,
    everyone: bool = False,
) -> RankedLists:
    """The lists of a batch.

    A query is left out of its own list by its index, so a duplicate of it stays in; ties of the teacher go to
    the lower index.

    Args:
        name: The loss's name, for messages.
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings.
        queries: (q,) row numbers that ask, or None for all.
        exclude: (n, n) bool, True where the column may not answer the row, or None.
        keep: How many candidates to keep, at most; None keeps all n − 1.
        detach_query: Lets no gradient flow into the query's side of a distance.
        everyone: Whether the teacher's lists of rows that do not ask are wished for, too.

    Raises:
        ValueError: On wrong shapes or fewer than 3 rows.
    """
    student, teacher = check_relational(name, student, teacher, minimum=3)
    check_queries(name, queries, student)
    keep = len(student) - 1 if keep is None else min(keep, len(student) - 1)
    asking = None if everyone else queries
    seen = distance_rows(teacher, asking, squared=True)
    wrong = seen.sum() * 0  # NaN where the teacher has one, which its order would not show; else 0
    present = None
    if asking is None and exclude is None:
        seen = seen.fill_diagonal_(torch.inf)
    else:
        present = candidates(name, student, asking, exclude)
        seen = seen.masked_fill_(~present, torch.inf)
    order = _rank(seen)[:, :keep]
    if detach_query:
        distances = pairwise_distances(select(student.detach(), queries), student, squared=True)
    else:
        distances = distance_rows(student, queries, squared=True)
    seen = of_all = seen.gather(1, order)
    present = None if exclude is None or present is None else present.gather(1, order)
    if everyone:
        seen, order = select(seen, queries), select(order, queries)
        present = None if present is None else select(present, queries)
    return RankedLists(seen, distances.gather(1, order) + wrong, present, of_all)


def _rank(distances: Tensor) -> Tensor:
    """Stable ascending order of non-negative numbers: their bits, read as integers, sort alike and faster."""
    bits = distances.view(torch.int32 if distances.dtype == torch.float32 else torch.int64)
    return bits.sort(dim=1, stable=True).indices


def check_asking(name: str, asking: Asking) -> None:
    """Checks which rows ask by default.

    Raises:
        ValueError: When it is neither of the two words.
    """
    if asking not in get_args(Asking):
        raise ValueError(f"{name} needs queries to be 'all' or 'first_half', got {asking!r}")


def asking_rows(asking: Asking, student: Tensor, queries: Tensor | None) -> Tensor | None:
    """Rows that ask: those of the call, else all (None) or the first half of the batch."""
    if queries is not None or asking == "all":
        return queries
    return torch.arange(len(student) // 2, device=student.device)
