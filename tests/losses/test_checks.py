from __future__ import annotations

import pytest
import torch

from understudy.losses._checks import check_queries, check_relational, check_supervised


def test_relational_raises_precision_and_cuts_the_teacher() -> None:
    student = torch.zeros(3, 4, dtype=torch.float16, requires_grad=True)
    teacher = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    s, t = check_relational("pkt", student, teacher)
    assert s.dtype == t.dtype == torch.float32
    assert s.requires_grad
    assert not t.requires_grad


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.zeros(3), torch.zeros(3, 2), "matrix for the student"),
        (torch.zeros(3, 2), torch.zeros(3, 0), "matrix for the teacher"),
        (torch.zeros(3, 2).long(), torch.zeros(3, 2), "floating-point student"),
        (torch.zeros(3, 2), torch.zeros(4, 2), "3 student rows and 4 teacher rows"),
        (torch.zeros(3, 2), torch.zeros(3, 2, device="meta"), "on one device"),
        (torch.zeros(2, 2), torch.zeros(2, 2), "at least 3 rows, got 2"),
        (torch.zeros(3, 2), torch.zeros(3, 4), "equal dimension, got 2 and 4"),
    ],
)
def test_relational_errors(student: torch.Tensor, teacher: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_relational("some_loss", student, teacher, minimum=3, equal_dims=True)


def test_dimensions_may_differ_unless_forbidden() -> None:
    check_relational("pkt", torch.zeros(2, 3), torch.zeros(2, 5))


@pytest.mark.parametrize(
    "queries",
    [torch.zeros(2), torch.zeros(1, 2).long(), torch.zeros(0).long(), torch.zeros(2, device="meta").long()],
)
def test_queries(queries: torch.Tensor) -> None:
    check_queries("pkt", None, torch.zeros(2, 3))
    check_queries("pkt", torch.tensor([1]), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="pkt needs queries"):
        check_queries("pkt", queries, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("embedding", "labels", "message"),
    [
        (torch.zeros(3), torch.zeros(3).long(), "matrix"),
        (torch.zeros(0, 3), torch.zeros(0).long(), "non-empty"),
        (torch.zeros(3, 2).long(), torch.zeros(3).long(), "floating-point"),
        (torch.zeros(3, 2), torch.zeros(2).long(), "one int64 label for each of 3 rows"),
        (torch.zeros(3, 2), torch.zeros(3), "one int64 label"),
        (torch.zeros(3, 2), torch.zeros(3, device="meta").long(), "labels on cpu"),
    ],
)
def test_supervised_errors(embedding: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_supervised("triplet", embedding, labels)


def test_supervised_raises_precision() -> None:
    assert (
        check_supervised("triplet", torch.zeros(2, 2).bfloat16(), torch.zeros(2).long()).dtype
        == torch.float32
    )
