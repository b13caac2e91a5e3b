"""Top-k over blocks of queries and of the gallery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from understudy.search._certified import Tally, search_certified
from understudy.search._exclusion import Exclude, Exclusion
from understudy.search._faiss import search_faiss
from understudy.search._memory import resolved
from understudy.search._scoring import Metric, Scoring
from understudy.search._tiled import Block, search_tiles

Precision = Literal["float32", "tf32", "bf16"]
Backend = Literal["exact", "faiss"]


def topk(
    query: Tensor,
    gallery: Tensor,
    k: int,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    precision: Precision = "float32",
    backend: Backend = "exact",
    faiss_index: str | None = None,
    block_bytes: int | None = None,
    tally: Tally | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery rows nearest to each query: all blocks of `blocks`, end to end.

    Args:
        query: (n, d) floating point on any device.
        gallery: (m, d) on the same device.
        k: How many, 1 ≤ k ≤ m.
        exclude: Gallery rows a query must not find, see `Exclude`; ``"self"`` when the gallery is the query.
        metric: ``"cosine"`` (normalises inside; a zero vector scores 0 with all), ``"euclidean"`` (the score
            is minus the squared distance) or ``"dot"``.
        precision: See `blocks`.
        backend: See `blocks`.
        faiss_index: See `blocks`.
        block_bytes: See `blocks`.
        tally: See `blocks`.

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
    found = blocks(
        query,
        gallery,
        k,
        exclude=exclude,
        metric=metric,
        precision=precision,
        backend=backend,
        faiss_index=faiss_index,
        block_bytes=block_bytes,
        tally=tally,
    )
    dtype = torch.promote_types(torch.promote_types(query.dtype, gallery.dtype), torch.float32)
    return joined(found, len(query), k, dtype, query.device)


def blocks(
    query: Tensor,
    gallery: Tensor,
    k: int,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    precision: Precision = "float32",
    backend: Backend = "exact",
    faiss_index: str | None = None,
    block_bytes: int | None = None,
    tally: Tally | None = None,
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
        precision: ``"bf16"`` and ``"tf32"`` find candidates in low precision (see `Coarse` in
            ``search/_coarse.py`` for the bound of its error), score them again in float32 and search the
            queries for which the bound proves nothing again in float32: the result is that of ``"float32"``,
            as far as float32 decides it (scores equal but for the order in which a product is summed may
            change places, as between block sizes). It pays where products are slow and k is below about
            a hundredth of the gallery; else the float32 search is taken at once. TF32 exists on GPUs only;
            elsewhere it means float32.
        backend: ``"exact"``, or ``"faiss"`` for an approximate search by the library of that name, on the
            CPU: gallery rows may be missed, the scores of those found are float32 as ever.
        faiss_index: How faiss indexes the gallery: a string for its factory such as ``"Flat"``,
            ``"HNSW32"`` or ``"IVF1024,Flat;nprobe=32"``, what follows the semicolon being search parameters;
            None: by the gallery's size.
        block_bytes: Bounds the memory for scores and candidates beside the inputs, the unit vectors of
            ``cosine``, their copies in low precision, faiss's index, and PyTorch's own scratch (a few times
            as much in all). It is exceeded only where a single query with its k results does not fit. None:
            `default_block_bytes` of the device.
        tally: Counts the queries, and those that low precision or faiss left to the float32 search.

    Returns:
        An iterator of `Block`; the queries come in order, each once.

    Raises:
        ValueError: At once, before the first block, as for `topk`.

    Example:
        >>> points = torch.eye(3)
        >>> [block.indices.tolist() for block in blocks(points, points, 1, exclude="self")]
        [[[1], [0], [0]]]
    """
    for name, value, known in (("precision", precision, Precision), ("backend", backend, Backend)):
        if value not in get_args(known):
            raise ValueError(f"{name} is one of {', '.join(get_args(known))}, got {value!r}")
    if backend == "faiss" and precision != "float32":
        raise ValueError(f"precision {precision!r} belongs to the exact backend: leave it out with faiss")
    if backend != "faiss" and faiss_index is not None:
        raise ValueError("faiss_index belongs to backend='faiss': pass that too, or leave it out")
    scoring = Scoring(query, gallery, metric)
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must lie between 1 and the gallery's {len(gallery)} rows, got {k}")
    block_bytes = resolved(block_bytes, query.device)
    exclusion = Exclusion(exclude, len(query), len(gallery), query.device)
    tally = Tally() if tally is None else tally
    if backend == "faiss":
        return search_faiss(scoring, exclusion, k, block_bytes, faiss_index, tally)
    if precision == "bf16" or (precision == "tf32" and query.is_cuda):
        return search_certified(scoring, exclusion, k, block_bytes, precision, tally)
    tally.queries += len(query)
    return search_tiles(scoring, exclusion, k, block_bytes)


def joined(
    found: Iterator[Block], queries: int, k: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Scores and gallery rows (n, k) of all blocks."""
    scores = torch.empty(queries, k, dtype=dtype, device=device)
    indices = torch.empty(queries, k, dtype=torch.int64, device=device)
    start = 0
    for block in found:
        stop = start + len(block.rows)
        scores[start:stop], indices[start:stop] = block.scores, block.indices
        start = stop
    return scores, indices
