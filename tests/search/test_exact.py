"""The search against a stable sort of the whole score table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy import search
from understudy.search import Metric
from understudy.search._scoring import Scoring
from understudy.search._select import largest
from understudy.search._tiled import tile_shape

BLOCKS: list[int | None] = [1, 200, 1_000, 3_000, 20_000, None]


def integers(rows: int, dim: int, seed: int, *, high: int = 3) -> Tensor:
    """Small integers: products are exact, and many scores are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-high, high + 1, (rows, dim), generator=generator).float()


def normal(rows: int, dim: int, seed: int) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def table(query: Tensor, gallery: Tensor, metric: Metric) -> Tensor:
    """All scores in float64, without a matrix product."""
    q, g = query.double()[:, None], gallery.double()[None]
    if metric == "euclidean":
        return -((q - g) ** 2).sum(-1)
    products = (q * g).sum(-1)
    lengths = (q**2).sum(-1).sqrt() * (g**2).sum(-1).sqrt()
    return products / lengths if metric == "cosine" else products


def by_stable_sort(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row of the whole table; excluded entries hold −inf."""
    values, order = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :k], order.masked_fill(values == -torch.inf, -1)[:, :k]


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("k", [1, 2, 7, 36, 37])
def test_ties_go_to_the_lower_row_across_all_blocks(block_bytes: int | None, metric: Metric, k: int) -> None:
    query, gallery = integers(23, 3, 0), integers(37, 3, 1)
    gallery[20:30] = gallery[3]  # exact duplicates far apart
    scores, indices = search.topk(query, gallery, k, metric=metric, block_bytes=block_bytes)
    want, order = by_stable_sort(table(query, gallery, metric), k)
    assert torch.equal(scores.double(), want)
    assert torch.equal(indices, order)


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_self_is_excluded_by_index_even_among_duplicates(block_bytes: int | None) -> None:
    points = integers(31, 2, 2, high=1)
    scores, indices = search.topk(points, points, 31, exclude="self", metric="dot", block_bytes=block_bytes)
    want = table(points, points, "dot").fill_diagonal_(-torch.inf)
    assert torch.equal(indices, by_stable_sort(want, 31)[1])
    assert (indices != torch.arange(31)[:, None]).all()
    assert indices[:, -1].eq(-1).all()
    assert scores[:, -1].eq(-torch.inf).all()


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_float_scores_match_the_table(block_bytes: int | None, metric: Metric) -> None:
    query, gallery = normal(13, 5, 3).double(), normal(41, 5, 4).double()
    scores, indices = search.topk(query, gallery, 9, metric=metric, block_bytes=block_bytes)
    want, order = by_stable_sort(table(query, gallery, metric), 9)
    assert torch.allclose(scores, want, rtol=1e-12, atol=1e-12)
    assert torch.equal(indices, order)


@pytest.mark.parametrize("scale", [1e-16, 1e-21, 1e-25, 1e-37])
def test_how_short_a_vector_is_changes_no_cosine(scale: float) -> None:
    query, gallery = normal(7, 5, 3), normal(30, 5, 4)
    mixed = torch.cat([scale * gallery[:10], gallery[10:29], torch.zeros(1, 5)])
    whole = torch.cat([gallery[:29], torch.zeros(1, 5)])
    want, order = search.topk(query, whole, 30)
    for short in (query, scale * query):
        scores, indices = search.topk(short, mixed, 30)
        assert torch.allclose(scores, want, rtol=1e-5, atol=1e-6)
        assert torch.equal(indices, order)
    # Those of usual length keep every bit beside the others.
    prepared = [Scoring(query, rows, "cosine").gallery for rows in (mixed, whole)]
    assert torch.equal(prepared[0][10:], prepared[1][10:])
    assert torch.equal(prepared[1][:29], gallery[:29] / gallery[:29].square().sum(1).sqrt()[:, None])


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("form", ["padded", "lists", "rule"])
def test_each_query_has_its_own_exclusions(block_bytes: int | None, form: str) -> None:
    query, gallery = integers(11, 3, 5), integers(29, 3, 6)
    forbidden = torch.rand(11, 29, generator=torch.Generator().manual_seed(7)) < 0.4
    forbidden[4], forbidden[5] = True, False
    lists = [row.nonzero()[:, 0] for row in forbidden]
    forms: dict[str, search.Exclude] = {
        "padded": torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1),
        "lists": lists,
        "rule": lambda rows, columns: forbidden[rows[:, None], columns],
    }
    scores, indices = search.topk(
        query, gallery, 29, exclude=forms[form], metric="dot", block_bytes=block_bytes
    )
    want = table(query, gallery, "dot").masked_fill(forbidden, -torch.inf)
    assert torch.equal(indices, by_stable_sort(want, 29)[1])
    assert torch.equal(scores.double(), by_stable_sort(want, 29)[0])
    assert indices[4].eq(-1).all()


@pytest.mark.parametrize("block_bytes", BLOCKS)
@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_score_blocks_are_the_rows_of_the_table(block_bytes: int | None, metric: Metric) -> None:
    query, gallery = integers(17, 3, 13), integers(29, 3, 14)
    found = list(
        search.score_blocks(query, gallery, exclude=torch.arange(17), metric=metric, block_bytes=block_bytes)
    )
    want = table(query, gallery, metric)
    want[torch.arange(17), torch.arange(17)] = -torch.inf
    assert torch.equal(torch.cat([rows for rows, _ in found]), torch.arange(17))
    assert torch.equal(torch.cat([scores for _, scores in found]).double(), want)
    assert all(scores.nbytes <= max(block_bytes or 2**26, 29 * 4) for _, scores in found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("block_bytes", [1_000, 30_000, None])
def test_the_gpu_breaks_ties_as_the_cpu_does(metric: Metric, block_bytes: int | None) -> None:
    points = integers(211, 4, 15)
    for k in (1, 10, 200, 211):
        want = search.topk(points, points, k, exclude="self", metric=metric)
        got = search.topk(
            points.cuda(), points.cuda(), k, exclude="self", metric=metric, block_bytes=block_bytes
        )
        assert torch.equal(got[1].cpu(), want[1])
        assert torch.equal(got[0].cpu(), want[0])


@pytest.mark.parametrize("k", [1, 3, 8, 12])
@pytest.mark.parametrize("levels", [1, 2, 4, 1000])
def test_largest_equals_a_stable_sort(k: int, levels: int) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randint(0, levels, (9, 12), generator=generator).float()
        scores[torch.rand(9, 12, generator=generator) < 0.2] = -torch.inf
        values, columns = largest(scores, k)
        want, order = by_stable_sort(scores, k)
        assert torch.equal(values, want)
        assert torch.equal(columns.masked_fill(values == -torch.inf, -1), order)


@pytest.mark.parametrize("block_bytes", [30_000, 400_000, 3_000_000])
def test_every_query_comes_once_and_no_tile_exceeds_its_memory(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    tile = Scoring.tile

    def spy(self: Scoring, rows: slice, columns: slice, out: Tensor) -> None:
        sizes.append(out.numel() * out.element_size())
        tile(self, rows, columns, out)

    monkeypatch.setattr(Scoring, "tile", spy)
    points = normal(997, 4, 8)
    found = list(search.blocks(points, points, 10, exclude="self", block_bytes=block_bytes))
    assert torch.equal(torch.cat([block.rows for block in found]), torch.arange(997))
    assert all(block.indices.shape == block.scores.shape == (len(block.rows), 10) for block in found)
    assert max(sizes) <= block_bytes
    heights = [len(block.rows) for block in found]
    assert heights[-1] > max(heights) - len(heights)  # no sliver at the end


def test_the_tile_is_cut_both_ways_when_the_gallery_is_wide() -> None:
    for item, k, gallery in ((4, 10, 1_000_000), (8, 100, 60_502), (4, 1000, 60_502)):
        height, width = tile_shape(10_000, gallery, k, item, 2**26)
        assert height >= 100
        assert k <= width <= gallery
        assert height * width * item <= 2**26
    assert tile_shape(5, 7, 3, 4, 1) == (1, 3)


def test_zero_vectors_score_nothing_with_cosine() -> None:
    gallery = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    scores, indices = search.topk(gallery[[3, 0]], gallery, 4)
    assert scores.tolist() == [[1, 0, 0, -1], [0, 0, 0, 0]]
    assert indices.tolist() == [[3, 0, 2, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_is_raised_and_double_is_kept(dtype: torch.dtype) -> None:
    points = normal(9, 4, 9).to(dtype)
    scores, _ = search.topk(points, points, 2, metric="dot")
    assert scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(
        scores[:, 0], search.topk(points.to(scores.dtype), points.to(scores.dtype), 1, metric="dot")[0][:, 0]
    )


def test_neither_autocast_nor_lowered_products_touch_the_scores() -> None:
    points = normal(50, 64, 10)
    want = search.topk(points, points, 5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            scores, indices = search.topk(points, points, 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(scores, want[0])
    assert torch.equal(indices, want[1])


def test_no_graph_is_built_and_inputs_are_left_alone() -> None:
    points = normal(12, 3, 11).requires_grad_()
    before = points.detach().clone()
    scores, _ = search.topk(points, points, 3, exclude="self")
    assert not scores.requires_grad
    assert torch.equal(points.detach(), before)


def test_no_queries_find_nothing() -> None:
    scores, indices = search.topk(torch.empty(0, 3), normal(4, 3, 12), 2)
    assert scores.shape == indices.shape == (0, 2)


def nan_at(row: int) -> Tensor:
    points = torch.ones(6, 2)
    points[row, 1] = torch.nan
    return points


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: search.topk(torch.ones(2, 2), torch.ones(3, 2), 4),
            "between 1 and the gallery's 3 rows, got 4",
        ),
        (lambda: search.blocks(torch.ones(2, 2), torch.ones(3, 2), 0), "got 0"),
        (lambda: search.topk(torch.ones(2, 2), torch.ones(3, 3), 1), "one dimension, got 2 and 3"),
        (lambda: search.topk(torch.ones(2), torch.ones(3, 2), 1), "the query must be .rows, dim."),
        (lambda: search.topk(torch.ones(2, 2), torch.ones(3, 2).long(), 1), "the gallery must be floating"),
        (lambda: search.topk(torch.ones(2, 2), nan_at(4), 1), "gallery rows 4 hold NaN"),
        (
            lambda: search.topk(torch.full((5, 2), torch.inf), torch.ones(3, 2), 1),
            "query rows 0, 1, 2, … hold",
        ),
        (lambda: search.topk(torch.full((1, 2), 1e19), torch.ones(3, 2), 1), "too large for torch.float32"),
        (lambda: search.topk(torch.ones(2, 2), torch.ones(3, 2), 1, exclude="self"), "2 queries and 3 rows"),
        (
            lambda: search.topk(torch.ones(2, 2), torch.ones(3, 2), 1, exclude=[torch.tensor([0])]),
            "2 queries, got 1",
        ),
        (
            lambda: search.topk(torch.ones(1, 2), torch.ones(3, 2), 1, exclude=torch.tensor([3])),
            "rows below 3",
        ),
        (
            lambda: search.topk(torch.ones(1, 2), torch.ones(3, 2), 1, block_bytes=0),
            "block_bytes must be positive",
        ),
        (
            lambda: search.topk(
                torch.ones(1, 2), torch.ones(3, 2), 1, exclude=lambda rows, columns: rows > 0
            ),
            r"boolean tensor of shape \(1, 3\)",
        ),
        (lambda: search.topk(torch.ones(1, 2), torch.ones(3, 2), 1, metric="l2"), "metric is one of"),  # type: ignore[arg-type]
        (lambda: search.topk(torch.ones(1, 2), torch.ones(3, 2), 1, exclude="me"), "exclude is 'self'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_input_is_refused_in_one_sentence(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_start")
def test_importing_search_and_metrics_stays_light() -> None:
    heavy = "timm pyarrow sklearn scipy matplotlib pytorch_metric_learning torchvision pandas faiss"
    code = (
        "import sys, understudy.search, understudy.metrics\n"
        f"found = [name for name in {heavy!r}.split() if name in sys.modules]\n"
        "others = [n for n in sys.modules if n.startswith('understudy.') "
        "and n.split('.')[1] not in ('search', 'metrics', '_version', 'errors')]\n"
        "assert not found and not others, (found, others)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
