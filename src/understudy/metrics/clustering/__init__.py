"""How well clusters of embeddings match the classes: k-means, and measures between two partitions."""

from __future__ import annotations

from understudy.metrics.clustering.information import ami, nmi
from understudy.metrics.clustering.kmeans import Clusters, kmeans
from understudy.metrics.clustering.pairs import pairwise_f1
from understudy.metrics.clustering.scores import clustering_scores

__all__ = ["Clusters", "ami", "clustering_scores", "kmeans", "nmi", "pairwise_f1"]
