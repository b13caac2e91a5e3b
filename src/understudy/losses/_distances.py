"""Euclidean distances between the rows of two matrices: one matrix product, safe where points coincide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

# Two points coincide when their squared distance is below this many rounding errors of their squared norm.
_COINCIDENT = 64.0


def at_least_float32(x: Tensor) -> Tensor:
    """Raises half precision to float32 and keeps float32 and float64.

    Example:
        >>> at_least_float32(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def widest(x: Tensor) -> Tensor:
    """The tensor in float64, which autocast and TF32 leave alone; as it is on a device without float64."""
    return x if x.device.type == "mps" else x.double()


def pairwise_distances(x: Tensor, y: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Euclidean distances between all rows of ``x`` and all rows of ``y``.

    The Gram matrix is taken of centred vectors and in float64, whatever the input: a float32 one loses half
    the digits of small distances, and nearly all of them when TF32 or autocast is on, which the rankings and
    scores built on these distances would show. Points nearer than 1e-7 of their distance from the centre
    count as coincident: their distance is exactly 0 and no gradient flows through it, where the Euclidean
    distance has none.

    Args:
        x: (n, d) vectors; half precision is raised to float32.
        y: (m, d) vectors, or None for ``x`` itself: then the diagonal is exactly 0.
        squared: Leaves the squares.

    Returns:
        (n, m) distances, float32 or float64 as ``x``.

    Example:
        >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]))
        tensor([[0., 5., 0.],
                [5., 0., 5.],
                [0., 5., 0.]])
    """
    x = at_least_float32(x)
    distances: Tensor
    if y is None:
        distances = _SelfDistances.apply(x, squared)
    else:
        distances = _CrossDistances.apply(x, at_least_float32(y).to(x.dtype), squared)
    return distances


def _squares(x: Tensor, y: Tensor, dtype: torch.dtype, *, same: bool = False) -> Tensor:
    """(n, m) squared distances of rows near the origin; exactly 0 where two rows coincide.

    The last operation makes a tensor of its own. Where it gives back its own input, changed in place or cast
    to the type that it has, a function of autograd has no gradient once torch 2.11 has compiled it, and
    nobody is told: no function of this package may end so.
    """
    norm_x, norm_y = (x * x).sum(1, keepdim=True), (y * y).sum(1, keepdim=True)
    # |x|² − 2 x·y + |y|² as one product of extended rows: no further pass over the n × m table.
    left = torch.cat([-2 * x, norm_x, torch.ones_like(norm_x)], dim=1)
    right = torch.cat([y, torch.ones_like(norm_y), norm_y], dim=1)
    squares = (left @ right.T).to(dtype)
    if same:
        squares.fill_diagonal_(0.0)
    coincident = (norm_x * (_COINCIDENT * torch.finfo(x.dtype).eps)).to(dtype)
    return squares.masked_fill(squares <= coincident, 0.0)


def _pull(grad: Tensor, distances: Tensor, squared: bool) -> Tensor:
    """(n, m) weights W of the gradient Σ_j W_ij (x_i − y_j), 0 for coincident points in any case."""
    apart = distances > 0
    # Divided by 1 where the points coincide, as a second derivative would see 0/0 behind the choice.
    return torch.where(apart, 2 * grad if squared else grad / torch.where(apart, distances, 1.0), 0.0)


def _pulled(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, d) gradient Σ_j W_ij (x_i − y_j).

    In float32 on a CPU, at half the cost; elsewhere TF32 may be on. Centred, so that little cancels, but for
    the weights 1/d of rows that nearly coincide: the gradient of two unit vectors 1e-4 apart keeps three
    digits, 1e-6 apart one.
    """
    if x.device.type == "cpu":
        exact_weights, exact_x, exact_y = weights, x, y
    else:
        exact_weights, exact_x, exact_y = widest(weights), widest(x), widest(y)
    centre = exact_y.mean(0)
    with torch.autocast(x.device.type, enabled=False):
        products = exact_weights @ (exact_y - centre)
    return (exact_weights.sum(1, keepdim=True) * (exact_x - centre) - products).to(x.dtype)


class _SelfDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, squared: bool) -> Tensor:
        centred = widest(x)
        centred = centred - centred.mean(0)
        squares = _squares(centred, centred, x.dtype, same=True)
        distances = squares if squared else squares.sqrt()
        ctx.save_for_backward(x, distances)
        ctx.squared = squared  # type: ignore[attr-defined]
        return distances

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        x, distances = ctx.saved_tensors  # type: ignore[attr-defined]
        weights = _pull(grad, distances, ctx.squared)  # type: ignore[attr-defined]
        return _pulled(weights + weights.T, x, x), None


class _CrossDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, y: Tensor, squared: bool) -> Tensor:
        exact_x, exact_y = widest(x), widest(y)
        centre = exact_y.mean(0)
        squares = _squares(exact_x - centre, exact_y - centre, x.dtype)
        distances = squares if squared else squares.sqrt()
        ctx.save_for_backward(x, y, distances)
        ctx.squared = squared  # type: ignore[attr-defined]
        return distances

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, distances = ctx.saved_tensors  # type: ignore[attr-defined]
        weights = _pull(grad, distances, ctx.squared)  # type: ignore[attr-defined]
        needs_x, needs_y, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
        grad_x = _pulled(weights, x, y) if needs_x else None
        grad_y = _pulled(weights.T, y, x) if needs_y else None
        return grad_x, grad_y, None
