"""What an evaluation's figures depend on besides the embeddings and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict

from understudy import search


class Options(TypedDict, total=False):
    """The keyword arguments that all protocols share: the fields of `Settings`."""

    ks: Sequence[int]
    map_ks: Sequence[int]
    full: bool
    overlap_ks: Sequence[int]
    metric: search.Metric
    block_bytes: int | None
    confidence: float | None
    resamples: int
    seed: int


@dataclass(frozen=True)
class Settings:
    """The shared settings of all protocols.

    Attributes:
        ks: Cut-offs of Recall@K and CMC@K (and of mP@K in revisited Oxford and Paris); those beyond the
            gallery are cut to its size. Each protocol has its own default.
        map_ks: Cut-offs of mAP@K, none by default; the same.
        full: Also the figures of whole rankings (mAP, mINP) where a protocol leaves them out by default.
        overlap_ks: Cut-offs of the neighbour overlap with the reference; the same.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        block_bytes: The memory of the search, see `understudy.search.blocks`; None: by the device.
        confidence: How often the bootstrap intervals over queries are to hold the true figure, such as 0.95;
            None: no intervals.
        resamples: How many bootstrap samples are drawn.
        seed: Of everything that is drawn: bootstrap samples, galleries, k-means.

    Example:
        >>> Settings.of({"confidence": 0.9}, ks=(1, 5)).recorded()["ks"]
        [1, 5]
    """

    ks: Sequence[int] = (1, 2, 4, 8)
    map_ks: Sequence[int] = ()
    full: bool = False
    overlap_ks: Sequence[int] = (10,)
    metric: search.Metric = "cosine"
    block_bytes: int | None = None
    confidence: float | None = None
    resamples: int = 1000
    seed: int = 0

    @classmethod
    def of(cls, options: Options, **defaults: Any) -> Self:
        """The options, with a protocol's own defaults for what was not given."""
        given: dict[str, Any] = {**defaults, **options}
        return cls(**given)

    def __post_init__(self) -> None:
        for name, cuts in (("cut-offs", self.ks), ("overlap cut-offs", self.overlap_ks)):
            if not cuts or min(cuts) < 1:
                raise ValueError(f"{name} are whole numbers from 1, got {list(cuts)}")
        if self.map_ks and min(self.map_ks) < 1:
            raise ValueError(f"cut-offs of mAP@K are whole numbers from 1, got {list(self.map_ks)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seeds are whole numbers from 0, below 2**63, got {self.seed}")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise ValueError(f"confidence lies between 0 and 1, 0.95 is usual, got {self.confidence}")

    def recorded(self) -> dict[str, Any]:
        """What belongs into a report; not the memory, which can only reorder equal embeddings by rounding."""
        facts: dict[str, Any] = {"ks": list(self.ks), "overlap_ks": list(self.overlap_ks)}
        if self.map_ks:
            facts["map_ks"] = list(self.map_ks)
        facts |= {"full": self.full, "metric": self.metric, "seed": self.seed}
        if self.confidence is not None:
            facts |= {"confidence": self.confidence, "resamples": self.resamples}
        return facts


def within(ks: Sequence[int], candidates: int) -> tuple[int, ...]:
    """The cut-offs, none beyond the candidates, each once, in order.

    Example:
        >>> within((10, 1, 5), 7)
        (1, 5, 7)
    """
    return tuple(sorted({min(k, candidates) for k in ks}))
