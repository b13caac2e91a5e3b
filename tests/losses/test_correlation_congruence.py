from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.correlation_congruence import CorrelationCongruence, correlation_congruence


def test_by_hand() -> None:
    # Cosines 0 against 1 off the diagonal, γ = 1/2: kernels e⁻¹·1 against e⁻¹·(1 + 1).
    student, teacher = torch.eye(2, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    value = correlation_congruence(student, teacher, gamma=0.5, order=1)
    assert value.item() == pytest.approx(2 * math.exp(-1) ** 2 / 4)


def test_the_series_tends_to_the_gaussian() -> None:
    student, teacher = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    gaussian = correlation_congruence(student, teacher, gamma=1.5, order=None)
    errors = [
        (correlation_congruence(student, teacher, gamma=1.5, order=p) - gaussian).abs().item()
        for p in (2, 6, 25)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-14


@pytest.mark.parametrize("settings", [{"gamma": 0.0}, {"order": 0}])
def test_bad_settings_are_refused_at_construction(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"correlation_congruence needs .*(above 0|at least 1)"):
        CorrelationCongruence(**settings)  # type: ignore[arg-type]
