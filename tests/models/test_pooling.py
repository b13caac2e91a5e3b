from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.models.pooling import POOLINGS, AverageMaxPooling, GeMPooling


def test_the_poolings_of_one_map_worked_out_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    values = {name: float(pool()(maps).detach()) for name, pool in POOLINGS.items()}
    assert values["avg"] == 3
    assert values["max"] == 6
    assert values["avg+max"] == 9
    assert values["gem"] == pytest.approx(((1 + 8 + 27 + 216) / 4) ** (1 / 3), rel=1e-6)


def test_gem_lies_between_average_and_maximum_and_reaches_both() -> None:
    maps = torch.rand(3, 5, 4, 6) + 0.01
    average, largest = maps.mean((2, 3)), maps.amax((2, 3))
    torch.testing.assert_close(GeMPooling(p=1.0)(maps), average)
    torch.testing.assert_close(GeMPooling(p=200.0)(maps.double()).float(), largest, rtol=0.02, atol=0)
    middle = GeMPooling()(maps)
    assert bool((middle > average).all())
    assert bool((middle < largest).all())


def test_gem_learns_its_exponent_from_three() -> None:
    pool = GeMPooling()
    assert float(pool.p.detach()) == 3
    pool(torch.rand(2, 3, 4, 4)).sum().backward()
    assert pool.p.grad is not None
    assert float(pool.p.grad) > 0


def test_gem_of_half_precision_does_not_overflow() -> None:
    maps = torch.full((1, 1, 2, 2), 100.0, dtype=torch.float16)
    pooled = GeMPooling()(maps)
    assert pooled.dtype == torch.float16
    assert float(pooled.detach()) == pytest.approx(100, rel=1e-3)


def test_gem_has_finite_gradients_at_zero_and_below() -> None:
    maps = torch.zeros(2, 3, 2, 2)
    maps[0] = -1
    maps.requires_grad_()
    GeMPooling()(maps).sum().backward()
    assert maps.grad is not None
    assert bool(maps.grad.isfinite().all())


def test_average_plus_max_is_their_sum() -> None:
    maps = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(AverageMaxPooling()(maps), maps.mean((2, 3)) + maps.amax((2, 3)))


def test_gem_of_a_large_exponent_has_finite_gradients_where_a_map_is_empty() -> None:
    """1e-6 to the 8th is zero in float32: a whole training ended there."""
    maps = torch.tensor([[[[0.0, 0.0]], [[2.0, 4.0]]]], requires_grad=True)
    pool = GeMPooling(p=8.0)
    pooled = pool(maps)
    pooled.sum().backward()
    torch.testing.assert_close(pooled, torch.tensor([[1e-6, ((2.0**8 + 4.0**8) / 2) ** (1 / 8)]]))
    for slopes in (maps.grad, pool.p.grad):
        assert slopes is not None
        assert torch.isfinite(slopes).all()


def test_the_gradients_of_gem_are_those_of_its_equation() -> None:
    torch.manual_seed(0)
    values = torch.rand(2, 3, 4, 5, dtype=torch.float64) + 0.1

    def slopes(pooled: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        maps, p = values.clone().requires_grad_(), torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(pooled(maps, p).square().sum(), (maps, p))

    def ours(maps: Tensor, p: Tensor) -> Tensor:
        pooled: Tensor = torch.func.functional_call(GeMPooling().double(), {"p": p}, (maps,))
        return pooled

    expected = slopes(lambda maps, p: maps.pow(p).mean((2, 3)).pow(1 / p))
    for found, true in zip(slopes(ours), expected, strict=True):
        torch.testing.assert_close(found, true)
