from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.losses import rkd
from understudy.losses.rkd import RKDAngle, RKDDistance, rkd_angle, rkd_distance


def plain_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """The usual form over all (n, n, d) differences, on distinct triples."""

    def cosines(x: Tensor) -> Tensor:
        directions = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
        return directions @ directions.transpose(1, 2)

    n = len(student)
    loss = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    one = torch.eye(n, dtype=torch.bool)
    distinct = ~(one.unsqueeze(0) | one.unsqueeze(1) | one.unsqueeze(2))
    return loss[distinct].mean()


def test_distance_by_hand() -> None:
    # Distances 1, 2, 1 (mean 4/3) against 1, 1, 2 the other way round.
    student = torch.tensor([[0.0], [1.0], [2.0]])
    teacher = torch.tensor([[0.0], [2.0], [1.0]])
    # ψ: (3/4, 3/2, 3/4) against (3/2, 3/4, 3/4).
    assert rkd_distance(student, teacher).item() == pytest.approx((0.5 * 0.75**2 * 2) / 3)


def test_distance_does_not_depend_on_scale_and_angle_on_similarity_neither() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    moved = 7 * student @ rotation + 2
    for loss in (rkd_distance, rkd_angle):
        torch.testing.assert_close(loss(moved, teacher), loss(student, teacher))


def test_angle_by_hand() -> None:
    # Cosines at a right angle and two of 45°; on a line −1 at its middle and 1 at its ends.
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    line = torch.tensor([[0.0], [1.0], [-1.0]])
    r = math.sqrt(0.5)
    expected = (0.5 * 1**2 + 2 * 0.5 * (1 - r) ** 2) / 3
    assert rkd_angle(corner, line).item() == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 100, 1 << 18])
def test_angle_equals_the_plain_form_with_its_gradient(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rkd, "_BLOCK_ON_CPU", block)
    torch.manual_seed(0)
    student = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(9, 6, dtype=torch.float64)
    loss, plain = rkd_angle(student, teacher), plain_angle(student, teacher)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(
        torch.autograd.grad(3 * loss, student)[0], torch.autograd.grad(3 * plain, student)[0]
    )


def test_angle_in_float32_keeps_its_digits_for_near_and_far_points() -> None:
    torch.manual_seed(0)
    base = F.normalize(torch.randn(24, 64), dim=1)
    student = torch.cat([base, base + 1e-4 * torch.randn(24, 64)]) + 5
    teacher = torch.randn(48, 32)
    exact = student.double().requires_grad_()
    loss = plain_angle(exact, teacher.double())
    (gradient,) = torch.autograd.grad(loss, exact)
    student = student.requires_grad_()
    value = rkd_angle(student, teacher)
    (single,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(single.double(), gradient, rtol=0, atol=1e-4 * gradient.abs().max().item())


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_coincident_rows(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    teacher = torch.randn(6, 4)
    for rows in (torch.zeros(6, 3), torch.eye(3).repeat(2, 1)):
        student = rows.clone().requires_grad_()
        value = loss(student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_a_side_of_length_zero_has_cosine_zero() -> None:
    # Rows 0 and 1 coincide for the student: its angles along that side count as right angles.
    student = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    teacher = torch.tensor([[0.0], [1.0], [2.0]])
    # Teacher: cosines 1, −1, 1. Student: 0 at rows 0 and 1, and 1 at row 2.
    assert rkd_angle(student, teacher).item() == pytest.approx((0.5 + 0.5 + 0) / 3)


@pytest.mark.parametrize("module", [RKDDistance, RKDAngle])
def test_bad_corner_is_refused_at_construction(module: type[RKDDistance | RKDAngle]) -> None:
    with pytest.raises(ValueError, match="needs a delta above 0"):
        module(delta=0)
