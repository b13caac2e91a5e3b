"""Kendall's correlation and the distances of lists, against SciPy, the paper's definitions and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from understudy.metrics._inversions import inversions
from understudy.metrics.agreement_kendall import kendall_correlation
from understudy.metrics.agreement_lists import list_distance


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("m", [1, 2, 3, 16, 37])
def test_inversions_are_the_pairs_in_the_wrong_order(m: int) -> None:
    orders = torch.rand(8, m, generator=generator(m)).argsort(1)
    later = torch.ones(m, m, dtype=torch.bool).triu(1)
    want = ((orders[:, :, None] > orders[:, None, :]) & later).sum((1, 2))
    assert inversions(orders).equal(want)
    assert inversions(torch.arange(m)[None].flip(1)).tolist() == [m * (m - 1) // 2]


@pytest.mark.parametrize("levels", [2, 5, 40, 100_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kendall_correlation_equals_scipy_with_ties_and_without(levels: int, dtype: torch.dtype) -> None:
    draw = generator(levels)
    a = torch.randint(0, levels, (7, 53), generator=draw).to(dtype)
    b = a - torch.randint(0, levels, (7, 53), generator=draw).to(dtype)
    b[0], b[1] = a[0], -a[1]
    want = [kendalltau(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    got = kendall_correlation(a, b)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(kendall_correlation(b, a), got, rtol=0, atol=1e-15)


def test_kendall_correlation_by_hand() -> None:
    #   pairs of 1 2 2 3 against 1 3 2 3: C = 4 (12, 13, 14, 34), D = 0, tied 23 in a and 24 in b, of 6
    got = kendall_correlation(torch.tensor([[1.0, 2, 2, 3]]), torch.tensor([[1.0, 3, 2, 3]]))
    assert got.item() == pytest.approx(4 / 5, abs=1e-15)
    #   half the pairs: 2 1 4 3 has two of six the wrong way round
    got = kendall_correlation(torch.arange(4.0)[None], torch.tensor([[2.0, 1, 4, 3]]))
    assert got.item() == pytest.approx((4 - 2) / 6, abs=1e-15)


def test_kendall_of_what_orders_nothing_is_zero() -> None:
    assert kendall_correlation(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0
    assert kendall_correlation(torch.ones(1, 5), torch.ones(1, 5)).item() == 0


def test_kendall_correlation_of_half_precision_keeps_its_ties() -> None:
    a = torch.rand(3, 400, generator=generator(0)).half()
    b = a.double() + 0.3 * torch.rand(3, 400, generator=generator(1)).double()
    want = [kendalltau(x.double(), y).statistic for x, y in zip(a, b, strict=True)]
    assert len(torch.unique(a[0])) < 400
    assert kendall_correlation(a, b).tolist() == pytest.approx(want, abs=1e-14)


def lists(k: int, gallery: int, seed: int) -> tuple[Tensor, Tensor]:
    a, b = (torch.rand(30, gallery, generator=generator(seed + i)).argsort(1)[:, :k] for i in (0, 1000))
    b[0], b[1], b[2] = a[0], a[1].flip(0), a[2] + gallery
    return a, b


def kendall_of_lists(a: list[int], b: list[int], penalty: float) -> float:
    """The four cases of Fagin, Kumar and Sivakumar, section 3.1, pair by pair."""
    total = 0.0
    for i, j in itertools.combinations(sorted({*a, *b}), 2):
        in_a, in_b = ({i, j} & set(some) for some in (a, b))
        if len(in_a) == len(in_b) == 2:
            total += (a.index(i) < a.index(j)) != (b.index(i) < b.index(j))
        elif {len(in_a), len(in_b)} == {1, 2}:
            whole, (there,) = (a, in_b) if len(in_a) == 2 else (b, in_a)
            missing = j if there == i else i
            total += whole.index(missing) < whole.index(there)
        elif len(in_a) == 1:
            total += 1
        else:
            total += penalty
    return total


def footrule_of_lists(a: list[int], b: list[int]) -> int:
    def place(some: list[int], item: int) -> int:
        return some.index(item) + 1 if item in some else len(some) + 1

    return sum(abs(place(a, item) - place(b, item)) for item in {*a, *b})


@pytest.mark.parametrize(("k", "gallery"), [(1, 3), (2, 4), (5, 7), (9, 30)])
def test_list_distances_equal_the_paper_s_definitions(k: int, gallery: int) -> None:
    a, b = lists(k, gallery, k)
    rows = list(zip(a.tolist(), b.tolist(), strict=True))
    for penalty in (0.0, 0.5, 1.0):
        most = k * k + penalty * k * (k - 1)
        want = [kendall_of_lists(x, y, penalty) / most for x, y in rows]
        got = list_distance(a, b, penalty=penalty)
        assert got.dtype == torch.float64
        assert got.tolist() == pytest.approx(want, abs=1e-14)
        assert list_distance(b, a, penalty=penalty).equal(got)
    want = [footrule_of_lists(x, y) / (k * (k + 1)) for x, y in rows]
    got = list_distance(a, b, "footrule")
    assert got.tolist() == pytest.approx(want, abs=1e-14)
    assert list_distance(b, a, "footrule").equal(got)
    for measure in ("kendall", "footrule"):
        ends = list_distance(a, b, measure)
        assert ends[0] == 0
        assert ends[2] == 1
        assert bool((ends <= 1).all())


def test_list_distances_by_hand() -> None:
    a, b = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 1, 5, 6]])
    #   12 swapped; 34 and 56 unknown; 3, 4 against 5, 6 four times; the rest agrees: (1 + 4 + 2·½) / (16 + 6)
    assert list_distance(a, b).item() == pytest.approx(6 / 22, abs=1e-15)
    #   1 1, then 3: |3 − 5| = 2, 4: 1, 5: 2, 6: 1
    assert list_distance(a, b, "footrule").item() == pytest.approx(8 / 20, abs=1e-15)


def test_what_was_not_found_is_in_common_with_nothing() -> None:
    a, b = torch.tensor([[3, -1], [-1, -1]]), torch.tensor([[3, -1], [-1, -1]])
    #   3 agrees; the two that were not found are apart: one pair of 4 + 1, and 1 + 1 of 6 places
    assert list_distance(a, b).tolist() == [1 / 5, 1.0]
    assert list_distance(a, b, "footrule").tolist() == [1 / 3, 1.0]


TABLE = torch.arange(6).view(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kendall_correlation(torch.ones(3, 1), torch.ones(3, 1)), "at least 2 items"),
        (lambda: kendall_correlation(torch.ones(3, 2), torch.ones(3, 3)), "tables of one shape"),
        (lambda: list_distance(TABLE, TABLE[:, :2]), r"two int64 .* tables of one shape"),
        (lambda: list_distance(TABLE.float(), TABLE.float()), "int64"),
        (lambda: list_distance(TABLE, TABLE, "spearman"), "measure is one of kendall, footrule, got 'spea"),  # type: ignore[arg-type]
        (lambda: list_distance(TABLE, TABLE, penalty=2), "penalty lies between 0 and 1, got 2"),
    ],
)
def test_wrong_orders_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
