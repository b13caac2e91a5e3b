"""Queries against a gallery of their own, against loops over every pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import query_gallery


def sets(seed: int, queries: int = 19, gallery: int = 43) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, 5, generator=generator)
    wanted = torch.randint(0, 8, (queries,), generator=generator)
    known = torch.randint(1, 12, (gallery,), generator=generator)  # class 0 has no positive, 8 … 11 distract
    wanted[0] = 0
    query = centres[wanted] + torch.randn(queries, 5, generator=generator)
    return query, centres[known] + torch.randn(gallery, 5, generator=generator), wanted, known


def by_loop(
    query: Tensor, gallery: Tensor, wanted: list[int], known: list[int], same_rows: bool
) -> tuple[dict[str, float], int]:
    q, g = (torch.nn.functional.normalize(x.double(), dim=1) for x in (query, gallery))
    first, precision, at_r, skipped = [], [], [], 0
    for i, label in enumerate(wanted):
        seen = [j for j in range(len(known)) if known[j] >= 0 and not (same_rows and i == j)]
        right = [known[j] == label for j in sorted(seen, key=lambda j: (-float(q[i] @ g[j]), j))]
        if label < 0:
            continue
        r = sum(right)
        if not r:
            skipped += 1
            continue
        first.append(right.index(True))
        precision.append(sum(sum(right[: n + 1]) / (n + 1) for n in range(r) if right[n]) / r)
        at_r.append(sum(right[:r]) / r)
    recall = {f"recall@{k}": sum(f < k for f in first) / len(first) for k in (1, 2, 4, 8)}
    precisions = {"map@r": sum(precision) / len(precision), "r_precision": sum(at_r) / len(at_r)}
    return {**recall, **precisions}, skipped


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unlabelled", [False, True])
def test_equals_a_loop(seed: int, unlabelled: bool) -> None:
    query, gallery, wanted, known = sets(seed)
    if unlabelled:
        wanted[[3, 9]], known[[0, 20, 42]] = -1, -1
    report = query_gallery(query, gallery, wanted, known, block_bytes=2_000)
    want, skipped = by_loop(query, gallery, wanted.tolist(), known.tolist(), same_rows=False)
    assert report.metrics == pytest.approx(want, rel=1e-12)
    assert report.counts["skipped"] == skipped >= 1
    assert report.counts["unlabelled"] == 5 * unlabelled
    assert report.counts["queries"] == 19 - 2 * unlabelled
    assert report.counts["gallery"] == 43 - 3 * unlabelled


@pytest.mark.parametrize("unlabelled", [False, True])
def test_the_same_image_by_another_model_is_not_found(unlabelled: bool) -> None:
    query, _, wanted, _ = sets(5, queries=40)
    gallery = query + 0.1 * torch.randn(40, 5, generator=torch.Generator().manual_seed(6))
    if unlabelled:
        wanted[[2, 17]] = -1
    report = query_gallery(query, gallery, wanted, wanted, same_rows=True)
    want, skipped = by_loop(query, gallery, wanted.tolist(), wanted.tolist(), same_rows=True)
    assert report.metrics == pytest.approx(want, rel=1e-12)
    assert report.counts["skipped"] == skipped
    assert query_gallery(query, gallery, wanted, wanted).metrics["recall@1"] > report.metrics["recall@1"]


def test_agreement_without_labels() -> None:
    query, gallery, _, _ = sets(7)
    report = query_gallery(query, gallery, reference=(2 * query, 3 * gallery), overlap_ks=(5, 99))
    assert report.metrics == {"neighbour_overlap@5": 1.0, "neighbour_overlap@43": 1.0}
    flipped = query_gallery(query, gallery, reference=(-query, gallery), overlap_ks=(5,))
    assert flipped.metrics["neighbour_overlap@5"] < 0.2


def test_wrong_input_is_refused() -> None:
    query, gallery, wanted, known = sets(8)
    with pytest.raises(ValueError, match="both the query and the gallery, or for neither"):
        query_gallery(query, gallery, wanted)
    with pytest.raises(ValueError, match="of one size, got 19 and 43"):
        query_gallery(query, gallery, wanted, known, same_rows=True)
    with pytest.raises(ValueError, match="19 queries and 43 gallery items, got 43 and 19"):
        query_gallery(query, gallery, wanted, known, reference=(gallery, query))
    with pytest.raises(UserError, match="nothing to measure"):
        query_gallery(query, gallery, wanted, known + 100)
    with pytest.raises(UserError, match="gallery embeddings are not finite"):
        query_gallery(query, gallery / 0, wanted, known)
