"""How near two vectors are: larger is nearer, for every metric."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.search._precision import full_float32

Metric = Literal["cosine", "euclidean", "dot"]


class Scoring:
    """The scores of query rows against gallery rows, a tile at a time.

    What a metric needs of each row (its unit vector, its squared norm) is computed once, here; a tile is then
    one matrix product written into memory the caller gives.

    * ``cosine``: the product of the unit vectors. A zero vector has no direction: it scores 0 with all.
    * ``euclidean``: minus the *squared* distance. (The root could make two different distances equal.) In
      float32 a squared distance below about 1e-6 of the squared norms is rounding; pass float64 if it counts.
    * ``dot``: the inner product.

    Args:
        query: (n, d) floating point; half precision is raised to float32, float64 is kept.
        gallery: (m, d) on the same device. Passing the same tensor twice prepares it once.
        metric: One of the three names.

    Raises:
        ValueError: A wrong shape, type or device, or rows that hold NaN, infinity or numbers too large to
            be squared in their type.
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: Metric) -> None:
        _check_shapes(query, gallery)
        if metric not in get_args(Metric):
            raise ValueError(f"metric is one of {', '.join(get_args(Metric))}, got {metric!r}")
        dtype = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
        self.metric = metric
        self.query, self.query_squares = _prepare("query", query, dtype, metric)
        self.gallery, self.gallery_squares = self.query, self.query_squares
        if gallery is not query:
            self.gallery, self.gallery_squares = _prepare("gallery", gallery, dtype, metric)

    def of(self, rows: slice | Tensor) -> Scoring:
        """The same for some of the queries, which are then numbered anew."""
        some = copy.copy(self)
        some.query, some.query_squares = self.query[rows], self.query_squares[rows]
        return some

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        """Writes the scores of the query rows against the gallery rows (``columns``) into ``out``."""
        query, gallery = self.query[rows], self.gallery[columns]
        with full_float32():
            torch.mm(query, gallery.T, out=out)
        self.finish(out, self.gallery_squares[columns], self.query_squares[rows])

    def pairs(self, columns: Tensor, chunk_bytes: int) -> Tensor:
        """The scores of all queries with some gallery rows each.

        Every pair is summed by itself, so that equal gallery rows score equally to the last bit.

        Args:
            columns: (n, c) int64 gallery rows of all queries in order.
            chunk_bytes: Bounds the gathered vectors; one pair is the least.

        Returns:
            (n, c) scores.
        """
        scores = self.query.new_empty(columns.shape)
        item = self.query.shape[1] * self.query.element_size()
        width = max(1, min(columns.shape[1], chunk_bytes // item))
        height = max(1, chunk_bytes // (item * width))
        for row in range(0, len(columns), height):
            for first in range(0, columns.shape[1], width):
                here = slice(row, row + height), slice(first, first + width)
                gathered = torch.nn.functional.embedding(columns[here], self.gallery)
                torch.sum(gathered.mul_(self.query[here[0], None]), 2, out=scores[here])
        self.finish(scores, self.gallery_squares[columns], self.query_squares)
        return scores

    def finish(self, products: Tensor, gallery_squares: Tensor, query_squares: Tensor) -> None:
        """Makes inner products into scores, in place."""
        if self.metric == "euclidean":
            products.mul_(2).sub_(gallery_squares).sub_(query_squares[:, None]).clamp_(max=0)


def _prepare(side: str, x: Tensor, dtype: torch.dtype, metric: Metric) -> tuple[Tensor, Tensor]:
    """The rows as the metric multiplies them, and their squared norms."""
    x = x.detach().to(dtype)
    squares = x.square().sum(1)
    # Four such squares must still fit the type: they bound every product and every squared distance.
    bad = (~torch.isfinite(4 * squares)).nonzero()[:, 0]
    if len(bad):
        named = ", ".join(str(row) for row in bad[:3].tolist()) + (", …" if len(bad) > 3 else "")
        raise ValueError(f"{side} rows {named} hold NaN, infinity or numbers too large for {dtype}")
    if metric == "cosine":
        lengths = squares
        faint = (squares < torch.finfo(dtype).tiny / torch.finfo(dtype).eps).nonzero()[:, 0]
        if len(faint):  # so short that squares underflow: measured with the largest number at 1
            rows = x[faint]
            largest = rows.abs().amax(1, keepdim=True)
            rows = rows / torch.where(largest > 0, largest, 1)
            x, lengths = x.index_copy(0, faint, rows), squares.index_copy(0, faint, rows.square().sum(1))
        x = x / torch.where(lengths > 0, lengths, 1).sqrt()[:, None]
    return x, squares


def _check_shapes(query: Tensor, gallery: Tensor) -> None:
    for side, x in (("query", query), ("gallery", gallery)):
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"the {side} must be (rows, dim), got shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"the {side} must be floating point, got {x.dtype}")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have one dimension, got {query.shape[1]} and {gallery.shape[1]}"
        )
    if query.device != gallery.device:
        raise ValueError(f"query and gallery must be on one device, got {query.device} and {gallery.device}")
