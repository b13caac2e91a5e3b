"""The protocol of retrieval: queries against a gallery of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor

from understudy.evaluation.inputs import Labels, Vectors
from understudy.evaluation.lists import of_labels
from understudy.evaluation.ranking import Ranking, measure
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Options, Settings
from understudy.evaluation.sides import sides
from understudy.evaluation.summary import spread


def query_gallery(
    query: Vectors,
    gallery: Vectors,
    query_labels: Labels | None = None,
    gallery_labels: Labels | None = None,
    *,
    reference: tuple[Vectors, Vectors] | None = None,
    same_rows: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Ranks a gallery for each query and says how good the rankings are.

    Where there are labels, unlabelled queries and unlabelled gallery items take no part. A distractor is a
    gallery item with a label that no query has. Queries without a positive in the gallery are skipped and
    counted.

    Args:
        query: (n, d), NumPy or torch, on any device.
        gallery: (m, d).
        query_labels: (n,) class numbers, negative where unlabelled; labels come on both sides or on none.
        gallery_labels: (m,) likewise.
        reference: Embeddings of the same queries and the same gallery by another model.
        same_rows: Row i of both sets is the same image, by two models say, and query i does not see it.
        **options: `Settings`.

    Returns:
        ``recall@K``, ``map@r`` and ``r_precision`` where there are labels, ``neighbour_overlap@k`` where
        there is a reference.

    Raises:
        UserError: There is nothing to measure, or an embedding is not finite.
        ValueError: Shapes that do not fit together, or settings out of range.

    Example:
        >>> gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> query = torch.tensor([[0.9, 0.2], [0.1, 0.8]])
        >>> query_gallery(query, gallery, [0, 0], [0, 1, 0], ks=(1, 2)).metrics
        {'recall@1': 0.5, 'recall@2': 1.0, 'map@r': 0.375, 'r_precision': 0.5}
    """
    settings = Settings.of(options)
    both = sides(query, gallery, query_labels, gallery_labels, reference)
    wanted = positives = excluded = None
    if same_rows:
        if both.given[0] != both.given[1]:
            raise ValueError(
                f"same_rows needs query and gallery of one size, got {both.given[0]} and {both.given[1]}"
            )
        excluded = of_labels(both.query_rows, both.gallery_rows)
    if both.labels is not None:
        wanted = of_labels(*both.labels)
        positives = wanted.length
        if excluded is not None:
            itself = excluded.padded(torch.arange(len(excluded), device=both.query.device))
            positives = positives - _shared(itself, *both.labels)
    ranking = Ranking(both.query, both.gallery, wanted, positives, excluded, both.labels, both.reference)
    report = measure("query_gallery", ranking, settings, unlabelled=both.left_out)
    return replace(report, per_query=spread(report.per_query, both.query_rows, both.given[0]))


def _shared(rows: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """How many of some gallery rows of each query (−1: none) have its label."""
    return ((known[rows.clamp(min=0)] == wanted[:, None]) & (rows >= 0)).sum(1)
