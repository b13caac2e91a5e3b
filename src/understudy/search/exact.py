"""Exact top-k over blocks of queries and of the gallery."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.search._exclusion import Exclude, Exclusion
from understudy.search._memory import resolved
from understudy.search._scoring import Metric, Scoring
from understudy.search._select import largest

_ROWS = 128
"""Fewer queries at a time make a matrix product slow; the gallery is cut instead."""


class Block(NamedTuple):
    """The nearest gallery rows of some queries.

    Attributes:
        rows: (r,) int64, the queries' row numbers, consecutive.
        indices: (r, k) int64 gallery rows, the nearest first; −1 where a query has none left.
        scores: (r, k) descending; −inf where a query has none left.
    """

    rows: Tensor
    indices: Tensor
    scores: Tensor


def topk(
    query: Tensor,
    gallery: Tensor,
    k: int,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery rows nearest to each query: all blocks of `blocks`, end to end.

    Args:
        query: (n, d) floating point on any device.
        gallery: (m, d) on the same device.
        k: How many, 1 ≤ k ≤ m.
        exclude: Gallery rows a query must not find, see `Exclude`; ``"self"`` when the gallery is the query.
        metric: ``"cosine"`` (normalises inside; a zero vector scores 0 with all), ``"euclidean"`` (the score
            is minus the squared distance) or ``"dot"``.
        block_bytes: See `blocks`.

    Returns:
        Scores (n, k), larger is nearer, in the embeddings' type but at least float32, and gallery rows (n, k)
        int64. Where exclusion leaves fewer than k, the rest are −inf and −1.

    Raises:
        ValueError: A wrong shape, type or device, a value that is not finite, or k out of range.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [3.0], [1.0]])
        >>> scores, indices = topk(points, points, 2, exclude="self", metric="euclidean")
        >>> indices.tolist()
        [[1, 3], [3, 0], [1, 3], [1, 0]]
        >>> scores.abs().sqrt().tolist()
        [[1.0, 1.0], [0.0, 1.0], [2.0, 2.0], [0.0, 1.0]]
    """
    found = blocks(query, gallery, k, exclude=exclude, metric=metric, block_bytes=block_bytes)
    dtype = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
    scores = torch.empty(len(query), k, dtype=dtype, device=query.device)
    indices = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    start = 0
    for block in found:
        stop = start + len(block.rows)
        scores[start:stop], indices[start:stop] = block.scores, block.indices
        start = stop
    return scores, indices


def blocks(
    query: Tensor,
    gallery: Tensor,
    k: int,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
) -> Iterator[Block]:
    """The same search as `topk`, handed out a block of queries at a time, so that nothing is kept.

    Exact: every query meets every gallery row that is not excluded. Equal scores are ordered by gallery row,
    the lower first, whatever the block size. (Scores are floating-point products: equal vectors score equally
    to the last bit only as far as the matrix product sums them alike; integer-valued vectors always do.)

    Args:
        query: (n, d) floating point.
        gallery: (m, d) on the same device.
        k: How many, 1 ≤ k ≤ m.
        exclude: Gallery rows a query must not find, see `Exclude`.
        metric: As for `topk`.
        block_bytes: Bounds the memory for scores and candidates beside the inputs, the unit vectors of
            ``cosine`` and PyTorch's own scratch (a few times as much in all). It is exceeded only where a
            single query with its k results does not fit. None: `default_block_bytes` of the device.

    Returns:
        An iterator of `Block`; the queries come in order, each once.

    Raises:
        ValueError: At once, before the first block, as for `topk`.

    Example:
        >>> points = torch.eye(3)
        >>> [block.indices.tolist() for block in blocks(points, points, 1, exclude="self")]
        [[[1], [0], [0]]]
    """
    scoring = Scoring(query, gallery, metric)
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must lie between 1 and the gallery's {len(gallery)} rows, got {k}")
    block_bytes = resolved(block_bytes, query.device)
    exclusion = Exclusion(exclude, len(query), len(gallery), query.device)
    return _search(scoring, exclusion, k, block_bytes)


@torch.no_grad()
def _search(scoring: Scoring, exclusion: Exclusion, k: int, block_bytes: int) -> Iterator[Block]:
    query, gallery = scoring.query, scoring.gallery
    height, width = _tile_shape(len(query), len(gallery), k, query.element_size(), block_bytes)
    memory = query.new_empty(height * width)
    for start in range(0, len(query), height):
        rows = range(start, min(start + height, len(query)))
        scores: Tensor | None = None
        indices: Tensor | None = None
        for first in range(0, len(gallery), width):
            columns = range(first, min(first + width, len(gallery)))
            tile = memory[: len(rows) * len(columns)].view(len(rows), len(columns))
            scoring.tile(slice(rows.start, rows.stop), slice(columns.start, columns.stop), tile)
            exclusion.blot(tile, rows, columns)
            best, found = largest(tile, min(k, len(columns)))
            scores, indices = _merge(scores, indices, best, found + first, k)
        assert scores is not None
        assert indices is not None
        numbers = torch.arange(rows.start, rows.stop, device=query.device)
        yield Block(numbers, indices.masked_fill(scores == -torch.inf, -1), scores)


def _merge(
    scores: Tensor | None, indices: Tensor | None, best: Tensor, found: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The best k of two ranked lists; the first stands left, and its gallery rows are the lower ones."""
    if scores is None or indices is None:
        return best, found
    indices = torch.cat([indices, found], 1)
    scores, columns = largest(torch.cat([scores, best], 1), min(k, indices.shape[1]))
    return scores, indices.gather(1, columns)


def _tile_shape(queries: int, gallery: int, k: int, item: int, block_bytes: int) -> tuple[int, int]:
    """How many queries and gallery rows meet at a time."""
    results = 2 * (k + 1) * (item + 8)  # two ranked lists of scores and int64 rows, being merged
    fitting = (block_bytes // _ROWS - results) // item
    width = _even(gallery, max(fitting, k))  # narrower than k, merging would cost more than searching
    return _even(queries, max(1, block_bytes // (width * item + results))), width


def _even(total: int, most: int) -> int:
    """The size of equal pieces: a last piece of a row or two would be slow and would round differently."""
    pieces = max(1, math.ceil(total / most))
    return max(1, math.ceil(total / pieces))
