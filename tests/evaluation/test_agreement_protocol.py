"""Label-free agreement of two models, against SciPy and sets."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kendalltau, spearmanr

from understudy.errors import UserError
from understudy.evaluation import agreement
from understudy.metrics import neighbour_overlap
from understudy.metrics.agreement_lists import list_distance


def pair(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(n, 8, generator=generator).double()
    return teacher[:, :3] + 0.2 * torch.randn(n, 3, generator=generator), teacher


@pytest.mark.parametrize("block_bytes", [500, 2**20])
def test_correlations_equal_scipy_over_all_other_images(block_bytes: int) -> None:
    student, teacher = pair(37, 0)
    got = agreement(student, teacher, ks=(1, 5, 99), block_bytes=block_bytes)
    s, t = (x @ x.T for x in map(torch.nn.functional.normalize, (student, teacher)))
    others = [[j for j in range(37) if j != i] for i in range(37)]
    for name, reference in (("rank_correlation", spearmanr), ("kendall_correlation", kendalltau)):
        want = [reference(s[i, o], t[i, o]).statistic for i, o in enumerate(others)]
        assert got.metrics[name] == pytest.approx(sum(want) / 37, abs=1e-12)
        assert got.per_query[name].tolist() == pytest.approx(want, abs=1e-12)
    assert got.metrics["neighbour_overlap@36"] == 1.0
    assert 0.1 < got.metrics["neighbour_overlap@5"] < 0.9
    assert "| rank_correlation | 0." in got.table()


def test_some_queries_stand_for_all_when_there_are_many() -> None:
    student, teacher = pair(60, 1)
    got = agreement(student, teacher, correlated=4)
    s, t = (x @ x.T for x in map(torch.nn.functional.normalize, (student, teacher)))
    want = 0.0
    for i in (0, 19, 39, 59):  # evenly spaced, both ends among them
        others = [j for j in range(60) if j != i]
        want += spearmanr(s[i, others], t[i, others]).statistic / 4
    assert got.counts["correlated"] == 4
    for name in ("rank_correlation", "kendall_correlation"):
        assert (~got.per_query[name].isnan()).nonzero()[:, 0].tolist() == [0, 19, 39, 59]
    assert got.metrics["rank_correlation"] == pytest.approx(want, abs=1e-12)


def test_lists_of_neighbours_are_compared_query_by_query() -> None:
    student, teacher = pair(41, 3)
    got = agreement(student, teacher, ks=(1, 6))
    units = map(torch.nn.functional.normalize, (student, teacher))
    ours, theirs = ((x @ x.T).fill_diagonal_(-2).argsort(1, descending=True)[:, :6] for x in units)
    assert got.per_query["list_distance@6"].equal(list_distance(ours, theirs))
    assert got.per_query["footrule_distance@6"].equal(list_distance(ours, theirs, "footrule"))
    assert got.per_query["neighbour_overlap@6"].equal(neighbour_overlap(ours, theirs))
    # one neighbour is either the same or not
    assert got.metrics["list_distance@1"] == pytest.approx(1 - got.metrics["neighbour_overlap@1"], abs=1e-15)
    for name, values in got.per_query.items():
        assert values.shape == (41,)
        assert got.metrics[name] == pytest.approx(float(values.mean()), abs=1e-15)
    assert 0.1 < got.metrics["list_distance@6"] < 0.9


def test_wrong_input_is_refused() -> None:
    student, teacher = pair(5, 2)
    with pytest.raises(ValueError, match="the same images, got 4 and 5"):
        agreement(student[:4], teacher)
    with pytest.raises(UserError, match="at least three"):
        agreement(student[:2], teacher[:2])
