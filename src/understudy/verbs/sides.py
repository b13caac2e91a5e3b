"""One model's part in an evaluation: its vectors of queries, gallery and what a whitening is fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError, unknown
from understudy.evaluation import Describing, Embedded, Whitening, fit_learned, fit_pca, matching_pairs
from understudy.evaluation.inputs import as_vectors
from understudy.evaluation.plans import Plan
from understudy.evaluation.rows import Vectors
from understudy.models import Embedder
from understudy.models.space import SpaceName, check_reduction, prefix
from understudy.verbs.sources import Images, Source

WhiteningKind = Literal["pca", "learned"]


@dataclass(frozen=True)
class Whiten:
    """Which whitening is fitted, and on what.

    Attributes:
        kind: ``pca`` or ``learned``.
        split: The split it is fitted on.
        dim: How many numbers are kept; none: all.

    Raises:
        UserError: There is no such kind.
    """

    kind: str
    split: str
    dim: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(WhiteningKind):
            raise unknown("whitening", self.kind, get_args(WhiteningKind))

    def rows(self, images: Images, measured: np.ndarray) -> np.ndarray:
        """The manifest rows it is fitted on.

        Raises:
            UserError: There are none, or some of them are measured.
        """
        rows = images.rows(self.split, "--whiten-split")
        both = len(np.intersect1d(rows, measured))
        if both:
            raise UserError(
                f"{both} of the images to measure are in the split {self.split!r}, which the whitening is to "
                "be fitted on: measure another --split, or pass another --whiten-split"
            )
        return rows

    def fit(self, vectors: Tensor, labels: np.ndarray) -> Whitening:
        """Fits it on vectors and, for learned whitening, their labels.

        Raises:
            UserError: It cannot be fitted on them.
        """
        points = as_vectors("training", vectors)
        if self.kind == "pca":
            return fit_pca(points)
        return fit_learned(points, *matching_pairs(torch.from_numpy(labels).to(points.device)))


class Side:
    """The vectors of one model or table.

    Args:
        source: The model or table.
        images: The data.
        describing: How a model looks at an image.
    """

    def __init__(self, source: Source, images: Images, describing: Describing) -> None:
        self.source = source
        self.images = images
        self.describing = describing
        self._asked: np.ndarray = np.empty(0, dtype=np.int64)
        self._vectors: Vectors | None = None

    def prepare(self, rows: np.ndarray) -> None:
        """Makes the vectors of some ascending manifest rows; only these can be asked for."""
        self._asked = rows
        self._vectors = self.source.vectors(self.images, rows, self.describing)

    def dim(self, space: SpaceName = "own") -> int:
        """The dimension of the vectors in a space."""
        maker = self.source.maker
        if space == "teacher" and isinstance(maker, Embedder) and maker.space is not None:
            return maker.space.dim
        return maker.dim

    def check(self, dim: int | None, space: SpaceName = "own") -> None:
        """Refuses a length or a space that these vectors do not have.

        Raises:
            UserError: With the cure.
        """
        maker = self.source.maker
        compatible = isinstance(maker, Embedder) and maker.projection is not None
        check_reduction(dim, space, own=maker.dim, compatible=compatible)

    def check_meets(self, gallery: int) -> None:
        """Refuses a gallery that is of neither space's dimension, to a model that has two.

        Raises:
            UserError: With the dimensions of both.
        """
        own, theirs = self.dim(), self.dim("teacher")
        if own != theirs and gallery not in (own, theirs):
            raise UserError(
                f"the gallery has {gallery} dimensions and {self.source.name!r} {own}, or {theirs} in its "
                "teacher's space: pass a gallery that its teacher embedded, or embed the gallery with it too"
            )

    @property
    def unreadable(self) -> np.ndarray:
        """The rows that were asked for and could not be read."""
        return np.setdiff1d(self._asked, self._held.rows)

    def fitted(self, whiten: Whiten, rows: np.ndarray, space: SpaceName = "own") -> Whitening:
        """A whitening of these vectors."""
        readable = rows[np.isin(rows, self._held.rows)]
        return whiten.fit(
            self._reduced(None, space).of(readable), self.images.manifest.label_codes()[readable]
        )

    def embedded(
        self,
        plan: Plan,
        *,
        dim: int | None = None,
        space: SpaceName = "own",
        whitening: Callable[[Tensor], Tensor] = lambda vectors: vectors,
    ) -> Embedded:
        """The vectors of the queries and of the gallery; None for those it was not asked to make.

        Where the queries are the gallery, both are one tensor.

        Args:
            plan: Which they are.
            dim: Only the first so many numbers of each.
            space: ``teacher``: mapped into the teacher's space.
            whitening: Whitens vectors.
        """
        held = self._reduced(dim, space)

        def finished(rows: np.ndarray, query: bool) -> Tensor | None:
            if not np.isin(rows, held.rows).all():
                return None
            return whitening(plan.query_vectors(held) if query else held.of(plan.gallery))

        query = finished(plan.query_images, query=True)
        one_set = plan.protocol == "metric_learning"
        return Embedded(query, query if one_set else finished(plan.gallery, query=False))

    def _reduced(self, dim: int | None, space: SpaceName) -> Vectors:
        """The vectors at a length, in a space."""
        held, maker = self._held, self.source.maker
        if isinstance(maker, Embedder):
            with torch.no_grad():
                return Vectors(held.rows, maker.reduce(held.values, dim, space))
        if dim is None:
            return held
        return Vectors(held.rows, prefix(held.values, dim, normalize=bool(maker.normalised)))

    @property
    def _held(self) -> Vectors:
        assert self._vectors is not None
        return self._vectors


def pair(embedded: Embedded) -> tuple[Tensor, Tensor]:
    """Both sides of what has been made whole."""
    assert isinstance(embedded.query, Tensor)
    assert isinstance(embedded.gallery, Tensor)
    return embedded.query, embedded.gallery
