"""Search in low precision whose result is that of float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.search._coarse import Coarse
from understudy.search._exclusion import Exclusion
from understudy.search._scoring import Scoring
from understudy.search._select import largest
from understudy.search._tiled import Block, search_tiles, tile_shape

_PROBE = 256
"""Queries at a time until the number of candidates has proved sufficient."""

_FAILING = 1 / 8
"""A larger share of queries searched again asks for more candidates."""

_WORTH = 64
"""Scoring more than this part of the gallery again costs as much as low precision saves: a gathered vector is
read from memory for one product, while a tile's are read for many. Measured at 512 dimensions."""

_GROWTH = 8
"""How many times the first number of candidates is still worth it."""


@dataclass
class Tally:
    """How often low precision did not suffice; hand one to `understudy.search.topk` and read it afterwards.

    Attributes:
        queries: How many queries were searched.
        again: How many of them were searched (again) in full precision.

    Example:
        >>> from understudy.search import topk
        >>> tally = Tally()
        >>> points = torch.randn(3000, 16, generator=torch.Generator().manual_seed(0))
        >>> _ = topk(points, points, 5, precision="bf16", tally=tally)
        >>> tally.queries, tally.share < 0.2
        (3000, True)
    """

    queries: int = 0
    again: int = 0

    @property
    def share(self) -> float:
        """The share of queries searched again; 0 before any search."""
        return self.again / max(1, self.queries)


def first_candidates(k: int) -> int:
    """How many candidates are asked for at first."""
    return k + max(32, k // 2)


@torch.no_grad()
def search_certified(
    scoring: Scoring, exclusion: Exclusion, k: int, block_bytes: int, precision: str, tally: Tally
) -> Iterator[Block]:
    """Candidates in low precision, scored again in full; queries in doubt are searched again in full.

    A query's result is certain when its k-th score exceeds all that a gallery row outside the candidates can
    have (`Coarse.reach`). Where more than an eighth of the queries are in doubt, the following ones get twice
    the candidates; where eight times the first number does not suffice, or the candidates are more than a
    64th of the gallery, the rest is searched in full precision at once.
    """
    queries, gallery = len(scoring.query), len(scoring.gallery)
    first = candidates = first_candidates(k)
    coarse: Coarse | None = None
    start = 0
    while start < queries and candidates <= min(gallery // _WORTH, _GROWTH * first):
        coarse = coarse or Coarse(scoring, precision)
        if not coarse.usable:
            break
        item = coarse.dtype.itemsize + (2 if coarse.euclidean else 0)
        height, width = tile_shape(queries - start, gallery, candidates, item, block_bytes)
        memory = torch.empty(height * width, dtype=coarse.dtype, device=scoring.query.device)
        proved = False
        while start < queries:
            stop = min(queries, start + (height if proved else min(height, _PROBE)))
            some = slice(start, stop)
            columns, last = _candidates(coarse, exclusion, some, width, candidates, memory)
            block, certain = _ranked(scoring, coarse, some, columns, last, k, block_bytes)
            doubtful = (~certain).nonzero()[:, 0]
            search_again(scoring, exclusion, block, doubtful, block_bytes)
            tally.queries += stop - start
            tally.again += len(doubtful)
            yield block
            proved = len(doubtful) <= _FAILING * (stop - start)
            start = stop
            if not proved:
                candidates *= 2
                break
    if start < queries:
        tally.queries += queries - start
        tally.again += queries - start
        yield from search_tiles(scoring, exclusion, k, block_bytes, start)


def _candidates(
    coarse: Coarse, exclusion: Exclusion, some: slice, width: int, count: int, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """The rows (r, count) with the best coarse scores, ascending, −1 for none, and the least of them."""
    rows, gallery = range(some.start, some.stop), len(coarse.gallery)
    scores: Tensor | None = None
    indices: Tensor | None = None
    for first in range(0, gallery, width):
        columns = range(first, min(first + width, gallery))
        tile = memory[: len(rows) * len(columns)].view(len(rows), len(columns))
        coarse.tile(some, slice(columns.start, columns.stop), tile)
        exclusion.blot(tile, rows, columns)
        best, found = torch.topk(tile, min(count, len(columns)), dim=1, sorted=False)
        found += first
        if scores is None or indices is None:
            scores, indices = best, found
        else:
            both = torch.cat([scores, best], 1)
            scores, places = torch.topk(both, min(count, both.shape[1]), dim=1, sorted=False)
            indices = torch.cat([indices, found], 1).gather(1, places)
    assert scores is not None
    assert indices is not None
    indices = indices.masked_fill(scores == -torch.inf, -1).sort(1).values
    return indices, scores.min(1).values


def _ranked(
    scoring: Scoring, coarse: Coarse, some: slice, columns: Tensor, last: Tensor, k: int, block_bytes: int
) -> tuple[Block, Tensor]:
    """The best k by full precision, and for which queries that is certain."""
    scores, indices = rescored(scoring.of(some), columns, k, block_bytes)
    certain = (last == -torch.inf) | (scores[:, -1] > coarse.reach(some, last))
    numbers = torch.arange(some.start, some.stop, device=columns.device)
    return Block(numbers, indices, scores), certain


def rescored(scoring: Scoring, columns: Tensor, k: int, block_bytes: int) -> tuple[Tensor, Tensor]:
    """The best k of some gallery rows of every query, by full precision; equal scores by ascending row.

    Args:
        scoring: The scores of n queries.
        columns: (n, c) int64 gallery rows, ascending in each row; −1 for none.
        k: How many, at most c.
        block_bytes: Bounds the gathered vectors.

    Returns:
        Scores (n, k), −inf for none, and gallery rows (n, k), −1 for none.
    """
    chunk = block_bytes // 4 if columns.is_cuda else min(block_bytes, _CACHED)
    scores = scoring.pairs(columns.clamp(min=0), chunk).masked_fill_(columns < 0, -torch.inf)
    scores, places = largest(scores, k)
    return scores, columns.gather(1, places)


_CACHED = 2**22
"""Gathered vectors are read again at once: on a CPU they should still be in its cache."""


def search_again(
    scoring: Scoring, exclusion: Exclusion, block: Block, doubtful: Tensor, block_bytes: int
) -> None:
    """Searches the doubtful queries of a block in full precision, in place."""
    if not len(doubtful):
        return
    rows = block.rows[doubtful]
    for found in search_tiles(scoring.of(rows), exclusion.of(rows), block.indices.shape[1], block_bytes):
        block.indices[doubtful[found.rows]] = found.indices
        block.scores[doubtful[found.rows]] = found.scores
