from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from understudy.losses.plackett_luce_exact import check_exact, exact_fits, plackett_luce_kl


def by_enumeration(a: Tensor, b: Tensor) -> Tensor:
    """Equation (5) of DarkRank: the sum over all permutations."""
    total = torch.zeros(len(a), dtype=torch.float64)
    for ranking in itertools.permutations(range(a.shape[1])):
        log_p = torch.zeros(len(a), dtype=torch.float64)
        log_q = torch.zeros(len(a), dtype=torch.float64)
        for k in range(len(ranking)):
            log_p = log_p + a[:, ranking[k]] - a[:, list(ranking[k:])].logsumexp(1)
            log_q = log_q + b[:, ranking[k]] - b[:, list(ranking[k:])].logsumexp(1)
        total = total + log_p.exp() * (log_p - log_q)
    return total


def by_walking(a: Tensor, b: Tensor, tail_a: Tensor, tail_b: Tensor) -> Tensor:
    """The law up to the first item from outside, by recursion over what remains, for one query."""

    def walk(remaining: tuple[int, ...]) -> Tensor:
        if not remaining:
            return torch.zeros((), dtype=torch.float64)
        log_p = torch.cat([a[list(remaining)], tail_a[None]]).log_softmax(0)
        log_q = torch.cat([b[list(remaining)], tail_b[None]]).log_softmax(0)
        total = (log_p.exp() * (log_p - log_q)).sum()
        for k, item in enumerate(remaining):
            total = total + log_p[k].exp() * walk(tuple(i for i in remaining if i != item))
        return total

    return walk(tuple(range(len(a))))


def pair(queries: int, items: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(items)
    a = torch.randn(queries, items, dtype=torch.float64) * scale
    b = torch.randn(queries, items, dtype=torch.float64) * scale
    return a, b.requires_grad_()


@pytest.mark.parametrize("items", [1, 2, 3, 4, 5, 6])
def test_equals_enumeration_with_its_gradient(items: int) -> None:
    a, b = pair(4, items)
    found, expected = plackett_luce_kl(a, b), by_enumeration(a, b)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), b),
        torch.autograd.grad(expected.sum(), b),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("tail", [-20.0, 0.0, 6.0])
@pytest.mark.parametrize("items", [1, 2, 4])
def test_tail_equals_the_walk_with_its_gradients(items: int, tail: float) -> None:
    a, b = pair(3, items)
    tail_a = torch.randn(3, dtype=torch.float64) + tail
    tail_b = (torch.randn(3, dtype=torch.float64) + tail).requires_grad_()
    found = plackett_luce_kl(a, b, teacher_tail=tail_a, student_tail=tail_b)
    expected = torch.stack([by_walking(*rows) for rows in zip(a, b, tail_a, tail_b, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), (b, tail_b)),
        torch.autograd.grad(expected.sum(), (b, tail_b)),
        rtol=1e-11,
        atol=1e-13,
    )


def test_gradcheck() -> None:
    a, b = pair(2, 4, scale=1.0)
    assert torch.autograd.gradcheck(lambda b: plackett_luce_kl(a, b), (b,))


@pytest.mark.parametrize("queries", [1, 3, 8, 17])
@pytest.mark.parametrize("items", [2, 3, 7, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_zero_at_equality(queries: int, items: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    b = (torch.randn(queries, items, dtype=dtype) * 10).requires_grad_()
    tail = torch.randn(queries, dtype=dtype, requires_grad=True)
    plain = plackett_luce_kl(b.detach(), b)
    with_tail = plackett_luce_kl(b.detach(), b, teacher_tail=tail.detach(), student_tail=tail)
    for value, inputs in ((plain, (b,)), (with_tail, (b, tail))):
        assert torch.equal(value, torch.zeros_like(value))
        for gradient in torch.autograd.grad(value.sum(), inputs):
            assert torch.equal(gradient, torch.zeros_like(gradient))


def test_blocks_of_queries_change_nothing() -> None:
    a, b = pair(11, 6)
    whole, blocks = plackett_luce_kl(a, b), plackett_luce_kl(a, b, memory=3 * 40 * 2**6)
    torch.testing.assert_close(blocks, whole, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(
        torch.autograd.grad(blocks.sum(), b), torch.autograd.grad(whole.sum(), b), rtol=1e-13, atol=1e-14
    )
    torch.testing.assert_close(plackett_luce_kl(a, b, memory=1), whole, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("scale", [30.0, 300.0, 1e5])
def test_any_range_of_scores(scale: float) -> None:
    """A teacher this sure ranks in one order, so the divergence is the likelihood of that order."""
    torch.manual_seed(0)
    a = -torch.rand(6, 7).sort(1).values * scale * 100
    b = (-torch.rand(6, 7) * scale).requires_grad_()
    order = b.double()
    expected = -sum(order[:, k] - order[:, k:].logsumexp(1) for k in range(7))
    assert isinstance(expected, Tensor)
    found = plackett_luce_kl(a, b)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    (g,) = torch.autograd.grad(found.sum(), b, retain_graph=True)
    (h,) = torch.autograd.grad(expected.sum(), b)
    torch.testing.assert_close(g, h, rtol=1e-4, atol=1e-5)


def test_float32_equals_float64_for_sharp_scores() -> None:
    torch.manual_seed(0)
    a, b = -torch.rand(5, 9) * 400, -torch.rand(5, 9) * 400
    found = plackett_luce_kl(a, b.requires_grad_())
    torch.testing.assert_close(found.double(), plackett_luce_kl(a.double(), b.double()), rtol=1e-6, atol=0)


def test_ties_and_equal_scores() -> None:
    a, b = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[1.0, 0.0, 0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(plackett_luce_kl(a, b), by_enumeration(a, b))
    torch.testing.assert_close(plackett_luce_kl(b, a), by_enumeration(b, a))


def test_which_lists_fit_the_stated_memory() -> None:
    assert exact_fits(20)
    assert not exact_fits(21)
    assert exact_fits(21, memory=2**27)
    check_exact(24)  # 0.63 GiB a query


def test_a_list_beyond_all_memory_is_one_sentence() -> None:
    for items in (25, 60):
        scores = torch.zeros(1, items)
        with pytest.raises(ValueError, match=rf"at most 24 .* got {items}: set list_length, or method to"):
            plackett_luce_kl(scores, scores)


def test_teacher_gets_no_gradient_and_tails_go_together() -> None:
    a, b = pair(2, 3)
    a.requires_grad_()
    assert torch.autograd.grad(plackett_luce_kl(a, b).sum(), a, allow_unused=True)[0] is None
    with pytest.raises(ValueError, match="tails go together"):
        plackett_luce_kl(a, b, teacher_tail=torch.zeros(2))
