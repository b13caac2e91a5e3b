"""NMI, AMI and pairwise F1 against scikit-learn, pairs counted one by one, and numbers by hand."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from torch import Tensor

from understudy.metrics.clustering import ami, clustering_scores, nmi, pairwise_f1
from understudy.metrics.clustering._expected import expected_mutual_information

Measure = Callable[[Tensor, Tensor], float]
CASES = [(1, 1, 1), (40, 1, 5), (40, 5, 1), (60, 7, 7), (200, 4, 30), (300, 120, 90), (500, 3, 3)]


def two(n: int, classes: int, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two partitions that agree a little, with sizes of many kinds."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, generator=generator) ** 2 * classes).long()
    noise = torch.randint(0, clusters, (n,), generator=generator)
    return labels, torch.where(torch.rand(n, generator=generator) < 0.5, labels % clusters, noise)


@pytest.mark.parametrize(("n", "classes", "clusters"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_information_equals_scikit_learn_s(n: int, classes: int, clusters: int, seed: int) -> None:
    a, b = two(n, classes, clusters, seed)
    assert nmi(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)
    assert ami(a, b) == pytest.approx(adjusted_mutual_info_score(a, b), abs=1e-9)
    assert nmi(b, a) == pytest.approx(nmi(a, b), abs=1e-14)
    assert ami(b, a) == pytest.approx(ami(a, b), abs=1e-12)


def counted_f1(a: Tensor, b: Tensor) -> float:
    alike, together = ((codes[:, None] == codes).triu(1) for codes in (a, b))
    both, one, other = (int(pairs.sum()) for pairs in (alike & together, alike, together))
    return 2 * both / (one + other)


@pytest.mark.parametrize(("n", "classes", "clusters"), CASES[1:])
def test_f1_counts_pairs(n: int, classes: int, clusters: int) -> None:
    a, b = two(n, classes, clusters, 2)
    assert pairwise_f1(a, b) == counted_f1(a, b)


def test_numbers_by_hand() -> None:
    #   classes of 3 and 3, clusters of 2 and 4: cells 2, 1, 3
    labels, clusters = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([8, 8, 9, 9, 9, 9])
    information = 2 / 6 * math.log(6 * 2 / 6) + 1 / 6 * math.log(6 / 12) + 3 / 6 * math.log(6 * 3 / 12)
    entropies = math.log(2) + 2 / 6 * math.log(3) + 4 / 6 * math.log(6 / 4)
    assert nmi(labels, clusters) == pytest.approx(2 * information / entropies, rel=1e-14)
    #   pairs: 1 + 3 in both, 6 of the classes, 7 of the clusters
    assert pairwise_f1(labels, clusters) == 2 * 4 / 13
    #   of 20 ways to give cluster 8 two items, 3 + 3 of 15 take both from one class:
    #   overlaps (2, 0) with chance 2/5 give the information above, (1, 1) with 3/5 give 0
    expected = 2 / 5 * information
    assert ami(labels, clusters) == pytest.approx(
        (information - expected) / (entropies / 2 - expected), rel=1e-13
    )


def test_the_expectation_equals_exact_fractions() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(9000) % 1800
    clusters = (torch.rand(9000, generator=generator) ** 2 * 1500).long()
    a, b = (torch.unique(codes, return_counts=True)[1] for codes in (labels, clusters))
    want = 0.0
    for (x, cx), (y, cy) in itertools.product(Counter(a.tolist()).items(), Counter(b.tolist()).items()):
        for m in range(1, min(x, y) + 1):
            chance = Fraction(math.comb(x, m) * math.comb(9000 - x, y - m), math.comb(9000, y))
            want += cx * cy * m / 9000 * math.log(9000 * m / (x * y)) * float(chance)
    assert expected_mutual_information(a, b) == pytest.approx(want, rel=1e-12)
    assert expected_mutual_information(b, a) == pytest.approx(want, rel=1e-12)


def test_large_overlaps_and_long_chunks() -> None:
    #   two halves against everything from 1 to 400: overlaps that cannot be small, and rows of unequal length
    sizes = torch.arange(1, 401)
    clusters = torch.arange(400).repeat_interleave(sizes)
    labels = (torch.arange(len(clusters)) >= len(clusters) // 3).long()
    assert ami(labels, clusters) == pytest.approx(adjusted_mutual_info_score(labels, clusters), abs=1e-9)


def test_as_many_classes_as_stanford_online_products() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60_502) % 11_316
    clusters = (torch.rand(60_502, generator=generator) ** 2 * 11_316).long()
    assert abs(ami(labels, clusters)) < 0.01 < 0.75 < nmi(labels, clusters)


@pytest.mark.parametrize(
    ("measure", "reference"),
    [(nmi, normalized_mutual_info_score), (ami, adjusted_mutual_info_score), (pairwise_f1, counted_f1)],
)
def test_what_every_measure_does(measure: Measure, reference: Measure) -> None:
    a, b = two(80, 9, 11, 4)
    value = measure(a, b)
    names = torch.randperm(11, generator=torch.Generator().manual_seed(0)) * 1000 - 3000
    assert measure(a, names[b]) == pytest.approx(value, abs=1e-12)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    assert measure(a[order], b[order]) == pytest.approx(value, abs=1e-12)
    assert measure(a.int(), b.to(torch.int16)) == value
    assert measure(a, a * 7 - 3) == 1.0
    alone = torch.arange(80)
    assert measure(alone, alone.flip(0)) == 1.0  # all singletons on both sides: one partition
    assert measure(torch.zeros_like(a), torch.ones_like(a)) == 1.0  # one group on both sides
    for other in (alone, alone * 0):
        assert measure(a, other) == pytest.approx(reference(a, other), abs=1e-9)
    with pytest.raises(ValueError, match="one length, at least 1, got 80 and 79"):
        measure(a, b[1:])
    with pytest.raises(ValueError, match="got 0 and 0"):
        measure(a[:0], b[:0])
    with pytest.raises(ValueError, match=r"clusters must be \(n,\) whole numbers, got torch.float32"):
        measure(a, b.float())


def test_pairs_of_very_many_items_are_whole_numbers() -> None:
    n = 3_000_000  # 4.5e12 pairs; a float32 count of them would be off by 10⁵
    labels = torch.zeros(n, dtype=torch.int64)
    labels[0] = 1
    pairs, apart = n * (n - 1) // 2, (n - 1) * (n - 2) // 2
    assert pairwise_f1(labels, torch.zeros_like(labels)) == 2 * apart / (pairs + apart)


def test_scores_of_embeddings() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (90,), generator=generator)
    vectors = torch.randn(6, 8, generator=generator)[labels] + 0.6 * torch.randn(90, 8, generator=generator)
    got = clustering_scores(vectors, labels, seed=1)
    assert list(got) == ["nmi", "ami", "f1"]
    assert 0.3 < got["ami"] < got["nmi"] < 1
    assert clustering_scores(vectors * torch.rand(90, 1, generator=generator), labels, seed=1) == got
    assert clustering_scores(vectors, labels, 2, seed=1)["nmi"] < got["nmi"]
    stretched = vectors * torch.where(labels < 3, 1, 9)[:, None]
    assert clustering_scores(stretched, labels, normalize=False) != clustering_scores(stretched, labels)
    assert clustering_scores(vectors.half(), labels, seed=1)["nmi"] == pytest.approx(got["nmi"], abs=0.05)
    #   unlabelled rows take no part, wherever they lie
    more = torch.cat([torch.full((4, 8), 50.0), vectors])
    assert clustering_scores(more, torch.cat([torch.tensor([-1, -1, -2, -1]), labels]), seed=1) == got


def test_scores_refuse_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="no row has a label"):
        clustering_scores(torch.ones(3, 2), torch.tensor([-1, -1, -1]))
    with pytest.raises(ValueError, match="3 labels, one for each vector, got 2"):
        clustering_scores(torch.ones(3, 2), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="k lies between 1 and the number of vectors, 2, got 3"):
        clustering_scores(torch.ones(3, 2), torch.tensor([-1, 0, 1]), 3)
