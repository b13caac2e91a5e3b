"""The single-gallery-shot protocol of CUHK03: a gallery of one image of each identity, drawn many times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor

from understudy import search
from understudy.errors import UserError
from understudy.evaluation.inputs import Labels, Vectors
from understudy.evaluation.lists import of_labels
from understudy.evaluation.reidentification import CUTS
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Options, Settings, within
from understudy.evaluation.sides import Sides, sides
from understudy.evaluation.summary import spread, summed_up


def single_gallery_shot(
    query: Vectors,
    gallery: Vectors,
    query_labels: Labels,
    gallery_labels: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    *,
    draws: int = 100,
    **options: Unpack[Options],
) -> Report:
    """The CMC where the gallery holds one image of each identity, from another camera than the query's.

    For each draw and each camera that queries come from, one image of every identity is drawn from the other
    cameras; the queries of that camera are ranked against these images alone. The CMC of a query is its mean
    over the draws (Li et al., "DeepReID", CVPR 2014).

    Args:
        query: (n, d), NumPy or torch, on any device.
        gallery: (m, d).
        query_labels: (n,) identities; negative: left out.
        gallery_labels: (m,) likewise.
        query_cameras: (n,) camera numbers.
        gallery_cameras: (m,) likewise.
        draws: How many galleries are drawn for each camera; the seed among the options decides them.
        **options: `Settings`; ``ks`` is 1, 5 and 10 by default.

    Returns:
        ``cmc@k``. Queries whose identity is in no other camera are skipped and counted.

    Raises:
        UserError: There is nothing to measure, a camera is missing, or an embedding is not finite.
        ValueError: Shapes that do not fit together, or settings out of range.

    Example:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.9, 0.2], [0.1, 1.0], [0.8, 0.3]])
        >>> single_gallery_shot(query, gallery, [7], [9, 7, 7], [0], [1, 1, 0], ks=(1, 2), draws=3).metrics
        {'cmc@1': 0.0, 'cmc@2': 1.0}
    """
    started = time.perf_counter()
    settings = Settings.of(options, ks=CUTS)
    if draws < 1:
        raise UserError(f"{draws} draws of the gallery: give at least 1, 100 is usual")
    both = sides(query, gallery, query_labels, gallery_labels)
    assert both.labels is not None
    cameras, galleries = both.cameras(query_cameras, gallery_cameras)
    device = both.query.device
    generator = torch.Generator().manual_seed(settings.seed)
    positives = torch.zeros(len(both.query), dtype=torch.int64)
    identities = []
    drawn = []
    for camera in torch.unique(cameras).tolist():
        queries = (cameras == camera).nonzero()[:, 0]
        seen = (galleries != camera).nonzero()[:, 0]
        labels = both.labels[1][seen].cpu()
        positives[queries.cpu()] = of_labels(both.labels[0][queries].cpu(), labels).length
        if len(seen):
            identities.append(len(torch.unique(labels)))
            chosen = torch.stack([draw(labels, generator) for _ in range(draws)]).to(device)
            drawn.append((queries, seen, chosen))
    if not bool((positives > 0).any()):
        raise UserError("there is nothing to measure: no query's identity is seen by another camera")
    ks = within(settings.ks, min(identities))
    hits = torch.zeros(len(both.query), len(ks), dtype=torch.int64, device=device)
    for group in drawn:
        for rows, found in _hits(both, *group, ks, settings):
            hits[rows] = found
    share = torch.where((positives > 0)[:, None], hits.cpu().double() / draws, torch.nan)
    values = {f"cmc@{k}": value for k, value in zip(ks, share.unbind(1), strict=True)}
    counts = {
        "queries": len(both.query),
        "skipped": int((positives == 0).sum()),
        "gallery": len(both.gallery),
        "classes": len(torch.unique(both.labels[1])),
        "unlabelled": both.left_out,
        "draws": draws,
    }
    values = spread(values, both.query_rows, both.given[0])
    report = summed_up("single_shot", values, counts, settings, started)
    report.settings["draws"] = draws
    return report


def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
    """One random place of each label, in ascending order.

    Example:
        >>> chosen = draw(torch.tensor([5, 5, 3, 5]), torch.Generator().manual_seed(0))
        >>> len(chosen), 2 in chosen
        (2, True)
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    ordered, order = labels[shuffled].sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return shuffled[order[first]].sort().values


def _hits(
    both: Sides, queries: Tensor, seen: Tensor, chosen: Tensor, ks: tuple[int, ...], settings: Settings
) -> Iterator[tuple[Tensor, Tensor]]:
    """How often each query of one camera finds its identity within each cut-off.

    Args:
        both: What takes part.
        queries: (q,) int64 rows of the queries.
        seen: (s,) int64 gallery rows of the other cameras.
        chosen: (draws, identities) int64 places in ``seen``, ascending: the galleries drawn.
        ks: The cut-offs.
        settings: The distance and the memory.

    Yields:
        Rows (r,) of queries and (r, cut-offs) int64; a query that is in no gallery has none.
    """
    assert both.labels is not None
    cuts = torch.tensor(ks, device=queries.device)
    wanted, known = both.labels[0][queries], both.labels[1][seen]
    places = torch.arange(chosen.shape[1], device=queries.device)
    for rows, scores in search.score_blocks(
        both.query[queries], both.gallery[seen], metric=settings.metric, block_bytes=settings.block_bytes
    ):
        total = torch.zeros(len(rows), len(ks), dtype=torch.int64, device=queries.device)
        for gallery in chosen:
            own = known[gallery] == wanted[rows, None]
            place = own.int().argmax(1, keepdim=True)
            among = scores[:, gallery]
            score = among.gather(1, place)
            ahead = (among > score) | ((among == score) & (places < place))
            total += (ahead.sum(1, keepdim=True) < cuts) & own.any(1, keepdim=True)
        yield queries[rows], total
