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
from understudy.metrics import kendall_correlation, list_distance, neighbour_overlap, rank_correlation


def agreement(
    student: Vectors,
    teacher: Vectors,
    ks: Sequence[int] = (1, 10),
    *,
    correlated: int = 1000,
    metric: search.Metric = "cosine",
    block_bytes: int | None = None,
) -> Report:
    """How alike two models rank the same images: their nearest neighbours, and whole rankings.

    Every image is a query against all others, itself excluded by index. What looks at the nearest neighbours
    is taken over all queries; the correlations look at whole rankings, so they are taken over evenly spaced
    ones.

    Args:
        student: (n, d) embeddings, NumPy or torch.
        teacher: (n, d') embeddings of the same images.
        ks: How many neighbours the lists have; those beyond n − 1 are cut to it.
        correlated: How many queries the correlations are averaged over.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        block_bytes: The memory of the search, see `understudy.search.blocks`; None: by the device.

    Returns:
        ``neighbour_overlap@k`` (the share of neighbours in common), ``list_distance@k`` and
        ``footrule_distance@k`` (Kendall's K⁽¹ᐟ²⁾ and the footrule of the lists, 0 for one list, 1 for nothing
        in common: see `understudy.metrics.agreement_lists.list_distance`), ``rank_correlation`` (Spearman's)
        and ``kendall_correlation`` (τ-b). ``per_query`` holds each query's value, NaN where a query was not
        correlated.

    Raises:
        UserError: Fewer than three images, or an embedding is not finite.
        ValueError: Shapes that do not fit together.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0], [-0.3, 0.5]])
        >>> for name, value in agreement(points, 2 * points, ks=(2,)).metrics.items():
        ...     print(name, value)
        neighbour_overlap@2 1.0
        list_distance@2 0.0
        footrule_distance@2 0.0
        rank_correlation 1.0
        kendall_correlation 1.0
    """
    started = time.perf_counter()
    ours = as_vectors("student", student)
    theirs = as_vectors("teacher", teacher, ours.device)
    if len(ours) != len(theirs):
        raise ValueError(f"both models must have embedded the same images, got {len(ours)} and {len(theirs)}")
    if len(ours) < 3:
        raise UserError(f"{len(ours)} images have no ranking to compare: pass at least three")
    some = torch.linspace(0, len(ours) - 1, min(correlated, len(ours)), dtype=torch.float64).long()
    values = {
        **_of_neighbours(ours, theirs, ks, metric, block_bytes),
        **_of_whole_rankings(ours, theirs, some.to(ours.device), metric, block_bytes),
    }
    return Report(
        "agreement",
        {name: float(value[~value.isnan()].mean()) for name, value in values.items()},
        {"queries": len(ours), "correlated": len(some), "gallery": len(ours)},
        {"ks": list(ks), "metric": metric},
        round(time.perf_counter() - started, 3),
        per_query=values,
    )


def _of_neighbours(
    ours: Tensor, theirs: Tensor, ks: Sequence[int], metric: search.Metric, block_bytes: int | None
) -> dict[str, Tensor]:
    """What the first results of both searches have in common, for each query: (n,) on the CPU by name."""
    cuts = sorted({min(k, len(ours) - 1) for k in ks})
    found = [
        search.topk(x, x, cuts[-1], exclude="self", metric=metric, block_bytes=block_bytes)[1]
        for x in (ours, theirs)
    ]
    values = {}
    for name, measure in (
        ("neighbour_overlap", neighbour_overlap),
        ("list_distance", list_distance),
        ("footrule_distance", lambda a, b: list_distance(a, b, "footrule")),
    ):
        for k in cuts:
            values[f"{name}@{k}"] = measure(found[0][:, :k], found[1][:, :k]).cpu()
    return values


def _of_whole_rankings(
    ours: Tensor, theirs: Tensor, queries: Tensor, metric: search.Metric, block_bytes: int | None
) -> dict[str, Tensor]:
    """The correlations of some queries, a block of whole score rows at a time; NaN for all others."""
    dtype = torch.promote_types(ours.dtype, theirs.dtype)  # blocks of one type are of one size
    if block_bytes is None:
        block_bytes = search.default_block_bytes(ours.device)
    block_bytes = max(1, block_bytes // 16)  # ranks and what finds them are larger than scores
    first, second = (
        search.score_blocks(x[queries], x, metric=metric, block_bytes=block_bytes)
        for x in (ours.to(dtype), theirs.to(dtype))
    )
    measures = {"rank_correlation": rank_correlation, "kendall_correlation": kendall_correlation}
    values = {name: torch.full((len(ours),), torch.nan, dtype=torch.float64) for name in measures}
    for (rows, ours_scores), (_, their_scores) in zip(first, second, strict=True):
        others = torch.ones_like(ours_scores, dtype=torch.bool)
        others.scatter_(1, queries[rows, None], value=False)
        ranked = [scores[others].view(len(rows), -1) for scores in (ours_scores, their_scores)]
        for name, measure in measures.items():
            values[name][queries[rows].cpu()] = measure(*ranked).cpu()
    return values
