"""One pass over a search that feeds every metric."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from understudy import search
from understudy.errors import UserError
from understudy.evaluation.report import Report
from understudy.metrics import RankedMetrics, neighbour_overlap_at_k


@dataclass(frozen=True)
class Ranking:
    """What is searched, for whom, and what counts as found.

    Attributes:
        query: (n, d) embeddings.
        gallery: (m, d) embeddings; the same object as ``query`` when the two are one set.
        exclude: Which gallery rows a query does not see, as `understudy.search.topk` takes it.
        candidates: How many gallery rows every query sees at least.
        query_labels: (n,) int64, none negative; None when there are no labels.
        gallery_labels: (m,) int64, none negative.
        positives: (n,) int64, how many gallery rows each query sees that have its label.
        reference: Embeddings of the same queries and gallery by another model.
    """

    query: Tensor
    gallery: Tensor
    exclude: search.Exclude | None
    candidates: int
    query_labels: Tensor | None = None
    gallery_labels: Tensor | None = None
    positives: Tensor | None = None
    reference: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Settings:
    """What an evaluation's figures depend on besides the embeddings.

    Attributes:
        ks: Cut-offs of Recall@K; those beyond the gallery are cut to its size.
        overlap_ks: Cut-offs of the neighbour overlap with the reference; the same.
        metric: The distance, as `understudy.search.topk` takes it.
        block_bytes: The memory of the search; None: by the device.
    """

    ks: Sequence[int] = (1, 2, 4, 8)
    overlap_ks: Sequence[int] = (10,)
    metric: search.Metric = "cosine"
    block_bytes: int | None = None

    def recorded(self) -> dict[str, Any]:
        """What belongs into a report; the memory changes no figure."""
        return {"ks": list(self.ks), "overlap_ks": list(self.overlap_ks), "metric": self.metric}


def measure(protocol: str, ranking: Ranking, settings: Settings, *, unlabelled: int = 0) -> Report:
    """Searches once and computes every figure the ranking allows.

    Args:
        protocol: Its name, for the report.
        ranking: What is searched.
        settings: Cut-offs and distance.
        unlabelled: How many embeddings the protocol left out, for the report.

    Returns:
        Recall@K and MAP@R where there are labels, neighbour overlap where there is a reference.

    Raises:
        UserError: There is nothing to measure, or nothing to search.
    """
    started = time.perf_counter()
    labelled = ranking.positives is not None and bool((ranking.positives > 0).any())
    if not labelled and ranking.reference is None:
        raise UserError(
            "there is nothing to measure: no query has a label that occurs again in its gallery, "
            "and there is no teacher to compare with"
        )
    if ranking.candidates < 1 or not len(ranking.query):
        raise UserError(
            f"{len(ranking.query)} queries in a gallery of {len(ranking.gallery)} leave nothing to rank: "
            "pass at least two images"
        )
    ks = _within(settings.ks, ranking.candidates)
    overlap_ks = _within(settings.overlap_ks, ranking.candidates) if ranking.reference is not None else ()
    k = max((*ks, *overlap_ks) if labelled else overlap_ks)
    if labelled and ranking.positives is not None:
        k = max(k, int(ranking.positives.max()))

    ranked, nearest = RankedMetrics(ks), []
    for rows, indices, _ in search.blocks(
        ranking.query,
        ranking.gallery,
        k,
        exclude=ranking.exclude,
        metric=settings.metric,
        block_bytes=settings.block_bytes,
    ):
        if labelled:
            ranked.update(*_relevance(ranking, rows, indices))
        if overlap_ks:
            nearest.append(indices[:, : max(overlap_ks)].clone())

    metrics = ranked.result() if labelled else {}
    if ranking.reference is not None:
        _, theirs = search.topk(
            *ranking.reference,
            max(overlap_ks),
            exclude=ranking.exclude,
            metric=settings.metric,
            block_bytes=settings.block_bytes,
        )
        overlaps = neighbour_overlap_at_k(torch.cat(nearest), theirs, overlap_ks)
        metrics |= {f"neighbour_overlap@{cut}": value for cut, value in overlaps.items()}
    counts = {
        "queries": len(ranking.query),
        "skipped": ranked.skipped,
        "gallery": len(ranking.gallery),
        "classes": 0 if ranking.gallery_labels is None else len(torch.unique(ranking.gallery_labels)),
        "unlabelled": unlabelled,
    }
    return Report(protocol, metrics, counts, settings.recorded(), round(time.perf_counter() - started, 3))


def _relevance(ranking: Ranking, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Which results of some queries have the query's label, and how many there could be."""
    assert ranking.query_labels is not None
    assert ranking.gallery_labels is not None
    assert ranking.positives is not None
    found = ranking.gallery_labels[indices.clamp(min=0)]
    return (found == ranking.query_labels[rows, None]) & (indices >= 0), ranking.positives[rows]


def _within(ks: Sequence[int], candidates: int) -> tuple[int, ...]:
    """The cut-offs, none beyond the candidates, each once, in order."""
    if not ks or min(ks) < 1:
        raise ValueError(f"cut-offs are whole numbers from 1, got {list(ks)}")
    return tuple(sorted({min(k, candidates) for k in ks}))
