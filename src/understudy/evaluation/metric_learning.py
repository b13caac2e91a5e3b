"""The protocol of metric learning: every image is a query against all others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy import search
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_vectors
from understudy.evaluation.ranking import Ranking, Settings, measure
from understudy.evaluation.report import Report


def metric_learning(
    embeddings: Vectors,
    labels: Labels | None = None,
    *,
    reference: Vectors | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    overlap_ks: Sequence[int] = (10,),
    metric: search.Metric = "cosine",
    block_bytes: int | None = None,
) -> Report:
    """Ranks all images for each image, itself excluded by index, and says how good the rankings are.

    Unlabelled images take no part where others are labelled: they are neither queries nor in the gallery,
    because whether finding one is right cannot be said. A query whose class has no other image is skipped
    and counted, and stays in the gallery of the others. Without any label only the agreement with the
    reference is measured, over all images.

    Args:
        embeddings: (n, d), NumPy or torch, on any device.
        labels: (n,) class numbers, negative where unlabelled.
        reference: (n, d') embeddings of the same images by another model, the teacher.
        ks: Cut-offs of Recall@K; those beyond n − 1 are cut to it.
        overlap_ks: Cut-offs of the neighbour overlap with the reference; the same.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        block_bytes: The memory of the search, see `understudy.search.blocks`; None: by the device.

    Returns:
        ``recall@K`` and ``map@r`` where there are labels, ``neighbour_overlap@k`` where there is a reference.

    Raises:
        UserError: There is nothing to measure, or an embedding is not finite.
        ValueError: Shapes that do not fit together.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [-1.0, 0.0]])
        >>> report = metric_learning(points, [7, 7, 8, 8, 9], reference=points, ks=(1,), overlap_ks=(2,))
        >>> report.metrics
        {'recall@1': 1.0, 'map@r': 1.0, 'neighbour_overlap@2': 1.0}
        >>> report.counts
        {'queries': 5, 'skipped': 1, 'gallery': 5, 'classes': 3, 'unlabelled': 0}
    """
    points = as_vectors("student", embeddings)
    theirs = None if reference is None else as_vectors("teacher", reference, points.device)
    if theirs is not None and len(theirs) != len(points):
        raise ValueError(
            f"there must be one reference for each of {len(points)} embeddings, got {len(theirs)}"
        )
    codes = None if labels is None else as_labels("student", labels, len(points), points.device)
    unlabelled = 0
    if codes is not None and bool((codes < 0).any()):
        kept = codes >= 0
        unlabelled = int((~kept).sum())
        if bool(kept.any()):
            points, codes, theirs = points[kept], codes[kept], None if theirs is None else theirs[kept]
        else:
            codes = None
    ranking = Ranking(
        query=points,
        gallery=points,
        exclude="self",
        candidates=len(points) - 1,
        query_labels=codes,
        gallery_labels=codes,
        positives=None if codes is None else class_sizes(codes, codes) - 1,
        reference=None if theirs is None else (theirs, theirs),
    )
    settings = Settings(ks, overlap_ks, metric, block_bytes)
    return measure("metric_learning", ranking, settings, unlabelled=unlabelled)


def class_sizes(labels: Tensor, among: Tensor) -> Tensor:
    """How often each label occurs among others.

    Example:
        >>> class_sizes(torch.tensor([5, 2, 9]), among=torch.tensor([5, 5, 2])).tolist()
        [2, 1, 0]
    """
    ordered = among.sort().values
    after = torch.searchsorted(ordered, labels, right=True)
    return after - torch.searchsorted(ordered, labels, right=False)
