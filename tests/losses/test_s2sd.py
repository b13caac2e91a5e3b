from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.losses.s2sd import s2sd


def loop(base: Tensor, target: Tensor, temperature: float) -> float:
    """L_dist(base, target) of the paper's code, entry by entry, for rows of length 1."""
    n, total = len(base), 0.0
    for i in range(n):
        a = [float(base[i] @ base[j]) / temperature for j in range(n)]
        b = [float(target[i] @ target[j]) / temperature for j in range(n)]
        za, zb = sum(map(math.exp, a)), sum(map(math.exp, b))
        total += sum(
            math.exp(y) / zb * (y - math.log(zb) - x + math.log(za)) for x, y in zip(a, b, strict=True)
        )
    return temperature**2 / n * total


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("heads", [1, 3])
def test_equals_the_equation(heads: int, temperature: float) -> None:
    torch.manual_seed(0)
    base, pooled = unit(6, 4), unit(6, 32)
    auxiliaries = [unit(6, 8 * (k + 1)) for k in range(heads)]
    distilled = 50 / heads * sum(loop(base, z, temperature) for z in auxiliaries)
    value = s2sd(base, auxiliaries, temperature=temperature)
    assert value.item() == pytest.approx(distilled, rel=1e-9)
    # Pooled features come unnormalised; their cosines count.
    value = s2sd(base, auxiliaries, pooled=7 * pooled, temperature=temperature, gamma_pooled=5)
    assert value.item() == pytest.approx(distilled + 5 * loop(base, pooled, temperature), rel=1e-9)


def test_gradients_stop_at_the_targets() -> None:
    base, auxiliary, pooled = (unit(5, d).requires_grad_() for d in (4, 8, 16))
    torch.autograd.backward(s2sd(base, [auxiliary], pooled=pooled))
    assert base.grad is not None
    assert base.grad.abs().max() > 0
    assert auxiliary.grad is None
    assert pooled.grad is None


@pytest.mark.parametrize("active", [0.0, torch.tensor(0.0, dtype=torch.float64)])
def test_before_the_delay_pooled_features_count_for_nothing(active: float | Tensor) -> None:
    base, auxiliary, pooled = unit(5, 4), unit(5, 8), unit(5, 16)
    without = s2sd(base, [auxiliary])
    torch.testing.assert_close(s2sd(base, [auxiliary], pooled=pooled, pooled_active=active), without)
    assert s2sd(base, [auxiliary], pooled=pooled, pooled_active=1 - active) > without


def test_needs_an_auxiliary_embedding() -> None:
    with pytest.raises(ValueError, match="s2sd needs at least one auxiliary embedding"):
        s2sd(unit(5, 4), [])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="s2sd needs a gamma of at least 0, got -1"):
        s2sd(unit(4, 6), [unit(4, 8)], gamma=-1.0)
