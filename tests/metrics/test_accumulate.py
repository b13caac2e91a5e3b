"""Accumulators over blocks and processes against the pure functions on everything at once."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy import metrics
from understudy.metrics import BEYOND, RankedMetrics, RankMetrics
from understudy.metrics.accumulate import KINDS


def lists(queries: int, results: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random ranked lists, and numbers of positives no smaller than what the lists hold; some are 0."""
    generator = torch.Generator().manual_seed(seed)
    relevant = torch.rand(queries, results, generator=generator) < 0.3
    extra = torch.randint(0, 3, (queries,), generator=generator)
    relevant[:: queries // 3] = False
    extra[:: queries // 3] = 0
    return relevant, (relevant.sum(1) + extra).clamp(max=results)


def everything() -> RankMetrics:
    return RankMetrics(ks=(1, 2, 5), map_ks=(3, 50), kinds=KINDS)


def at_once(relevant: Tensor, positives: Tensor) -> dict[str, float]:
    ranks = metrics.ranks_of(relevant)
    recall = metrics.recall_at_k(ranks, positives, (1, 2, 5))
    counted = positives > 0
    return {
        **{f"recall@{k}": recall[k] for k in (1, 2, 5)},
        **{f"cmc@{k}": recall[k] for k in (1, 2, 5)},
        "map@r": metrics.map_at_r(ranks, positives),
        "r_precision": metrics.mean_r_precision(ranks, positives),
        "map": metrics.mean_average_precision(ranks, positives),
        "minp": metrics.mean_inp(ranks, positives),
        "trapezoidal_map": metrics.trapezoidal_map(ranks, positives),
        **{
            f"mp@{k}": float(metrics.precision_at_k_revisited(ranks, positives, k)[counted].mean())
            for k in (1, 2, 5)
        },
        **{f"map@{k}": metrics.map_at_k(ranks, positives, k) for k in (3, 50)},
    }


@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_blocks_change_nothing(block: int) -> None:
    relevant, positives = lists(31, 12, 9)
    gathered = everything()
    ranked = RankedMetrics(ks=(1, 2, 5), map_ks=(3,), kinds=("recall", "cmc", "map@r", "r_precision"))
    for start in range(0, 31, block):
        some, counts = relevant[start : start + block], positives[start : start + block]
        gathered.update(metrics.ranks_of(some), counts)
        ranked.update(some, counts)
    want = at_once(relevant, positives)
    assert gathered.result() == pytest.approx(want, rel=1e-14)
    assert list(gathered.result()) == list(want)
    assert ranked.result() == pytest.approx({name: want[name] for name in ranked.result()}, rel=1e-14)
    for one in (gathered, ranked):
        assert one.queries == int((positives > 0).sum())
        assert one.skipped == int((positives == 0).sum()) > 0
        assert torch.equal(one.rows, (positives > 0).nonzero()[:, 0])
        assert {len(values) for values in one.per_query().values()} == {one.queries}


def test_per_query_values_stand_in_the_order_of_the_queries() -> None:
    relevant, positives = lists(20, 9, 1)
    ranks = metrics.ranks_of(relevant)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    gathered = everything()
    for rows in torch.split(order, 6):
        gathered.update(ranks[rows], positives[rows], rows)
    got, counted = gathered.per_query(), gathered.rows
    assert counted.tolist() == [i for i in range(20) if positives[i]]
    assert torch.equal(got["map"], metrics.average_precision(ranks, positives)[counted])
    assert torch.equal(got["recall@2"], (metrics.first_rank(ranks, positives) <= 2)[counted])
    assert got["recall@2"].dtype == torch.bool
    assert {values.dtype for name, values in got.items() if "@" not in name} == {torch.float64}


def test_several_processes_give_one_processs_figures_to_the_bit() -> None:
    relevant, positives = lists(31, 12, 3)
    ranks = metrics.ranks_of(relevant)
    alone = everything()
    alone.update(ranks, positives)
    parts = []
    for process in range(3):
        rows = torch.arange(31)[process::3]
        part = everything()
        part.update(ranks[rows], positives[rows], rows)
        parts.append(pickle.loads(pickle.dumps(part)))
    whole = everything()
    for part in reversed(parts):
        whole.merge(part)
    assert whole.result() == alone.result()
    assert (whole.queries, whole.skipped, whole.seen) == (alone.queries, alone.skipped, 31)
    for name, values in alone.per_query().items():
        assert torch.equal(values, whole.per_query()[name])
    assert torch.equal(whole.rows, alone.rows)


def test_the_normaliser_reaches_map_at_k() -> None:
    ranks, positives = torch.tensor([[1, 4, 5, 6]]), torch.tensor([4])
    for normaliser, want in (("min", 1 / 2), ("relevant", 1 / 4)):
        gathered = RankMetrics(map_ks=(2,), kinds=(), normaliser=normaliser)  # type: ignore[arg-type]
        gathered.update(ranks, positives)
        assert gathered.result() == {"map@2": want}


def test_no_query_with_positives_gives_no_number() -> None:
    for gathered in (RankedMetrics(ks=(1,)), everything()):
        assert all(math.isnan(value) for value in gathered.result().values())
        assert gathered.result()
    ranked = RankedMetrics(ks=(1,))
    ranked.update(torch.zeros(3, 2, dtype=torch.bool), torch.zeros(3, dtype=torch.int64))
    assert (ranked.queries, ranked.skipped) == (0, 3)
    assert all(math.isnan(value) for value in ranked.result().values())


BOOLS = torch.zeros(2, 3, dtype=torch.bool)
ONE = torch.tensor([1, 1])


def counted(rows: list[int]) -> RankMetrics:
    gathered = RankMetrics()
    gathered.update(
        torch.full((len(rows), 1), 1), torch.ones(len(rows), dtype=torch.int64), torch.tensor(rows)
    )
    return gathered


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RankMetrics(kinds=("map", "ndcg")), "measures are recall, .*, got 'ndcg'"),
        (lambda: RankMetrics(ks=(1, 0)), "from 1"),
        (lambda: RankMetrics(map_ks=(0,)), "from 1"),
        (lambda: RankMetrics(normaliser="max"), "normaliser is one of min, relevant"),  # type: ignore[arg-type]
        (lambda: RankMetrics().update(ONE[:, None] - 1, ONE), "count from 1"),
        (lambda: RankMetrics().update(ONE[:, None], ONE, rows=torch.tensor([1])), "rows must be one int64"),
        (lambda: RankedMetrics(kinds=("map",)), "map: lists of first results do not tell"),
        (lambda: RankedMetrics(ks=(4,)).update(BOOLS, ONE), "between 1 and the lists' 3 results"),
        (lambda: RankedMetrics(map_ks=(4,)).update(BOOLS, ONE), "cut-offs"),
        (lambda: RankedMetrics().update(BOOLS, ONE * 4), "need lists of 4 results, the largest R, got 3"),
        (lambda: RankedMetrics().update(BOOLS, ONE[:1]), "one int64 count for each of 2 queries"),
        (lambda: RankedMetrics().update(~BOOLS, ONE), "more ranks than positives"),
        (lambda: RankedMetrics().update(BOOLS.float(), ONE), "relevant must be boolean"),
        (lambda: counted([0, 1]).merge(RankMetrics(ks=(2,))), "same measures"),
        (lambda: counted([0, 1]).merge(counted([2, 1])), "count the same query"),
    ],
)  # fmt: skip
def test_wrong_use_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_short_lists_serve_what_looks_no_further() -> None:
    ranked = RankedMetrics(ks=(1,), map_ks=(3,), kinds=("recall",))
    ranked.update(torch.tensor([[False, True, True]]), torch.tensor([40]))
    assert ranked.result() == {"recall@1": 0.0, "map@3": pytest.approx((1 / 2 + 2 / 3) / 3, rel=1e-15)}
    assert BEYOND > 10**18
