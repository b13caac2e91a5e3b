from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.metrics_from_teachers import RelativeTeacher, absolute_teacher, relative_teacher


def test_absolute_by_hand() -> None:
    student = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 3.0]])
    loss = absolute_teacher(student, teacher)
    assert loss.item() == pytest.approx((5 + 0 + 2) / 3)
    (gradient,) = torch.autograd.grad(loss, student)
    # The unsquared norm pulls with unit strength whatever the distance, and with none at distance 0.
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]]) / 3
    torch.testing.assert_close(gradient, expected)
    assert absolute_teacher(student, teacher, queries=torch.tensor([2])).item() == 2


def test_absolute_on_a_single_row() -> None:
    assert absolute_teacher(torch.ones(1, 4), torch.zeros(1, 4)).item() == 2


def test_relative_by_hand() -> None:
    # Distances 3, 4, 5 against 1, 1, 2: differences 2, 3, 3.
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    teacher = torch.tensor([[1.0], [0.0], [2.0]])
    assert relative_teacher(student, teacher).item() == pytest.approx((2 + 3 + 3) / 3)
    frobenius = relative_teacher(student, teacher, reduction="frobenius")
    assert frobenius.item() == pytest.approx(math.sqrt(2 * (4 + 9 + 9)))


def test_the_factor_between_the_two_reductions() -> None:
    n, generator = 32, torch.Generator().manual_seed(0)
    student = torch.randn(n, 512, dtype=torch.float64, generator=generator)
    teacher = torch.randn(n, 512, dtype=torch.float64, generator=generator)
    ratio = relative_teacher(student, teacher, reduction="frobenius") / relative_teacher(student, teacher)
    pairs = math.sqrt(n * (n - 1))
    assert pairs == pytest.approx(31.5, abs=0.01)
    # Never less than √(n(n−1)); for normal errors √(π/2) = 1.25 times that, about 40 at batch 32.
    assert ratio.item() >= pairs
    assert ratio.item() == pytest.approx(math.sqrt(math.pi / 2) * pairs, rel=0.05)


def test_the_factor_between_the_gradients_of_the_two_reductions() -> None:
    n, generator = 32, torch.Generator().manual_seed(0)
    student = torch.randn(n, 512, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(n, 512, dtype=torch.float64, generator=generator)
    norms = [
        torch.autograd.grad(relative_teacher(student, teacher, reduction=r), student)[0].norm().item()
        for r in ("frobenius", "mean")
    ]
    assert norms[0] / norms[1] == pytest.approx(math.sqrt(n * (n - 1)), rel=0.2)


def test_the_frobenius_form_does_not_split_and_says_so() -> None:
    assert RelativeTeacher().splits_by_query
    assert not RelativeTeacher("frobenius").splits_by_query


def test_gradient_is_finite_and_zero_where_the_matrices_agree() -> None:
    for reduction in ("mean", "frobenius"):
        student = torch.eye(4).requires_grad_()
        loss = RelativeTeacher(reduction)(student, torch.eye(4))
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == 0
        assert torch.equal(gradient, torch.zeros(4, 4))


def test_an_unknown_reduction_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="a reduction of 'mean' or 'frobenius', got 'sum'"):
        RelativeTeacher("sum")  # type: ignore[arg-type]
