"""Queries and a gallery with their labels: what of them takes part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_pair, as_vectors


@dataclass(frozen=True)
class Sides:
    """What takes part: everything, or the labelled rows where there are labels.

    Attributes:
        query: (n', d) embeddings of the queries that take part.
        gallery: (m', d) those of the gallery.
        query_rows: (n',) int64, which of the given queries they are.
        gallery_rows: (m',) int64.
        labels: Their labels; None where there are none.
        reference: Their embeddings by another model, or None.
        given: How many queries and gallery items were given.
    """

    query: Tensor
    gallery: Tensor
    query_rows: Tensor
    gallery_rows: Tensor
    labels: tuple[Tensor, Tensor] | None
    reference: tuple[Tensor, Tensor] | None
    given: tuple[int, int]

    @property
    def left_out(self) -> int:
        """How many were given and take no part."""
        return sum(self.given) - len(self.query) - len(self.gallery)

    def cameras(self, query: Labels, gallery: Labels) -> tuple[Tensor, Tensor]:
        """The cameras of what takes part.

        Args:
            query: (n,) camera numbers of all given queries.
            gallery: (m,) those of the gallery.

        Raises:
            UserError: One that takes part has none (a negative number).
            ValueError: Not one number for each.
        """
        device = self.query.device
        sides = (("query", query, self.query_rows), ("gallery", gallery, self.gallery_rows))
        found = []
        for (side, cameras, rows), count in zip(sides, self.given, strict=True):
            codes = as_labels(side, cameras, count, device, what="cameras")[rows]
            check_cameras(side, codes)
            found.append(codes)
        return found[0], found[1]


def sides(
    query: Vectors,
    gallery: Vectors,
    query_labels: Labels | None,
    gallery_labels: Labels | None,
    reference: tuple[Vectors, Vectors] | None = None,
) -> Sides:
    """Brings what was given to one device and leaves out what has no label, where others have.

    Args:
        query: (n, d), NumPy or torch.
        gallery: (m, d).
        query_labels: (n,) class numbers, negative where unlabelled; labels come on both sides or on none.
        gallery_labels: (m,).
        reference: Embeddings of the same queries and gallery by another model.

    Raises:
        UserError: An embedding is not finite, or the sides' dimensions differ.
        ValueError: Shapes that do not fit together.

    Example:
        >>> both = sides(torch.eye(3), torch.eye(3), [4, -1, 5], [4, 4, -1])
        >>> both.query_rows.tolist(), both.gallery_rows.tolist(), both.left_out
        ([0, 2], [0, 1], 2)
    """
    ours = as_vectors("query", query)
    base = as_vectors("gallery", gallery, ours.device)
    check_dimensions(ours, base)
    theirs = None if reference is None else as_pair(reference, len(ours), len(base), ours.device)
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("labels must be given for both the query and the gallery, or for neither")
    given = len(ours), len(base)
    query_rows, gallery_rows = (torch.arange(count, device=ours.device) for count in given)
    if query_labels is None or gallery_labels is None:
        return Sides(ours, base, query_rows, gallery_rows, None, theirs, given)
    sought = as_labels("query", query_labels, len(ours), ours.device)
    known = as_labels("gallery", gallery_labels, len(base), ours.device)
    query_rows, gallery_rows = query_rows[sought >= 0], gallery_rows[known >= 0]
    if theirs is not None:
        theirs = taking(theirs[0], query_rows), taking(theirs[1], gallery_rows)
    labels = sought[query_rows], known[gallery_rows]
    ours, base = taking(ours, query_rows), taking(base, gallery_rows)
    return Sides(ours, base, query_rows, gallery_rows, labels, theirs, given)


def taking(vectors: Tensor, rows: Tensor) -> Tensor:
    """Some rows in ascending order; the same tensor, not a copy, where they are all."""
    return vectors if len(rows) == len(vectors) else vectors[rows]


def check_cameras(side: str, cameras: Tensor) -> None:
    """Refuses images without a camera where it counts.

    Raises:
        UserError: A camera number is negative.
    """
    missing = int((cameras < 0).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(cameras)} {side} images have no camera: re-identification needs one for "
            "each, fill the column or use the protocol query_gallery"
        )


def check_dimensions(query: Tensor, gallery: Tensor) -> None:
    """Refuses queries and a gallery that cannot be compared.

    Raises:
        UserError: Their dimensions differ.
    """
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"the queries have {query.shape[1]} dimensions and the gallery {gallery.shape[1]}: "
            f"train the model of the queries with student.dim {gallery.shape[1]}, or embed the gallery with "
            "it too"
        )
