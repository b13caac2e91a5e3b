from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.losses.darkrank_hard import hard_darkrank
from understudy.losses.darkrank_soft import SoftDarkRank, soft_darkrank


def batch(n: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3, dtype=dtype).mul_(0.5).requires_grad_(), torch.randn(n, 5, dtype=dtype) * 0.5


def log_law(scores: list[Tensor], ranking: tuple[int, ...]) -> Tensor:
    """Equation (1), term by term."""
    ordered = torch.stack([scores[i] for i in ranking])
    return torch.stack([ordered[k] - ordered[k:].logsumexp(0) for k in range(len(ranking))]).sum()


def by_permutations(
    student: Tensor,
    teacher: Tensor,
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_length: int | None = None,
    detach_query: bool = False,
    queries: list[int] | None = None,
    exclude: Tensor | None = None,
) -> Tensor:
    """Equation (5): the sum over all permutations of each query's list."""
    n, losses = len(student), []
    for q in range(n) if queries is None else queries:
        others = [i for i in range(n) if i != q and not (exclude is not None and exclude[q, i])]
        others.sort(key=(teacher[q] - teacher).square().sum(1).tolist().__getitem__)
        kept = others[:list_length]
        asking = student[q].detach() if detach_query else student[q]
        a = [-alpha * (teacher[q] - teacher[i]).square().sum() ** (beta / 2) for i in kept]
        b = [-alpha * (asking - student[i]).square().sum() ** (beta / 2) for i in kept]
        loss = student.sum() * 0
        for ranking in itertools.permutations(range(len(kept))) if kept else ():
            log_p, log_q = log_law(a, ranking), log_law(b, ranking)
            loss = loss + log_p.exp() * (log_p - log_q)
        losses.append(loss)
    return torch.stack(losses).mean()


CASES: list[dict[str, Any]] = [
    {},
    {"alpha": 0.5, "beta": 1.0},
    {"alpha": 12.25, "beta": 4.0, "list_length": 4},
    {"list_length": 2},
    {"list_length": 100, "alpha": 1.0},
    {"detach_query": True},
    {"queries": [4, 0]},
    {"queries": [2], "detach_query": True, "list_length": 4},
]


def tensors(case: dict[str, Any]) -> dict[str, Any]:
    return case | ({"queries": torch.tensor(case["queries"])} if "queries" in case else {})


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_permutations_with_its_gradient(case: dict[str, Any], excluding: bool) -> None:
    student, teacher = batch()
    exclude = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) < 0.4 if excluding else None
    found = soft_darkrank(student, teacher, exclude=exclude, **tensors(case))
    expected = by_permutations(student, teacher, exclude=exclude, **case)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))


def test_tail_is_the_whole_law_seen_until_the_first_item_from_beyond_the_list() -> None:
    """Project both laws over all rankings onto the prefix within the list, and compare those."""
    student, teacher = batch(5)
    length, losses = 2, []
    for q in range(5):
        others = [i for i in range(5) if i != q]
        others.sort(key=(teacher[q] - teacher).square().sum(1).tolist().__getitem__)
        a = [-((teacher[q] - teacher[i]).norm() ** 2) for i in others]
        b = [-((student[q] - student[i]).norm() ** 2) for i in others]
        laws: dict[tuple[int, ...], list[Tensor]] = {}
        for ranking in itertools.permutations(range(4)):
            prefix = tuple(itertools.takewhile(lambda i: i < length, ranking))
            p, r = laws.setdefault(prefix, [torch.zeros(()), torch.zeros(())])
            laws[prefix] = [p + log_law(a, ranking).exp(), r + log_law(b, ranking).exp()]
        losses.append(sum(p * (p / r).log() for p, r in laws.values()))
    expected = torch.stack([torch.as_tensor(loss) for loss in losses]).mean()
    found = soft_darkrank(student, teacher, alpha=1.0, beta=2.0, list_length=length, tail=True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_excluding_with_a_tail_is_deleting_the_rows(length: int) -> None:
    student, teacher = batch(6)
    exclude = torch.zeros(6, 6, dtype=torch.bool)
    exclude[2, [0, 5]] = True
    kept = torch.tensor([1, 2, 3, 4])
    options: dict[str, Any] = {"alpha": 1.0, "list_length": length, "tail": True}
    found = soft_darkrank(student, teacher, exclude=exclude, queries=torch.tensor([2]), **options)
    expected = soft_darkrank(student[kept], teacher[kept], queries=torch.tensor([1]), **options)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(expected, student))


def test_sampled_leaves_excluded_pairs_out() -> None:
    student, teacher = batch(6)
    exclude = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) < 0.4
    exact = soft_darkrank(student, teacher, alpha=1.0, exclude=exclude)
    draws = torch.tensor(
        [
            soft_darkrank(
                student,
                teacher,
                alpha=1.0,
                exclude=exclude,
                method="sampled",
                num_samples=200,
                generator=torch.Generator().manual_seed(seed),
            ).item()
            for seed in range(30)
        ]
    )
    assert abs(draws.mean().item() - exact.item()) < 5 * draws.std().item() / 30**0.5


def test_a_sure_teacher_makes_it_hard() -> None:
    torch.manual_seed(0)
    teacher = 3 ** torch.arange(8.0, dtype=torch.float64).unsqueeze(1) * 10
    student = torch.randn(8, 3, dtype=torch.float64)
    cases: list[dict[str, Any]] = [{}, {"list_length": 3}, {"list_length": 3, "tail": True}]
    for options in cases:
        soft = soft_darkrank(student, teacher, alpha=3.0, beta=2.0, **options)
        hard = hard_darkrank(student, teacher, alpha=3.0, beta=2.0, **options)
        torch.testing.assert_close(soft, hard)


def test_sampled_estimates_the_exact_loss() -> None:
    student, teacher = batch(7)
    for options in ({}, {"list_length": 3, "tail": True}, {"queries": torch.tensor([1, 5])}):
        exact = soft_darkrank(student, teacher, alpha=1.0, **options)
        draws = [
            soft_darkrank(
                student,
                teacher,
                alpha=1.0,
                method="sampled",
                num_samples=200,
                generator=torch.Generator().manual_seed(seed),
                **options,
            ).item()
            for seed in range(30)
        ]
        found = torch.tensor(draws, dtype=torch.float64)
        assert abs(found.mean().item() - exact.item()) < 5 * found.std().item() / 30**0.5
        assert found.std().item() < 0.1 * exact.item()


def test_auto_is_exact_up_to_twenty_and_samples_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    def note(method: str) -> Callable[..., Tensor]:
        def divergence(a: Tensor, *_: object, **__: object) -> Tensor:
            chosen.append(method)
            return a

        return divergence

    monkeypatch.setattr("understudy.losses.darkrank_soft.plackett_luce_kl", note("exact"))
    monkeypatch.setattr("understudy.losses.darkrank_soft.plackett_luce_kl_sampled", note("sampled"))
    x = torch.randn(30, 4)
    soft_darkrank(x, x, list_length=20)
    soft_darkrank(x, x, list_length=21)
    soft_darkrank(x, x)
    soft_darkrank(x, x, list_length=4, method="sampled")
    soft_darkrank(x, x, method="exact")
    assert chosen == ["exact", "sampled", "sampled", "sampled", "exact"]


@pytest.mark.parametrize(
    "options",
    [{}, {"list_length": 3}, {"list_length": 3, "tail": True}, {"method": "sampled"}, {"detach_query": True}],
    ids=str,
)
def test_exactly_zero_at_the_teacher(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    for n in (3, 6, 9):
        x = torch.randn(n, 4).requires_grad_()
        loss = soft_darkrank(x, x.detach(), queries=torch.arange(2), **options)
        whole = soft_darkrank(x, x.detach(), **options)
        for value in (loss, whole):
            assert value.item() == 0
            (gradient,) = torch.autograd.grad(value, x)
            assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("method", ["exact", "sampled"])
def test_identical_embeddings_have_a_finite_gradient(method: Any) -> None:
    torch.manual_seed(0)
    student = torch.randn(6, 4)
    student[3] = student[1]
    for embeddings in (student, torch.ones(6, 4)):
        x = embeddings.clone().requires_grad_()
        loss = soft_darkrank(x, torch.randn(6, 8), method=method, beta=1.0)
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("alpha", "beta"), [(12.25, 4.0), (100.0, 2.0), (60.0, 4.0)])
def test_float32_equals_float64(alpha: float, beta: float) -> None:
    torch.manual_seed(0)
    teacher = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
    student = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
    single, double = student.requires_grad_(), student.detach().double().requires_grad_()
    found = soft_darkrank(single, teacher, alpha=alpha, beta=beta, list_length=8)
    expected = soft_darkrank(double, teacher.double(), alpha=alpha, beta=beta, list_length=8)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    (g,) = torch.autograd.grad(found, single)
    (h,) = torch.autograd.grad(expected, double)
    assert (g.double() - h).norm() <= 1e-4 * h.norm()


def test_gradcheck() -> None:
    student, teacher = batch(5)
    for options in ({}, {"list_length": 2, "tail": True}, {"method": "sampled", "num_samples": 3}):
        assert torch.autograd.gradcheck(
            lambda s, o=options: soft_darkrank(s, teacher, generator=torch.Generator().manual_seed(0), **o),
            (student,),
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = batch(6, torch.float32)
    low = soft_darkrank(student.to(dtype), teacher.to(dtype))
    assert low.dtype == torch.float32
    assert torch.equal(low, soft_darkrank(student.to(dtype).float(), teacher.to(dtype).float()))


def test_no_gradient_to_the_teacher() -> None:
    student, teacher = batch()
    teacher.requires_grad_()
    assert torch.autograd.grad(soft_darkrank(student, teacher), teacher, allow_unused=True)[0] is None


def test_permuting_the_batch_changes_nothing() -> None:
    student, teacher = batch()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(soft_darkrank(student[order], teacher[order]), soft_darkrank(student, teacher))


def test_module_and_first_half() -> None:
    student, teacher = batch()
    options: dict[str, Any] = {"alpha": 12.25, "beta": 4.0, "list_length": 4, "detach_query": True}
    half = SoftDarkRank(queries="first_half", **options)
    expected = soft_darkrank(student, teacher, queries=torch.arange(3), **options)
    assert torch.equal(half(student, teacher), expected)
    assert not half.splits_by_query
    sampled = SoftDarkRank(method="sampled", num_samples=3, tail=True, list_length=2)
    found = sampled(student, teacher, generator=torch.Generator().manual_seed(3))
    expected = soft_darkrank(
        student,
        teacher,
        method="sampled",
        num_samples=3,
        tail=True,
        list_length=2,
        generator=torch.Generator().manual_seed(3),
    )
    assert torch.equal(found, expected)
    assert "num_samples=3" in repr(sampled)


def test_errors() -> None:
    student, teacher = batch()
    soft_darkrank(student[:3], teacher[:3])
    with pytest.raises(ValueError, match="soft_darkrank needs a batch of at least 3 rows, got 2"):
        soft_darkrank(student[:2], teacher[:2])
    with pytest.raises(ValueError, match="'auto', 'exact' or 'sampled', got 'all'"):
        SoftDarkRank(method="all")  # type: ignore[arg-type]
    many = torch.eye(26)
    with pytest.raises(ValueError, match=r"at most 24 items, .* got 25: set list_length, or method to 's"):
        soft_darkrank(many, many, method="exact")
    soft_darkrank(many, many)
    with pytest.raises(ValueError, match="num_samples as a whole number of at least 1"):
        SoftDarkRank(num_samples=0)
    with pytest.raises(ValueError, match="list_length as a whole number of at least 2, got 1"):
        SoftDarkRank(list_length=1)
