from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.similarity_preserving import similarity_preserving


def test_by_hand() -> None:
    # Gram rows (1, 0) and (0, 4) against (1, 1)/√2 in both rows.
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    teacher = torch.ones(2, 1, dtype=torch.float64)
    r = 1 / math.sqrt(2)
    assert similarity_preserving(student, teacher).item() == pytest.approx(2 * ((1 - r) ** 2 + r**2) / 4)


def test_one_scale_for_all_rows_does_not_matter_but_lengths_do() -> None:
    student, teacher = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    value = similarity_preserving(student, teacher)
    torch.testing.assert_close(similarity_preserving(3 * student, 0.1 * teacher), value)
    lengths = torch.arange(1.0, 6.0, dtype=torch.float64).unsqueeze(1)
    assert not torch.isclose(similarity_preserving(student * lengths, teacher), value)


def test_a_zero_row_has_a_finite_gradient() -> None:
    student = torch.zeros(3, 2, requires_grad=True)
    torch.autograd.backward(similarity_preserving(student, torch.eye(3)))
    assert student.grad is not None
    assert student.grad.isfinite().all()
