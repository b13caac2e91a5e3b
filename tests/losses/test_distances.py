from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.losses._distances import at_least_float32, pairwise_distances


def loop(x: Tensor, y: Tensor) -> Tensor:
    rows = [
        [math.sqrt(sum((a - b) ** 2 for a, b in zip(u, v, strict=True))) for v in y.double().tolist()]
        for u in x.double().tolist()
    ]
    return torch.tensor(rows, dtype=torch.float64)


def test_hand_computed() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    y = torch.tensor([[0.0, 1.0], [3.0, 0.0], [3.0, 4.0]])
    expected = torch.tensor([[1.0, 3.0, 5.0], [math.sqrt(18), 4.0, 0.0]])
    torch.testing.assert_close(pairwise_distances(x, y), expected)
    torch.testing.assert_close(pairwise_distances(x, y, squared=True), expected**2)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_loops_even_for_near_points_far_from_the_origin(dtype: torch.dtype, offset: float) -> None:
    torch.manual_seed(0)
    x = (torch.randn(7, 5) * torch.tensor([1, 1, 1, 1e-3, 1e-3, 1e-2, 1e-2])[:, None] + offset).to(dtype)
    y = torch.randn(4, 5, dtype=dtype) + offset
    torch.testing.assert_close(pairwise_distances(x).double(), loop(x, x), rtol=2e-6, atol=0)
    torch.testing.assert_close(pairwise_distances(x, y).double(), loop(x, y), rtol=2e-6, atol=0)


def test_diagonal_and_duplicates_are_exactly_zero_with_zero_gradient() -> None:
    torch.manual_seed(0)
    base = torch.nn.functional.normalize(torch.randn(300, 512), dim=1)
    x = torch.cat([base, base.flip(0)]).requires_grad_()
    distances = pairwise_distances(x)
    assert torch.equal(distances.diagonal(), torch.zeros(600))
    twins = torch.arange(600).flip(0)
    assert torch.equal(distances[torch.arange(600), twins], torch.zeros(600))
    (gradient,) = torch.autograd.grad((distances[torch.arange(600), twins]).sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))
    # Columns of duplicates are equal to the bit, so that ties stay ties.
    assert torch.equal(distances, distances[:, twins])


def test_all_rows_identical() -> None:
    x = torch.full((5, 3), 0.7).requires_grad_()
    distances = pairwise_distances(x)
    (gradient,) = torch.autograd.grad(distances.sum(), x)
    assert torch.equal(distances, torch.zeros(5, 5))
    assert torch.equal(gradient, torch.zeros(5, 3))


@pytest.mark.parametrize("squared", [False, True])
def test_gradcheck(squared: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: pairwise_distances(a, squared=squared) * weight, (x,))
    assert torch.autograd.gradcheck(lambda a, b: pairwise_distances(a, b, squared=squared), (x, y))
    assert torch.autograd.gradcheck(lambda b: pairwise_distances(x.detach(), b, squared=squared), (y,))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_float32_gradient_keeps_its_digits_far_from_the_origin(squared: bool, cross: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 6).mul_(0.1).add_(100).requires_grad_()
    y = (x[:4] + torch.randn(4, 6) * 0.1).detach().requires_grad_() if cross else None
    double_x = x.detach().double().requires_grad_()
    double_y = None if y is None else y.detach().double().requires_grad_()
    distances = pairwise_distances(x, y, squared=squared)
    weight = torch.rand_like(distances)
    differences = double_x[:, None] - (double_x if double_y is None else double_y)
    expected = differences.square().sum(2)
    if not squared:
        expected = torch.where(expected > 0, expected, torch.nan).sqrt().nan_to_num()
    inputs = [t for t in (x, y) if t is not None]
    doubles = [t for t in (double_x, double_y) if t is not None]
    found = torch.autograd.grad((distances * weight).sum(), inputs)
    wanted = torch.autograd.grad((expected * weight).sum(), doubles)
    for g, h in zip(found, wanted, strict=True):
        torch.testing.assert_close(g.double(), h.nan_to_num(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("apart", "error"), [(1e-4, 1e-3), (1e-6, 1e-1)])
def test_rows_that_nearly_coincide_keep_some_digits_in_float32(apart: float, error: float) -> None:
    x = torch.nn.functional.normalize(
        torch.randn(64, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1
    )
    away = torch.nn.functional.normalize(
        torch.randn(256, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=0
    )
    x[1] = torch.nn.functional.normalize(x[0] + apart * away, dim=0)
    x = x.float()
    found, exact = (
        torch.autograd.grad(pairwise_distances(leaf).sum(), leaf)[0][:2].double()
        for leaf in (x.clone().requires_grad_(), x.double().requires_grad_())
    )
    assert (found - exact).norm() < error * exact.norm()


def test_backward_under_autocast_keeps_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(pairwise_distances(x).sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = torch.autograd.grad(pairwise_distances(x).sum(), x)
    assert torch.equal(found, expected)


def test_exact_under_autocast() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pairwise_distances(x)
    assert torch.equal(inside, pairwise_distances(x))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_types(given: torch.dtype, kept: torch.dtype) -> None:
    x = torch.randn(3, 4).to(given)
    assert at_least_float32(x).dtype == kept
    assert pairwise_distances(x).dtype == kept
    assert torch.equal(pairwise_distances(x), pairwise_distances(x.to(kept)))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("same", [True, False])
def test_distances_are_no_tensor_that_was_changed_in_place(*, squared: bool, same: bool) -> None:
    """Compiled by torch 2.11, such a result of a function of autograd has no gradient."""
    x, y = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    distances = pairwise_distances(x, None if same else y, squared=squared)
    assert distances._version == 0


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("same", [True, False])
def test_compiled_distances_have_the_same_gradient(*, squared: bool, same: bool) -> None:
    torch.compiler.reset()
    x, y = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    weights = torch.rand(5, 5 if same else 4)

    def weighed(x: Tensor) -> Tensor:
        return (pairwise_distances(x, None if same else y, squared=squared) * weights).sum()

    (expected,) = torch.autograd.grad(weighed(x), x)
    (found,) = torch.autograd.grad(torch.compile(weighed, backend="eager", dynamic=False)(x), x)
    torch.testing.assert_close(found, expected)
