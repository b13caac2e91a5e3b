"""Embeddings and labels in, the three figures of clustering out."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.metrics.clustering.information import ami, nmi
from understudy.metrics.clustering.kmeans import kmeans
from understudy.metrics.clustering.pairs import pairwise_f1


def clustering_scores(
    vectors: Tensor,
    labels: Tensor,
    k: int | None = None,
    *,
    normalize: bool = True,
    seed: int = 0,
    restarts: int = 5,
    iterations: int = 100,
    block_bytes: int | None = None,
) -> dict[str, float]:
    """Clusters embeddings by `kmeans` and compares the clusters with the classes.

    Args:
        vectors: (n, d) floating point, on any device; the clustering happens there.
        labels: (n,) class numbers; rows with a negative one, the unlabelled, take no part.
        k: The number of clusters; by default that of the classes among the labelled rows.
        normalize: Cluster the unit vectors, the space in which cosines rank. (The centroids are means of unit
            vectors and are not brought back to the sphere.) Without, the vectors as they are.
        seed: Of the seeding; the same seed gives the same figures on the same device.
        restarts: How many times the clustering starts anew; the one of the lowest inertia counts.
        iterations: The most rounds of each.
        block_bytes: The memory for scores, see `kmeans`.

    Returns:
        ``nmi``, ``ami`` and ``f1``, all of one clustering.

    Raises:
        ValueError: Shapes or types that do not fit, fewer labelled rows than clusters, rows that are not
            finite, or no labelled row at all.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [-1.0, -1.0]])
        >>> clustering_scores(points, torch.tensor([4, 4, 9, 9, -1]))
        {'nmi': 1.0, 'ami': 1.0, 'f1': 1.0}
    """
    if labels.shape != vectors.shape[:1]:
        raise ValueError(f"there must be {len(vectors)} labels, one for each vector, got {len(labels)}")
    labelled = labels >= 0
    vectors, labels = vectors[labelled], labels[labelled]
    if not len(labels):
        raise ValueError("no row has a label: there is nothing to compare clusters with")
    if normalize:
        vectors = vectors.detach().to(torch.promote_types(vectors.dtype, torch.float32))
        lengths = vectors.norm(dim=1, keepdim=True)
        vectors = vectors / torch.where(lengths > 0, lengths, 1)
    clusters = kmeans(
        vectors,
        len(torch.unique(labels)) if k is None else k,
        seed=seed,
        restarts=restarts,
        iterations=iterations,
        block_bytes=block_bytes,
    ).assignments
    return {
        "nmi": nmi(labels, clusters),
        "ami": ami(labels, clusters),
        "f1": pairwise_f1(labels, clusters),
    }
