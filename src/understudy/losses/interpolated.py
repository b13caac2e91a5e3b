"""Data-efficient ranking distillation: relations between embeddings and mixtures of embeddings."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Generator, Tensor, nn

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._distances import widest
from understudy.losses._relations import require_positive
from understudy.losses.mixtures import Pairs, draw_pairs, drop_antipodal, interpolate

Anchors = Literal["all", "original"]
Coefficient = Literal["uniform"] | Sequence[object]  # ("beta", a)


class Interpolated(nn.Module):
    """Any relational loss, on the joint set of a batch's embeddings and mixtures of them.

    A batch of n images gives n embeddings on each side; m mixtures (1 − c) x_i + c x_j are added, with the
    same pairs and the same c for student and teacher, and the loss is taken on all n + m rows. The teacher is
    asked once for each image, so this is for teachers with few answers: black boxes and stored vectors.

    With squared Euclidean distances or dot products and without renormalising, the relations of mixtures are
    linear in the original ones: mixing then only re-weights what the batch said anyhow. It adds constraints
    when the inner loss is not linear in those (distances, ranks, softmax) or with ``renormalize``.

    Source: after Laskar and Kannala, "Data-Efficient Ranking Distillation for Image Retrieval", ACCV 2020: a
    **reconstruction** from the abstract; loss, pairs, law of the coefficient and the number of mixtures are
    not published. Labels: none. Dimensions: as the inner loss. Teacher: outputs only, cacheable.

    Args:
        loss: The inner loss, one on embeddings such as :class:`~understudy.losses.RelativeTeacher`.
        mixes: Mixtures as a ratio to the batch; not used with ``pairs="all"``, which mixes every pair once.
        coefficient: ``"uniform"`` for c ~ U(0, 1), or ``("beta", a)`` for c ~ Beta(a, a).
        pairs: ``random``, ``all`` or ``neighbours``; see :func:`draw_pairs`.
        renormalize: Whether mixtures get their parents' length back (the unit sphere, for unit vectors), on
            both sides. Pairs whose mixture nearly vanishes on either side are then replaced by their first
            parent.
        anchors: Who asks: ``all`` rows of the joint set or the ``original`` ones; all rows answer.
        exclude_parents: Whether a mixture and its parents do not answer each other, which is the least
            informative relation. The inner loss must take ``exclude``.

    Raises:
        ValueError: On an unknown setting, or an inner loss that is not on embeddings, cannot exclude, or
            chooses who asks where ``anchors`` does.

    Example:
        >>> from understudy.losses import RelativeTeacher
        >>> loss = Interpolated(RelativeTeacher(), mixes=2.0, coefficient=("beta", 0.4))
        >>> loss(torch.eye(4), torch.eye(4), generator=torch.Generator().manual_seed(0))
        tensor(0.)
    """

    inputs: tuple[str, ...] = ("embedding",)

    random: ClassVar[bool] = True

    def __init__(
        self,
        loss: nn.Module,
        mixes: float = 1.0,
        coefficient: Coefficient = "uniform",
        pairs: Pairs = "random",
        renormalize: bool = False,
        anchors: Anchors = "all",
        exclude_parents: bool = True,
    ) -> None:
        super().__init__()
        require_positive("interpolated", mixes=mixes)
        for key, value, known in (("pairs", pairs, get_args(Pairs)), ("anchors", anchors, get_args(Anchors))):
            if value not in known:
                raise ValueError(f"interpolated needs {key} to be one of {', '.join(known)}, got {value!r}")
        inner = type(loss).__name__
        if tuple(getattr(loss, "inputs", ())) != ("embedding",):
            raise ValueError(f"interpolated needs an inner loss on embeddings alone, got {inner}")
        if exclude_parents and "exclude" not in inspect.signature(loss.forward).parameters:
            raise ValueError(
                f"interpolated cannot exclude parents from {inner}: set exclude_parents to false"
            )
        if anchors == "original" and getattr(loss, "queries", "all") != "all":
            raise ValueError(
                f"interpolated with anchors='original' lets all original rows ask, and {inner} is set to "
                f"queries={loss.queries!r}: set queries to 'all', or anchors to 'all'"
            )
        self.loss = loss
        self.mixes = mixes
        self.beta = _beta(coefficient)
        self.pairs: Pairs = pairs
        self.renormalize = renormalize
        self.anchors = anchors
        self.exclude_parents = exclude_parents

    @property
    def capturable(self) -> bool:
        """As the inner loss."""
        return bool(getattr(self.loss, "capturable", True))

    @property
    def splits_by_query(self) -> bool:
        """As the inner loss, when the mixtures can be shared out with the rows."""
        whole = self.anchors == "original" or (self.pairs != "all" and float(self.mixes).is_integer())
        return whole and bool(getattr(self.loss, "splits_by_query", False))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """The inner loss on the joint set.

        Args:
            student: (n, dS) embeddings.
            teacher: (n, dT) embeddings of the same images; no gradient flows into them.
            queries: Original rows that ask, or None for all; with ``anchors="all"`` each brings its share of
                the mixtures, so ``mixes`` must be whole.
            generator: The source of pairs and coefficients, on the embeddings' device.

        Returns:
            A scalar.
        """
        student, teacher = check_relational("interpolated", student, teacher)
        check_queries("interpolated", queries, student)
        n = student.shape[0]
        count = n * (n - 1) // 2 if self.pairs == "all" else max(1, round(self.mixes * n))
        if self.pairs == "neighbours" and count > n * (n - 1):
            raise ValueError(
                f"interpolated has no {count} neighbour pairs in a batch of {n} rows: lower mixes below {n}"
            )
        first, second = draw_pairs(teacher, count, self.pairs, generator)
        coefficient = self._draw_coefficients(count, teacher.device, generator)
        parents = (first, second)
        if self.renormalize:
            second, _ = drop_antipodal((student, teacher), first, second, coefficient)
        joint = [
            torch.cat([x, interpolate(x, first, second, coefficient, renormalize=self.renormalize)])
            for x in (student, teacher)
        ]
        keywords = {"exclude": _parents_of(n, *parents)} if self.exclude_parents else {}
        asking = self._asking(n, count, queries, student.device)
        total: Tensor = self.loss(*joint, queries=asking, generator=generator, **keywords)
        return total

    def _draw_coefficients(self, count: int, device: torch.device, generator: Generator | None) -> Tensor:
        if self.beta is None:
            return torch.rand(count, device=device, generator=generator)
        # Beta(a, a) as the share of one of two Gamma(a) variables; torch's distributions take no generator.
        # In logarithms, as for a small a both may be below every float: Gamma(a) is Gamma(a + 1) · U^(1/a).
        shape = widest(torch.full((count, 2), self.beta, device=device))
        logs = torch._standard_gamma(shape + 1, generator=generator).log()  # noqa: SLF001
        uniform = 1 - torch.rand(shape.shape, dtype=shape.dtype, device=device, generator=generator)
        logs = logs + uniform.log() / shape
        return torch.sigmoid(logs[:, 0] - logs[:, 1]).to(torch.get_default_dtype())

    def _asking(self, n: int, count: int, queries: Tensor | None, device: torch.device) -> Tensor | None:
        """The rows of the joint set that ask, for the given original rows."""
        if self.anchors == "original":
            return torch.arange(n, device=device) if queries is None else queries
        if queries is None:
            return None
        if count % n:
            raise ValueError(
                f"interpolated cannot share {count} mixtures out to {n} rows: give mixes as a whole number, "
                f"anchors='original', or no queries"
            )
        shares = torch.arange(count // n + 1, device=device) * n
        return (shares.unsqueeze(1) + queries).flatten()

    def extra_repr(self) -> str:
        """The settings."""
        coefficient = "'uniform'" if self.beta is None else f"('beta', {self.beta})"
        return (
            f"mixes={self.mixes}, coefficient={coefficient}, pairs={self.pairs!r}, "
            f"renormalize={self.renormalize}, anchors={self.anchors!r}, "
            f"exclude_parents={self.exclude_parents}"
        )


def _beta(coefficient: Coefficient) -> float | None:
    """The parameter of the Beta law, or None for the uniform one."""
    if coefficient == "uniform":
        return None
    if not isinstance(coefficient, str) and len(coefficient) == 2 and coefficient[0] == "beta":
        a = coefficient[1]
        if isinstance(a, (int, float)) and 0 < a < math.inf:
            return float(a)
    raise ValueError(
        f"interpolated needs a coefficient of 'uniform' or ('beta', a) with a above 0, got {coefficient!r}"
    )


def _parents_of(n: int, first: Tensor, second: Tensor) -> Tensor:
    """(n + m, n + m) bool, True between each mixture and its two parents."""
    rows = torch.arange(n, device=first.device)
    parents = (first.unsqueeze(1) == rows) | (second.unsqueeze(1) == rows)
    originals = parents.new_zeros(n, n)
    mixtures = parents.new_zeros(len(first), len(first))
    return torch.cat([torch.cat([originals, parents.T], dim=1), torch.cat([parents, mixtures], dim=1)])
