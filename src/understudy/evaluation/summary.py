"""From the values of single queries to a report."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from understudy.evaluation.report import Report
from understudy.evaluation.settings import Settings
from understudy.metrics import interval


def summed_up(
    protocol: str, values: dict[str, Tensor], counts: dict[str, int], settings: Settings, started: float
) -> Report:
    """The report of values of single queries: their means over those that are not NaN, and intervals."""
    metrics, intervals = {}, {}
    for name, value in values.items():
        counted = value[~value.isnan()]
        metrics[name] = float(counted.mean())
        if settings.confidence is not None:
            intervals[name] = interval(
                counted, confidence=settings.confidence, resamples=settings.resamples, seed=settings.seed
            )
    seconds = round(time.perf_counter() - started, 3)
    return Report(protocol, metrics, counts, settings.recorded(), seconds, intervals, values)


def spread(values: dict[str, Tensor], rows: Tensor, count: int | None = None) -> dict[str, Tensor]:
    """Values of some queries in the places of all; NaN elsewhere.

    Args:
        values: (r,) float64 by name, on the CPU.
        rows: (r,) int64, which queries they are of; or a boolean for each query, true at r of them.
        count: How many queries there are; none: as many as ``rows`` has entries.

    Example:
        >>> spread({"recall@1": torch.tensor([1.0])}, torch.tensor([False, True]))
        {'recall@1': tensor([nan, 1.], dtype=torch.float64)}
    """
    places = rows.cpu()
    spaces = {
        name: torch.full((len(rows) if count is None else count,), torch.nan, dtype=torch.float64)
        for name in values
    }
    for name, value in values.items():
        spaces[name][places] = value.double()
    return spaces
