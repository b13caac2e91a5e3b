"""The search itself: every query meets every gallery row, a tile at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.search._exclusion import Exclusion
from understudy.search._scoring import Scoring
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


@torch.no_grad()
def search_tiles(
    scoring: Scoring, exclusion: Exclusion, k: int, block_bytes: int, start: int = 0
) -> Iterator[Block]:
    """The k nearest of every query from ``start`` on, a block of queries at a time."""
    query, gallery = scoring.query, scoring.gallery
    height, width = tile_shape(len(query) - start, len(gallery), k, query.element_size(), block_bytes)
    memory = query.new_empty(height * width)
    for first_row in range(start, len(query), height):
        rows = range(first_row, min(first_row + height, len(query)))
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


def tile_shape(queries: int, gallery: int, k: int, item: int, block_bytes: int) -> tuple[int, int]:
    """How many queries and gallery rows meet at a time."""
    results = 2 * (k + 1) * (item + 8)  # two ranked lists of scores and int64 rows, being merged
    fitting = (block_bytes // _ROWS - results) // item
    width = _even(gallery, max(fitting, k))  # narrower than k, merging would cost more than searching
    return _even(queries, max(1, block_bytes // (width * item + results))), width


def _even(total: int, most: int) -> int:
    """The size of equal pieces: a last piece of a row or two would be slow and would round differently."""
    pieces = max(1, math.ceil(total / most))
    return max(1, math.ceil(total / pieces))
