"""Batches: rows, labels and views that follow from the stream's position alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.augmentation import Augmentation
from understudy.data.batches import Batch, Batches
from understudy.data.pixels import Pixels
from understudy.data.samplers import BatchStream, ClassBalanced, Unlabelled

ROWS = np.arange(10, 34)
LABELS = np.concatenate((np.full(10, 77), np.repeat(np.arange(8), [4, 3, 3, 3, 3, 3, 3, 2]), [5]))
TURN = Augmentation(rotate=20)


def held() -> Pixels:
    """The image of row r has the value r everywhere; rows lie in memory in another order."""
    rows = torch.from_numpy(np.random.default_rng(0).permutation(ROWS))
    return Pixels(rows.to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous(), rows)


def make(augmentation: Augmentation | None = TURN, rank: int = 0, world: int = 1, **more: Any) -> Batches:
    sampler = ClassBalanced(ROWS, LABELS, 3, 4, replacement=False, seed=2)
    stream = BatchStream(sampler, rank=rank, world=world)
    return Batches(held(), LABELS, stream, augmentation=augmentation, **more)


def take(batches: Batches, count: int) -> list[Batch]:
    return [next(batches) for _ in range(count)]


def geometry(batch: Batch) -> torch.Tensor:
    assert batch.items.views is not None
    return batch.items.views.geometry()


def test_content_and_labels_belong_to_the_rows() -> None:
    for step, batch in enumerate(take(make(), 7)):
        assert batch.step == step
        assert torch.equal(batch.items.content[:, 0, 0, 0].long(), batch.items.rows)
        assert torch.equal(batch.labels, torch.from_numpy(LABELS)[batch.items.rows])
        assert batch.items.views is not None
        assert torch.equal(batch.items.views.rows, batch.items.rows)


def test_a_row_drawn_again_is_seen_differently() -> None:
    seen: dict[int, set[tuple[float, ...]]] = {}
    times = 0
    for batch in take(
        make(), 20
    ):  # classes of 2 or 3 at 4 images: rows come twice in a batch, and in every epoch
        for row, view in zip(batch.items.rows.tolist(), geometry(batch), strict=True):
            seen.setdefault(row, set()).add(tuple(view.flatten().tolist()))
            times += 1
    assert sum(map(len, seen.values())) == times


@pytest.mark.parametrize("count", [2, 4, 7])
def test_a_finite_number_of_views_comes_evenly_and_copies_differ(count: int) -> None:
    times = np.zeros((40, count), dtype=int)
    for batch in take(make(Augmentation(rotate=20, num_views=count)), 600):
        views = batch.items.views
        assert views is not None
        numbers = views.numbers.tolist()
        assert 0 <= min(numbers) <= max(numbers) < count
        pairs = list(zip(views.rows.tolist(), numbers, strict=True))
        for (one, (row, number)), (two, (again, other)) in itertools.combinations(enumerate(pairs), 2):
            if row == again and (two - one) % count:
                assert number != other
        for row, number in pairs:
            times[row, number] += 1
    shares = times[10:34] / times[10:34].sum(axis=1, keepdims=True)
    assert np.abs(shares - 1 / count).max() < 0.1


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees() -> None:
    whole = take(make(seed=4), 9)
    first = make(seed=4)
    take(first, 5)
    second = make(seed=4)
    second.load_state_dict(first.state_dict())
    for expected, found in zip(whole[5:], take(second, 4), strict=True):
        assert torch.equal(found.items.rows, expected.items.rows)
        assert torch.equal(geometry(found), geometry(expected))
        assert found.step == expected.step


@pytest.mark.parametrize("augmentation", [TURN, Augmentation(rotate=20, num_views=3)])
@pytest.mark.parametrize("world", [2, 5])
def test_processes_share_the_batch_and_its_views(augmentation: Augmentation, world: int) -> None:
    whole = take(make(augmentation), 3)
    parts = [take(make(augmentation, rank, world), 3) for rank in range(world)]
    for step, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[step].items.rows for part in parts]), expected.items.rows)
        assert torch.equal(torch.cat([part[step].labels for part in parts]), expected.labels)
        assert torch.equal(torch.cat([geometry(part[step]) for part in parts]), geometry(expected))
        counts = tuple(len(part[step].labels) for part in parts)
        assert {part[step].counts for part in parts} == {counts}
        assert expected.counts == (12,)


def test_the_seed_changes_the_views_and_not_the_rows() -> None:
    one, other = next(make(seed=1)), next(make(seed=2))
    assert torch.equal(one.items.rows, other.items.rows)
    assert (geometry(one) != geometry(other)).any()


@pytest.mark.parametrize("augmentation", [None, Augmentation(), Augmentation(num_views=2)])
def test_nothing_to_vary_means_clean_images(augmentation: Augmentation | None) -> None:
    assert next(make(augmentation)).items.views is None


def test_texts_are_batched_without_views() -> None:
    texts = [f"text {row}" for row in range(35)]
    batches = Batches(texts, LABELS, BatchStream(Unlabelled(ROWS, 5, seed=0)), augmentation=TURN)
    batch = next(batches)
    assert batch.items.content == [f"text {row}" for row in batch.items.rows.tolist()]
    assert batch.items.views is None
    assert len(batch.items) == 5
