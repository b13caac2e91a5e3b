"""Plans of batches: what is in them, that they repeat from a seed, and that shares make up the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from understudy.data.samplers import (
    BatchStream,
    ClassBalanced,
    CrossCameraPairs,
    EveryClassOnce,
    Mixed,
    RandomPairs,
    Sampler,
    TeacherNeighbours,
    Unlabelled,
    deal,
    shard,
)
from understudy.errors import UserError

# 300 manifest rows: classes of 1 to 9 images, some rows unlabelled, two in three rows in the split
RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(60), 5)
LABELS = np.concatenate((LABELS[:240], np.full(30, -1), np.arange(48, 78)))
LABELS = RANDOM.permutation(LABELS)
CAMERAS = RANDOM.integers(0, 4, 300)
ROWS = np.sort(RANDOM.permutation(300)[:200])
NEAREST = np.stack([np.setdiff1d(RANDOM.permutation(200)[:13], row)[:12] for row in range(200)])

MAKERS: dict[str, Callable[[int], Sampler]] = {
    "with": lambda seed: ClassBalanced(ROWS, LABELS, 8, 4, replacement=True, seed=seed),
    "without": lambda seed: ClassBalanced(ROWS, LABELS, 8, 4, replacement=False, seed=seed),
    "once": lambda seed: EveryClassOnce(ROWS, LABELS, 8, 4, seed=seed),
    "pairs": lambda seed: RandomPairs(ROWS, LABELS, 16, seed=seed),
    "cameras": lambda seed: CrossCameraPairs(ROWS, LABELS, CAMERAS, 16, seed=seed),
    "unlabelled": lambda seed: Unlabelled(ROWS, 24, seed=seed),
    "neighbours": lambda seed: TeacherNeighbours(ROWS, 24, 3, NEAREST, neighbourhood=12, seed=seed),
    "mixed": lambda seed: Mixed(
        ClassBalanced(ROWS, LABELS, 4, 2, replacement=False, seed=seed), Unlabelled(ROWS, 12, seed=seed)
    ),
}
ALL = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def members(code: int) -> np.ndarray:
    rows: np.ndarray = ROWS[LABELS[ROWS] == code]
    return rows


@ALL
def test_plans_are_whole_batches_of_rows_that_were_given(make: Callable[[int], Sampler]) -> None:
    sampler = make(0)
    plan = sampler.plan(2)
    assert plan.shape == (len(sampler), sampler.batch_size)
    assert plan.dtype == np.int64
    assert set(plan.ravel()) <= set(ROWS.tolist())


@ALL
def test_plans_are_pure_functions_of_seed_and_epoch(make: Callable[[int], Sampler]) -> None:
    sampler = make(5)
    third = sampler.plan(3)
    sampler.plan(0)
    assert np.array_equal(sampler.plan(3), third)
    assert np.array_equal(make(5).plan(3), third)
    assert not np.array_equal(make(6).plan(3), third)
    assert not np.array_equal(sampler.plan(4), third)


@ALL
@pytest.mark.parametrize("stop", [1, 4, 11])
def test_a_resumed_stream_continues_to_the_same_batches(make: Callable[[int], Sampler], stop: int) -> None:
    whole = BatchStream(make(1))
    expected = [next(whole) for _ in range(stop + 12)]
    first = BatchStream(make(1))
    for _ in range(stop):
        next(first)
    second = BatchStream(make(1))
    second.load_state_dict(first.state_dict())
    for step in expected[stop:]:
        found = next(second)
        assert (found.epoch, found.index, found.number) == (step.epoch, step.index, step.number)
        assert np.array_equal(found.rows, step.rows)
    assert [step.number for step in expected] == list(range(stop + 12))


@ALL
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_shares_of_all_processes_make_up_the_batch(make: Callable[[int], Sampler], world: int) -> None:
    streams = [BatchStream(make(1), rank=rank, world=world) for rank in range(world)]
    plan = make(1).plan(0)
    for index in range(2):
        steps = [next(stream) for stream in streams]
        assert np.array_equal(np.concatenate([step.rows for step in steps]), plan[index])
        assert [step.start for step in steps] == np.cumsum(
            [0, *(len(step.rows) for step in steps[:-1])]
        ).tolist()
        sizes = {len(step.rows) for step in steps}
        assert max(sizes) - min(sizes) <= 1


def test_uneven_shares_hold_each_image_once() -> None:
    batch = np.arange(7)
    shares = [shard(batch, rank, 3).tolist() for rank in range(3)]
    assert shares == [[0, 1, 2], [3, 4], [5, 6]]
    assert [len(shard(np.arange(2), rank, 3)) for rank in range(3)] == [1, 1, 0]


def test_a_stream_refuses_positions_that_do_not_exist() -> None:
    stream = BatchStream(Unlabelled(np.arange(4), 2, seed=0))
    with pytest.raises(ValueError, match="batch 2 of epoch 0 is not one of 2"):
        stream.load_state_dict({"epoch": 0, "index": 2})
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        BatchStream(stream.sampler, rank=2, world=2)


@pytest.mark.parametrize(
    ("count", "hands", "size"), [(10, 20, 4), (7, 9, 6), (5, 30, 5), (3, 4, 8), (1, 3, 2)]
)
def test_deal_uses_every_card_up_before_one_returns(count: int, hands: int, size: int) -> None:
    dealt = deal(count, hands, size, np.random.default_rng(1))
    assert dealt.shape == (hands, size)
    for hand in dealt:
        times = Counter(hand.tolist()).values()
        assert max(times) == -(-size // count)
        assert len(times) == min(count, size)
    if size <= count:
        for hand in range(1, hands + 1):
            so_far = np.bincount(dealt[:hand].ravel(), minlength=count)
            assert so_far.max() - so_far.min() <= 1


@pytest.mark.parametrize("name", ["with", "without", "once"])
def test_a_balanced_batch_is_p_classes_of_k_images(name: str) -> None:
    sampler = MAKERS[name](0)
    for batch in sampler.plan(0):
        codes = LABELS[batch].reshape(8, 4)
        assert (codes == codes[:, :1]).all()
        assert (codes >= 0).all()
        assert len(set(codes[:, 0])) == 8
        for code, rows in zip(codes[:, 0], batch.reshape(8, 4), strict=True):
            assert len(set(rows)) == min(4, len(members(code)))


def test_classes_of_one_image_are_left_out_and_counted() -> None:
    sizes = {code: len(members(code)) for code in set(LABELS[ROWS]) - {-1}}
    alone = [code for code, size in sizes.items() if size == 1]
    assert alone
    for sampler in (
        ClassBalanced(ROWS, LABELS, 8, 4, replacement=True, seed=0),
        RandomPairs(ROWS, LABELS, 8, seed=0),
    ):
        assert sampler.singletons == len(alone)
        assert not set(LABELS[sampler.plan(0)].ravel()) & set(alone)
    with_them = ClassBalanced(ROWS, LABELS, 8, 1, replacement=False, seed=0, batches=20)
    assert set(LABELS[with_them.plan(0)].ravel()) == set(sizes)
    assert with_them.singletons == 0


def test_without_replacement_every_class_and_image_is_used_up_first() -> None:
    sampler = ClassBalanced(ROWS, LABELS, 8, 4, replacement=False, seed=0, batches=40)
    plan = sampler.plan(0)
    drawn = LABELS[plan].reshape(-1, 4)[:, 0]
    for stop in (8, 56, 200, 320):
        times = np.bincount(np.searchsorted(sampler.classes, drawn[:stop]), minlength=len(sampler.classes))
        assert times.max() - times.min() <= 1
    times_of_rows = Counter(plan.ravel().tolist())
    for code in sampler.classes:
        if len(members(code)) >= 4:
            times_of_class = [times_of_rows[row] for row in members(code).tolist()]
            assert max(times_of_class) - min(times_of_class) <= 1


def test_with_replacement_classes_return_before_all_were_seen() -> None:
    drawn = LABELS[ClassBalanced(ROWS, LABELS, 8, 4, replacement=True, seed=0, batches=40).plan(0)]
    times = Counter(drawn.reshape(-1, 4)[:, 0].tolist())
    assert max(times.values()) - min(times.values()) > 1


def test_every_class_once_leaves_out_only_what_fills_no_batch() -> None:
    sampler = EveryClassOnce(ROWS, LABELS, 8, 2, seed=0)
    assert len(sampler) == len(sampler.classes) // 8
    left_out = []
    for epoch in range(4):
        times = Counter(LABELS[sampler.plan(epoch)].ravel().tolist())
        assert set(times.values()) == {2}
        assert len(times) == len(sampler) * 8
        left_out.append(frozenset(sampler.classes.tolist()) - frozenset(times))
    assert len(set(left_out)) > 1


def test_the_papers_epochs_have_their_lengths() -> None:
    for classes, batches in ((100, 25), (98, 24), (11318, 2829)):
        labels = np.repeat(np.arange(classes), 8)
        assert len(EveryClassOnce(np.arange(len(labels)), labels, 4, 8, seed=0)) == batches


def test_random_pairs_are_two_images_of_one_class() -> None:
    plan = RandomPairs(ROWS, LABELS, 16, seed=0, batches=50).plan(0)
    pairs = plan.reshape(-1, 2)
    assert (LABELS[pairs[:, 0]] == LABELS[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    repeated = [len(set(LABELS[batch][::2])) < 8 for batch in plan]
    assert any(repeated)  # classes are drawn with replacement, also within a batch
    assert not all(repeated)


def test_cross_camera_pairs_are_all_of_them_once() -> None:
    sampler = CrossCameraPairs(ROWS, LABELS, CAMERAS, 16, seed=0)
    expected = {
        (int(a), int(b))
        for place, a in enumerate(ROWS)
        for b in ROWS[place + 1 :]
        if LABELS[a] == LABELS[b] >= 0 and CAMERAS[a] != CAMERAS[b]
    }
    assert {tuple(pair) for pair in np.sort(sampler.pairs, axis=1).tolist()} == expected
    assert len(sampler.pairs) == len(expected)
    assert len(sampler) == -(-len(expected) // 8)
    for epoch in range(2):
        pairs = sampler.plan(epoch).reshape(-1, 2)
        assert (LABELS[pairs[:, 0]] == LABELS[pairs[:, 1]]).all()
        assert (CAMERAS[pairs[:, 0]] != CAMERAS[pairs[:, 1]]).all()
        times = Counter(map(tuple, np.sort(pairs, axis=1).tolist()))
        assert set(times) == expected
        assert sum(count - 1 for count in times.values()) == len(sampler) * 8 - len(
            expected
        )  # fills the last
        assert (
            len({tuple(pair) for pair in pairs[: len(expected) // 8 * 8].tolist()}) == len(expected) // 8 * 8
        )


def test_unlabelled_batches_hold_every_image() -> None:
    plan = Unlabelled(ROWS, 24, seed=0).plan(0)
    assert len(plan) == 9
    assert len(set(plan[:8].ravel())) == 192
    assert set(plan.ravel()) == set(ROWS)
    assert all(len(set(batch)) == 24 for batch in plan)
    few = Unlabelled(np.array([3, 9]), 5, seed=0).plan(0)
    assert set(few[0]) == {3, 9}


def test_a_mixed_epoch_is_that_of_the_longer_part() -> None:
    few, many = Unlabelled(np.arange(10), 4, seed=0), Unlabelled(np.arange(10, 110), 6, seed=0)
    mixed = Mixed(few, many)
    assert (len(few), len(many), len(mixed), mixed.batch_size) == (3, 17, 17, 10)
    plans = np.concatenate([mixed.plan(epoch) for epoch in range(3)])
    assert np.array_equal(plans[:, 4:], np.concatenate([many.plan(epoch) for epoch in range(3)]))
    assert np.array_equal(plans[:, :4], np.concatenate([few.plan(epoch) for epoch in range(17)]))
    assert len(Mixed(few, many, batches=5)) == 5
    assert np.array_equal(Mixed(few, many, batches=5).plan(1)[:, 4:], many.plan(0)[5:10])


def test_images_without_a_camera_are_in_no_pair_across_cameras() -> None:
    rows, one_class = np.arange(5), np.zeros(5, np.int64)
    sampler = CrossCameraPairs(rows, one_class, np.array([-1, 0, -1, 1, -1]), 2, seed=0)
    assert sampler.pairs.tolist() == [[1, 3]]
    with pytest.raises(UserError, match="no class was seen by two cameras"):
        CrossCameraPairs(rows, one_class, np.array([-1, 0, -1, 0, -1]), 2, seed=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: ClassBalanced(np.arange(5), np.array([0, 0, 0, 1, 1]), 2, 4, replacement=True, seed=0),
            r"images_per_class is 4 but the largest class has 3 image\(s\): make it 3 or smaller",
        ),
        (
            lambda: ClassBalanced(np.arange(5), np.array([0, 0, 1, 1, 2]), 3, 2, replacement=True, seed=0),
            r"classes_per_batch is 3 but there are 2 classes \(without 1 of one image\): make it 2 or",
        ),
        (
            lambda: ClassBalanced(np.arange(2), np.array([-1, -1]), 1, 1, replacement=True, seed=0),
            "no image has a label",
        ),
        (lambda: ClassBalanced(np.arange(2), np.array([0, 0]), 0, 2, replacement=True, seed=0), "is empty"),
        (
            lambda: RandomPairs(np.arange(2), np.array([0, 0]), 3, seed=0),
            "batch_size 3 is not a whole number",
        ),
        (lambda: RandomPairs(np.arange(2), np.array([0, 1]), 2, seed=0), "no class has two images"),
        (
            lambda: CrossCameraPairs(np.arange(2), np.array([0, 0]), np.array([1, 1]), 2, seed=0),
            "no class was seen by two cameras",
        ),
        (
            lambda: CrossCameraPairs(np.arange(20000), np.zeros(20000, int), np.arange(20000), 2, seed=0),
            "hold up to 199,990,000 pairs",
        ),
        (lambda: Unlabelled(np.arange(0), 2, seed=0), "no image to draw from"),
        (lambda: Unlabelled(np.arange(3), 0, seed=0), "batch_size 0 is empty"),
    ],
)
def test_what_cannot_be_planned_is_said_in_a_sentence(make: Callable[[], Sampler], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()
