"""Agreement between two rankings against sets, SciPy and numbers by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from understudy.metrics import neighbour_overlap, neighbour_overlap_at_k, rank_correlation


def neighbours(seed: int, queries: int = 23, k: int = 7, gallery: int = 15) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(queries, gallery, generator=generator).argsort(1)[:, :k]


def test_overlap_equals_set_intersections() -> None:
    a, b = neighbours(0), neighbours(1)
    got = neighbour_overlap_at_k(a, b, (1, 3, 7))
    for k in (1, 3, 7):
        shares = [len(set(x[:k]) & set(y[:k])) / k for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        assert got[k] == pytest.approx(sum(shares) / len(shares), rel=1e-14)
    assert neighbour_overlap(a, b).dtype == torch.float64
    assert 0 < got[3] < 1


def test_order_within_the_list_does_not_count() -> None:
    a = neighbours(2)
    assert neighbour_overlap(a, a.flip(1)).eq(1).all()


def test_what_was_not_found_is_in_common_with_nothing() -> None:
    a, b = torch.tensor([[3, -1, -1], [-1, -1, -1]]), torch.tensor([[3, 4, -1], [-1, -1, -1]])
    assert neighbour_overlap(a, b).tolist() == [1 / 3, 0.0]


@pytest.mark.parametrize("levels", [3, 10_000])
def test_rank_correlation_equals_scipy_with_ties_and_without(levels: int) -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.randint(0, levels, (9, 41), generator=generator).float()
    b = a + torch.randint(0, levels, (9, 41), generator=generator).float()
    want = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    got = rank_correlation(a, b)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-12)


def test_rank_correlation_by_hand() -> None:
    #   ranks 1 2 3 4 against 2 1 4 3: 1 − 6·(1+1+1+1) / (4·15) = 0.6
    got = rank_correlation(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([[5.0, 1.0, 9.0, 7.0]]))
    assert got.item() == pytest.approx(0.6, abs=1e-15)


def test_a_collapsed_student_agrees_with_nothing() -> None:
    assert rank_correlation(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0.0


def test_wrong_input_is_refused() -> None:
    a = neighbours(4)
    with pytest.raises(ValueError, match=r"two int64 .* tables of one shape"):
        neighbour_overlap(a, a[:, :3])
    with pytest.raises(ValueError, match="int64"):
        neighbour_overlap(a.float(), a.float())
    with pytest.raises(ValueError, match="cut-offs"):
        neighbour_overlap_at_k(a, a, (8,))
    with pytest.raises(ValueError, match="at least 2 items"):
        rank_correlation(torch.ones(3, 1), torch.ones(3, 1))
