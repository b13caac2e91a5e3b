"""Every measure of a ranking in one harness: against loops in plain Python, other libraries and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from understudy import metrics, search
from understudy.metrics import BEYOND

Measure = Callable[[Tensor, Tensor], Tensor]
Loop = Callable[[list[bool], int], float]


def precision(relevant: list[bool], k: int) -> float:
    return sum(relevant[:k]) / k


def sum_of_precisions(relevant: list[bool], k: int) -> float:
    return sum(precision(relevant, i) for i in range(1, min(k, len(relevant)) + 1) if relevant[i - 1])


def revisited_ap(relevant: list[bool], positives: int) -> float:
    """The trapezoids under precision over recall, with ranks from 0 as the benchmark has them."""
    area, found = 0.0, 0
    for place, right in enumerate(relevant):
        if right:
            before = found / place if place else 1.0
            found += 1
            area += (before + found / (place + 1)) / 2 / positives
    return area


def revisited_precision(relevant: list[bool], k: int) -> float:
    last = max(place for place, right in enumerate(relevant, 1) if right)
    return precision(relevant, min(last, k))


def last_positive(relevant: list[bool]) -> int:
    return max(place for place, right in enumerate(relevant, 1) if right)


MEASURES: dict[str, tuple[Measure, Loop]] = {
    "map": (metrics.average_precision, lambda rel, r: sum_of_precisions(rel, len(rel)) / r),
    "map@r": (metrics.average_precision_at_r, lambda rel, r: sum_of_precisions(rel, r) / r),
    "map@5": (
        partial(metrics.average_precision_at_k, k=5),
        lambda rel, r: sum_of_precisions(rel, 5) / min(r, 5),
    ),
    "map_cut_5": (
        partial(metrics.average_precision_at_k, k=5, normaliser="relevant"),
        lambda rel, r: sum_of_precisions(rel, 5) / r,
    ),
    "map@1000": (
        partial(metrics.average_precision_at_k, k=1000),
        lambda rel, r: sum_of_precisions(rel, 1000) / r,
    ),
    "trapezoidal_map": (metrics.trapezoidal_average_precision, revisited_ap),
    "r_precision": (metrics.r_precision, precision),
    "p@7": (partial(metrics.precision_at_k, k=7), lambda rel, _: precision(rel, 7)),
    "mp@7": (partial(metrics.precision_at_k_revisited, k=7), lambda rel, _: revisited_precision(rel, 7)),
    "minp": (metrics.inverse_negative_penalty, lambda rel, r: r / last_positive(rel)),
    "first": (metrics.first_rank, lambda rel, _: rel.index(True) + 1),
}

MEANS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "map": metrics.mean_average_precision,
    "map@r": metrics.map_at_r,
    "map@5": partial(metrics.map_at_k, k=5),
    "map_cut_5": partial(metrics.map_at_k, k=5, normaliser="relevant"),
    "trapezoidal_map": metrics.trapezoidal_map,
    "r_precision": metrics.mean_r_precision,
    "minp": metrics.mean_inp,
}


def rankings(queries: int, gallery: int, seed: int) -> tuple[list[list[bool]], Tensor, Tensor]:
    """Whole rankings as lists of relevance; the ranks and numbers of positives. Some queries have none."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(queries, 1, generator=generator) ** 2
    relevant = torch.rand(queries, gallery, generator=generator) < share
    relevant[:: max(1, queries // 3)] = False
    return relevant.tolist(), metrics.ranks_of(relevant), relevant.sum(1)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(("queries", "gallery"), [(23, 31), (7, 2), (41, 8)])
def test_equal_to_a_loop(name: str, queries: int, gallery: int) -> None:
    measure, loop = MEASURES[name]
    relevant, ranks, positives = rankings(queries, gallery, seed=queries)
    got = measure(ranks, positives)
    counted = positives > 0
    want = [loop(rel, r) for rel, r in zip(relevant, positives.tolist(), strict=True) if r]
    assert 0 < len(want) < queries
    assert got[counted].tolist() == pytest.approx(want, rel=1e-14)
    if name != "first":
        assert got.dtype == torch.float64
        assert (got[~counted] == 0).all()
        assert ((got >= 0) & (got <= 1)).all()
    if name in MEANS:
        assert MEANS[name](ranks, positives) == pytest.approx(sum(want) / len(want), rel=1e-14)


@pytest.mark.parametrize("name", MEASURES)
def test_padding_and_the_order_of_queries_change_nothing(name: str) -> None:
    measure, _ = MEASURES[name]
    _, ranks, positives = rankings(20, 25, seed=3)
    want = measure(ranks, positives)
    padded = torch.cat([ranks, torch.full((20, 4), BEYOND)], 1)
    assert measure(padded, positives).tolist() == pytest.approx(want.tolist(), rel=1e-15)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(4))
    assert torch.equal(measure(ranks[order], positives[order]), want[order])
    assert measure(ranks[:0], positives[:0]).shape == (0,)
    nothing = measure(torch.empty(3, 0, dtype=torch.int64), torch.tensor([2, 0, 1]))  # none was found
    assert nothing.tolist() == ([BEYOND] * 3 if name == "first" else [0.0] * 3)


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in ("first", "p@7", "map_cut_5")])
def test_perfect_rankings_reach_one(name: str) -> None:
    measure, _ = MEASURES[name]
    ranks = torch.tensor([[*range(1, 10)], [1, *[BEYOND] * 8]])
    assert measure(ranks, torch.tensor([9, 1])).tolist() == [1.0, 1.0]


def test_numbers_by_hand() -> None:
    #   Positives at 1, 3 and 6, R = 3
    ranks, positives = torch.tensor([[1, 3, 6]]), torch.tensor([3])
    by_hand = {
        "map": (1 + 2 / 3 + 3 / 6) / 3,
        "map@r": (1 + 2 / 3) / 3,
        "map@5": (1 + 2 / 3) / 3,
        "r_precision": 2 / 3,
        "minp": 3 / 6,
        #   precision before and at each positive: 1 and 1, 1/2 and 2/3, 2/5 and 3/6
        "trapezoidal_map": (1 + 7 / 12 + 9 / 20) / 3,
        "p@7": 3 / 7,
        "mp@7": 3 / 6,
        "first": 1,
    }
    for name, want in by_hand.items():
        assert MEASURES[name][0](ranks, positives).item() == pytest.approx(want, rel=1e-15), name
    #   R = 9 with K = 5, six of them found: the divisors differ
    ranks, positives = torch.tensor([[1, 2, 4, 5, 7, 8]]), torch.tensor([9])
    assert metrics.map_at_k(ranks, positives, 5) == pytest.approx((1 + 1 + 3 / 4 + 4 / 5) / 5, rel=1e-15)
    assert metrics.map_at_k(ranks, positives, 5, "relevant") == pytest.approx(3.55 / 9, rel=1e-15)
    assert metrics.mean_inp(ranks, positives) == 0.0  # three were not found


def test_recall_and_cmc_equal_a_loop() -> None:
    relevant, ranks, positives = rankings(19, 12, seed=5)
    kept = [row for row, r in zip(relevant, positives.tolist(), strict=True) if r]
    want = {k: sum(any(row[:k]) for row in kept) / len(kept) for k in range(1, 13)}
    assert metrics.recall_at_k(ranks, positives, (1, 3, 12)) == {k: want[k] for k in (1, 3, 12)}
    for longest in (1, 2, 3):
        assert metrics.cmc(ranks, positives, longest).tolist() == list(want.values())[:longest]
    curve = metrics.cmc(ranks, positives, longest=20)
    assert curve.tolist() == [*want.values(), *[1.0] * 8]
    assert 0 < want[1] < want[12] == 1


def test_no_query_with_positives_gives_no_number() -> None:
    ranks, positives = torch.full((3, 2), BEYOND), torch.zeros(3, dtype=torch.int64)
    for mean in MEANS.values():
        assert math.isnan(mean(ranks, positives))
    assert math.isnan(metrics.recall_at_k(ranks, positives, (1,))[1])
    assert metrics.cmc(ranks, positives, 3).isnan().all()


def scene(seed: int, *, ties: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Embeddings and labels of 29 queries and 83 gallery items: some labels occur once, some nowhere.

    Tie-free scores (dot products) of both signs; or small integers with duplicates, whose scores are exact.
    """
    generator = torch.Generator().manual_seed(seed)
    labels, wanted = (torch.randint(0, 9, (size,), generator=generator) for size in (83, 29))
    labels[:2], wanted[:3] = torch.tensor([100, 101]), torch.tensor([100, 200, 201])
    query, gallery = (torch.randn(size, 5, generator=generator).double() for size in (29, 83))
    if ties:
        query, gallery = query.mul(2).round(), gallery.mul(2).round()
        gallery[40:50] = gallery[7]
    junk = torch.rand(29, 83, generator=generator) < 0.1
    return query, gallery, wanted, labels, junk


def ranked(seed: int, *, ties: bool) -> tuple[Tensor, Tensor, list[list[bool]]]:
    """The ranks that the search gives, the numbers of positives, and the rankings by a plain sort."""
    query, gallery, wanted, labels, junk = scene(seed, ties=ties)
    right = (wanted[:, None] == labels) & ~junk
    rows = torch.where(right, torch.arange(83), 83).sort(1).values
    rows = rows[:, : int(right.sum(1).max())]
    hidden = torch.where(junk, torch.arange(83), -1)
    ranks = search.ranks(query, gallery, torch.where(rows < 83, rows, -1), exclude=hidden, metric="dot")
    lists = []
    for scores, row, out in zip((query @ gallery.T).tolist(), right.tolist(), junk.tolist(), strict=True):
        order = sorted((j for j in range(83) if not out[j]), key=lambda j: (-scores[j], j))
        lists.append([row[j] for j in order])
    return ranks, right.sum(1), lists


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", MEASURES)
def test_from_embeddings_with_junk_ties_and_duplicates(name: str, ties: bool) -> None:
    ranks, positives, lists = ranked(0, ties=ties)
    assert int((positives == 0).sum()) >= 2
    counted = positives > 0
    measure, loop = MEASURES[name]
    want = [loop(rel, r) for rel, r in zip(lists, positives.tolist(), strict=True) if r]
    assert measure(ranks, positives)[counted].tolist() == pytest.approx(want, rel=1e-14)


def test_the_reidentification_toolkits_figures() -> None:
    #   CMC, mAP and mINP as their evaluation loops compute them, junk taken out of each ranking
    ranks, positives, lists = ranked(1, ties=False)
    aps, inps, curves = [], [], []
    for rel in lists:
        if not any(rel):
            continue
        places = [place for place, right in enumerate(rel, 1) if right]
        aps.append(sum(j / place for j, place in enumerate(places, 1)) / len(places))
        inps.append(len(places) / places[-1])
        curves.append([float(any(rel[:k])) for k in range(1, 11)])
    assert metrics.mean_average_precision(ranks, positives) == pytest.approx(sum(aps) / len(aps), rel=1e-13)
    assert metrics.mean_inp(ranks, positives) == pytest.approx(sum(inps) / len(inps), rel=1e-13)
    want = [sum(column) / len(curves) for column in zip(*curves, strict=True)]
    assert metrics.cmc(ranks, positives, longest=10).tolist() == pytest.approx(want, rel=1e-13)


def test_equal_to_trec_eval() -> None:
    import pytrec_eval

    query, gallery, wanted, labels, junk = scene(2, ties=False)
    scores = query @ gallery.T
    assert (scores < 0).any()
    right = wanted[:, None] == labels
    judged = {str(i): {str(j): int(right[i, j]) for j in range(83) if not junk[i, j]} for i in range(29)}
    run = {str(i): {str(j): float(scores[i, j]) for j in range(83) if not junk[i, j]} for i in range(29)}
    names = {"map", "P_5,10", "map_cut_5,10", "Rprec", "recip_rank", "success_1,5,10"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)
    ranks, positives, _ = ranked(2, ties=False)
    ours = {
        "map": metrics.average_precision(ranks, positives),
        "Rprec": metrics.r_precision(ranks, positives),
        **{f"P_{k}": metrics.precision_at_k(ranks, positives, k) for k in (5, 10)},
        **{f"map_cut_{k}": metrics.average_precision_at_k(ranks, positives, k, "relevant") for k in (5, 10)},
        **{f"success_{k}": metrics.first_rank(ranks, positives) <= k for k in (1, 5, 10)},
    }
    for i in (positives > 0).nonzero()[:, 0].tolist():
        for name, values in ours.items():
            assert float(values[i]) == pytest.approx(theirs[str(i)][name], rel=1e-12), name


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_pytorch_metric_learning(seed: int) -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 12, (157,), generator=generator)
    labels[:3] = torch.tensor([100, 101, 102])  # classes of one image
    points = torch.randn(157, 6, generator=generator) + torch.randn(103, 6, generator=generator)[labels]
    counts = torch.bincount(labels)[labels] - 1
    lists = metrics.RankedMetrics(ks=(1,))
    for rows, indices, _ in search.blocks(
        points, points, int(counts.max()), exclude="self", metric="euclidean", block_bytes=9000
    ):
        lists.update(labels[indices] == labels[rows, None], counts[rows])
    others = (labels[:, None] == labels) & ~torch.eye(157, dtype=torch.bool)
    rows = torch.where(others, torch.arange(157), 157).sort(1).values[:, : int(counts.max())]
    ranks = search.ranks(
        points, points, torch.where(rows < 157, rows, -1), exclude="self", metric="euclidean"
    )
    whole = metrics.RankMetrics(kinds=("recall", "map@r", "r_precision", "map"))
    whole.update(ranks, counts)

    for k, ours in (("max_bin_count", lists.result()), (156, whole.result())):
        names = {"recall@1": "precision_at_1", "map@r": "mean_average_precision_at_r"}
        names |= {"r_precision": "r_precision", "map": "mean_average_precision"}
        calculator = AccuracyCalculator(
            include=tuple(names[name] for name in ours),
            k=k,
            knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        )
        theirs = calculator.get_accuracy(points, labels)
        for name, value in ours.items():
            assert value == pytest.approx(theirs[names[name]], rel=1e-12), name
    assert lists.skipped == whole.skipped == int((counts == 0).sum()) >= 3


RANKS, TWO = torch.tensor([[1, 3], [2, BEYOND]]), torch.tensor([2, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *((partial(measure, RANKS.double(), TWO), "must be int64") for measure, _ in MEASURES.values()),
        *((partial(measure, RANKS, TWO[:1]), "count for each of 2") for measure, _ in MEASURES.values()),
        (lambda: metrics.average_precision(RANKS[0], TWO), "ranks must be int64"),
        (lambda: metrics.average_precision(RANKS, TWO.double()), "one int64 count"),
        (lambda: metrics.average_precision(RANKS.flip(1), TWO), "ascend in each row"),
        (lambda: metrics.average_precision(RANKS.clamp(max=1), TWO), "none twice"),
        (lambda: metrics.average_precision(RANKS - 1, TWO), "count from 1"),
        (lambda: metrics.average_precision(RANKS, TWO - 1), "more ranks than positives"),
        (lambda: metrics.map_at_k(RANKS, TWO, 0), "from 1, got 0"),
        (lambda: metrics.precision_at_k(RANKS, TWO, -1), "from 1, got -1"),
        (lambda: metrics.precision_at_k_revisited(RANKS, TWO, 0), "from 1"),
        (lambda: metrics.recall_at_k(RANKS, TWO, (1, 0)), "from 1"),
        (lambda: metrics.cmc(RANKS, TWO, 0), "from 1"),
        (lambda: metrics.map_at_k(RANKS, TWO, 3, "mean"), "min, relevant, got 'mean'"),  # type: ignore[arg-type]
        (lambda: metrics.ranks_of(RANKS), "relevant must be boolean"),
        (lambda: metrics.ranks_of(RANKS[0] > 1), "relevant must be boolean"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
