from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.losses.darkrank_hard import HardDarkRank, hard_darkrank


def batch(n: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3, dtype=dtype).requires_grad_(), torch.randn(n, 5, dtype=dtype)


def by_loops(
    student: Tensor,
    teacher: Tensor,
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_length: int | None = None,
    tail: bool = False,
    detach_query: bool = False,
    queries: list[int] | None = None,
    exclude: Tensor | None = None,
) -> Tensor:
    """The definition, one query and one stage at a time, with autograd for the gradient."""
    n, losses = len(student), []
    for q in range(n) if queries is None else queries:
        others = [i for i in range(n) if i != q and not (exclude is not None and exclude[q, i])]
        others.sort(key=(teacher[q] - teacher).square().sum(1).tolist().__getitem__)
        length = len(others) if list_length is None else min(list_length, len(others))
        kept = others if tail else others[:length]
        asking = student[q].detach() if detach_query else student[q]
        scores = [-alpha * (asking - student[i]).square().sum() ** (beta / 2) for i in kept]
        loss = student.sum() * 0
        for k in range(length):
            loss = loss + torch.stack(scores[k:]).logsumexp(0) - scores[k]
        losses.append(loss)
    return torch.stack(losses).mean()


CASES: list[dict[str, Any]] = [
    {},
    {"alpha": 0.5, "beta": 1.0},
    {"alpha": 2.0, "beta": 2.0},
    {"alpha": 1.0, "beta": 1.7},
    {"list_length": 3},
    {"list_length": 100},
    {"list_length": 3, "tail": True},
    {"list_length": 1, "tail": True},
    {"tail": True},
    {"detach_query": True},
    {"queries": [4, 0]},
    {"queries": [2], "detach_query": True, "list_length": 4},
    {"queries": [5, 1, 2], "list_length": 2, "tail": True, "alpha": 1.0},
]


def tensors(case: dict[str, Any]) -> dict[str, Any]:
    return case | ({"queries": torch.tensor(case["queries"])} if "queries" in case else {})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_loops_with_its_gradient(case: dict[str, Any]) -> None:
    student, teacher = batch()
    found, expected = hard_darkrank(student, teacher, **tensors(case)), by_loops(student, teacher, **case)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_excluded_pairs_are_as_if_they_were_not_there(case: dict[str, Any]) -> None:
    student, teacher = batch()
    exclude = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    found = hard_darkrank(student, teacher, exclude=exclude, **tensors(case))
    expected = by_loops(student, teacher, exclude=exclude, **case)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))


def test_a_query_without_any_candidate_adds_nothing() -> None:
    student, teacher = batch()
    exclude = torch.zeros(7, 7, dtype=torch.bool)
    exclude[2] = True
    found = hard_darkrank(student, teacher, exclude=exclude)
    torch.testing.assert_close(found, by_loops(student, teacher, exclude=exclude))


def test_hand_computed() -> None:
    """Query 0 sees d = 1, 2; query 1, ranking (0, 2), d = 1, 1; query 2, ranking (1, 0), d = 1, 2."""
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    for alpha, beta in ((1.0, 1.0), (3.0, 3.0)):
        gap = alpha * (2**beta - 1)
        expected = (2 * math.log(1 + math.exp(-gap)) + math.log(2)) / 3
        assert hard_darkrank(student, teacher, alpha=alpha, beta=beta).item() == pytest.approx(expected)


def test_ties_of_the_teacher_go_to_the_lower_index() -> None:
    teacher = torch.tensor([[0.0], [1.0], [-1.0], [1.0]], dtype=torch.float64)
    student = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    queries = torch.tensor([0])
    found = hard_darkrank(student, teacher, queries=queries, alpha=1.0, beta=1.0)
    stages = [torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([-2.0, -4.0])]
    expected = sum(float(s.logsumexp(0) - s[0]) for s in stages)
    assert found.item() == pytest.approx(expected)


def test_a_duplicate_of_the_query_stays_a_candidate() -> None:
    teacher = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    student = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    found = hard_darkrank(student, teacher, queries=torch.tensor([1]), alpha=1.0, beta=1.0)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.0])
def test_identical_embeddings_have_a_finite_gradient(beta: float) -> None:
    torch.manual_seed(0)
    student = torch.randn(6, 4)
    student[3] = student[1]
    for embeddings in (student, torch.ones(6, 4)):
        x = embeddings.clone().requires_grad_()
        loss = hard_darkrank(x, torch.randn(6, 8), beta=beta)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("alpha", "beta"), [(3.0, 3.0), (12.25, 4.0), (100.0, 2.0), (60.0, 4.0)])
def test_float32_equals_float64(alpha: float, beta: float) -> None:
    torch.manual_seed(0)
    teacher = torch.nn.functional.normalize(torch.randn(200, 32), dim=1)
    student = torch.nn.functional.normalize(torch.randn(200, 32), dim=1)
    single, double = student.requires_grad_(), student.detach().double().requires_grad_()
    found = hard_darkrank(single, teacher, alpha=alpha, beta=beta)
    expected = hard_darkrank(double, teacher.double(), alpha=alpha, beta=beta)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    (g,) = torch.autograd.grad(found, single)
    (h,) = torch.autograd.grad(expected, double)
    assert (g.double() - h).norm() <= 1e-4 * h.norm()


def test_gradcheck() -> None:
    student, teacher = batch(5)
    for options in ({}, {"list_length": 2, "tail": True}, {"beta": 2.0, "alpha": 0.3}):
        assert torch.autograd.gradcheck(lambda s, o=options: hard_darkrank(s, teacher, **o), (student,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = batch(8, torch.float32)
    low = hard_darkrank(student.to(dtype), teacher.to(dtype))
    assert low.dtype == torch.float32
    assert torch.equal(low, hard_darkrank(student.to(dtype).float(), teacher.to(dtype).float()))


def test_no_gradient_to_the_teacher() -> None:
    student, teacher = batch()
    teacher.requires_grad_()
    assert torch.autograd.grad(hard_darkrank(student, teacher), teacher, allow_unused=True)[0] is None


def test_detached_query_gets_no_gradient() -> None:
    student, teacher = batch()
    queries = torch.tensor([2])
    (gradient,) = torch.autograd.grad(
        hard_darkrank(student, teacher, queries=queries, detach_query=True), student
    )
    assert torch.equal(gradient[2], torch.zeros(3, dtype=torch.float64))
    (full,) = torch.autograd.grad(hard_darkrank(student, teacher, queries=queries), student)
    rest = torch.arange(7) != 2
    torch.testing.assert_close(gradient[rest], full[rest])
    assert full[2].norm() > 0.1


def test_module_and_first_half() -> None:
    student, teacher = batch()
    module = HardDarkRank(alpha=2.0, beta=1.0, list_length=4, tail=True, detach_query=True)
    expected = hard_darkrank(
        student, teacher, alpha=2.0, beta=1.0, list_length=4, tail=True, detach_query=True
    )
    assert torch.equal(module(student, teacher), expected)
    half = HardDarkRank(queries="first_half")
    assert torch.equal(half(student, teacher), hard_darkrank(student, teacher, queries=torch.arange(3)))
    rows = torch.tensor([6])
    assert torch.equal(half(student, teacher, rows), hard_darkrank(student, teacher, queries=rows))
    assert module.splits_by_query
    assert not half.splits_by_query
    assert module.inputs == ("embedding",)
    assert "list_length=4" in repr(module)


def test_errors() -> None:
    student, teacher = batch()
    hard_darkrank(student[:3], teacher[:3])
    with pytest.raises(ValueError, match="hard_darkrank needs a batch of at least 3 rows, got 2"):
        hard_darkrank(student[:2], teacher[:2])
    with pytest.raises(ValueError, match="alpha above 0"):
        HardDarkRank(alpha=0.0)
    with pytest.raises(ValueError, match="beta above 0"):
        HardDarkRank(beta=-1.0)
    with pytest.raises(ValueError, match="list_length as a whole number of at least 2, got 1"):
        HardDarkRank(list_length=1)
    with pytest.raises(ValueError, match="list_length as a whole number of at least 1, got 0"):
        HardDarkRank(list_length=0, tail=True)
    with pytest.raises(ValueError, match="'all' or 'first_half', got 'some'"):
        HardDarkRank(queries="some")  # type: ignore[arg-type]


@pytest.mark.slow
def test_compiles_without_breaks() -> None:
    student, teacher = batch(8, torch.float32)
    compiled = torch.compile(hard_darkrank, backend="aot_eager", fullgraph=True)
    found, expected = (
        compiled(student, teacher, list_length=4),
        hard_darkrank(student, teacher, list_length=4),
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))
