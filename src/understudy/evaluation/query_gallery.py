"""The protocol of retrieval: queries against a gallery of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from understudy import search
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_vectors
from understudy.evaluation.metric_learning import class_sizes
from understudy.evaluation.ranking import Ranking, Settings, measure
from understudy.evaluation.report import Report


def query_gallery(
    query: Vectors,
    gallery: Vectors,
    query_labels: Labels | None = None,
    gallery_labels: Labels | None = None,
    *,
    reference: tuple[Vectors, Vectors] | None = None,
    same_rows: bool = False,
    ks: Sequence[int] = (1, 2, 4, 8),
    overlap_ks: Sequence[int] = (10,),
    metric: search.Metric = "cosine",
    block_bytes: int | None = None,
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
        ks: Cut-offs of Recall@K; those beyond the gallery are cut to it.
        overlap_ks: Cut-offs of the neighbour overlap with the reference; the same.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        block_bytes: The memory of the search, see `understudy.search.blocks`; None: by the device.

    Returns:
        ``recall@K`` and ``map@r`` where there are labels, ``neighbour_overlap@k`` where there is a reference.

    Raises:
        UserError: There is nothing to measure, or an embedding is not finite.
        ValueError: Shapes that do not fit together.

    Example:
        >>> gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> query = torch.tensor([[0.9, 0.2], [0.1, 0.8]])
        >>> query_gallery(query, gallery, [0, 0], [0, 1, 0], ks=(1, 2)).metrics
        {'recall@1': 0.5, 'recall@2': 1.0, 'map@r': 0.375}
    """
    ours = as_vectors("query", query)
    base = as_vectors("gallery", gallery, ours.device)
    theirs = _reference(reference, len(ours), len(base), ours.device)
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("labels must be given for both the query and the gallery, or for neither")
    if same_rows and len(ours) != len(base):
        raise ValueError(f"same_rows needs query and gallery of one size, got {len(ours)} and {len(base)}")

    query_rows = torch.arange(len(ours), device=ours.device)
    gallery_rows = torch.arange(len(base), device=ours.device)
    wanted = known = positives = None
    if query_labels is not None and gallery_labels is not None:
        wanted = as_labels("query", query_labels, len(ours), ours.device)
        known = as_labels("gallery", gallery_labels, len(base), ours.device)
        query_rows, gallery_rows = query_rows[wanted >= 0], gallery_rows[known >= 0]
        positives = class_sizes(wanted[query_rows], known[gallery_rows])
        if same_rows:
            positives = positives - (wanted == known)[query_rows].long()
        wanted, known = wanted[query_rows], known[gallery_rows]
    exclude = None
    if same_rows:
        place = gallery_rows.new_full((len(base),), -1)
        place[gallery_rows] = torch.arange(len(gallery_rows), device=ours.device)
        exclude = place[query_rows]
    ranking = Ranking(
        query=ours[query_rows],
        gallery=base[gallery_rows],
        exclude=exclude,
        candidates=len(gallery_rows) - same_rows,
        query_labels=wanted,
        gallery_labels=known,
        positives=positives,
        reference=None if theirs is None else (theirs[0][query_rows], theirs[1][gallery_rows]),
    )
    left_out = len(ours) + len(base) - len(query_rows) - len(gallery_rows)
    settings = Settings(ks, overlap_ks, metric, block_bytes)
    return measure("query_gallery", ranking, settings, unlabelled=left_out)


def _reference(
    reference: tuple[Vectors, Vectors] | None, queries: int, gallery: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor] | None:
    if reference is None:
        return None
    theirs = (
        as_vectors("teacher's query", reference[0], device),
        as_vectors("teacher's gallery", reference[1], device),
    )
    if (len(theirs[0]), len(theirs[1])) != (queries, gallery):
        raise ValueError(
            f"the reference must hold {queries} queries and {gallery} gallery items, "
            f"got {len(theirs[0])} and {len(theirs[1])}"
        )
    return theirs
