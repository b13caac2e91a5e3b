from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.losses import plackett_luce_sampled
from understudy.losses.plackett_luce_exact import plackett_luce_kl
from understudy.losses.plackett_luce_sampled import plackett_luce_kl_sampled


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(queries: int = 3, items: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    a = torch.randn(queries, items, dtype=torch.float64) * 2
    return a, (a + torch.randn(queries, items, dtype=torch.float64)).requires_grad_()


def tails(queries: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(queries, dtype=torch.float64), torch.randn(
        queries, dtype=torch.float64
    ).requires_grad_()


@pytest.mark.parametrize("with_tail", [False, True])
def test_mean_converges_to_exact_value_and_gradient(with_tail: bool) -> None:
    """Within five standard errors of the mean, which shrink with more draws as an unbiased estimate's do."""
    a, b = pair()
    tail_a, tail_b = tails() if with_tail else (None, None)
    inputs = (b,) if tail_b is None else (b, tail_b)
    exact = plackett_luce_kl(a, b, teacher_tail=tail_a, student_tail=tail_b)
    exact_gradients = torch.autograd.grad(exact.sum(), inputs)
    source, runs = generator(), 40
    values, gradients = [], []
    for _ in range(runs):
        value = plackett_luce_kl_sampled(
            a, b, 500, generator=source, teacher_tail=tail_a, student_tail=tail_b
        )
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value.sum(), inputs))
    columns = [torch.stack(values), *(torch.stack(g) for g in zip(*gradients, strict=True))]
    for found, expected in zip(columns, (exact, *exact_gradients), strict=True):
        error = found.std(0) / runs**0.5
        assert ((found.mean(0) - expected).abs() <= 5 * error + 1e-12).all()
        assert (error < 0.02).all()


def test_no_draw_is_negative() -> None:
    a, b = pair(20, 8)
    for seed in range(20):
        assert (plackett_luce_kl_sampled(a, b, 1, generator=generator(seed)) >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("items", [2, 7, 50])
def test_exactly_zero_at_equality(items: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    b = (torch.randn(5, items, dtype=dtype) * 10).requires_grad_()
    tail = torch.randn(5, dtype=dtype, requires_grad=True)
    plain = plackett_luce_kl_sampled(b.detach(), b, generator=generator())
    with_tail = plackett_luce_kl_sampled(
        b.detach(), b, generator=generator(), teacher_tail=tail.detach(), student_tail=tail
    )
    for value, inputs in ((plain, (b,)), (with_tail, (b, tail))):
        assert torch.equal(value, torch.zeros_like(value))
        for gradient in torch.autograd.grad(value.sum(), inputs):
            assert torch.equal(gradient, torch.zeros_like(gradient))


def test_one_draw_is_the_sum_of_the_stages_divergences() -> None:
    """A teacher sure of its order has one ranking to draw; the rest is a loop over its stages."""
    a = torch.tensor([[0.0, -1000.0, -2000.0]], dtype=torch.float64)
    b = torch.tensor([[0.1, 0.4, -0.3]], dtype=torch.float64)
    expected = sum(b[0, k:].logsumexp(0) - b[0, k] for k in range(3))
    found = plackett_luce_kl_sampled(a, b, 3, generator=generator())
    torch.testing.assert_close(found[0], expected)


def test_gradcheck() -> None:
    a, b = pair()
    tail_a, tail_b = tails()
    assert torch.autograd.gradcheck(
        lambda b, t: plackett_luce_kl_sampled(
            a, b, 5, generator=generator(), teacher_tail=tail_a, student_tail=t
        ),
        (b, tail_b),
    )


def test_blocks_of_draws_sum_to_the_same_kind_of_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    whole = plackett_luce_kl_sampled(a, b, 20, generator=generator())
    monkeypatch.setattr(plackett_luce_sampled, "DRAW_MEMORY", 1)
    blocks = plackett_luce_kl_sampled(a, b, 20, generator=generator())
    torch.testing.assert_close(blocks, whole)


def test_a_share_of_the_rows_gets_the_draws_of_the_whole() -> None:
    a, b = pair(6)
    rows = torch.tensor([4, 1])
    whole = plackett_luce_kl_sampled(a, b, generator=generator())
    share = plackett_luce_kl_sampled(a[rows], b[rows], generator=generator(), rows=rows, num_rows=6)
    torch.testing.assert_close(share, whole[rows])


def test_generator_repeats_and_seeds_differ() -> None:
    a, b = pair()
    first = plackett_luce_kl_sampled(a, b, 4, generator=generator(1))
    assert torch.equal(first, plackett_luce_kl_sampled(a, b, 4, generator=generator(1)))
    assert not torch.equal(first, plackett_luce_kl_sampled(a, b, 4, generator=generator(2)))


def test_sharp_scores_in_float32() -> None:
    torch.manual_seed(0)
    a, b = -torch.rand(4, 60) * 400, (-torch.rand(4, 60) * 400).requires_grad_()
    found = plackett_luce_kl_sampled(a, b, generator=generator())
    (gradient,) = torch.autograd.grad(found.sum(), b)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


def test_errors() -> None:
    a, b = pair()
    with pytest.raises(ValueError, match="needs num_samples as a whole number of at least 1"):
        plackett_luce_kl_sampled(a, b, 0)
    with pytest.raises(ValueError, match="tails go together"):
        plackett_luce_kl_sampled(a, b, student_tail=torch.zeros(3))
    for one in ({"rows": torch.arange(len(a))}, {"num_rows": 9}):
        with pytest.raises(ValueError, match="give both rows and num_rows, or neither"):
            plackett_luce_kl_sampled(a, b, **one)
