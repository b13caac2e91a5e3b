"""Gathers measures of rankings over the blocks of a search, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.metrics.average_precision import (
    Normaliser,
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    trapezoidal_average_precision,
)
from understudy.metrics.positions import BEYOND, check_positions, share
from understudy.metrics.precision import inverse_negative_penalty, precision_at_k_revisited, r_precision
from understudy.metrics.ranked import first_rank

WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "map@r": average_precision_at_r,
    "r_precision": r_precision,
    "map": average_precision,
    "minp": inverse_negative_penalty,
    "trapezoidal_map": trapezoidal_average_precision,
}
"""The measures without a cut-off, by the name of their mean."""

KINDS = ("recall", "cmc", *WHOLE, "mp")
"""What `RankMetrics` can gather; ``recall``, ``cmc`` and ``mp`` once for each cut-off."""

_WAITING = 2**22
"""Ranks that may wait to be measured: 32 MiB."""


class RankMetrics:
    """Every measure of rankings whose positives' ranks arrive block by block.

    It keeps a few numbers a query, never all ranks. Queries without positives are skipped and counted. The
    result does not depend on how the queries were cut into blocks or spread over processes.

    Args:
        ks: The cut-offs of ``recall@k``, ``cmc@k`` and ``mp@k``.
        map_ks: The cut-offs of ``map@k``.
        kinds: Which measures, of `KINDS`: ``recall`` and ``cmc`` (two names of one number), ``map@r``,
            ``r_precision``, ``map``, ``minp``, ``trapezoidal_map``, ``mp`` (of revisited Oxford and Paris).
        normaliser: What ``map@k`` divides by, see `average_precision_at_k`.

    Raises:
        ValueError: An unknown kind or normaliser, or a cut-off below 1.

    Example:
        >>> from understudy.metrics import BEYOND
        >>> gathered = RankMetrics(ks=(1, 2), map_ks=(2,), kinds=("recall", "map", "minp"))
        >>> gathered.update(torch.tensor([[2, 4]]), torch.tensor([2]))
        >>> gathered.update(torch.tensor([[1, 2], [BEYOND, BEYOND]]), torch.tensor([2, 0]))
        >>> gathered.result()
        {'recall@1': 0.5, 'recall@2': 1.0, 'map': 0.75, 'minp': 0.75, 'map@2': 0.625}
        >>> gathered.queries, gathered.skipped, gathered.rows.tolist()
        (2, 1, [0, 1])
    """

    def __init__(
        self,
        ks: Sequence[int] = (1,),
        *,
        map_ks: Sequence[int] = (),
        kinds: Sequence[str] = ("recall", "map@r", "r_precision", "map"),
        normaliser: Normaliser = "min",
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"measures are {', '.join(KINDS)}, got {', '.join(map(repr, unknown))}")
        if min((*ks, *map_ks), default=1) < 1:
            raise ValueError(f"cut-offs are whole numbers from 1, got {[*ks, *map_ks]}")
        if normaliser not in get_args(Normaliser):
            raise ValueError(f"normaliser is one of {', '.join(get_args(Normaliser))}, got {normaliser!r}")
        self.ks, self.map_ks, self.kinds = tuple(ks), tuple(map_ks), tuple(kinds)
        self.normaliser = normaliser
        self.seen = 0
        self._rows: list[Tensor] = []
        self._values: list[dict[str, Tensor]] = []
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def queries(self) -> int:
        """How many queries were counted, the skipped ones left out."""
        self._settle()
        return sum(len(rows) for rows in self._rows)

    @property
    def skipped(self) -> int:
        """How many queries had no positive."""
        return self.seen - self.queries

    @property
    def rows(self) -> Tensor:
        """The numbers of the counted queries (q,) int64, ascending: whose the values of `per_query` are."""
        self._settle()
        return torch.cat([torch.empty(0, dtype=torch.int64), *self._rows]).sort().values

    def update(self, ranks: Tensor, positives: Tensor, rows: Tensor | None = None) -> None:
        """Takes in the ranks of some queries' positives.

        Args:
            ranks: (r, P) int64, ascending in each row, from 1, padded with `BEYOND`: what
                `understudy.search.ranks` gives.
            positives: (r,) int64, how many positives each query has.
            rows: (r,) int64, the queries' numbers; by default they are counted as they come.

        Raises:
            ValueError: Wrong shapes or types, ranks out of order, or more of them than positives; of ranks
                on a GPU when the figures are read, so that a search need not wait.
        """
        self._add(ranks, positives, rows)

    def merge(self, other: RankMetrics) -> None:
        """Takes in what another process has gathered of other queries, as if it had all been done here.

        Args:
            other: Of the same measures; its queries' numbers were given to `update` and differ from ours.

        Raises:
            ValueError: It gathers other measures, or has counted a query that is counted here.
        """
        if self._described() != other._described():
            raise ValueError("only accumulators of the same measures and cut-offs can be merged")
        if bool(torch.isin(self.rows, other.rows).any()):
            raise ValueError(
                "both accumulators count the same query: pass the queries' numbers as rows when each process "
                "ranks a part of them"
            )
        other._settle()
        self.seen += other.seen
        self._rows += other._rows
        self._values += other._values

    def per_query(self) -> dict[str, Tensor]:
        """Each measure's value for every counted query, in the order of `rows`: boolean or float64."""
        self._settle()
        order = torch.cat([torch.empty(0, dtype=torch.int64), *self._rows]).argsort()
        empty = self._measured(torch.empty(0, 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
        parts = [empty, *self._values]
        return {name: torch.cat([part[name] for part in parts])[order] for name in empty}

    def result(self) -> dict[str, float]:
        """Each measure's mean over the counted queries; NaN when there is none."""
        return {
            name: share(values) if values.dtype == torch.bool else float(values.mean())
            for name, values in self.per_query().items()
        }

    def _described(self) -> tuple[object, ...]:
        return type(self), self.ks, self.map_ks, self.kinds, self.normaliser

    def _add(self, ranks: Tensor, positives: Tensor, rows: Tensor | None) -> None:
        if ranks.device.type == "cpu":  # elsewhere looking at values waits for the device: later, once
            check_positions(ranks, positives)
        if rows is None:
            rows = torch.arange(self.seen, self.seen + len(ranks))
        elif rows.shape != positives.shape or rows.dtype != torch.int64:
            raise ValueError(
                f"rows must be one int64 number for each of {len(positives)} queries, "
                f"got {rows.dtype} of {tuple(rows.shape)}"
            )
        self.seen += len(ranks)
        self._waiting.append((ranks, positives, rows))
        if sum(some.numel() for some, _, _ in self._waiting) > _WAITING:
            self._settle()

    def _settle(self) -> None:
        """Measures what came since the last time, at once: block by block a GPU would wait for each."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        longest = max(ranks.shape[1] for ranks, _, _ in waiting)
        padded = [F.pad(ranks, (0, longest - ranks.shape[1]), value=BEYOND) for ranks, _, _ in waiting]
        ranks, positives = torch.cat(padded), torch.cat([positives for _, positives, _ in waiting])
        rows = torch.cat([rows.cpu() for _, _, rows in waiting])
        if ranks.device.type not in ("cpu", "cuda"):  # others have no float64
            ranks, positives = ranks.cpu(), positives.cpu()
        if padded[0].device.type != "cpu":
            check_positions(ranks, positives)
        counted = positives > 0
        values = self._measured(ranks[counted], positives[counted])
        self._rows.append(rows[counted.cpu()])
        self._values.append({name: value.cpu() for name, value in values.items()})

    def _measured(self, ranks: Tensor, positives: Tensor) -> dict[str, Tensor]:
        first = first_rank(ranks, positives)
        values: dict[str, Tensor] = {}
        for kind in self.kinds:
            if kind in WHOLE:
                values[kind] = WHOLE[kind](ranks, positives)
            elif kind == "mp":
                values |= {f"mp@{k}": precision_at_k_revisited(ranks, positives, k) for k in self.ks}
            else:
                values |= {f"{kind}@{k}": first <= k for k in self.ks}
        for k in self.map_ks:
            values[f"map@{k}"] = average_precision_at_k(ranks, positives, k, self.normaliser)
        return values
