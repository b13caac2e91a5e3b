"""Gathers ranked metrics over the blocks of a search, in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.metrics.ranked import average_precision_at_r, check_cutoffs, first_relevant, share


class RankedMetrics:
    """Recall@K and MAP@R of ranked lists that arrive block by block.

    It keeps two numbers a query, never the lists. Queries without positives are skipped and counted. The
    result does not depend on how the queries were cut into blocks.

    Args:
        ks: The cut-offs of Recall@K.

    Example:
        >>> ranked = RankedMetrics(ks=(1, 2))
        >>> ranked.update(torch.tensor([[False, True]]), torch.tensor([1]))
        >>> ranked.update(torch.tensor([[True, False], [False, False]]), torch.tensor([1, 0]))
        >>> ranked.result()
        {'recall@1': 0.5, 'recall@2': 1.0, 'map@r': 0.5}
        >>> ranked.queries, ranked.skipped
        (2, 1)
    """

    def __init__(self, ks: Sequence[int]) -> None:
        self.ks = tuple(ks)
        self.skipped = 0
        self._first: list[Tensor] = []
        self._precision: list[Tensor] = []

    @property
    def queries(self) -> int:
        """How many queries were counted, the skipped ones left out."""
        return sum(len(some) for some in self._first)

    def update(self, relevant: Tensor, positives: Tensor) -> None:
        """Takes in the ranked lists of some queries.

        Args:
            relevant: (r, K) boolean, K no less than the largest cut-off and the largest of ``positives``.
            positives: (r,) int64, the number of relevant items in each query's gallery.

        Raises:
            ValueError: Wrong shapes or types, or lists too short.
        """
        check_cutoffs(self.ks, relevant.shape[-1])
        precision = average_precision_at_r(relevant, positives)
        counted = positives > 0
        self.skipped += int((~counted).sum())
        self._first.append(first_relevant(relevant)[counted].cpu())
        self._precision.append(precision[counted].cpu())

    def per_query(self) -> dict[str, Tensor]:
        """Each metric's value for every counted query, in the order they came: boolean or float64."""
        first = torch.cat(self._first) if self._first else torch.empty(0, dtype=torch.int64)
        precision = torch.cat(self._precision) if self._precision else torch.empty(0, dtype=torch.float64)
        return {**{f"recall@{k}": first <= k for k in self.ks}, "map@r": precision}

    def result(self) -> dict[str, float]:
        """Each metric's mean over the counted queries; NaN when there is none."""
        return {
            name: share(values) if values.dtype == torch.bool else float(values.mean())
            for name, values in self.per_query().items()
        }
