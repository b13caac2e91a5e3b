"""The exact divergence of two Plackett–Luce laws, over subsets instead of permutations.

A ranking is drawn item by item, so its law is a walk down the subsets of items that remain. The divergence is
the sum, over the 2^n subsets, of the probability that the teacher's walk passes there times the divergence of
the two choices made there: n·2^n work where permutations take n·n!.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from understudy.losses._distances import at_least_float32
from understudy.losses._first_derivative import first_derivative_only

# At most five float64 tables of 2^n a query are at work.
_BYTES_A_SUBSET = 40
BLOCK_MEMORY = 2**28  # of the queries that are worked on at once
QUERY_MEMORY = 2**26  # of one query, for a list to count as short enough
LARGEST_QUERY_MEMORY = 2**30  # of one query, for a list that is to be exact at any price: 24 items
# The logarithm of an empty sum, finite so that differences of two are.
_NOTHING = -1e300


def exact_fits(items: int, memory: int = QUERY_MEMORY) -> bool:
    """Whether the subset tables of one query over that many items fit the stated number of bytes.

    Example:
        >>> exact_fits(20), exact_fits(21)
        (True, False)
    """
    return memory >> items >= _BYTES_A_SUBSET


def check_exact(items: int) -> None:
    """Checks that the tables of one query over that many items are of a size to be thought of.

    Raises:
        ValueError: When they are not.

    Example:
        >>> check_exact(25)
        Traceback (most recent call last):
        ...
        ValueError: the exact divergence is for lists of at most 24 items, ... got 25: ...
    """
    if not exact_fits(items, LARGEST_QUERY_MEMORY):
        longest = (LARGEST_QUERY_MEMORY // _BYTES_A_SUBSET).bit_length() - 1
        raise ValueError(
            f"the exact divergence is for lists of at most {longest} items, whose tables take 40·2^n bytes a "
            f"query, got {items}: set list_length, or method to 'sampled'"
        )


def plackett_luce_kl(
    teacher: Tensor,
    student: Tensor,
    *,
    teacher_tail: Tensor | None = None,
    student_tail: Tensor | None = None,
    memory: int = BLOCK_MEMORY,
) -> Tensor:
    """KL(P_teacher ‖ P_student) of the two laws over all n! rankings of n items, exactly.

    With lse_R(x) = log Σ_{i ∈ R} exp x_i and q(R) the probability that R is what remains at some stage under
    the teacher a, the divergence to the student b is Σ_i (a_i − b_i) + Σ_R q(R)·[lse_R(b) − lse_R(a)], and
    its gradient Σ_{R ∋ i} q(R)·[exp(b_i − lse_R(b)) − exp(a_i − lse_R(a))] (this project's own; DarkRank's
    equation 5 without the enumeration). q comes from inclusion and exclusion over supersets, n passes over
    one table: the arrival times of a Plackett–Luce race are independent exponentials, and q(R) is the
    probability that all others arrive before the first of R. Sums are kept relative to their largest term and
    in float64, so any range of scores is safe. At student = teacher value and gradient are exactly zero.

    With tails, a choice may also fall outside the list and end the ranking: the divergence is that of the
    laws of the ranking up to the first item from outside.

    Args:
        teacher: (q, n) scores; no gradient flows into them.
        student: (q, n) scores.
        teacher_tail: (q,) logarithm of the summed exponentials of the scores outside the list, or None.
        student_tail: (q,) the same of the student; both or neither.
        memory: Bytes that the subset tables may take; the queries go in blocks that fit, one at least.

    Returns:
        (q,) divergences.

    Raises:
        ValueError: For lists of more than 24 items, of which one query takes more than 1 GiB; see
            :data:`LARGEST_QUERY_MEMORY`.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> p = torch.sigmoid(torch.tensor(1.0))  # two items: one choice between them
        >>> bool(torch.isclose(plackett_luce_kl(a, b)[0], p * (2 * p).log() + (1 - p) * (2 - 2 * p).log()))
        True
    """
    if student.device.type == "mps":
        raise ValueError("the exact divergence needs float64, which mps lacks: use method='sampled'")
    check_exact(student.shape[1])
    student = at_least_float32(student)
    teacher = teacher.detach().to(student.dtype)
    if (teacher_tail is None) != (student_tail is None):
        raise ValueError("tails go together: give both teacher_tail and student_tail, or neither")
    if teacher_tail is not None:
        teacher_tail = teacher_tail.detach()
    divergence: Tensor = _SubsetDivergence.apply(teacher, student, teacher_tail, student_tail, memory)
    return divergence


class _SubsetDivergence(torch.autograd.Function):
    """Computes value and gradient in one walk over the tables and keeps the gradient alone."""

    @staticmethod
    def forward(
        ctx: Any, teacher: Tensor, student: Tensor, tail_a: Tensor | None, tail_b: Tensor | None, memory: int
    ) -> Tensor:
        block = max(1, memory // (_BYTES_A_SUBSET * 2 ** teacher.shape[1]))
        a, b = (torch.split(_rows(*side), block, 1) for side in ((teacher, tail_a), (student, tail_b)))
        parts = [_divergence(*scores, has_tail=tail_a is not None) for scores in zip(a, b, strict=True)]
        values, gradients = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
        ctx.save_for_backward(gradients.T.to(student.dtype))
        return values.to(student.dtype, copy=True)  # see `_distances._squares`

    @staticmethod
    @first_derivative_only("the exact Plackett–Luce divergence")
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, Tensor | None, None]:
        (gradients,) = ctx.saved_tensors
        gradients = grad.unsqueeze(1) * gradients
        items = gradients[:, :-1]
        return None, items, None, gradients[:, -1] if ctx.needs_input_grad[3] else None, None


def _rows(scores: Tensor, tail: Tensor | None) -> Tensor:
    """(n + 1, q) float64: one row an item, and the tail as the last row, −inf where there is none."""
    last = torch.full_like(scores[:, 0], -torch.inf) if tail is None else tail.to(scores.dtype)
    return torch.cat([scores.T, last.unsqueeze(0)]).double()


def _divergence(a: Tensor, b: Tensor, *, has_tail: bool) -> tuple[Tensor, Tensor]:
    """Value (q,) and gradient (n + 1, q) for scores (n + 1, q) whose last row is the tail."""
    items = len(a) - 1
    order = a[:items].argsort(dim=0)
    reached = _reached(a[:items].gather(0, order), a[items])
    normaliser_a, by_teacher = _choices(a[:items].gather(0, order), a[items], reached)
    normaliser_b, by_student = _choices(b[:items].gather(0, order), b[items], reached)
    excess = by_student - by_teacher
    gradient = torch.zeros_like(a)
    gradient[:items].scatter_(0, order, excess[:items])
    if not has_tail:  # every item is chosen once
        return (a[:items] - b[:items]).sum(0) + (normaliser_b - normaliser_a), gradient
    gradient[items] = excess[items]
    difference = torch.cat([(a[:items] - b[:items]).gather(0, order), (a - b)[items:]])
    return (by_teacher * difference).sum(0) + (normaliser_b - normaliser_a), gradient


def _reached(ascending: Tensor, tail: Tensor) -> Tensor:
    """(2^n, q) probability that a subset is what remains at some stage; 0 for the empty set, which is none.

    Subsets are numbered by their bits. As scores ascend, a subset's largest is that of its highest bit, so
    its sum of exponentials is kept relative to that, between 1 and n + 1, and the passes take no logarithm.
    """
    items, queries = ascending.shape
    largest = torch.maximum(ascending, tail)
    reference = torch.cat([tail.unsqueeze(0), *(x.expand(2**i, queries) for i, x in enumerate(largest))])
    mass = torch.ones_like(reference)
    for i in range(items):
        smaller = (reference[: 2**i] - largest[i]).exp_().mul_(mass[: 2**i])
        mass[2**i : 2 ** (i + 1)] = smaller.add_((ascending[i] - largest[i]).exp())
    # Of a set R, the probability that all of an outer set come first; outer grows by one item a pass:
    # P(outer + i before R) = P(outer before R) − P(outer before R + i)·P(the first of R + i is not i).
    relative = mass.reciprocal()
    for i in range(items):
        halves = relative.view(-1, 2, 2**i, queries)
        halves[0, 0] -= (reference[: 2**i] - largest[i]).exp_().mul_(halves[0, 1])
        halves[1:, 0] -= halves[1:, 1]
    reached = relative.mul_(mass)
    reached[0] = 0
    return reached


def _choices(scores: Tensor, tail: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    """Expected sum of log-normalisers (q,), and expected number of choices of items and tail (n + 1, q).

    Subsets are pairs of a high and a low half: the share of each half in the pair is one exponential, and the
    shares of items within halves take only tables of 2^(n/2).
    """
    items, queries = scores.shape
    low = items // 2
    low_sums = _logsumexps(scores[:low], torch.full_like(tail, _NOTHING))
    high_sums = _logsumexps(scores[low:], tail.clamp_min(_NOTHING))
    reached = reached.view(len(high_sums), len(low_sums), queries)
    sums = torch.logaddexp(high_sums.unsqueeze(1), low_sums)
    normaliser = (reached * sums).sum((0, 1))
    from_high = (high_sums.unsqueeze(1) - sums).exp_().mul_(reached)
    in_high, in_low = from_high.sum(1), reached.sum(0) - from_high.sum(0)
    choices = [
        _within(scores[:low], low_sums, in_low),
        _within(scores[low:], high_sums, in_high),
        ((tail - high_sums).exp_() * in_high).sum(0, keepdim=True),
    ]
    return normaliser, torch.cat(choices)


def _logsumexps(scores: Tensor, base: Tensor) -> Tensor:
    """(2^n, q) logarithm of the sum of exponentials of each subset and a base; an item doubles the table."""
    table = base.unsqueeze(0)
    for score in scores:
        table = torch.cat([table, torch.logaddexp(table, score)])
    return table


def _within(scores: Tensor, sums: Tensor, chosen: Tensor) -> Tensor:
    """(n, q) expected choices of each item, given how often (2^n, q) a choice falls on each subset."""
    subsets = torch.arange(len(sums), device=sums.device).unsqueeze(1)
    absent = (subsets >> torch.arange(len(scores), device=sums.device)) & 1 == 0
    shares = (scores - sums.unsqueeze(1)).masked_fill_(absent.unsqueeze(2), -torch.inf).exp_()
    return (shares * chosen.unsqueeze(1)).sum(0)
