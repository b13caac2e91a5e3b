from __future__ import annotations

import math

import pytest
import torch

from understudy.losses.relaxed_contrastive import RelaxedContrastive, relaxed_contrastive

LINE = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)


def test_pull_by_hand() -> None:
    # All alike to the teacher: only Σ δ². Means 1, 2/3, 1, so δ = (1, 2), (1.5, 1.5), (2, 1).
    teacher = torch.zeros(3, 2, dtype=torch.float64)
    assert relaxed_contrastive(LINE, teacher).item() == pytest.approx((5 + 4.5 + 5) / 3)


def test_push_by_hand() -> None:
    # Nothing alike to the teacher, margin 2: (2 − δ)² of the same.
    teacher = 1e3 * torch.eye(3, dtype=torch.float64)
    value = relaxed_contrastive(LINE, teacher, delta=2.0)
    assert value.item() == pytest.approx((1 + 0 + 2 * 0.25 + 0 + 1) / 3)


def test_weights_by_hand() -> None:
    # Two points on the teacher's side at squared distance 2σ from the third: w = e⁻².
    teacher = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    w = math.exp(-2)
    rows = [1 + w * 4, 2.25 + w * 2.25, w * 4 + w * 1]
    push = [0.0, 0.0, 0.0]  # δ ≥ 1 for every pair here
    expected = sum(a + b for a, b in zip(rows, push, strict=True)) / 3
    assert relaxed_contrastive(LINE, teacher, sigma=2.0).item() == pytest.approx(expected)


def test_the_students_scale_does_not_matter() -> None:
    student, teacher = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(
        relaxed_contrastive(100 * student, teacher), relaxed_contrastive(student, teacher)
    )


@pytest.mark.parametrize("settings", [{"sigma": 0.0}, {"delta": -1.0}])
def test_bad_settings_are_refused_at_construction(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"relaxed_contrastive needs a .* above 0"):
        RelaxedContrastive(**settings)
