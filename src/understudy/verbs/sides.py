"""One model's part in an evaluation: its vectors of queries, gallery and what a whitening is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError, unknown
from understudy.evaluation import Describing, Embedded, Whitening, fit_learned, fit_pca, matching_pairs
from understudy.evaluation.inputs import as_vectors
from understudy.verbs.plans import Plan
from understudy.verbs.sources import Images, Source, Vectors

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

    @property
    def unreadable(self) -> np.ndarray:
        """The rows that were asked for and could not be read."""
        return np.setdiff1d(self._asked, self._held.rows)

    def fitted(self, whiten: Whiten, rows: np.ndarray) -> Whitening:
        """A whitening of these vectors."""
        readable = rows[np.isin(rows, self._held.rows)]
        return whiten.fit(self._held.of(readable), self.images.manifest.label_codes()[readable])

    def embedded(self, plan: Plan, whitening: Whitening | None = None, dim: int | None = None) -> Embedded:
        """The vectors of the queries and of the gallery; None for those it was not asked to make.

        Where the queries are the gallery, both are one tensor.
        """

        def finished(rows: np.ndarray, query: bool) -> Tensor | None:
            if not np.isin(rows, self._held.rows).all():
                return None
            vectors = plan.query_vectors(self._held) if query else self._held.of(plan.gallery)
            return vectors if whitening is None else whitening.apply(vectors, dim)

        query = finished(plan.query_images, query=True)
        one_set = plan.protocol == "metric_learning"
        return Embedded(query, query if one_set else finished(plan.gallery, query=False))

    @property
    def _held(self) -> Vectors:
        assert self._vectors is not None
        return self._vectors


def pair(embedded: Embedded) -> tuple[Tensor, Tensor]:
    """Both sides of what has been made whole."""
    assert isinstance(embedded.query, Tensor)
    assert isinstance(embedded.gallery, Tensor)
    return embedded.query, embedded.gallery
