"""How faithfully a student ranks as its teacher does, without any label."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from understudy import search
from understudy.errors import UserError
from understudy.evaluation.inputs import Vectors, as_vectors
from understudy.evaluation.report import Report
from understudy.metrics import neighbour_overlap_at_k, rank_correlation


def agreement(
    student: Vectors,
    teacher: Vectors,
    ks: Sequence[int] = (1, 10),
    *,
    correlated: int = 1000,
    metric: search.Metric = "cosine",
    block_bytes: int | None = None,
) -> Report:
    """Neighbour overlap and rank correlation of two models on the same images.

    Every image is a query against all others, itself excluded by index. The overlap is taken over all
    queries; the correlation looks at whole rankings, so it is taken over evenly spaced ones.

    Args:
        student: (n, d) embeddings, NumPy or torch.
        teacher: (n, d') embeddings of the same images.
        ks: Cut-offs of the neighbour overlap; those beyond n − 1 are cut to it.
        correlated: How many queries the rank correlation is averaged over.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        block_bytes: The memory of the search, see `understudy.search.blocks`; None: by the device.

    Returns:
        ``neighbour_overlap@k`` and ``rank_correlation`` (Spearman's, over all other images of each query).

    Raises:
        UserError: Fewer than three images, or an embedding is not finite.
        ValueError: Shapes that do not fit together.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0], [-0.3, 0.5]])
        >>> agreement(points, 2 * points, ks=(1, 2)).metrics
        {'neighbour_overlap@1': 1.0, 'neighbour_overlap@2': 1.0, 'rank_correlation': 1.0}
    """
    started = time.perf_counter()
    ours = as_vectors("student", student)
    theirs = as_vectors("teacher", teacher, ours.device)
    if len(ours) != len(theirs):
        raise ValueError(f"both models must have embedded the same images, got {len(ours)} and {len(theirs)}")
    if len(ours) < 3:
        raise UserError(f"{len(ours)} images have no ranking to compare: pass at least three")
    cuts = sorted({min(k, len(ours) - 1) for k in ks})
    found = [
        search.topk(x, x, cuts[-1], exclude="self", metric=metric, block_bytes=block_bytes)[1]
        for x in (ours, theirs)
    ]
    overlaps = neighbour_overlap_at_k(found[0], found[1], cuts)
    some = torch.linspace(0, len(ours) - 1, min(correlated, len(ours)), dtype=torch.float64).long()
    correlation = _correlation(ours, theirs, some.to(ours.device), metric, block_bytes)
    return Report(
        "agreement",
        {
            **{f"neighbour_overlap@{k}": value for k, value in overlaps.items()},
            "rank_correlation": correlation,
        },
        {"queries": len(ours), "correlated": len(some), "gallery": len(ours)},
        {"ks": list(ks), "metric": metric},
        round(time.perf_counter() - started, 3),
    )


def _correlation(
    ours: Tensor, theirs: Tensor, queries: Tensor, metric: search.Metric, block_bytes: int | None
) -> float:
    """The mean of Spearman's correlation over some queries, a block of whole score rows at a time."""
    dtype = torch.promote_types(ours.dtype, theirs.dtype)  # blocks of one type are of one size
    if block_bytes is None:
        block_bytes = search.default_block_bytes(ours.device)
    block_bytes = max(1, block_bytes // 8)  # ranks and what finds them are larger than scores
    first, second = (
        search.score_blocks(x[queries], x, metric=metric, block_bytes=block_bytes)
        for x in (ours.to(dtype), theirs.to(dtype))
    )
    pieces = []
    for (rows, ours_scores), (_, their_scores) in zip(first, second, strict=True):
        others = torch.ones_like(ours_scores, dtype=torch.bool)
        others.scatter_(1, queries[rows, None], value=False)
        ranked = [scores[others].view(len(rows), -1) for scores in (ours_scores, their_scores)]
        pieces.append(rank_correlation(*ranked))
    return float(torch.cat(pieces).mean())
