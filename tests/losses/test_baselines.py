from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.losses.direct_match import DirectMatch, direct_match
from understudy.losses.fitnet import FitNet, fitnet
from understudy.losses.soft_target import SoftTarget, soft_target


def batch(dim: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, dtype=torch.float64).requires_grad_(), torch.randn(6, dim, dtype=torch.float64)


def test_direct_match_equals_loops_with_its_gradient() -> None:
    student, teacher = batch()
    exclude = torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    for queries in (list(range(6)), [4, 1]):
        for out in (None, exclude):
            expected = sum(
                ((student[q] - student[i]).square().sum() - (teacher[q] - teacher[i]).square().sum()) ** 2
                for q in queries
                for i in range(6)
                if out is None or not out[q, i]
            ) / len(queries)
            assert isinstance(expected, Tensor)
            found = direct_match(student, teacher, queries=torch.tensor(queries), exclude=out)
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(
                torch.autograd.grad(found, student), torch.autograd.grad(expected, student)
            )
    assert torch.equal(DirectMatch()(student, teacher), direct_match(student, teacher))


def test_fitnet_equals_loops() -> None:
    student, teacher = batch(3)
    expected = sum((s - t).square().sum() for s, t in zip(student, teacher, strict=True)) / 6
    torch.testing.assert_close(fitnet(student, teacher), expected)
    some = torch.tensor([0, 3])
    expected = ((student[0] - teacher[0]).square().sum() + (student[3] - teacher[3]).square().sum()) / 2
    torch.testing.assert_close(FitNet()(student, teacher, some), expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_target_equals_loops(temperature: float) -> None:
    student, teacher = batch(3)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(x / temperature) for x in t]
        q = [math.exp(x / temperature) for x in s]
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    assert soft_target(student, teacher, temperature=temperature).item() == pytest.approx(total / 6)
    assert SoftTarget(temperature)(student, teacher).item() == pytest.approx(total / 6)


def test_soft_target_of_some_rows() -> None:
    student, teacher = batch(3)
    some = torch.tensor([5, 2])
    assert torch.equal(SoftTarget()(student, teacher, some), soft_target(student[some], teacher[some]))
    assert SoftTarget.inputs == ("logits",)


def test_gradchecks_and_zero_at_the_teacher() -> None:
    student, teacher = batch(3)
    for loss in (direct_match, fitnet, soft_target):
        assert torch.autograd.gradcheck(lambda s, f=loss: f(s, teacher), (student,))
        value = loss(student, student.detach())
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, student)
        assert gradient.abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = (x.detach().to(dtype) for x in batch(3))
    for loss in (direct_match, fitnet, soft_target):
        assert torch.equal(loss(student, teacher), loss(student.float(), teacher.float()))
        assert loss(student, teacher).dtype == torch.float32


def test_smallest_batches_and_errors() -> None:
    student, teacher = batch(3)
    direct_match(student[:2], teacher[:2])
    fitnet(student[:1], teacher[:1])
    soft_target(student[:1], teacher[:1])
    with pytest.raises(ValueError, match="direct_match needs a batch of at least 2 rows"):
        direct_match(student[:1], teacher[:1])
    for loss in (fitnet, soft_target):
        with pytest.raises(ValueError, match="equal dimension, got 3 and 5"):
            loss(student, batch(5)[1])
        with pytest.raises(ValueError, match="at least 1 row, got 0"):
            loss(student[:0], teacher[:0])
    with pytest.raises(ValueError, match="temperature above 0"):
        SoftTarget(0.0)
