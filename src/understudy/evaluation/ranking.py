"""One ranking problem, one pass over a search, every ranked figure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from understudy import search
from understudy.errors import UserError
from understudy.evaluation.lists import Lists
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Settings, within
from understudy.evaluation.summary import spread, summed_up
from understudy.metrics import RankedMetrics, RankMetrics, neighbour_overlap

_WANTED_BYTES = 256 * 2**20
"""How much the wanted rows of the queries that are looked at together may take."""


@dataclass(frozen=True)
class Ranking:
    """What is searched, for whom, what counts as found, and what is not seen.

    Attributes:
        query: (n, d) embeddings.
        gallery: (m, d) embeddings; the same object as ``query`` when the two are one set.
        wanted: The relevant gallery rows of each query, excluded ones among them or not; None when nothing is
            known of relevance.
        positives: (n,) int64, how many relevant gallery rows each query sees.
        excluded: The gallery rows each query does not see; ``self``: query i does not see row i.
        labels: Where relevance is equality of labels, those of the queries and of the gallery: top-k lists
            can then be judged as they come.
        reference: Embeddings of the same queries and gallery by another model.
    """

    query: Tensor
    gallery: Tensor
    wanted: Lists | None = None
    positives: Tensor | None = None
    excluded: Literal["self"] | Lists | None = None
    labels: tuple[Tensor, Tensor] | None = None
    reference: tuple[Tensor, Tensor] | None = None

    @property
    def candidates(self) -> int:
        """What cut-offs are cut to: the gallery, less the query itself where it is in it."""
        return len(self.gallery) - (self.excluded == "self")

    def overlaps(self, settings: Settings) -> tuple[int, ...]:
        """The cut-offs of neighbour overlap: lists for which every query sees enough."""
        hidden = self.excluded.length if isinstance(self.excluded, Lists) else None
        most = 0 if hidden is None or not len(hidden) else int(hidden.max())
        return within(settings.overlap_ks, max(1, self.candidates - most))

    def hidden_from(self, queries: Tensor) -> search.Exclude | None:
        """What some queries do not see, as `understudy.search` takes it."""
        if self.excluded is None:
            return None
        if isinstance(self.excluded, Lists):
            return self.excluded.separate(queries)
        return "self" if len(queries) == len(self.gallery) else queries


def measure(
    protocol: str,
    ranking: Ranking,
    settings: Settings,
    *,
    kinds: tuple[str, ...] = ("recall", "map@r", "r_precision"),
    unlabelled: int = 0,
) -> Report:
    """Searches once and computes every figure the ranking allows.

    Args:
        protocol: Its name, for the report.
        ranking: What is searched.
        settings: Cut-offs, distance, intervals.
        kinds: Which figures, by the names of `understudy.metrics.RankMetrics`; mAP and mINP besides where the
            settings ask for all.
        unlabelled: How many embeddings the protocol left out, for the report.

    Returns:
        The figures of the rankings where relevance is known, neighbour overlap where there is a reference;
        ``per_query`` follows the queries of ``ranking``.

    Raises:
        UserError: There is nothing to measure, or nothing to search.
    """
    started = time.perf_counter()
    judged = ranking.positives is not None and bool((ranking.positives > 0).any())
    if not judged and ranking.reference is None:
        raise UserError(
            "there is nothing to measure: no query has a label that occurs again in its gallery, "
            "and there is no teacher to compare with"
        )
    if ranking.candidates < 1 or not len(ranking.query):
        raise UserError(
            f"{len(ranking.query)} queries in a gallery of {len(ranking.gallery)} leave nothing to rank: "
            "pass at least two images"
        )
    nearest: list[Tensor] = []
    values = ranked_figures(ranking, settings, kinds, nearest) if judged else {}
    values |= agreement_figures(ranking, settings, nearest) if ranking.reference is not None else {}
    skipped = 0 if ranking.positives is None else int((ranking.positives == 0).sum())
    counts = {
        "queries": len(ranking.query),
        "skipped": skipped,
        "gallery": len(ranking.gallery),
        "classes": 0 if ranking.labels is None else len(torch.unique(ranking.labels[1])),
        "unlabelled": unlabelled,
    }
    return summed_up(protocol, values, counts, settings, started)


def ranked_figures(
    ranking: Ranking, settings: Settings, kinds: tuple[str, ...], nearest: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """Each figure's value for each query.

    Args:
        ranking: What is searched.
        settings: Cut-offs, distance.
        kinds: Which figures.
        nearest: Given the first results of all queries, block by block, where the search comes by them.

    Returns:
        (n,) float64 on the CPU by name; NaN for queries without a positive.
    """
    assert ranking.positives is not None
    if settings.full:
        kinds = tuple(dict.fromkeys((*kinds, "map", "minp")))
    ks, map_ks = within(settings.ks, ranking.candidates), within(settings.map_ks, ranking.candidates)
    lists = max(*ks, int(ranking.positives.max()))
    whole = set(kinds) - {"recall", "map@r", "r_precision"}
    if ranking.labels is None or whole or map_ks or lists > max(1024, len(ranking.gallery) // 4):
        found = _by_ranks(ranking, settings, RankMetrics(ks, map_ks=map_ks, kinds=kinds))
    else:
        if ranking.reference is not None:
            lists = max(lists, *ranking.overlaps(settings))
        found = _by_lists(ranking, settings, RankedMetrics(ks), lists, [] if nearest is None else nearest)
    return spread({name: value.cpu() for name, value in found.items()}, ranking.positives > 0)


def _by_lists(
    ranking: Ranking, settings: Settings, ranked: RankedMetrics, k: int, nearest: list[Tensor]
) -> dict[str, Tensor]:
    """By the first results alone: enough for what looks no further than a query's number of positives."""
    assert ranking.labels is not None
    assert ranking.positives is not None
    wanted, known = ranking.labels
    for rows, indices, _ in search.blocks(
        ranking.query,
        ranking.gallery,
        k,
        exclude=ranking.hidden_from(torch.arange(len(ranking.query), device=ranking.query.device)),
        metric=settings.metric,
        block_bytes=settings.block_bytes,
    ):
        right = (known[indices.clamp(min=0)] == wanted[rows, None]) & (indices >= 0)
        ranked.update(right, ranking.positives[rows])
        if ranking.reference is not None:
            nearest.append(indices[:, : max(settings.overlap_ks)].clone())
    return ranked.per_query()


def _by_ranks(ranking: Ranking, settings: Settings, ranked: RankMetrics) -> dict[str, Tensor]:
    """By the ranks of all positives, in whole rankings that are never kept."""
    assert ranking.wanted is not None
    assert ranking.positives is not None
    for queries in _portions(ranking):
        everyone = len(queries) == len(ranking.query)
        for rows, ranks in search.rank_blocks(
            ranking.query if everyone else ranking.query[queries],
            ranking.gallery,
            ranking.wanted.padded(queries),
            exclude=ranking.hidden_from(queries),
            metric=settings.metric,
            block_bytes=settings.block_bytes,
        ):
            ranked.update(ranks, ranking.positives[queries[rows]])
    return ranked.per_query()


def _portions(ranking: Ranking) -> Iterator[Tensor]:
    """All queries in order, so many at a time that the table of their wanted rows stays small."""
    assert ranking.wanted is not None
    longest = max(1, int(ranking.wanted.length.max()))
    everyone = torch.arange(len(ranking.query), device=ranking.query.device)
    yield from torch.split(everyone, max(1, _WANTED_BYTES // (8 * longest)))


def agreement_figures(
    ranking: Ranking, settings: Settings, nearest: list[Tensor] | None = None
) -> dict[str, Tensor]:
    """The share of each query's nearest neighbours that the reference finds too.

    Args:
        ranking: What is searched; it has a reference.
        settings: Cut-offs, distance.
        nearest: The first results of all queries, block by block, where they are known already.

    Returns:
        (n,) float64 on the CPU by name.
    """
    assert ranking.reference is not None
    cuts = ranking.overlaps(settings)

    def found(query: Tensor, gallery: Tensor) -> Tensor:
        hidden = ranking.hidden_from(torch.arange(len(query), device=query.device))
        _, indices = search.topk(
            query,
            gallery,
            cuts[-1],
            exclude=hidden,
            metric=settings.metric,
            block_bytes=settings.block_bytes,
        )
        return indices

    ours = torch.cat(nearest) if nearest else found(ranking.query, ranking.gallery)
    theirs = found(*ranking.reference)
    return {f"neighbour_overlap@{k}": neighbour_overlap(ours[:, :k], theirs[:, :k]).cpu() for k in cuts}
