from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.attention import AttentionTransfer, attention_transfer


def test_equals_a_loop() -> None:
    student = torch.randn(3, 2, 2, 3, dtype=torch.float64)
    teacher = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    total = 0.0
    for i in range(3):
        sides = []
        for maps in (student, teacher):
            q = [
                sum(float(maps[i, c, h, w]) ** 2 for c in range(maps.shape[1]))
                for h in range(2)
                for w in range(3)
            ]
            sides.append([value / math.sqrt(sum(v * v for v in q)) for value in q])
        total += math.dist(*sides)
    assert attention_transfer(student, teacher).item() == pytest.approx(total / 3)


def test_by_hand() -> None:
    # Attention (9+16, 0) and (0, 1) against (1, 0): directions equal, then orthogonal.
    student = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]], [[[0.0, 1.0]], [[0.0, 0.0]]]])
    teacher = torch.tensor([[[[7.0, 0.0]]], [[[7.0, 0.0]]]])
    assert attention_transfer(student, teacher).item() == pytest.approx(math.sqrt(2) / 2)


def test_attention_is_averaged_not_the_features() -> None:
    # +1 and −1 cancel as features and not as attention.
    student = torch.tensor([[[[1.0, -1.0, 0.0, 0.0]]]])
    teacher = torch.tensor([[[[1.0, 0.0]]]])
    assert attention_transfer(student, teacher).item() == pytest.approx(0, abs=1e-7)


def test_zero_and_dead_maps_have_finite_gradients() -> None:
    maps = torch.randn(2, 3, 4, 4)
    maps[1] = 0
    student = maps.clone().requires_grad_()
    loss = AttentionTransfer()(student, maps)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.isfinite().all()
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    AttentionTransfer()(dead, torch.randn(2, 3, 4, 4)).backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_half_precision_computes_in_float32() -> None:
    student, teacher = torch.randn(2, 3, 4, 4).half(), torch.randn(2, 5, 8, 8).half()
    value = attention_transfer(student, teacher)
    assert value.dtype == torch.float32
    assert torch.equal(value, attention_transfer(student.float(), teacher.float()))
