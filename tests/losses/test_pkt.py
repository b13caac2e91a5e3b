from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.pkt import pkt


def test_by_hand() -> None:
    # Rows along x, x, y. Kernels 1 (same) and 1/2 (orthogonal); the teacher finds all alike.
    student = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.ones(3, 1, dtype=torch.float64)
    # Rows 0 and 1 give (2/3, 1/3), row 2 gives (1/2, 1/2), against (1/2, 1/2) throughout.
    expected = 2 / 3 * (0.5 * math.log(0.5 / (2 / 3)) + 0.5 * math.log(0.5 / (1 / 3)))
    assert pkt(student, teacher).item() == pytest.approx(expected)


def test_antipodal_rows_stay_finite() -> None:
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = pkt(student, torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]))
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_a_row_opposite_to_all_others_stays_finite() -> None:
    student = torch.tensor([[1.0], [-1.0], [-1.0]], requires_grad=True)
    loss = pkt(student, torch.randn(3, 2))
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()
