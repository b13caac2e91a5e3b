"""k-means on the device of the vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from understudy.metrics.clustering._nearest import Nearest
from understudy.metrics.clustering._seeding import seed_centroids
from understudy.metrics.clustering._sums import ClusterSums
from understudy.search import default_block_bytes


class Clusters(NamedTuple):
    """What `kmeans` found.

    Attributes:
        assignments: (n,) int64, the cluster of each vector, from 0 to k − 1, on the vectors' device.
        centroids: (k, d), the means of the clusters, in the space of the vectors.
        inertia: The sum over vectors of the squared distance to their centroid.
    """

    assignments: Tensor
    centroids: Tensor
    inertia: float


def kmeans(
    x: Tensor,
    k: int,
    *,
    seed: int = 0,
    restarts: int = 5,
    iterations: int = 100,
    block_bytes: int | None = None,
) -> Clusters:
    """Cuts vectors into k clusters so that the squared distances to the clusters' means are small.

    Lloyd's rounds after a seeding by squared distances (k-means++, see `seed_centroids`), until no vector
    changes its cluster. A round compares a vector with all centroids only if its own moved, else with those
    that did: the result is Lloyd's, late rounds cost little. Sums are exact (see `ClusterSums`), so one seed
    gives one result on one device. Centroids are means of the vectors *as given*: those of unit vectors lie
    inside the sphere.

    *Empty clusters.* A cluster left without vectors takes the vector that lies farthest from its own centroid
    (several take the next farthest), if that distance is more than rounding. So none stays empty unless there
    are fewer distinct vectors than clusters; then some numbers below k do not occur.

    Memory beyond the vectors: one copy of them, the int64 sums (k, d), and the block.

    Args:
        x: (n, d) floating point, on any device; half precision is raised to float32, float64 is kept.
        k: The number of clusters, 1 ≤ k ≤ n.
        seed: Of the random draws.
        restarts: How many times to start; the lowest inertia is kept, the first of equals.
        iterations: The most rounds of each start; the last then stands as it is.
        block_bytes: The memory for scores; by default as `understudy.search` takes it on this device.

    Raises:
        ValueError: Not an (n, d) matrix of finite floating-point numbers, or a setting out of range.

    Example:
        >>> found = kmeans(torch.tensor([[0.0], [1.0], [10.0], [12.0]]), 2)
        >>> bool((found.assignments[:2] == found.assignments[0]).all()), found.inertia
        (True, 2.5)
        >>> found.centroids.sort(0).values.tolist()
        [[0.5], [11.0]]
    """
    x = _checked(x, k, restarts, iterations)
    if block_bytes is None:
        block_bytes = default_block_bytes(x.device)
    # Near the origin ‖x − c‖² loses least when it is computed from products.
    middle = x.mean(0, dtype=torch.float64).to(x.dtype)
    points = x - middle
    generator = torch.Generator().manual_seed(seed)
    found = (_start(points, k, generator, iterations, block_bytes) for _ in range(restarts))
    best = min(found, key=lambda clusters: clusters.inertia)
    return best._replace(centroids=best.centroids + middle)


def _start(points: Tensor, k: int, generator: torch.Generator, iterations: int, block_bytes: int) -> Clusters:
    """One seeding and the rounds after it."""
    centroids, nearest = seed_centroids(points, k, generator, block_bytes)
    sums = ClusterSums(points, k)
    placed = torch.full_like(nearest.number, -1)
    for _ in range(iterations):
        _fill_empty(nearest, k)
        changed = (nearest.number != placed).nonzero()[:, 0]
        if not len(changed):
            break
        before, after = placed[changed], nearest.number[changed]
        sums.move(changed, before, after)
        placed[changed] = after
        moved = torch.zeros(k + 1, dtype=torch.bool, device=points.device)  # the last stands for −1, none
        moved[before] = moved[after] = True
        moved = moved[:k] & (sums.counts > 0)
        numbers = moved.nonzero()[:, 0]
        centroids[numbers] = sums.means(numbers)
        astray = moved[nearest.number]
        rows = astray.nonzero()[:, 0]
        nearest.forget(rows)
        nearest.consider(centroids, torch.arange(k, device=points.device), rows)
        nearest.consider(centroids[numbers], numbers, (~astray).nonzero()[:, 0])
    return Clusters(nearest.number, centroids, _inertia(points, centroids, nearest.number, block_bytes))


def _fill_empty(nearest: Nearest, k: int) -> None:
    """Gives each empty cluster the vector farthest from its centroid, in place."""
    counts = torch.bincount(nearest.number, minlength=k)
    empty = (counts == 0).nonzero()[:, 0]
    if not len(empty):
        return
    distance = torch.where(counts[nearest.number] > 1, nearest.distance, 0)
    far, rows = distance.topk(len(empty))
    apart = far > 16 * torch.finfo(far.dtype).eps * nearest.squares.max()
    nearest.number[rows[apart]] = empty[: int(apart.sum())]


def _inertia(points: Tensor, centroids: Tensor, numbers: Tensor, block_bytes: int) -> float:
    """Differences first, squares after: what products of large numbers would lose is kept."""
    total = points.new_zeros((), dtype=torch.float64)
    height = max(1, block_bytes // (16 * points.shape[1]))
    for start in range(0, len(points), height):
        some = slice(start, start + height)
        total += (points[some] - centroids[numbers[some]]).double().square().sum()
    return float(total)


def _checked(x: Tensor, k: int, restarts: int, iterations: int) -> Tensor:
    if x.ndim != 2 or x.shape[1] == 0 or not x.is_floating_point():
        raise ValueError(f"kmeans needs floating-point (n, d) vectors, got {x.dtype} of {tuple(x.shape)}")
    if not 1 <= k <= len(x):
        raise ValueError(f"k lies between 1 and the number of vectors, {len(x)}, got {k}")
    if restarts < 1 or iterations < 1:
        raise ValueError(f"restarts and iterations are at least 1, got {restarts} and {iterations}")
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    # Four such squares bound every product and squared distance.
    bad = (~torch.isfinite(4 * torch.linalg.vector_norm(x, dim=1).square())).nonzero()[:, 0]
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(x)} vectors, the first in row {int(bad[0])}, hold NaN, infinity or numbers "
            f"too large for {x.dtype}"
        )
    return x
