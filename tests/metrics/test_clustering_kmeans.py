"""k-means against scikit-learn, a plain form of itself, and data where the answer is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from understudy.metrics.clustering import Clusters, kmeans, nmi
from understudy.metrics.clustering._nearest import Nearest
from understudy.metrics.clustering._seeding import seed_centroids


def blobs(groups: int, each: int, dim: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around random centres, and whose each is, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(groups * each, generator=generator) % groups
    centres = torch.randn(groups, dim, generator=generator)
    return centres[labels] + spread * torch.randn(len(labels), dim, generator=generator), labels


def hold(x: Tensor, found: Clusters, k: int) -> None:
    """What is true of every converged result: means of the members, nearest centroids, their inertia."""
    x = x.double()
    numbers, centroids = found.assignments, found.centroids.double()
    assert numbers.dtype == torch.int64
    assert numbers.shape == (len(x),)
    assert 0 <= int(numbers.min()) <= int(numbers.max()) < k
    for number in torch.unique(numbers):
        torch.testing.assert_close(centroids[number], x[numbers == number].mean(0), rtol=1e-5, atol=1e-5)
    distances = torch.cdist(x, centroids).square()
    mine = distances.gather(1, numbers[:, None])[:, 0]
    assert bool((mine <= distances.min(1).values + 1e-4).all())
    assert found.inertia == pytest.approx(float(mine.sum()), rel=1e-4, abs=1e-9)


def partition(numbers: Tensor) -> set[frozenset[int]]:
    return {frozenset((numbers == one).nonzero()[:, 0].tolist()) for one in torch.unique(numbers)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_easy_data_gives_the_groups_and_scikit_learn_s_inertia(dtype: torch.dtype) -> None:
    x, labels = blobs(12, 9, 8, 0.05)
    x = x.to(dtype)
    found = kmeans(x, 12)
    assert partition(found.assignments) == partition(labels)
    assert found.centroids.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    want = KMeans(12, n_init=5, random_state=0).fit(x.double().numpy()).inertia_
    assert found.inertia == pytest.approx(want, rel=1e-10 if dtype == torch.float64 else 1e-5)
    hold(x, found, 12)


@pytest.mark.parametrize("k", [1, 2, 7, 60])
def test_on_data_without_groups_it_is_as_good_as_scikit_learn_s(k: int) -> None:
    x, _ = blobs(300, 1, 5, 0.0)
    found = kmeans(x, k, restarts=5)
    hold(x, found, k)
    assert len(torch.unique(found.assignments)) == k
    theirs = KMeans(k, n_init=5, random_state=0).fit(x.numpy()).inertia_
    assert found.inertia <= 1.05 * theirs


def test_rounds_are_lloyd_s_to_the_last() -> None:
    """The rounds that look only at what moved give what the plain rounds give, from the same seeds."""
    x = blobs(400, 1, 6, 0.0, seed=3)[0].double()
    x = x - x.mean(0)
    generator = torch.Generator().manual_seed(5)
    centroids, _ = seed_centroids(x, 20, generator, 2**20)
    before = None
    while True:
        numbers = torch.cdist(x, centroids).argmin(1)
        if before is not None and bool((numbers == before).all()):
            break
        centroids = torch.stack([x[numbers == number].mean(0) for number in range(20)])
        before = numbers
    found = kmeans(x, 20, seed=5, restarts=1)
    assert found.assignments.equal(numbers)
    torch.testing.assert_close(found.centroids, centroids, rtol=0, atol=1e-12)


def test_one_seed_gives_one_result_and_the_block_changes_none() -> None:
    x, _ = blobs(10, 30, 4, 1.0)
    first = kmeans(x, 25, seed=3)
    again = kmeans(x, 25, seed=3)
    assert first.assignments.equal(again.assignments)
    assert first.centroids.equal(again.centroids)
    assert first.inertia == again.inertia
    assert kmeans(x, 25, seed=3, block_bytes=3000).assignments.equal(first.assignments)
    assert not kmeans(x, 25, seed=4, restarts=1).assignments.equal(kmeans(x, 25, restarts=1).assignments)


def test_of_several_starts_the_lowest_inertia_is_kept() -> None:
    x, _ = blobs(60, 1, 4, 0.0)
    best = [kmeans(x, 12, seed=1, restarts=starts, iterations=1).inertia for starts in range(1, 9)]
    assert best == sorted(best, reverse=True)
    assert best[-1] < 0.99 * best[0]


def test_centroids_of_unit_vectors_are_means_not_unit_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(90, 3, generator=generator))
    found = kmeans(x, 4)
    hold(x, found, 4)
    assert bool((found.centroids.norm(dim=1) < 0.95).all())


def test_as_many_clusters_as_points() -> None:
    x, _ = blobs(50, 1, 3, 0.0)
    found = kmeans(x, 50)
    assert len(torch.unique(found.assignments)) == 50
    assert found.inertia == pytest.approx(0, abs=1e-10)


def test_more_clusters_than_different_points_leave_some_empty() -> None:
    x, labels = blobs(4, 10, 3, 0.0)
    found = kmeans(x, 9)
    assert partition(found.assignments) == partition(labels)
    assert found.inertia == pytest.approx(0, abs=1e-10)
    assert kmeans(torch.ones(6, 2), 3).assignments.tolist() == [0] * 6
    assert kmeans(torch.zeros(6, 2), 6).inertia == 0


def test_an_emptied_cluster_takes_the_farthest_point() -> None:
    # Three of the seeds are one point three times over: two clusters begin empty.
    x = torch.tensor([[0.0], [0.0], [0.0], [9.0], [10.0], [14.0]])
    nearest = Nearest(x, 2**20)
    nearest.consider(torch.tensor([[0.0], [0.0], [10.0]]), torch.arange(3))
    assert nearest.number.tolist() == [0, 0, 0, 2, 2, 2]
    from understudy.metrics.clustering.kmeans import _fill_empty

    _fill_empty(nearest, 3)
    assert nearest.number.tolist() == [0, 0, 0, 2, 2, 1]


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_common_offset_changes_nothing(offset: float) -> None:
    x, labels = blobs(6, 20, 5, 0.02)
    assert partition(kmeans(x * 0.1 + offset, 6).assignments) == partition(labels)


def test_a_low_precision_of_products_is_not_taken_over() -> None:
    x, _ = blobs(300, 1, 16, 0.0)
    want = kmeans(x, 40, restarts=1).assignments
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert kmeans(x, 40, restarts=1).assignments.equal(want)
    finally:
        torch.set_float32_matmul_precision(before)


def test_seeds_are_points_of_the_data_far_from_each_other_and_none_twice() -> None:
    x, labels = blobs(100, 5, 8, 0.001)
    centroids, nearest = seed_centroids(x, 100, torch.Generator().manual_seed(0), 2**20)
    rows = [int((x == centre).all(1).nonzero()[0, 0]) for centre in centroids]
    assert len(set(rows)) == 100
    # drawn at random 100 of 500 would hit about 67 of the 100 groups, all draws of one pass at once about 94
    assert len(torch.unique(labels[rows])) == 100
    want = torch.cdist(x.double(), centroids.double())
    got = want.gather(1, nearest.number[:, None])[:, 0]
    torch.testing.assert_close(got, want.min(1).values, rtol=0, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_one_seed_gives_one_result() -> None:
    x, labels = blobs(200, 20, 32, 0.1)
    first, again = kmeans(x.cuda(), 200, seed=1), kmeans(x.cuda(), 200, seed=1)
    assert first.assignments.is_cuda
    assert first.assignments.equal(again.assignments)
    assert first.centroids.equal(again.centroids)
    hold(x, Clusters(first.assignments.cpu(), first.centroids.cpu(), first.inertia), 200)
    assert nmi(labels, first.assignments.cpu()) > 0.95  # other draws than on a CPU, another local optimum


X = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kmeans(X, 5), "k lies between 1 and the number of vectors, 4, got 5"),
        (lambda: kmeans(X, 0), "k lies between"),
        (lambda: kmeans(X[0], 1), "floating-point .n, d. vectors"),
        (lambda: kmeans(X.long(), 1), "floating-point .n, d. vectors"),
        (lambda: kmeans(X, 2, restarts=0), "at least 1, got 0 and 100"),
        (lambda: kmeans(X / 0, 2), "4 of 4 vectors, the first in row 0, hold NaN"),
        (lambda: kmeans(X + 1e30, 2), "numbers too large for torch.float32"),
    ],
)
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_input_is_left_as_it_is() -> None:
    x, _ = blobs(5, 5, 3, 0.1)
    before = x.clone()
    kmeans(x, 5)
    assert x.equal(before)
