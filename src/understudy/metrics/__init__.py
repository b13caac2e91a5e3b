"""Measures of ranked lists and of agreement: pure functions, and accumulators over blocks."""

from __future__ import annotations

from understudy.metrics.accumulate import RankedMetrics
from understudy.metrics.agreement import neighbour_overlap, neighbour_overlap_at_k, rank_correlation
from understudy.metrics.ranked import average_precision_at_r, first_relevant, map_at_r, recall_at_k

__all__ = [
    "RankedMetrics",
    "average_precision_at_r",
    "first_relevant",
    "map_at_r",
    "neighbour_overlap",
    "neighbour_overlap_at_k",
    "rank_correlation",
    "recall_at_k",
]
