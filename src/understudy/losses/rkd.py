"""RKD: relational knowledge distillation, by distances of pairs and by angles of triples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._distances import pairwise_distances
from understudy.losses._first_derivative import first_derivative_only
from understudy.losses._relations import (
    RelationalLoss,
    candidates,
    mean_over_candidates,
    require_positive,
    select,
)

# Elements of the (vertices, n, n) tables of angles that are alive at once: what the caches of a CPU hold, and
# what keeps a GPU busy (64 MiB in float32, about eight of them).
_BLOCK_ON_CPU = 1 << 18
_BLOCK_ELSEWHERE = 1 << 24


def rkd_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    delta: float = 1.0,
    exclude: Tensor | None = None,
) -> Tensor:
    """A Huber loss between distances, each side in units of its own mean.

    With ψ_ij = ‖x_i − x_j‖/μ, μ the mean over all pairs i ≠ j of the batch, and h the Huber function with
    its corner at δ:

        L = 1/(n(n−1)) Σ_{i≠j} h(ψ^S_ij − ψ^T_ij)

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 5–7. The paper sums, the
    authors' code takes the mean over all n² entries, which is (n−1)/n of this; μ in their code leaves
    coincident rows out. In metric learning they weigh distances by 1 and angles by 2. Labels: none.
    Dimensions: may differ. Teacher: outputs only. Relations: pairs; :func:`rkd_angle` is the form for
    triples, :func:`~understudy.losses.relative_teacher` the one without μ and h.

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Rows that ask; None for all. μ is always of the whole batch.
        delta: Where h turns from ½x² to a line.
        exclude: (n, n) bool, pairs that do not count, in μ neither.

    Raises:
        ValueError: On wrong shapes or fewer than 3 rows (of 2, the one distance is its own mean).

    Example:
        >>> student = torch.tensor([[0.0], [1.0], [2.0]])
        >>> rkd_distance(student, student * 5)
        tensor(0.)
        >>> rkd_distance(student, torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]))
        tensor(0.1875)
    """
    student, teacher = check_relational("rkd_distance", student, teacher, minimum=3)
    check_queries("rkd_distance", queries, student)
    pairs = candidates("rkd_distance", student, None, exclude)
    error = _relative_distances(student, pairs) - _relative_distances(teacher, pairs)
    loss = F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
    return mean_over_candidates(select(loss, queries), select(pairs, queries))


def _relative_distances(x: Tensor, pairs: Tensor) -> Tensor:
    distances = pairwise_distances(x)
    mean = (distances * pairs).sum() / pairs.sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, torch.ones_like(mean))


def rkd_angle(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    delta: float = 1.0,
    exclude: Tensor | None = None,
) -> Tensor:
    """A Huber loss between the cosines of the angles that triples of images form.

    With ∠_ijk the angle at j between the directions to i and to k:

        L = 1/(n(n−1)(n−2)) Σ_{i,j,k distinct} h(cos ∠^S_ijk − cos ∠^T_ijk)

    The cosine of a side of length 0 is 0. The triples are worked through in blocks of vertices j, by the law
    of cosines on the distances, and the gradient is formed with the value: the memory is that of a few n×n
    tables, not of the n²·d + n³ numbers of the usual form, and there is no n³·d product.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019, equations 8–10. The paper sums, the
    authors' code takes the mean over all n³ entries, which is (n−1)(n−2)/n² of this for distinct rows.
    Labels: none. Dimensions: may differ. Teacher: outputs only. Relations: triples..

    Args:
        student: (n, dS) embeddings.
        teacher: (n, dT) embeddings of the same images.
        queries: Vertices j that count; None for all.
        delta: Where h turns from ½x² to a line; beyond 2 it never does.
        exclude: (n, n) bool, where the side from row to column does not count.

    Raises:
        ValueError: On wrong shapes or fewer than 3 rows.

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> rkd_angle(corner, 3 * corner + 1) < 1e-12
        tensor(True)
        >>> rkd_angle(corner, torch.tensor([[0.0], [1.0], [-1.0]]))
        tensor(0.1953)
    """
    student, teacher = check_relational("rkd_angle", student, teacher, minimum=3)
    check_queries("rkd_angle", queries, student)
    sides = candidates("rkd_angle", student, queries, exclude)
    loss: Tensor = _Angles.apply(
        _squared_distances(student), _squared_distances(teacher), queries, sides, delta, student.dtype
    )
    return loss


def _squared_distances(x: Tensor) -> Tensor:
    """In float64 where the device has it: the law of cosines subtracts them."""
    return pairwise_distances(x if x.device.type == "mps" else x.double(), squared=True)


def _cosines(squares: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
    """(vertices, n, n) cosines of the angles at the vertices between the directions to i and to k."""
    doubled = (rows.unsqueeze(1) - squares).add_(rows.unsqueeze(2)).to(inverse.dtype)
    return doubled.mul_(inverse.unsqueeze(1)).mul_(inverse.unsqueeze(2) * 0.5)


def _inverse(rows: Tensor, sides: Tensor, dtype: torch.dtype) -> Tensor:
    """1/‖x_j − x_i‖, and 0 where the two coincide or the side does not count."""
    return torch.where(sides & (rows > 0), rows.rsqrt(), 0.0).to(dtype)


class _Angles(torch.autograd.Function):
    """The loss from squared distances; the gradient with respect to the student's is formed on the way.

    With c_ik the cosine at vertex j, r_i the inverse length of the side to i and m_ik the weighted derivative
    of h, the law of cosines gives dL/dD²_ik = −½ Σ_j m_ik r_i r_k and
    dL/dD²_ji = r_i Σ_k m_ik r_k − r_i² Σ_k m_ik c_ik.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None,
        sides: Tensor,
        delta: float,
        dtype: torch.dtype,
    ) -> Tensor:
        n = student.shape[0]
        rows, wanted = select(student, queries), select(teacher, queries)
        inverse, wanted_inverse = _inverse(rows, sides, dtype), _inverse(wanted, sides, dtype)
        counts = sides.sum(1)
        weights = (counts * (counts - 1)).clamp_min(1).to(dtype).reciprocal()
        step = max(1, (_BLOCK_ON_CPU if student.device.type == "cpu" else _BLOCK_ELSEWHERE) // n**2)
        total = student.new_zeros(())
        gradient = torch.zeros_like(student)
        by_row = torch.empty_like(rows)
        for start in range(0, rows.shape[0], step):
            block = slice(start, start + step)
            cosines = _cosines(student, rows[block], inverse[block])
            error = cosines - _cosines(teacher, wanted[block], wanted_inverse[block])
            mask = sides[block]
            error.mul_(mask.unsqueeze(1)).mul_(mask.unsqueeze(2))
            error.diagonal(dim1=1, dim2=2).zero_()
            slope = error.clamp(-delta, delta)
            # h(x) = slope · (x − slope/2), on both sides of the corner.
            losses = (error.sub_(slope, alpha=0.5).mul_(slope)).sum((1, 2))
            total += (losses * weights[block]).sum()
            if not ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
                continue
            slope.mul_(weights[block, None, None])
            r = inverse[block]
            turned = cosines.mul_(slope).sum(2)
            pulled = slope.mul_(r.unsqueeze(1)).sum(2)
            by_row[block] = r * pulled - r.square() * turned
            gradient -= 0.5 * slope.mul_(r.unsqueeze(2)).sum(0)
        scale = 1 / rows.shape[0]
        gradient = gradient + by_row if queries is None else gradient.index_add(0, queries, by_row)
        ctx.save_for_backward(gradient.mul_(scale))
        return total.to(dtype) * scale

    @staticmethod
    @first_derivative_only("rkd_angle")
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * grad, None, None, None, None, None


class RKDDistance(RelationalLoss):
    """The module of :func:`rkd_distance`.

    Args:
        delta: The Huber function's corner.

    Example:
        >>> RKDDistance()(torch.eye(4), torch.eye(4))
        tensor(0.)
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        require_positive("rkd_distance", finite=False, delta=delta)
        self.delta = delta

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`rkd_distance`."""
        return rkd_distance(student, teacher, delta=self.delta, queries=queries, exclude=exclude)

    def extra_repr(self) -> str:
        """The settings."""
        return f"delta={self.delta}"


class RKDAngle(RelationalLoss):
    """The module of :func:`rkd_angle`.

    Args:
        delta: The Huber function's corner.

    Example:
        >>> RKDAngle()(torch.eye(4), torch.eye(4))
        tensor(0.)
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        require_positive("rkd_angle", finite=False, delta=delta)
        self.delta = delta

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """See :func:`rkd_angle`."""
        return rkd_angle(student, teacher, delta=self.delta, queries=queries, exclude=exclude)

    def extra_repr(self) -> str:
        """The settings."""
        return f"delta={self.delta}"
