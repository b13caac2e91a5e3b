"""Ranked metrics against loops in plain Python, numbers by hand and pytorch-metric-learning."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy import search
from understudy.metrics import (
    RankedMetrics,
    average_precision_at_r,
    first_relevant,
    map_at_r,
    recall_at_k,
)


def lists(queries: int, results: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random ranked lists, and numbers of positives no smaller than what the lists hold; some are 0."""
    generator = torch.Generator().manual_seed(seed)
    relevant = torch.rand(queries, results, generator=generator) < 0.3
    extra = torch.randint(0, 3, (queries,), generator=generator)
    relevant[:: queries // 3] = False
    extra[:: queries // 3] = 0
    return relevant, (relevant.sum(1) + extra).clamp(max=results)


def average_precision_by_loop(relevant: list[bool], positives: int) -> float:
    found, total = 0, 0.0
    for rank in range(1, positives + 1):
        if relevant[rank - 1]:
            found += 1
            total += found / rank
    return total / positives if positives else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_a_loop(seed: int) -> None:
    relevant, positives = lists(17, 9, seed)
    want = [
        average_precision_by_loop(r, p) for r, p in zip(relevant.tolist(), positives.tolist(), strict=True)
    ]
    got = average_precision_at_r(relevant, positives)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-15, atol=0)
    counted = [w for w, p in zip(want, positives.tolist(), strict=True) if p]
    assert map_at_r(relevant, positives) == pytest.approx(sum(counted) / len(counted), rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_recall_equals_a_loop(seed: int) -> None:
    relevant, positives = lists(19, 7, seed)
    for k in (1, 3, 7):
        hits = [any(row[:k]) for row in relevant.tolist()]
        kept = [hit for hit, p in zip(hits, positives.tolist(), strict=True) if p]
        assert len(kept) < len(hits)
        assert recall_at_k(relevant, (k,)) == {k: sum(hits) / len(hits)}
        assert recall_at_k(relevant, (k,), positives) == {k: sum(kept) / len(kept)}


def test_numbers_by_hand() -> None:
    #   R = 4, hits at 1, 3, 5 (beyond R): AP@R = (1/1 + 2/3) / 4 = 5/12
    relevant = torch.tensor([[True, False, True, False, True]])
    assert map_at_r(relevant, torch.tensor([4])) == pytest.approx(5 / 12, rel=1e-15)
    #   R = 2, hit at 2 only: (1/2) / 2
    assert map_at_r(torch.tensor([[False, True]]), torch.tensor([2])) == 0.25
    assert recall_at_k(relevant.roll(1), (1, 2)) == {1: 1.0, 2: 1.0}  # True True False True False
    assert first_relevant(torch.tensor([[False, False, True], [False] * 3])).tolist() == [3, 4]


def test_perfect_and_worst_lists() -> None:
    positives = torch.tensor([3, 1])
    perfect = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert map_at_r(perfect, positives) == 1.0
    assert map_at_r(~perfect, positives) == 0.0


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_pytorch_metric_learning(seed: int) -> None:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 12, (157,), generator=generator)
    labels[:3] = torch.tensor([100, 101, 102])  # classes of one image
    points = torch.randn(157, 6, generator=generator) + torch.randn(103, 6, generator=generator)[labels]
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    want = calculator.get_accuracy(points, labels)
    counts = torch.bincount(labels)[labels] - 1
    ranked = RankedMetrics(ks=(1,))
    for rows, indices, _ in search.blocks(
        points, points, int(counts.max()), exclude="self", metric="euclidean", block_bytes=9000
    ):
        ranked.update(labels[indices] == labels[rows, None], counts[rows])
    got = ranked.result()
    assert ranked.skipped == int((counts == 0).sum()) >= 3
    assert got["recall@1"] == pytest.approx(want["precision_at_1"], rel=1e-12)
    assert got["map@r"] == pytest.approx(want["mean_average_precision_at_r"], rel=1e-12)


@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_blocks_change_nothing_to_the_bit(block: int) -> None:
    relevant, positives = lists(31, 12, 9)
    ranked = RankedMetrics(ks=(1, 2, 12))
    for start in range(0, 31, block):
        ranked.update(relevant[start : start + block], positives[start : start + block])
    recall = recall_at_k(relevant, (1, 2, 12), positives)
    assert ranked.result() == {
        "recall@1": recall[1],
        "recall@2": recall[2],
        "recall@12": recall[12],
        "map@r": map_at_r(relevant, positives),
    }
    assert ranked.queries == int((positives > 0).sum())
    assert ranked.skipped == int((positives == 0).sum()) > 0
    assert {len(values) for values in ranked.per_query().values()} == {ranked.queries}


def test_no_query_with_positives_gives_no_number() -> None:
    ranked = RankedMetrics(ks=(1,))
    assert math.isnan(ranked.result()["recall@1"])
    ranked.update(torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, dtype=torch.int64))
    assert (ranked.queries, ranked.skipped) == (0, 3)
    assert all(math.isnan(value) for value in ranked.result().values())


BOOLS = torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall_at_k(BOOLS, (4,)), "cut-offs lie between 1 and the lists' 3 results"),
        (lambda: recall_at_k(BOOLS, ()), "cut-offs"),
        (lambda: recall_at_k(BOOLS.float(), (1,)), "relevant must be boolean"),
        (lambda: map_at_r(BOOLS, torch.tensor([4, 1])), "needs lists of 4 results"),
        (lambda: map_at_r(BOOLS, torch.tensor([1])), "one int64 count for each of 2 queries"),
        (lambda: map_at_r(BOOLS[0], torch.tensor([1])), "relevant must be boolean"),
        (lambda: RankedMetrics(ks=(0,)).update(BOOLS, torch.tensor([1, 1])), "cut-offs"),
    ],
)
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
