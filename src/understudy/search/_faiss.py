"""Approximate search by faiss, its candidates filtered and scored as everywhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from understudy.search._certified import Tally, rescored, search_again
from understudy.search._exclusion import Exclusion
from understudy.search._scoring import Scoring
from understudy.search._tiled import Block

_SMALL = 20_000
"""Galleries up to this many rows are searched in full faster than an index is trained."""

_SEED = 1234

_TRAINING = 64
"""Gallery rows that the centre of a list is learnt from; more take longer and change little."""


def search_faiss(
    scoring: Scoring, exclusion: Exclusion, k: int, block_bytes: int, factory: str | None, tally: Tally
) -> Iterator[Block]:
    """The k best of what faiss finds for each query, a block of queries at a time.

    faiss knows no exclusion, so it is asked for more than k. Where exclusion leaves fewer than k of its
    answers, it is asked for eight times as many, then these queries are searched exactly.

    Raises:
        ValueError: At once: the library is missing, or knows no such index.
    """
    index = _build(scoring, factory or default_index(len(scoring.gallery)))
    return _blocks(index, scoring, exclusion, k, block_bytes, tally)


def default_index(gallery: int) -> str:
    """The index for a gallery of so many rows: all of it where it is small, else inverted lists.

    With 2·√m lists a query looks into a sixteenth of them, but no fewer than 16.

    Example:
        >>> default_index(5_000), default_index(1_000_000)
        ('Flat', 'IVF2000,Flat;nprobe=125')
    """
    if gallery <= _SMALL:
        return "Flat"
    lists = 2 * math.isqrt(gallery)
    return f"IVF{lists},Flat;nprobe={max(16, lists // 16)}"


def _build(scoring: Scoring, factory: str) -> Any:
    """A trained index that holds the gallery as the metric multiplies it."""
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            "backend='faiss' needs faiss, which is not installed: pip install understudy[faiss]"
        ) from error
    distance = faiss.METRIC_L2 if scoring.metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    description, _, parameters = factory.partition(";")
    gallery = _as_numpy(scoring.gallery)
    try:
        index = faiss.index_factory(gallery.shape[1], description, distance)
        clustered = faiss.try_extract_index_ivf(index)
        if clustered is not None:
            clustered.cp.seed = _SEED
            clustered.cp.max_points_per_centroid = _TRAINING
        index.train(gallery)
        index.add(gallery)
        if parameters:
            space: Any = faiss.ParameterSpace()  # its stubs know one of its forms only
            space.set_index_parameters(index, parameters)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"faiss cannot index {len(gallery)} rows as {factory!r}: {reason}") from error
    return index


@torch.no_grad()
def _blocks(
    index: Any, scoring: Scoring, exclusion: Exclusion, k: int, block_bytes: int, tally: Tally
) -> Iterator[Block]:
    queries, gallery = len(scoring.query), len(scoring.gallery)
    wanted = _asked_for(k, 0 if exclusion.lists is None else exclusion.lists.longest, gallery)
    height = max(1, block_bytes // (4 * 8 * wanted))
    for start in range(0, queries, height):
        rows = torch.arange(start, min(queries, start + height), device=scoring.query.device)
        block = _asked(index, scoring, exclusion, rows, k, wanted, block_bytes)
        short = _short(block.indices)
        if len(short) and wanted < gallery:
            more = min(gallery, 8 * wanted)
            for some in torch.split(short, max(1, height * wanted // more)):
                found = _asked(index, scoring, exclusion, rows[some], k, more, block_bytes)
                block.indices[some], block.scores[some] = found.indices, found.scores
            short = short[_short(block.indices[short])]
        search_again(scoring, exclusion, block, short, block_bytes)
        tally.queries += len(rows)
        tally.again += len(short)
        yield block


def _asked_for(k: int, excluded: int, gallery: int) -> int:
    """How many answers leave k after exclusion, and a few more among which float32 decides."""
    return min(gallery, k + excluded + max(8, k // 8))


def _short(indices: Tensor) -> Tensor:
    """Which queries were left with fewer than k answers."""
    return (indices[:, -1] < 0).nonzero()[:, 0]


def _asked(
    index: Any, scoring: Scoring, exclusion: Exclusion, rows: Tensor, k: int, wanted: int, block_bytes: int
) -> Block:
    """The best k that are not excluded of the rows that faiss returns."""
    ours = scoring.of(rows)
    _, found = index.search(_as_numpy(ours.query), wanted)
    columns = torch.from_numpy(found).to(rows.device)
    excluded = exclusion.of(rows).among(columns.clamp(min=0))
    columns = columns.masked_fill_(excluded, -1).sort(1).values
    scores, indices = rescored(ours, columns, k, block_bytes)
    return Block(rows, indices, scores)


def _as_numpy(x: Tensor) -> Any:
    return x.float().cpu().contiguous().numpy()
