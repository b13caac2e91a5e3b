"""The rank of every wanted gallery row, without keeping the ranking."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from understudy.search._exclusion import Exclude, Exclusion
from understudy.search._memory import resolved
from understudy.search._scoring import Metric, Scoring

BEYOND = 2**62
"""The rank of what is not found: of padding and of excluded rows."""

Array = npt.NDArray[Any]


def ranks(
    query: Tensor,
    gallery: Tensor,
    wanted: Tensor,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
) -> Tensor:
    """The ranks of each query's wanted gallery rows: all that measures of a full ranking need.

    A row's rank is 1 + the number of rows that score higher + the number of lower rows that score equally,
    excluded rows not counted: its place in the list that `understudy.search.topk` would return if it returned
    the whole gallery.

    Args:
        query: (n, d) floating point on any device.
        gallery: (m, d) on the same device.
        wanted: (n, P) int64 gallery rows, none twice for a query, padded with −1; P may be 0.
        exclude: Gallery rows a query does not see, see `Exclude`. A wanted row may be among them.
        metric: As for `understudy.search.topk`.
        block_bytes: As for `rank_blocks`.

    Returns:
        (n, P) int64 on the device of ``query``, ascending in each row; 2**62 for padding and for wanted rows
        that are excluded.

    Raises:
        ValueError: A wrong shape, type or device, a value that is not finite, or wanted rows out of range.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [3.0], [1.0]])
        >>> wanted = torch.tensor([[2, 1], [3, -1], [0, -1], [-1, -1]])
        >>> found = ranks(points, points, wanted, exclude="self", metric="euclidean")
        >>> found.where(found < 2**62, 0).tolist()
        [[1, 3], [1, 0], [3, 0], [0, 0]]
    """
    found = rank_blocks(query, gallery, wanted, exclude=exclude, metric=metric, block_bytes=block_bytes)
    return torch.cat(
        [wanted.new_empty(0, wanted.shape[1], device=query.device), *(some for _, some in found)]
    )


def rank_blocks(
    query: Tensor,
    gallery: Tensor,
    wanted: Tensor,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same ranks as `ranks`, a block of queries at a time.

    Args:
        query: (n, d) floating point.
        gallery: (m, d) on the same device.
        wanted: (n, P) int64 gallery rows, padded with −1.
        exclude: Gallery rows a query does not see, see `Exclude`.
        metric: As for `understudy.search.topk`.
        block_bytes: Bounds the memory for scores and what they are compared in; a single query with the
            whole gallery is the least. None: `default_block_bytes` of the device.

    Returns:
        An iterator of rows (r,) int64 and ranks (r, P); the queries come in order, each once.

    Raises:
        ValueError: At once, before the first block, as for `ranks`.

    Example:
        >>> points, wanted = torch.eye(3), torch.tensor([[1], [2], [0]])
        >>> [found.tolist() for _, found in rank_blocks(points, points, wanted, exclude="self")]
        [[[1], [2], [1]]]
    """
    scoring = Scoring(query, gallery, metric)
    exclusion = Exclusion(exclude, len(query), len(gallery), query.device)
    _check(wanted, len(query), len(gallery))
    return _search(scoring, exclusion, wanted.to(query.device), resolved(block_bytes, query.device))


def _check(wanted: Tensor, queries: int, gallery: int) -> None:
    if wanted.ndim != 2 or len(wanted) != queries or wanted.dtype != torch.int64:
        raise ValueError(
            f"wanted must be int64 ({queries} queries, rows), got {wanted.dtype} of {tuple(wanted.shape)}"
        )
    if wanted.numel() and not -1 <= int(wanted.min()) <= int(wanted.max()) < gallery:
        raise ValueError(
            f"wanted rows lie between 0 and {gallery - 1}, or are −1, "
            f"got {int(wanted.min())} … {int(wanted.max())}"
        )


@torch.no_grad()
def _search(
    scoring: Scoring, exclusion: Exclusion, wanted: Tensor, block_bytes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    query, width = scoring.query, len(scoring.gallery)
    each = width * (query.element_size() + 4)  # a score, and the comparisons of it
    pieces = math.ceil(len(query) / max(1, block_bytes // max(1, each)))
    height = max(1, math.ceil(len(query) / max(1, pieces)))
    memory = query.new_empty(height * width)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for start in range(0, len(query), height):
            rows = range(start, min(start + height, len(query)))
            scores = memory[: len(rows) * width].view(len(rows), width)
            scoring.tile(slice(rows.start, rows.stop), slice(0, width), scores)
            exclusion.blot(scores, rows, range(width))
            some, cpu = wanted[rows.start : rows.stop], scores.device.type == "cpu"
            found = _on_cpu(scores, some, threads) if cpu else _on_device(scores, some)
            yield torch.arange(rows.start, rows.stop, device=query.device), found.sort(dim=1).values


def _on_device(scores: Tensor, wanted: Tensor) -> Tensor:
    """The ranks (r, P) in the order of ``wanted``: one pass over the scores for each column of it."""
    columns = torch.arange(scores.shape[1], device=scores.device)
    found = torch.full_like(wanted, BEYOND)
    for place in range(wanted.shape[1]):
        row = wanted[:, place : place + 1]
        value = scores.gather(1, row.clamp(min=0))
        ahead = (scores == value).logical_and_(columns < row).logical_or_(scores > value).sum(1)
        seen = (row >= 0) & (value > -torch.inf)
        found[:, place] = torch.where(seen[:, 0], ahead + 1, BEYOND)
    return found


def _on_cpu(scores: Tensor, wanted: Tensor, threads: Executor) -> Tensor:
    """The same, a row at a time in NumPy, whose comparisons and sorts of one row are several times faster."""
    found = torch.full_like(wanted, BEYOND)
    tables = scores.numpy(), wanted.numpy(), found.numpy()
    pieces = np.array_split(np.arange(len(scores)), min(len(scores), 4 * torch.get_num_threads()))

    def rank(piece: Array) -> None:
        for row in piece:
            _rank_row(*(table[row] for table in tables))

    list(threads.map(rank, pieces))
    return found


def _rank_row(scores: Array, wanted: Array, found: Array) -> None:
    """Writes the ranks of the wanted rows, in any order, into the first places of ``found``."""
    wanted = wanted[wanted >= 0]
    values = scores[wanted]
    wanted, values = wanted[values > -np.inf], values[values > -np.inf]
    if not len(wanted):
        return
    found = found[: len(wanted)]
    reaching = scores >= values.min()
    if len(wanted) * len(scores) < 4 * len(scores) + 40 * np.count_nonzero(reaching):
        # Few are wanted, or some far down: comparing each with all costs less than ordering what is nearer.
        for place, (row, value) in enumerate(zip(wanted.tolist(), values, strict=True)):
            before, after = scores[:row] >= value, scores[row:] > value
            found[place] = 1 + np.count_nonzero(before) + np.count_nonzero(after)
        return
    (nearer,) = reaching.nonzero()
    near = scores[nearer]
    ordered = np.sort(near)
    not_above = np.searchsorted(ordered, values, side="right")
    twice = (not_above > 1) & (ordered[not_above - 2] == values)
    if not twice.any():
        found[:] = len(near) - not_above + 1
        return
    order = np.argsort(-near, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(1, len(near) + 1)
    found[:] = places[np.searchsorted(nearer, wanted)]
