"""Measures of rankings and of agreement: pure functions, and accumulators over blocks."""

from __future__ import annotations

from understudy.metrics.accumulate import RankMetrics
from understudy.metrics.accumulate_lists import RankedMetrics
from understudy.metrics.agreement import neighbour_overlap, neighbour_overlap_at_k, rank_correlation
from understudy.metrics.agreement_kendall import kendall_correlation
from understudy.metrics.agreement_lists import list_distance
from understudy.metrics.average_precision import (
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    map_at_k,
    map_at_r,
    mean_average_precision,
    trapezoidal_average_precision,
    trapezoidal_map,
)
from understudy.metrics.bootstrap import interval
from understudy.metrics.paired import PairedTest, paired_test
from understudy.metrics.positions import BEYOND, ranks_of
from understudy.metrics.precision import (
    inverse_negative_penalty,
    mean_inp,
    mean_r_precision,
    precision_at_k,
    precision_at_k_revisited,
    r_precision,
)
from understudy.metrics.ranked import cmc, first_rank, recall_at_k

__all__ = [
    "BEYOND",
    "PairedTest",
    "RankMetrics",
    "RankedMetrics",
    "average_precision",
    "average_precision_at_k",
    "average_precision_at_r",
    "cmc",
    "first_rank",
    "interval",
    "inverse_negative_penalty",
    "kendall_correlation",
    "list_distance",
    "map_at_k",
    "map_at_r",
    "mean_average_precision",
    "mean_inp",
    "mean_r_precision",
    "neighbour_overlap",
    "neighbour_overlap_at_k",
    "paired_test",
    "precision_at_k",
    "precision_at_k_revisited",
    "r_precision",
    "rank_correlation",
    "ranks_of",
    "recall_at_k",
    "trapezoidal_average_precision",
    "trapezoidal_map",
]
