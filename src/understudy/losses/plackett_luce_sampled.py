"""The divergence of two Plackett–Luce laws over lists of any length, from rankings drawn from the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from understudy.losses._distances import at_least_float32, widest
from understudy.losses._first_derivative import first_derivative_only
from understudy.losses._relations import require_whole
from understudy.losses.plackett_luce import expected_choices, remaining_logsumexp

# Half a dozen float64 tables of draws × queries × items.
_BYTES_A_DRAW = 64
DRAW_MEMORY = 2**27


def plackett_luce_kl_sampled(
    teacher: Tensor,
    student: Tensor,
    num_samples: int = 32,
    *,
    generator: torch.Generator | None = None,
    rows: Tensor | None = None,
    num_rows: int | None = None,
    teacher_tail: Tensor | None = None,
    student_tail: Tensor | None = None,
) -> Tensor:
    """An unbiased estimate of :func:`plackett_luce_kl` for lists of any length.

    Rankings are drawn from the teacher (Gumbel noise and a sort). For each, the divergences of the two
    choices are summed over the stages that it passes, instead of the logarithm of the ratio of its two
    probabilities: the choice within a stage is averaged out (Rao–Blackwell), so no draw is negative, and
    value and gradient are exactly zero at student = teacher. O(n log n) a draw.

    Args:
        teacher: (q, n) scores; no gradient flows into them.
        student: (q, n) scores.
        num_samples: Rankings drawn for each row.
        generator: Source of the noise, on the scores' device.
        rows: (q,) numbers of these rows in a larger batch of ``num_rows``, whose noise is drawn whole: a
            process that computes a share of the rows then draws what one process would for them.
        num_rows: See ``rows``; both or neither.
        teacher_tail: (q,) logarithm of the summed exponentials of the scores outside the list, or None; see
            :func:`plackett_luce_kl`.
        student_tail: (q,) the same of the student; both or neither.

    Returns:
        (q,) estimates.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> scores = torch.tensor([[2.0, 1.0, 0.0]])
        >>> plackett_luce_kl_sampled(scores, scores, generator=generator)
        tensor([0.])
    """
    require_whole("the sampled divergence", num_samples=num_samples)
    if (rows is None) != (num_rows is None):
        raise ValueError("rows are numbered in a larger batch: give both rows and num_rows, or neither")
    if (teacher_tail is None) != (student_tail is None):
        raise ValueError("tails go together: give both teacher_tail and student_tail, or neither")
    student = at_least_float32(student)
    teacher = teacher.detach().to(student.dtype)
    if teacher_tail is not None:
        teacher_tail = teacher_tail.detach()
    noise = _noise(teacher, num_samples, generator, rows, num_rows)
    divergence: Tensor = _SampledDivergence.apply(
        teacher, student, teacher_tail, student_tail, noise, num_samples
    )
    return divergence


def _noise(
    like: Tensor,
    num_samples: int,
    generator: torch.Generator | None,
    rows: Tensor | None,
    num_rows: int | None,
) -> Iterator[Tensor]:
    """Blocks (m, q, n) of Gumbel noise, of a size that does not depend on which rows are asked for."""
    drawn = like.shape[0] if num_rows is None else num_rows
    shape = (drawn, like.shape[1])
    block = max(1, DRAW_MEMORY // (_BYTES_A_DRAW * max(1, shape[0] * shape[1])))
    for start in range(0, num_samples, block):
        number = min(block, num_samples - start)
        uniform = like.new_empty(number, *shape).exponential_(generator=generator)
        yield -(uniform if rows is None else uniform[:, rows]).log()


class _SampledDivergence(torch.autograd.Function):
    """Sums value and gradient over blocks of draws and keeps the gradient alone."""

    @staticmethod
    def forward(
        ctx: Any,
        teacher: Tensor,
        student: Tensor,
        tail_a: Tensor | None,
        tail_b: Tensor | None,
        noise: Iterator[Tensor],
        num_samples: int,
    ) -> Tensor:
        a, b = widest(teacher), widest(student)
        value, gradient, gradient_tail = (
            torch.zeros_like(a[:, 0]),
            torch.zeros_like(a),
            torch.zeros_like(a[:, 0]),
        )
        for block in noise:
            ranking = (teacher + block).argsort(dim=-1, descending=True)
            stages = _Stages(a, tail_a, ranking), _Stages(b, tail_b, ranking)
            parts = _sum_of_draws(*stages)
            value += parts[0]
            gradient += torch.zeros_like(stages[0].scores).scatter_(-1, ranking, parts[1]).sum(0)
            gradient_tail += parts[2]
        ctx.save_for_backward(
            *(part.div_(num_samples).to(student.dtype) for part in (gradient, gradient_tail))
        )
        return value.to(student.dtype) / num_samples

    @staticmethod
    @first_derivative_only("the sampled Plackett–Luce divergence")
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, Tensor | None, None, None]:
        gradient, gradient_tail = ctx.saved_tensors
        into_tail = grad * gradient_tail if ctx.needs_input_grad[3] else None
        return None, grad.unsqueeze(1) * gradient, None, into_tail, None, None


class _Stages:
    """One side's scores (m, q, n) in the drawn order and the logarithm of each stage's normaliser."""

    def __init__(self, scores: Tensor, tail: Tensor | None, ranking: Tensor) -> None:
        self.scores = scores.expand_as(ranking).gather(-1, ranking)
        self.listed = remaining_logsumexp(self.scores)
        self.tail = None if tail is None else widest(tail).unsqueeze(-1)
        self.normalisers = self.listed if self.tail is None else torch.logaddexp(self.listed, self.tail)

    def ended(self, log_reached: Tensor | None) -> Tensor:
        """(m, q) how often the ranking is expected to leave the list."""
        assert self.tail is not None
        assert log_reached is not None
        return (log_reached + self.tail - self.normalisers).exp().sum(-1)


def _sum_of_draws(a: _Stages, b: _Stages) -> tuple[Tensor, Tensor, Tensor]:
    """Value (q,) summed over draws, gradient (m, q, n) in the drawn order, gradient of the tail (q,)."""
    log_reached = None
    if a.tail is not None:
        # The draw is of the list alone; stage k is reached when no stage before it chose from outside.
        stayed = (a.listed - a.normalisers).cumsum(-1)
        log_reached = torch.nn.functional.pad(stayed[..., :-1], (1, 0))
    by_teacher = expected_choices(a.scores, a.normalisers, log_reached)
    by_student = expected_choices(b.scores, b.normalisers, log_reached)
    growth = b.normalisers - a.normalisers
    if log_reached is not None:
        growth = growth * log_reached.exp()
    value = (by_teacher * (a.scores - b.scores) + growth).sum(-1)
    tail = torch.zeros_like(value)
    if a.tail is not None and b.tail is not None:
        ended = a.ended(log_reached)
        value = value + ended * (a.tail - b.tail).squeeze(-1)
        tail = b.ended(log_reached) - ended
    return value.sum(0), by_student - by_teacher, tail.sum(0)
