"""Gathers the measures that ranked lists of the first results tell."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from understudy.metrics.accumulate import RankMetrics
from understudy.metrics.average_precision import Normaliser
from understudy.metrics.positions import check_positives, ranks_of
from understudy.metrics.ranked import check_cutoffs

LIST_KINDS = ("recall", "cmc", "map@r", "r_precision")
"""What `RankedMetrics` can gather: what looks at the first results only."""


class RankedMetrics(RankMetrics):
    """`RankMetrics` of ranked lists of the first K results: what no longer list would change.

    Args:
        ks: The cut-offs of ``recall@k`` and ``cmc@k``.
        map_ks: The cut-offs of ``map@k``.
        kinds: Which measures, of `LIST_KINDS`.
        normaliser: What ``map@k`` divides by, see `average_precision_at_k`.

    Raises:
        ValueError: An unknown kind or normaliser, one that needs whole rankings, or a cut-off below 1.

    Example:
        >>> import torch
        >>> ranked = RankedMetrics(ks=(1, 2))
        >>> ranked.update(torch.tensor([[False, True]]), torch.tensor([1]))
        >>> ranked.update(torch.tensor([[True, False], [False, False]]), torch.tensor([1, 0]))
        >>> ranked.result()
        {'recall@1': 0.5, 'recall@2': 1.0, 'map@r': 0.5, 'r_precision': 0.5}
        >>> ranked.queries, ranked.skipped
        (2, 1)
    """

    def __init__(
        self,
        ks: Sequence[int] = (1,),
        *,
        map_ks: Sequence[int] = (),
        kinds: Sequence[str] = ("recall", "map@r", "r_precision"),
        normaliser: Normaliser = "min",
    ) -> None:
        super().__init__(ks, map_ks=map_ks, kinds=kinds, normaliser=normaliser)
        whole = [kind for kind in kinds if kind not in LIST_KINDS]
        if whole:
            raise ValueError(f"{', '.join(whole)}: lists of first results do not tell; use RankMetrics")

    def update(self, relevant: Tensor, positives: Tensor, rows: Tensor | None = None) -> None:
        """Takes in the ranked lists of some queries.

        Args:
            relevant: (r, K) boolean, K no less than the largest cut-off and, for ``map@r`` and
                ``r_precision``, the largest of ``positives``.
            positives: (r,) int64, the number of relevant items in each query's gallery.
            rows: (r,) int64, the queries' numbers; by default they are counted as they come.

        Raises:
            ValueError: Wrong shapes or types, or lists too short.
        """
        ranks = ranks_of(relevant)
        check_positives(positives, len(ranks))
        if self.ks or self.map_ks:
            check_cutoffs((*self.ks, *self.map_ks), relevant.shape[1])
        longest = int(positives.max()) if len(positives) else 0
        if longest > relevant.shape[1] and {"map@r", "r_precision"} & set(self.kinds):
            raise ValueError(
                f"AP@R and R-precision need lists of {longest} results, the largest R, "
                f"got {relevant.shape[1]}"
            )
        self._add(ranks, positives, rows)
