"""Whole rows of the score table, for measures that look at every gallery row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from understudy.search._exclusion import Exclude, Exclusion
from understudy.search._memory import resolved
from understudy.search._scoring import Metric, Scoring


def score_blocks(
    query: Tensor,
    gallery: Tensor,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The scores of every query with every gallery row, a block of queries at a time.

    Args:
        query: (n, d) floating point.
        gallery: (m, d) on the same device.
        exclude: Gallery rows a query must not find, see `Exclude`: their score is −inf.
        metric: As for `understudy.search.topk`; larger is nearer.
        block_bytes: Bounds the memory of a block of scores; a single query's is the least. None:
            `default_block_bytes` of the device.

    Returns:
        An iterator of rows (r,) int64 and scores (r, m), in the order of the gallery.

    Raises:
        ValueError: At once, as for `understudy.search.topk`.

    Example:
        >>> points = torch.eye(2)
        >>> [scores.tolist() for rows, scores in score_blocks(points, points, metric="dot", block_bytes=1)]
        [[[1.0, 0.0]], [[0.0, 1.0]]]
    """
    scoring = Scoring(query, gallery, metric)
    exclusion = Exclusion(exclude, len(query), len(gallery), query.device)
    return _tiles(scoring, exclusion, resolved(block_bytes, query.device))


@torch.no_grad()
def _tiles(scoring: Scoring, exclusion: Exclusion, block_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    query, width = scoring.query, len(scoring.gallery)
    height = max(1, block_bytes // max(1, width * query.element_size()))
    for start in range(0, len(query), height):
        rows = range(start, min(start + height, len(query)))
        scores = query.new_empty(len(rows), width)
        scoring.tile(slice(rows.start, rows.stop), slice(0, width), scores)
        exclusion.blot(scores, rows, range(width))
        yield torch.arange(rows.start, rows.stop, device=query.device), scores
