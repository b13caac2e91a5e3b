from __future__ import annotations

import pytest
import torch

from understudy.losses.hint import Hint, hint


def test_equals_a_loop_over_places_and_channels() -> None:
    student = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    teacher = torch.randn(2, 5, 2, 4, dtype=torch.float64)
    weight, bias = torch.randn(5, 3, 1, 1, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    total = 0.0
    for n in range(2):
        for h in range(2):
            for w in range(4):
                for c in range(5):
                    r = float(bias[c]) + sum(
                        float(weight[c, k, 0, 0] * student[n, k, h, w]) for k in range(3)
                    )
                    total += (r - float(teacher[n, c, h, w])) ** 2
    assert hint(student, teacher, weight, bias).item() == pytest.approx(total / (2 * 5 * 2 * 4))


def test_by_hand() -> None:
    # r = 2·1 + 1·3 − 1 = 4 everywhere; the teacher's cells 0 and 2 average to 1.
    student = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    teacher = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    assert hint(student, teacher, torch.tensor([2.0, 1.0]).view(1, 2, 1, 1), torch.tensor([-1.0])) == 9


def test_resizing_commutes_with_the_regressor() -> None:
    student = torch.randn(2, 3, 9, 6, dtype=torch.float64)
    teacher = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 1, 1, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    regressed = torch.nn.functional.conv2d(student, weight, bias)
    identity = torch.eye(4, dtype=torch.float64).view(4, 4, 1, 1)
    torch.testing.assert_close(hint(student, teacher, weight, bias), hint(regressed, teacher, identity))


def test_zero_when_the_regressor_maps_one_onto_the_other() -> None:
    student = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weight = torch.randn(5, 3, 1, 1, dtype=torch.float64)
    teacher = torch.nn.functional.conv2d(student, weight)
    assert hint(student, teacher, weight).item() == 0


def test_the_module_trains_its_regressor_and_not_the_teacher() -> None:
    loss = Hint(3, 5)
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(2, 5, 7, 7, requires_grad=True)
    loss(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert [name for name, p in loss.named_parameters() if p.grad is not None] == [
        "regressor.weight",
        "regressor.bias",
    ]


def test_half_precision_and_autocast_compute_in_float32() -> None:
    loss = Hint(3, 5)
    student, teacher = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(2, 5, 4, 4).bfloat16()
    expected = loss(student.float(), teacher.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(student, teacher), expected)
    assert torch.equal(loss(student, teacher), expected)


def test_channels_must_fit() -> None:
    with pytest.raises(ValueError, match="hint's regressor goes from 3 to 5 channels, got maps of 4 and 5"):
        Hint(3, 5)(torch.zeros(1, 4, 2, 2), torch.zeros(1, 5, 2, 2))
    with pytest.raises(ValueError, match="hint needs at least 1 teacher channel, got 0"):
        Hint(3, 0)
