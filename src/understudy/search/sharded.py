"""Exact search by several processes that share the gallery, or the queries, among them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from understudy.search._exclusion import Exclude, Exclusion
from understudy.search._memory import resolved
from understudy.search._processes import Together
from understudy.search._scoring import Metric, Scoring
from understudy.search._select import largest
from understudy.search._tiled import search_tiles
from understudy.search.exact import joined


@torch.no_grad()
def topk_sharded(
    query: Tensor,
    gallery_shard: Tensor,
    k: int,
    *,
    offset: int,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery rows nearest to each query, where every process holds a part of the gallery.

    Every process of the group calls it, with the same queries, k and metric, and gets the whole result: that
    of `understudy.search.topk` on the gallery in one piece. Each searches its own part; the lists are
    exchanged a block of queries at a time and merged, equal scores going to the lower gallery row.

    Args:
        query: (n, d) all queries, the same in every process.
        gallery_shard: (s, d) consecutive gallery rows; parts may differ in size and be empty.
        k: How many, 1 ≤ k ≤ the whole gallery; a part may hold fewer.
        offset: The number of the part's first row in the whole gallery. The parts need not come in the order
            of the processes, but they must make up the gallery without gap or overlap.
        exclude: As for `understudy.search.topk`, in rows of the whole gallery and with the codes of all its
            rows: the same in every process.
        metric: As for `understudy.search.topk`.
        block_bytes: As for `understudy.search.blocks`, in each process.
        group: The processes; None: all of them.

    Returns:
        Scores (n, k) and rows (n, k) of the whole gallery, as `understudy.search.topk` returns them.

    Raises:
        ValueError: What `understudy.search.topk` refuses, parts that make up no gallery, or queries that
            differ in shape or type. If one process refuses, all do.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> points = torch.tensor([[0.0], [1.0], [3.0]])
        >>> with TemporaryDirectory() as place:
        ...     dist.init_process_group("gloo", init_method=f"file://{place}/meet", rank=0, world_size=1)
        ...     _, rows = topk_sharded(points, points, 1, offset=0, exclude="self", metric="euclidean")
        ...     dist.destroy_process_group()
        >>> rows.tolist()
        [[1], [0], [1]]
    """
    together = Together(query.device, group)
    with together.refusing():
        scoring = Scoring(query, gallery_shard, metric)
        block_bytes = resolved(block_bytes, query.device)
    order, size = _parts(together, scoring, k, offset)
    with together.refusing():
        whole = Exclusion(exclude, len(query), size, query.device)
    exclusion = whole.seen_from(offset, len(gallery_shard))

    item = scoring.query.element_size() + 8
    least = min(bytes_there for (bytes_there,) in together.told([block_bytes]))
    height = max(1, least // (2 * together.size * k * item))
    found = []
    for start in range(0, len(query), height):
        some = slice(start, min(start + height, len(query)))
        best, rows = _search_here(scoring, exclusion, some, k, block_bytes)
        rows = torch.where(rows >= 0, rows + offset, -1)
        all_best, all_rows = together.gathered(best), together.gathered(rows)
        best, columns = largest(torch.cat([all_best[rank] for rank in order], 1), k)
        found.append((best, torch.cat([all_rows[rank] for rank in order], 1).gather(1, columns)))
    if not found:
        return scoring.query.new_empty(0, k), torch.empty(0, k, dtype=torch.int64, device=query.device)
    return torch.cat([best for best, _ in found]), torch.cat([rows for _, rows in found])


@torch.no_grad()
def topk_split(
    query: Tensor,
    gallery: Tensor,
    k: int,
    *,
    exclude: Exclude | None = None,
    metric: Metric = "cosine",
    block_bytes: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """The k gallery rows nearest to each query, every process searching for a part of the queries.

    Every process of the group calls it with the same arguments and gets the whole result, in the order of the
    queries. The counterpart of `topk_sharded` for a gallery that fits into every process.

    Args:
        query: (n, d) all queries, the same in every process.
        gallery: (m, d) the whole gallery, the same in every process.
        k: As for `understudy.search.topk`.
        exclude: As for `understudy.search.topk`.
        metric: As for `understudy.search.topk`.
        block_bytes: As for `understudy.search.blocks`, in each process.
        group: The processes; None: all of them.

    Returns:
        Scores (n, k) and gallery rows (n, k), as `understudy.search.topk` returns them.

    Raises:
        ValueError: What `understudy.search.topk` refuses. If one process refuses, all do.
    """
    together = Together(query.device, group)
    with together.refusing():
        scoring = Scoring(query, gallery, metric)
        if not 1 <= k <= len(gallery):
            raise ValueError(f"k must lie between 1 and the gallery's {len(gallery)} rows, got {k}")
        exclusion = Exclusion(exclude, len(query), len(gallery), query.device)
        block_bytes = resolved(block_bytes, query.device)
    _same("queries, k and type", together, [*query.shape, k, scoring.query.element_size()])
    share = -(-len(query) // together.size)
    start = min(len(query), together.rank * share)
    some = slice(start, min(len(query), start + share))
    best, rows = _search_here(scoring, exclusion, some, k, block_bytes)
    missing = (0, 0, 0, share - len(best))  # every process sends equally many
    whole = (torch.cat(together.gathered(torch.nn.functional.pad(x, missing))) for x in (best, rows))
    scores, indices = (x[: len(query)] for x in whole)
    return scores, indices


def _parts(together: Together, scoring: Scoring, k: int, offset: int) -> tuple[list[int], int]:
    """The processes in the order of their parts, and the size of the gallery that these make up."""
    _same("queries, k and type", together, [*scoring.query.shape, k, scoring.query.element_size()])
    parts = together.told([offset, len(scoring.gallery)])
    order = sorted(range(together.size), key=lambda rank: parts[rank])
    size = 0
    for rank in order:
        start, rows = parts[rank]
        if rows and start != size:
            raise ValueError(
                f"the parts must make up the gallery: row {size} comes next, "
                f"but process {rank} holds rows {start} to {start + rows - 1}"
            )
        size += rows
    if not 1 <= k <= size:
        raise ValueError(f"k must lie between 1 and the gallery's {size} rows, got {k}")
    return order, size


def _same(what: str, together: Together, numbers: list[int]) -> None:
    told = together.told(numbers)
    for rank, theirs in enumerate(told):
        if theirs != told[0]:
            raise ValueError(f"every process must pass the same {what}: 0 has {told[0]}, {rank} has {theirs}")


def _search_here(
    scoring: Scoring, exclusion: Exclusion, some: slice, k: int, block_bytes: int
) -> tuple[Tensor, Tensor]:
    """The best k of this process's gallery rows for some queries, padded with −inf and −1."""
    count, device = some.stop - some.start, scoring.query.device
    here = min(k, len(scoring.gallery))
    if not here or not count:
        none = torch.full((count, k), -1, dtype=torch.int64, device=device)
        return scoring.query.new_full((count, k), -torch.inf), none
    numbers = torch.arange(some.start, some.stop, device=device)
    blocks = search_tiles(scoring.of(some), exclusion.of(numbers), here, block_bytes)
    best, rows = joined(blocks, count, here, scoring.query.dtype, device)
    missing = (0, k - here)
    return (
        torch.nn.functional.pad(best, missing, value=-torch.inf),
        torch.nn.functional.pad(rows, missing, value=-1),
    )
