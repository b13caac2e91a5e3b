"""Revisited Oxford and Paris against the published script's steps, written out in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import revisited

EASY, HARD, JUNK = 1, 2, 3


def truth(seed: int, queries: int = 9, gallery: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Each query's relevances; query 0 has no easy, query 1 no hard, query 2 only junk."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.multinomial(
        torch.tensor([0.7, 0.1, 0.1, 0.1]), queries * gallery, True, generator=generator
    )
    table = table.view(queries, gallery)
    table[0][table[0] == EASY] = 0
    table[1][table[1] == HARD] = 0
    table[2][table[2] > 0] = JUNK
    rows, columns = table.nonzero(as_tuple=True)
    order = torch.randperm(len(rows), generator=generator)
    return rows[order], columns[order], table[rows, columns][order]


def average_precision(places: list[int], positives: int) -> float:
    """Trapezoids between successive recalls; places count from 0, junk taken out."""
    total = 0.0
    for found, place in enumerate(places):
        before = 1.0 if place == 0 else found / place
        total += (before + (found + 1) / (place + 1)) / (2 * positives)
    return total


def by_script(
    ranking: list[list[int]], good: list[set[int]], junk: list[set[int]], ks: tuple[int, ...]
) -> dict[str, float]:
    averages, precisions = [], []
    for ranked, ok, hidden in zip(ranking, good, junk, strict=True):
        if not ok:
            continue
        positions = [place for place, row in enumerate(ranked) if row in ok]
        hides = [place for place, row in enumerate(ranked) if row in hidden]
        positions = [place - sum(other < place for other in hides) for place in positions]
        averages.append(average_precision(positions, len(ok)))
        counted = [place + 1 for place in positions]
        cut = [min(max(counted), k) for k in ks]
        precisions.append([sum(place <= k for place in counted) / k for k in cut])
    mean = {f"mp@{k}": sum(row[n] for row in precisions) / len(precisions) for n, k in enumerate(ks)}
    return {"trapezoidal_map": sum(averages) / len(averages), **mean}


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_published_script(seed: int) -> None:
    generator = torch.Generator().manual_seed(100 + seed)
    query, gallery = (torch.randn(count, 5, generator=generator) for count in (9, 40))
    query_of, gallery_of, relevance = truth(seed)
    q, g = (torch.nn.functional.normalize(x.double(), dim=1) for x in (query, gallery))
    scores = q @ g.T
    ranking = [sorted(range(40), key=lambda j: (-float(scores[i, j]), j)) for i in range(9)]

    def rows(i: int, *codes: int) -> set[int]:
        listed = zip(query_of.tolist(), gallery_of.tolist(), relevance.tolist(), strict=True)
        return {row for owner, row, code in listed if owner == i and code in codes}

    levels = {
        "easy": ((EASY,), (HARD, JUNK)),
        "medium": ((EASY, HARD), (JUNK,)),
        "hard": ((HARD,), (EASY, JUNK)),
    }
    report = revisited(query, gallery, query_of, gallery_of, relevance, block_bytes=400)
    for level, (good, junk) in levels.items():
        ok = [rows(i, *good) for i in range(9)]
        want = by_script(ranking, ok, [rows(i, *junk) for i in range(9)], (1, 5, 10))
        for name, value in want.items():
            assert report.metrics[f"{level}/{name}"] == pytest.approx(value, rel=1e-12)
        assert report.counts[f"skipped {level}"] == sum(not some for some in ok) >= 1
        assert report.per_query[f"{level}/mp@1"].isnan().tolist() == [not some for some in ok]
    assert len(report.metrics) == 12


def test_one_level_where_nothing_is_easy_or_hard() -> None:
    query, gallery = (
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]]),
    )
    report = revisited(query, gallery, [0, 0], [2, 0], [0, JUNK], ks=(1, 2), full=True)
    assert report.metrics == pytest.approx(
        {"trapezoidal_map": 0.25, "mp@1": 0.0, "mp@2": 0.5, "map": 0.5, "minp": 0.5}
    )
    assert report.counts == {"queries": 1, "gallery": 4, "skipped": 0}


def test_agreement_with_a_teacher_looks_at_everything() -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(count, 5, generator=generator) for count in (9, 40))
    pairs = truth(0)
    report = revisited(query, gallery, *pairs, reference=(2 * query, 3 * gallery))
    assert report.metrics["neighbour_overlap@10"] == 1.0


def test_mistakes_are_named() -> None:
    query, gallery = torch.eye(3), torch.eye(3)
    with pytest.raises(UserError, match="lists 1 pairs of query and image twice"):
        revisited(query, gallery, [0, 0, 1], [1, 1, 1], [1, 2, 1])
    with pytest.raises(UserError, match="gives no query a positive"):
        revisited(query, gallery, [0], [1], [JUNK])
    with pytest.raises(ValueError, match="gallery rows beyond the 3"):
        revisited(query, gallery, [0], [3], [1])
    with pytest.raises(UserError, match="3 dimensions and the gallery 2"):
        revisited(query, gallery[:, :2], [0], [1], [1])
    assert math.isclose(revisited(query, gallery, [0], [0], [EASY], ks=(1,)).metrics["easy/mp@1"], 1)
