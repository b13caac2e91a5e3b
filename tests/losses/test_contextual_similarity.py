from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.losses.contextual_similarity import ContextualSimilarity, contextual_similarity


def test_by_hand() -> None:
    # Teacher sees (1, 0), the swapped student (0, 1): KL of (p, 1−p) from (1−p, p) with p = e/(1+e).
    teacher = torch.eye(2, dtype=torch.float64)
    p = math.e / (1 + math.e)
    expected = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    value = contextual_similarity(teacher.flip(0), teacher, temperature=1.0, teacher_temperature=1.0)
    assert value.item() == pytest.approx(expected)


def test_only_the_teachers_nearest_count() -> None:
    teacher = torch.tensor([[1.0, 0.0]])
    student = torch.tensor([[0.6, 0.8]])
    gallery = torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]])
    loss = ContextualSimilarity(neighbours=2)
    near = loss(student, teacher, gallery=gallery)
    torch.testing.assert_close(near, loss(student, teacher, gallery=gallery[[1, 2]]))
    moved = torch.tensor([[0.3, 1.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.5]])
    torch.testing.assert_close(near, loss(student, teacher, gallery=moved))


def test_aligns_the_spaces_where_relations_alone_would_not() -> None:
    # A rotated student has all the teacher's relations and none of its directions.
    teacher = torch.eye(4)
    assert contextual_similarity(teacher.roll(1, 0), teacher) > contextual_similarity(teacher, teacher) + 0.5


def test_zero_at_the_teacher_with_equal_temperatures() -> None:
    x = torch.randn(6, 3)
    gallery = torch.randn(9, 3)
    loss = ContextualSimilarity(temperature=0.1, teacher_temperature=0.1)
    assert loss(x, x).item() == pytest.approx(0, abs=1e-7)
    assert loss(x, x, gallery=gallery).item() == pytest.approx(0, abs=1e-7)


def test_no_gradient_to_the_gallery() -> None:
    student, gallery = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    torch.autograd.backward(contextual_similarity(student, torch.randn(4, 3), gallery=gallery))
    assert student.grad is not None
    assert gallery.grad is None


@pytest.mark.parametrize(
    ("gallery", "message"),
    [
        (torch.zeros(1, 3), r"a gallery of at least 2 rows and dimension 3, got shape \(1, 3\)"),
        (torch.zeros(5, 4), r"got shape \(5, 4\)"),
        (torch.zeros(5, 3, dtype=torch.int64), "a floating-point gallery on cpu, got torch.int64"),
        (torch.zeros(5, 3, device="meta"), "on cpu, got torch.float32 on meta"),
    ],
)
def test_wrong_galleries_are_refused(gallery: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contextual_similarity(torch.zeros(4, 3), torch.zeros(4, 3), gallery=gallery)


def test_bad_settings_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="needs neighbours as a whole number of at least 2, got 0"):
        ContextualSimilarity(neighbours=0)
