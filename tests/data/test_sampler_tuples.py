"""Tuples: what is drawn and mined, against a walk down the ranked pool, and that plans repeat."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.data.samplers import BatchStream, Tuples, hardest_negatives
from understudy.errors import UserError

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.permutation(np.concatenate([np.repeat(np.arange(12), 10), np.full(30, -1)]))
ROWS = np.sort(RANDOM.permutation(150)[:110])
PAIRS = np.array(
    [
        (a, b)
        for a in range(150)
        for b in range(150)
        if a != b and LABELS[a] == LABELS[b] >= 0 and (a + b) % 3 == 0
    ]
)
VECTORS = torch.from_numpy(RANDOM.normal(size=(150, 6)))


def embed(rows: np.ndarray) -> Tensor:
    return VECTORS[rows]


def make(**settings: int) -> Tuples:
    values = {"negatives": 3, "queries": 40, "pool": 60, "seed": 0, "batch_size": 20, **settings}
    return Tuples(ROWS, LABELS, PAIRS, values.pop("batch_size"), **values)


def walk(query: int, pool: list[int], labels: np.ndarray, vectors: Tensor, count: int) -> list[int]:
    """Down the ranked pool, in float64, past the query's class and the classes already taken."""
    far = {row: float((vectors[query].double() - vectors[row].double()).norm()) for row in pool}
    taken = {labels[query]}
    found: list[int] = []
    for row in sorted(pool, key=lambda row: (far[row], row)):
        if labels[row] not in taken and len(found) < count:
            found.append(row)
            taken.add(labels[row])
    return found


def test_the_negatives_are_those_of_the_ranked_pool() -> None:
    sampler = make()
    pairs, pool = sampler.draw(4)
    assert len(pool) == 60
    sampler.refresh(4, embed)
    tuples = sampler.plan(4).reshape(-1, 5)
    assert tuples[:, :2].tolist() == pairs.tolist()
    for query, _, *negatives in tuples.tolist():
        assert negatives == walk(query, pool.tolist(), LABELS, VECTORS, 3)


def test_nearest_means_the_distance_also_where_lengths_differ_and_blocks_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("understudy.data.samplers.mining._BLOCK_SCORES", 7 * 90 + 5)
    labels = RANDOM.integers(0, 9, 120)
    vectors = torch.from_numpy(RANDOM.normal(size=(120, 4)) * RANDOM.uniform(0.1, 5, (120, 1)))
    codes = torch.from_numpy(labels)
    pool = list(range(30, 120))
    found = hardest_negatives(vectors[:30], vectors[30:], codes[:30], codes[30:], 8)
    for query in range(30):
        assert (found[query] + 30).tolist() == walk(query, pool, labels, vectors, 8)


def test_ties_go_by_the_place_in_the_pool() -> None:
    """Distances 2, 1, 1, 1, 1 of the classes 1, 3, 2, 2, 4; whole numbers, so that ties are exact."""
    pool = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    classes = torch.tensor([1, 3, 2, 2, 4])
    found = hardest_negatives(torch.zeros(1, 2), pool, torch.tensor([0]), classes, 4)
    assert found.tolist() == [[1, 2, 4, 0]]
    found = hardest_negatives(torch.zeros(1, 2), pool, torch.tensor([3]), classes, 3)
    assert found.tolist() == [[2, 4, 0]]
    with pytest.raises(ValueError, match="the pool has 3 classes besides a query's own, and 4 negatives"):
        hardest_negatives(torch.zeros(1, 2), pool, torch.tensor([3]), classes, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same() -> None:
    labels = torch.from_numpy(RANDOM.integers(0, 40, 700))
    vectors = torch.from_numpy(RANDOM.normal(size=(700, 8)))
    expected = hardest_negatives(vectors[:100], vectors[100:], labels[:100], labels[100:], 5)
    vectors, labels = vectors.cuda(), labels.cuda()
    found = hardest_negatives(vectors[:100], vectors[100:], labels[:100], labels[100:], 5)
    assert torch.equal(found.cpu(), expected)


def test_what_is_drawn() -> None:
    sampler = make()
    seen = []
    for epoch in range(6):
        pairs, pool = sampler.draw(epoch)
        seen.append((pairs.tolist(), pool.tolist()))
        assert len(np.unique(pairs, axis=0)) == len(pairs) == 40
        assert len(np.unique(pool)) == 60
        for rows in (pairs.ravel(), pool):
            assert set(rows.tolist()) <= set(ROWS.tolist())
            assert (LABELS[rows] >= 0).all()
        assert {tuple(pair) for pair in pairs.tolist()} <= {tuple(pair) for pair in PAIRS.tolist()}
        again = make().draw(epoch)
        assert (again[0].tolist(), again[1].tolist()) == seen[-1]
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in itertools.pairwise(seen))
    assert make(seed=1).draw(0)[1].tolist() != seen[0][1]


def test_a_small_pool_grows_until_its_classes_suffice() -> None:
    sampler = make(pool=1, negatives=8, batch_size=10)
    for epoch in range(5):
        pool = sampler.draw(epoch)[1]
        assert len(np.unique(LABELS[pool])) == 9
        sampler.refresh(epoch, embed)
        tuples = sampler.plan(epoch).reshape(-1, 10)
        assert all(len({*LABELS[row[:1]], *LABELS[row[2:]]}) == 9 for row in tuples)


def test_the_plan_follows_the_embeddings_of_its_own_refresh() -> None:
    sampler, other = make(), make()
    with pytest.raises(RuntimeError, match="negatives of epoch 0 are not mined"):
        sampler.plan(0)
    asked: list[np.ndarray] = []
    sampler.refresh(0, lambda rows: (asked.append(rows), embed(rows))[1])  # type: ignore[func-returns-value]
    pairs, pool = sampler.draw(0)
    assert asked[0].tolist() == sorted({*pairs[:, 0].tolist(), *pool.tolist()})  # each image once
    other.refresh(0, lambda rows: embed(rows).flip(0))
    assert (other.plan(0) != sampler.plan(0)).any()
    plan = sampler.plan(0)
    sampler.refresh(0, lambda rows: pytest.fail(f"{len(rows)} images embedded again"))
    assert (sampler.plan(0) == plan).all()
    sampler.refresh(1, embed)
    with pytest.raises(RuntimeError, match="epoch 0"):
        sampler.plan(0)
    other.load_state_dict(sampler.state_dict())
    assert (other.plan(1) == sampler.plan(1)).all()


def test_every_process_gets_whole_tuples() -> None:
    plans = []
    for rank in range(3):
        sampler = make()
        stream = BatchStream(sampler, rank=rank, world=3, before_epoch=partial(sampler.refresh, embed=embed))
        steps = [next(stream) for _ in range(len(sampler) + 1)]
        assert [step.epoch for step in steps] == [0] * len(sampler) + [1]
        assert all(len(step.rows) % 5 == 0 == step.start % 5 for step in steps)
        plans.append(steps[0])
    assert [len(step.rows) for step in plans] == [10, 5, 5]
    whole = make()
    whole.refresh(0, embed)
    assert np.concatenate([step.rows for step in plans]).tolist() == whole.plan(0)[0].tolist()
    assert [step.start for step in plans] == [0, 10, 15]


def test_the_size_of_an_epoch() -> None:
    assert len(make()) == 10
    assert len(make(queries=39)) == 9  # three tuples fill no batch
    assert len(make(queries=1)) == 1
    pairs = len([1 for a, b in PAIRS if a in ROWS and b in ROWS])
    assert len(make(queries=10**6)) == pairs // 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 128}, r"batch_size 128 is no whole number of tuples of 5 images .*: make it 125"),
        ({"batch_size": 4}, "make it 5"),
        ({"batch_size": 5000}, r"there are \d+ pairs of labelled training images and a batch takes 1000"),
        (
            {"negatives": 12, "batch_size": 14},
            "12 negatives of different classes need 13 classes and .* have 12",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**settings)
