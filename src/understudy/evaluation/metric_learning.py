"""The protocol of metric learning: every image is a query against all others."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch

from understudy.errors import UserError
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_vectors
from understudy.evaluation.lists import of_labels
from understudy.evaluation.ranking import Ranking, measure
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Options, Settings
from understudy.evaluation.summary import spread
from understudy.metrics.clustering import clustering_scores


def metric_learning(
    embeddings: Vectors,
    labels: Labels | None = None,
    *,
    gallery: Vectors | None = None,
    reference: Vectors | None = None,
    clustering: bool = False,
    **options: Unpack[Options],
) -> Report:
    """Ranks all images for each image, itself excluded by index, and says how good the rankings are.

    Unlabelled images take no part where others are labelled: they are neither queries nor in the gallery,
    because whether finding one is right cannot be said. A query whose class has no other image is skipped
    and counted, and stays in the gallery of the others. Without any label only the agreement with the
    reference is measured, over all images.

    Args:
        embeddings: (n, d), NumPy or torch, on any device.
        labels: (n,) class numbers, negative where unlabelled.
        gallery: (n, d) embeddings of the same images by another model, searched instead.
        reference: (n, d') embeddings of the same images by another model, the teacher.
        clustering: Also NMI, AMI and pairwise F1 of k-means into as many clusters as there are classes.
        **options: `Settings`.

    Returns:
        ``recall@K``, ``map@r`` and ``r_precision`` where there are labels (and ``nmi``, ``ami``, ``f1``),
        ``neighbour_overlap@k`` where there is a reference.

    Raises:
        UserError: There is nothing to measure or to compare clusters with, or an embedding is not finite.
        ValueError: Shapes that do not fit together, or settings out of range.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [-1.0, 0.0]])
        >>> report = metric_learning(points, [7, 7, 8, 8, 9], reference=points, ks=(1,), overlap_ks=(2,))
        >>> report.metrics
        {'recall@1': 1.0, 'map@r': 1.0, 'r_precision': 1.0, 'neighbour_overlap@2': 1.0}
        >>> report.counts
        {'queries': 5, 'skipped': 1, 'gallery': 5, 'classes': 3, 'unlabelled': 0}
    """
    settings = Settings.of(options)
    points = as_vectors("student", embeddings)
    base = points if gallery is None else as_vectors("gallery", gallery, points.device)
    theirs = None if reference is None else as_vectors("teacher", reference, points.device)
    for name, other in (("reference", theirs), ("gallery vector", base)):
        if other is not None and len(other) != len(points):
            raise ValueError(
                f"there must be one {name} for each of {len(points)} embeddings, got {len(other)}"
            )
    codes = None if labels is None else as_labels("student", labels, len(points), points.device)
    kept = torch.ones(len(points), dtype=torch.bool, device=points.device)
    unlabelled = 0
    if codes is not None and bool((codes < 0).any()):
        unlabelled = int((codes < 0).sum())
        if unlabelled == len(codes):
            codes = None
        else:
            kept = codes >= 0
            codes, theirs = codes[kept], None if theirs is None else theirs[kept]
            same = base is points
            points = points[kept]
            base = points if same else base[kept]
    if clustering and codes is None:
        raise UserError("no image has a label to compare clusters with: leave clustering out")
    wanted = None if codes is None else of_labels(codes, codes)
    ranking = Ranking(
        query=points,
        gallery=base,
        wanted=wanted,
        positives=None if wanted is None else wanted.length - 1,
        excluded="self",
        labels=None if codes is None else (codes, codes),
        reference=None if theirs is None else (theirs, theirs),
    )
    report = measure("metric_learning", ranking, settings, unlabelled=unlabelled)
    report = replace(report, per_query=spread(report.per_query, kept))
    report.settings["clustering"] = clustering
    if clustering and codes is not None:
        report.metrics.update(clustering_scores(points, codes, seed=settings.seed))
    return report
