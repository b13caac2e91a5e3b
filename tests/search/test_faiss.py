"""Approximate search behind the same function."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from understudy import search
from understudy.search import Metric
from understudy.search._faiss import default_index

pytest.importorskip("faiss")


def clustered(classes: int, each: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=generator).repeat_interleave(each, 0)
    return centres + 0.6 * torch.randn(centres.shape, generator=generator)


POINTS = clustered(300, 10, 24, 0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_flat_equals_the_exact_search(metric: Metric) -> None:
    query = POINTS[::7]
    want = search.topk(query.double(), POINTS.double(), 20, metric=metric)
    scores, indices = search.topk(
        query, POINTS, 20, metric=metric, backend="faiss", faiss_index="Flat", block_bytes=100_000
    )
    assert torch.equal(indices, want[1])
    assert torch.allclose(scores.double(), want[0], rtol=2e-5, atol=2e-5)
    assert scores.dtype == torch.float32


def recall(found: Tensor, want: Tensor) -> float:
    return float((found[:, :, None] == want[:, None]).any(2).double().mean())


def test_the_default_index_of_a_large_gallery_finds_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    want = search.topk(POINTS, POINTS, 10, exclude="self")[1]
    monkeypatch.setattr("understudy.search._faiss._SMALL", 100)
    assert default_index(len(POINTS)) == "IVF108,Flat;nprobe=16"
    found = search.topk(POINTS, POINTS, 10, exclude="self", backend="faiss")[1]
    assert recall(found, want) > 0.95
    assert torch.equal(found, search.topk(POINTS, POINTS, 10, exclude="self", backend="faiss")[1])
    few = search.topk(POINTS, POINTS, 10, exclude="self", backend="faiss", faiss_index="IVF108,Flat")[1]
    assert 0.2 < recall(few, want) < recall(found, want)


def test_asks_again_where_exclusion_leaves_too_few() -> None:
    points = torch.randint(-400, 401, (600, 12), generator=torch.Generator().manual_seed(1)).float()
    classes = torch.arange(600) // 10
    blocked = torch.arange(600)[None].repeat(600, 1)[:, :400]
    forms: dict[str, search.Exclude] = {
        "codes": search.SameCodes(classes, classes),
        "lists": [row[: 300 * (i % 2)] for i, row in enumerate(blocked)],
        "rule": lambda rows, columns: (columns[None] // 10 - rows[:, None] // 10).abs() < 5,
        "nearly all": lambda rows, columns: (columns[None] < 595).expand(len(rows), -1),
    }
    for name, exclude in forms.items():
        tally = search.Tally()
        want = search.topk(points, points, 12, exclude=exclude, metric="dot")[1]
        got = search.topk(
            points,
            points,
            12,
            exclude=exclude,
            metric="dot",
            backend="faiss",
            faiss_index="Flat",
            tally=tally,
        )[1]
        assert torch.equal(got, want), name
        assert tally.queries == 600
        assert (tally.again > 0) == (name == "nearly all")


def test_probes_that_find_too_little_are_made_up_for() -> None:
    tally = search.Tally()
    want = search.topk(POINTS, POINTS, 60)[1]
    got = search.topk(POINTS, POINTS, 60, backend="faiss", faiss_index="IVF200,Flat", tally=tally)[1]
    assert (got >= 0).all()
    assert tally.again > 0
    assert (got[:, 0] == want[:, 0]).all()


def test_mistakes_are_told_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    points = POINTS[:50]
    with pytest.raises(ValueError, match="cannot index 50 rows as 'Nonsense'"):
        search.topk(points, points, 1, backend="faiss", faiss_index="Nonsense")
    with pytest.raises(ValueError, match="cannot index 50 rows as 'IVF99,Flat'"):
        search.topk(points, points, 1, backend="faiss", faiss_index="IVF99,Flat")
    with pytest.raises(ValueError, match="cannot index 50 rows as 'Flat;nprobes=3'"):
        search.topk(points, points, 1, backend="faiss", faiss_index="Flat;nprobes=3")
    with pytest.raises(ValueError, match="belongs to the exact backend"):
        search.topk(points, points, 1, backend="faiss", precision="bf16")
    with pytest.raises(ValueError, match="belongs to backend='faiss'"):
        search.topk(points, points, 1, faiss_index="Flat")
    with pytest.raises(ValueError, match="backend is one of exact, faiss, got 'annoy'"):
        search.topk(points, points, 1, backend="annoy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="precision is one of float32, tf32, bf16, got 'int8'"):
        search.topk(points, points, 1, precision="int8")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"pip install understudy\[faiss\]"):
        search.topk(points, points, 1, backend="faiss")
