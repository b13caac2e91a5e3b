"""Ranks of wanted rows against a loop over every gallery row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy import search
from understudy.search.ranks import BEYOND, _on_device, rank_blocks, ranks


def integers(rows: int, dim: int, seed: int, dtype: torch.dtype = torch.float32, levels: int = 3) -> Tensor:
    """Vectors of small integers: their products are exact, and many of them are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-levels, levels + 1, (rows, dim), generator=generator).to(dtype)


def wanted_rows(queries: int, gallery: int, most: int, seed: int) -> Tensor:
    """Up to ``most`` different rows a query in no order, with holes of −1; some queries want nothing."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(queries, gallery, generator=generator).argsort(1)[:, :most]
    table[torch.rand(table.shape, generator=generator) < 0.3] = -1
    table[:: max(1, queries // 3)] = -1
    return table


def by_loop(query: Tensor, gallery: Tensor, wanted: Tensor, excluded: list[set[int]], metric: str) -> Tensor:
    """Counts, for each wanted row, those before it."""
    scores = query.double() @ gallery.double().T
    if metric == "euclidean":
        scores = -(query.double()[:, None] - gallery.double()[None]).square().sum(2)
    out = torch.full_like(wanted, BEYOND)
    for i, row in enumerate(scores.tolist()):
        places = [
            1
            + sum((s > row[w] or (s == row[w] and j < w)) and j not in excluded[i] for j, s in enumerate(row))
            for w in wanted[i].tolist()
            if w >= 0 and w not in excluded[i]
        ]
        out[i, : len(places)] = torch.tensor(sorted(places), dtype=torch.int64)
    return out


@pytest.mark.parametrize("block_bytes", [1, 3000, None])
@pytest.mark.parametrize("most", [0, 1, 5, 40])
@pytest.mark.parametrize(("metric", "dtype"), [("dot", torch.float32), ("euclidean", torch.float64)])
def test_equal_to_a_loop_with_ties_duplicates_and_exclusion(
    metric: search.Metric, dtype: torch.dtype, most: int, block_bytes: int | None
) -> None:
    query, gallery = integers(13, 4, 1, dtype), integers(61, 4, 2, dtype)
    gallery[17] = gallery[3]
    gallery[40:44] = gallery[3]
    wanted, excluded = wanted_rows(13, 61, most, 3), wanted_rows(13, 61, 9, 4)
    sets = [set(row) - {-1} for row in excluded.tolist()]
    want = by_loop(query, gallery, wanted, sets, metric)
    got = ranks(query, gallery, wanted, exclude=excluded, metric=metric, block_bytes=block_bytes)
    assert got.dtype == torch.int64
    assert got.tolist() == want.tolist()
    if most == 40:
        assert (want[0] == BEYOND).all()  # a query that wants nothing
        assert any(sets[i] & set(wanted[i].tolist()) for i in range(13))  # a wanted row that is excluded


@pytest.mark.parametrize("form", ["lists", "self", "rule"])
def test_every_form_of_exclusion(form: str) -> None:
    points = integers(30, 3, 5)
    wanted = wanted_rows(30, 30, 11, 6)
    exclude: dict[str, search.Exclude] = {
        "self": "self",
        "lists": [torch.tensor([i]) for i in range(30)],
        "rule": lambda rows, columns: rows[:, None] == columns,
    }
    want = by_loop(points, points, wanted, [{i} for i in range(30)], "dot")
    assert ranks(points, points, wanted, exclude=exclude[form], metric="dot").tolist() == want.tolist()


@pytest.mark.parametrize("levels", [0, 1, 1000])
@pytest.mark.parametrize("most", [1, 7, 300])
def test_the_place_in_the_whole_ranking(levels: int, most: int) -> None:
    #   levels 0: a collapsed model, all scores equal; 1000: no ties, only what is nearer is put in order
    query, gallery = integers(9, 3, 7, levels=levels), integers(700, 3, 8, levels=levels)
    query[0] = gallery[0]
    wanted = wanted_rows(9, 700, most, 9)
    _, indices = search.topk(query, gallery, 700, metric="euclidean")
    places = indices.argsort(1) + 1
    want = torch.where(wanted >= 0, places.gather(1, wanted.clamp(min=0)), BEYOND).sort(1).values
    assert ranks(query, gallery, wanted, metric="euclidean").tolist() == want.tolist()
    near = indices[:, : min(most, 5)]  # found at once
    found = ranks(query, gallery, near.flip(1), metric="euclidean")
    assert found.tolist() == [list(range(1, near.shape[1] + 1))] * 9


def test_the_device_path_equals_the_cpu_path() -> None:
    scores = integers(12, 50, 10)
    scores[torch.rand(scores.shape, generator=torch.Generator().manual_seed(11)) < 0.2] = -torch.inf
    scores[5] = -torch.inf
    wanted = wanted_rows(12, 50, 20, 12)
    want = torch.full_like(wanted, BEYOND)
    for i, row in enumerate(scores.tolist()):
        order = sorted((j for j in range(50) if row[j] > -torch.inf), key=lambda j: (-row[j], j))
        for p, w in enumerate(wanted[i].tolist()):
            want[i, p] = order.index(w) + 1 if w in order else BEYOND
    assert _on_device(scores, wanted).tolist() == want.tolist()


def test_blocks_hand_out_every_query_once() -> None:
    query, gallery, wanted = integers(11, 3, 13), integers(20, 3, 14), wanted_rows(11, 20, 4, 15)
    found = list(rank_blocks(query, gallery, wanted, block_bytes=20 * 8 * 4))
    assert torch.cat([rows for rows, _ in found]).tolist() == list(range(11))
    assert len(found) == 3
    assert torch.equal(torch.cat([some for _, some in found]), ranks(query, gallery, wanted))


def test_no_queries_and_half_precision() -> None:
    assert ranks(torch.ones(0, 3), torch.ones(5, 3), torch.empty(0, 2, dtype=torch.int64)).shape == (0, 2)
    query, gallery, wanted = integers(5, 3, 16), integers(20, 3, 17), wanted_rows(5, 20, 4, 18)
    assert torch.equal(
        ranks(query.half(), gallery.half(), wanted, metric="dot"), ranks(query, gallery, wanted, metric="dot")
    )


POINTS = torch.eye(3)
WANTED = torch.zeros(3, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranks(POINTS, POINTS, WANTED[:2]), r"wanted must be int64 \(3 queries, rows\)"),
        (lambda: ranks(POINTS, POINTS, WANTED[:, 0]), "wanted must be int64"),
        (lambda: ranks(POINTS, POINTS, WANTED.float()), "wanted must be int64"),
        (lambda: ranks(POINTS, POINTS, WANTED + 3), "between 0 and 2, or are −1, got 3 … 3"),
        (lambda: ranks(POINTS, POINTS, WANTED - 2), "got -2 … -2"),
        (lambda: rank_blocks(POINTS, POINTS * torch.nan, WANTED), "hold NaN"),
        (lambda: rank_blocks(POINTS, POINTS, WANTED, block_bytes=0), "positive"),
        (lambda: ranks(POINTS, POINTS[:2], WANTED, exclude="self"), "needs the query to be the gallery"),
    ],
)
def test_wrong_input_is_refused_at_once(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu() -> None:
    query, gallery = integers(40, 5, 19), integers(333, 5, 20)
    wanted, excluded = wanted_rows(40, 333, 12, 21), wanted_rows(40, 333, 30, 22)
    want = ranks(query, gallery, wanted, exclude=excluded, metric="dot")
    for block_bytes in (5000, None):
        got = ranks(
            query.cuda(), gallery.cuda(), wanted, exclude=excluded, metric="dot", block_bytes=block_bytes
        )
        assert got.device.type == "cuda"
        assert torch.equal(got.cpu(), want)
