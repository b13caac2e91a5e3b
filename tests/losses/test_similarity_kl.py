from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.similarity_kl import SimilarityKL, similarity_kl


def test_by_hand() -> None:
    # Row 0 of the teacher sees (1, 1), of the student (1, 0), diagonal included, at temperature 1.
    student = torch.eye(2, dtype=torch.float64)
    teacher = torch.ones(2, 1, dtype=torch.float64)
    q = [math.e / (math.e + 1), 1 / (math.e + 1)]
    expected = 0.5 * math.log(0.5 / q[0]) + 0.5 * math.log(0.5 / q[1])
    value = similarity_kl(student, teacher, temperature=1.0, include_self=True)
    assert value.item() == pytest.approx(expected)


def test_the_scale_of_s2sd_for_random_unit_vectors() -> None:
    # About 4e-3 at temperature 1, which is why S2SD's weight is 50.
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(112, 128, generator=generator), torch.randn(112, 512, generator=generator)
    value = similarity_kl(student, teacher, temperature=1.0, include_self=True)
    assert 2e-3 < value.item() < 8e-3


def test_t_squared_keeps_the_size_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(16, 8, dtype=torch.float64, generator=generator)
    student = (teacher + 0.1 * torch.randn(16, 8, dtype=torch.float64, generator=generator)).requires_grad_()
    norms = {}
    for scaled in (True, False):
        for temperature in (10.0, 100.0):
            loss = similarity_kl(student, teacher, temperature=temperature, scale_by_t2=scaled)
            norms[scaled, temperature] = torch.autograd.grad(loss, student)[0].norm().item()
    assert norms[True, 10.0] / norms[True, 100.0] == pytest.approx(1, rel=0.1)
    assert norms[False, 10.0] / norms[False, 100.0] == pytest.approx(100, rel=0.1)
    assert norms[True, 10.0] / norms[False, 10.0] == pytest.approx(100)


def test_lengths_of_rows_do_not_matter() -> None:
    student, teacher = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    scale = torch.tensor([[0.1], [1.0], [3.0], [10.0], [100.0]], dtype=torch.float64)
    torch.testing.assert_close(
        similarity_kl(student * scale, teacher / scale), similarity_kl(student, teacher)
    )


def test_a_very_small_temperature_stays_finite() -> None:
    student, teacher = torch.randn(8, 4, requires_grad=True), torch.randn(8, 4)
    loss = similarity_kl(student, teacher, temperature=1e-3)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_bad_temperatures_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="similarity_kl needs a temperature above 0, got 0"):
        SimilarityKL(temperature=0)
    with pytest.raises(ValueError, match="similarity_kl needs a teacher_temperature above 0, got -1"):
        SimilarityKL(teacher_temperature=-1)
