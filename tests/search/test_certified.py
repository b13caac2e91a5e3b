"""Search in low precision gives the float32 search's result, or it would be no search."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from understudy import search
from understudy.search import Metric, Tally
from understudy.search._certified import first_candidates, search_certified
from understudy.search._coarse import Coarse
from understudy.search._exclusion import Exclusion
from understudy.search._scoring import Scoring

PRECISIONS = ["bf16", "tf32"]


@pytest.fixture(autouse=True)
def small_galleries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Low precision takes part although it would not be worth it."""
    monkeypatch.setattr("understudy.search._certified._WORTH", 4)


def whole(rows: int, dim: int, seed: int, *, high: int = 400) -> Tensor:
    """Whole numbers that low precision must round, whose products float32 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-high, high + 1, (rows, dim), generator=generator).float()


def dense(rows: int, seed: int) -> Tensor:
    """Neighbours nearer to each other than low precision can tell."""
    return torch.full((rows, 12), 300.0) + whole(rows, 12, seed, high=3)


def certified(
    query: Tensor, gallery: Tensor, k: int, precision: str, metric: Metric, block_bytes: int = 2**22
) -> tuple[Tensor, Tensor, Tally]:
    """The search itself, also where TF32 is only rounding."""
    tally, exclusion = Tally(), Exclusion(None, len(query), len(gallery), query.device)
    scoring = Scoring(query, gallery, metric)
    found = list(search_certified(scoring, exclusion, k, block_bytes, precision, tally))
    assert torch.equal(torch.cat([block.rows for block in found]), torch.arange(len(query)))
    return torch.cat([block.scores for block in found]), torch.cat([block.indices for block in found]), tally


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("k", [1, 20, 130])
@pytest.mark.parametrize("block_bytes", [50_000, 2**22])
def test_the_result_is_float32s_to_the_bit(precision: str, metric: Metric, k: int, block_bytes: int) -> None:
    query, gallery = whole(600, 12, 0), whole(900, 12, 1)
    gallery[500:600] = gallery[100:200]  # ties across the gallery
    want = search.topk(query, gallery, k, metric=metric)
    scores, indices, tally = certified(query, gallery, k, precision, metric, block_bytes)
    assert torch.equal(scores, want[0])
    assert torch.equal(indices, want[1])
    assert tally.queries == 600
    assert tally.share < 0.9 or precision == "bf16" or k > 20  # low precision did decide something


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_every_coarse_score_lies_within_its_bound(precision: str, metric: Metric) -> None:
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(90, 64, generator=generator) * torch.logspace(-3, 2, 90)[:, None]
    gallery = torch.randn(300, 64, generator=generator) * torch.rand(300, 1, generator=generator)
    gallery[7], gallery[8] = 0, query[40]
    scoring = Scoring(query.double(), gallery.double(), metric)
    true = query.new_empty(90, 300, dtype=torch.float64)
    scoring.tile(slice(None), slice(None), true)
    coarse = Coarse(scoring, precision)
    tile = torch.empty(90, 300, dtype=coarse.dtype)
    coarse.tile(slice(None), slice(None), tile)
    reached = torch.stack([coarse.reach(slice(None), tile[:, column]) for column in range(300)], 1)
    assert (true <= reached).all()
    width = (reached - tile.double()).clamp(min=1e-30)
    assert ((true - tile.double()).abs() <= width).all()
    assert ((true - tile.double()) / width).max() > 0.05  # and is not far too wide


@pytest.mark.parametrize("precision", PRECISIONS)
def test_dense_galleries_are_searched_again_and_still_right(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = dense(2000, 3)
    want = search.topk(points, points, 10, metric="euclidean")
    scores, indices, tally = certified(points, points, 10, precision, "euclidean")
    assert torch.equal(indices, want[1])
    assert torch.equal(scores, want[0])
    if precision == "bf16":
        assert tally.share > 0.5
        monkeypatch.setattr(Coarse, "reach", lambda self, rows, last: torch.full_like(last, -torch.inf))
        believed, _, tally = certified(points, points, 10, precision, "euclidean")
        assert tally.share == 0
        assert not torch.equal(believed, want[0])  # without the certificate it would be wrong


def test_candidates_grow_before_low_precision_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    points = whole(3000, 12, 4)
    limit = Tally()
    enough = 3 * first_candidates(10)
    asked = []
    topk = torch.topk

    def spy(x: Tensor, k: int, **more: Any) -> Any:
        asked.append(k)
        return topk(x, k, **more)

    def reach(self: Coarse, rows: slice, last: Tensor) -> Tensor:
        return torch.full_like(last, torch.inf if max(asked) < enough else -torch.inf).float()

    monkeypatch.setattr(Coarse, "reach", reach)
    monkeypatch.setattr("understudy.search._certified.torch.topk", spy)
    want = search.topk(points, points, 10, metric="dot")
    search.topk(points, points, 10, metric="dot", precision="bf16", tally=limit)
    coarse = [k for k in asked if k > 11]
    assert coarse[:2] == [first_candidates(10), 2 * first_candidates(10)]
    assert set(coarse[2:]) == {4 * first_candidates(10)}
    assert limit.again == 2 * 256
    assert limit.queries == len(want[0])


@pytest.mark.parametrize("form", ["self", "lists", "codes", "rule", "all"])
def test_excluded_rows_are_no_candidates(form: str) -> None:
    points = whole(700, 12, 5)
    codes = torch.arange(700) % 5
    forms: dict[str, search.Exclude] = {
        "self": "self",
        "lists": [torch.arange(i % 9) for i in range(700)],
        "codes": search.SameCodes(codes, codes),
        "rule": lambda rows, columns: (rows[:, None] + columns) % 3 == 0,
        "all": lambda rows, columns: (rows[:, None] % 2 == 0) | (columns < 5),
    }
    tally = Tally()
    metrics: tuple[Metric, ...] = ("cosine", "euclidean")
    for metric in metrics:
        x = points.double() if metric == "cosine" else points
        want = search.topk(x, x, 12, exclude=forms[form], metric=metric)
        got = search.topk(x, x, 12, exclude=forms[form], metric=metric, precision="bf16", tally=tally)
        assert torch.equal(got[1], want[1])
        assert torch.allclose(got[0], want[0], rtol=1e-12, atol=1e-12)
    assert tally.queries == 1400


def test_numbers_too_large_or_too_small_for_low_precision_are_searched_in_full() -> None:
    for scale in (9e15, 1e-25, 1e100, 1e-100):
        points = whole(300, 8, 6).double() * scale
        points = points.float() if 1e-30 < scale < 1e30 else points
        tally = Tally()
        want = search.topk(points, points, 3, metric="dot")
        got = search.topk(points, points, 3, metric="dot", precision="bf16", tally=tally)
        assert torch.equal(got[1], want[1])
        assert tally.share == 1


def test_tf32_means_float32_where_there_is_none() -> None:
    points = torch.randn(300, 16, generator=torch.Generator().manual_seed(7))
    tally = Tally()
    got = search.topk(points, points, 5, precision="tf32", tally=tally)
    want = search.topk(points, points, 5)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
    assert (tally.queries, tally.again, tally.share) == (300, 0, 0)


def test_what_is_not_worth_it_is_searched_in_full_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points, tally = whole(3000, 8, 8), Tally()
    search.topk(points, points, 10, precision="bf16", tally=tally)
    assert tally.share < 1
    monkeypatch.setattr("understudy.search._certified._WORTH", 64)
    monkeypatch.delattr(Coarse, "tile")
    search.topk(points, points, 40, precision="bf16", tally=(tally := Tally()))
    assert (tally.queries, tally.share) == (3000, 1)


def test_few_queries_and_small_galleries() -> None:
    points = whole(300, 8, 8)
    for queries, k in ((0, 3), (1, 3), (5, 300)):
        want = search.topk(points[:queries], points, k, metric="dot")
        got = search.topk(points[:queries], points, k, metric="dot", precision="bf16")
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_the_gpu_certifies_too(precision: search.Precision, metric: Metric) -> None:
    points = whole(3000, 64, 9, high=200).cuda()
    points = points.double() if metric == "cosine" else points
    tally = Tally()
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    got = search.topk(points, points, 10, exclude="self", metric=metric, precision=precision, tally=tally)
    want = search.topk(points, points, 10, exclude="self", metric=metric)
    assert torch.equal(got[1], want[1])
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == before
    assert tally.share < 0.9
    scoring = Scoring(points, points, metric)
    true = points.new_empty(500, 3000)
    scoring.tile(slice(0, 500), slice(None), true)
    coarse = Coarse(scoring, precision)
    tile = torch.empty(500, 3000, dtype=coarse.dtype, device="cuda")
    coarse.tile(slice(0, 500), slice(None), tile)
    reached = torch.stack([coarse.reach(slice(0, 500), tile[:, column]) for column in range(3000)], 1)
    assert (true <= reached).all()
