"""The protocols of re-identification: a query's own identity in its own camera is not looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_vectors
from understudy.evaluation.lists import joined, of_labels
from understudy.evaluation.ranking import Ranking, measure
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Options, Settings
from understudy.evaluation.sides import check_cameras, sides
from understudy.evaluation.summary import spread

CUTS = (1, 5, 10)
"""The ranks that CMC is usually given at."""


def reidentification(
    query: Vectors,
    gallery: Vectors,
    query_labels: Labels,
    gallery_labels: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    *,
    reference: tuple[Vectors, Vectors] | None = None,
    **options: Unpack[Options],
) -> Report:
    """Ranks a gallery for each query; images of its identity from its own camera are not seen.

    As Market-1501 is measured (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015).
    Gallery images of identities that no query has (distractors) count as wrong. Images without a label (junk)
    take no part. A query without a positive from another camera is skipped and counted.

    Args:
        query: (n, d), NumPy or torch, on any device.
        gallery: (m, d).
        query_labels: (n,) identities; negative: left out.
        gallery_labels: (m,) likewise.
        query_cameras: (n,) camera numbers.
        gallery_cameras: (m,) likewise.
        reference: Embeddings of the same queries and the same gallery by another model.
        **options: `Settings`; ``ks`` is 1, 5 and 10 by default.

    Returns:
        ``cmc@k``, ``map`` and ``minp``; ``neighbour_overlap@k`` where there is a reference. ``distractors``
        among the counts are the gallery images of identities that no query has.

    Raises:
        UserError: There is nothing to measure, a camera is missing, or an embedding is not finite.
        ValueError: Shapes that do not fit together, or settings out of range.

    Example:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3]])
        >>> reidentification(query, gallery, [7], [7, 9, 7], [0], [0, 1, 1], ks=(1, 2)).metrics
        {'cmc@1': 0.0, 'cmc@2': 1.0, 'map': 0.5, 'minp': 0.5}
    """
    settings = Settings.of(options, ks=CUTS)
    both = sides(query, gallery, query_labels, gallery_labels, reference)
    assert both.labels is not None
    cameras = both.cameras(query_cameras, gallery_cameras)
    wanted = of_labels(*both.labels)
    excluded = of_labels(*(joined(*pair) for pair in zip(both.labels, cameras, strict=True)))
    ranking = Ranking(
        both.query,
        both.gallery,
        wanted,
        wanted.length - excluded.length,
        excluded,
        both.labels,
        both.reference,
    )
    kinds = ("cmc", "map", "minp")
    report = measure("reid", ranking, settings, kinds=kinds, unlabelled=both.left_out)
    report.counts["distractors"] = int((~torch.isin(both.labels[1], both.labels[0])).sum())
    return replace(report, per_query=spread(report.per_query, both.query_rows, both.given[0]))


@dataclass(frozen=True)
class MultiQueries:
    """One query for each identity and camera.

    Attributes:
        vectors: (q, d) unit vectors.
        labels: (q,) int64 identities.
        cameras: (q,) int64.
        first: (q,) int64, the first of the given queries with that identity and camera.
    """

    vectors: Tensor
    labels: Tensor
    cameras: Tensor
    first: Tensor


def multi_queries(
    query_labels: Labels,
    query_cameras: Labels,
    images: Vectors,
    image_labels: Labels,
    image_cameras: Labels,
) -> MultiQueries:
    """The queries of the multi-query protocol: for each identity and camera, the mean of many images of it.

    The features of all images of one identity and camera are averaged and the mean is L2-normalised, for each
    identity and camera that has a query (Zheng et al., 2015; DarkRank, section 5).

    Args:
        query_labels: (n,) identities of the queries; those below 0 are left out.
        query_cameras: (n,) their cameras.
        images: (k, d) embeddings of the images to average.
        image_labels: (k,) their identities.
        image_cameras: (k,) their cameras.

    Returns:
        The queries, ordered by identity and camera.

    Raises:
        UserError: No query has a label, one has no camera, or its identity and camera no image to average.
        ValueError: Shapes that do not fit together.

    Example:
        >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 0.0]])
        >>> multi_queries([3], [1], images, [3, 3, 4], [1, 1, 1]).vectors
        tensor([[0.7071, 0.7071]])
    """
    x = as_vectors("multi-query", images)
    labels = as_labels("query", query_labels, len(query_labels), x.device)
    cameras = as_labels("query", query_cameras, len(labels), x.device, what="cameras")
    rows = (labels >= 0).nonzero()[:, 0]
    if not len(rows):
        raise UserError("there is nothing to measure: no query has a label")
    check_cameras("query", cameras[rows])
    codes, place = torch.unique(joined(labels[rows], cameras[rows]), return_inverse=True)
    first = rows.new_full((len(codes),), len(labels)).scatter_reduce(0, place, rows, "amin")
    shown = as_labels("multi-query", image_labels, len(x), x.device)
    seen = as_labels("multi-query", image_cameras, len(x), x.device, what="cameras")
    theirs = torch.where((shown >= 0) & (seen >= 0), joined(shown.clamp(min=0), seen.clamp(min=0)), -1)
    slot = torch.searchsorted(codes, theirs).clamp(max=len(codes) - 1)
    used = codes[slot] == theirs
    counts = torch.bincount(slot[used], minlength=len(codes))
    missing = int((counts == 0).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(codes)} pairs of a query's identity and camera have no image in the split "
            "'multi_query': add them, or use the protocol reid"
        )
    wide = torch.promote_types(x.dtype, torch.float32)
    total = torch.zeros(len(codes), x.shape[1], dtype=wide, device=x.device)
    total.index_add_(0, slot[used], x[used].to(wide))
    vectors = F.normalize(total / counts[:, None], dim=1)
    return MultiQueries(vectors, labels[first], cameras[first], first)
