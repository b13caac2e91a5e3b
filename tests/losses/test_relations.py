from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.losses._relations import (
    RelationalLoss,
    candidates,
    cosine_rows,
    distance_rows,
    mean_over_candidates,
    product,
    require_number,
    require_positive,
    require_whole,
    unit,
)


def test_candidates_leave_out_the_query_by_index_and_the_excluded() -> None:
    x = torch.zeros(3, 2)  # all rows coincide: only the index can tell them apart
    assert candidates("pkt", x, None, None).tolist() == [
        [False, True, True],
        [True, False, True],
        [True, True, False],
    ]
    exclude = torch.zeros(3, 3, dtype=torch.bool)
    exclude[2, 0] = True
    assert candidates("pkt", x, torch.tensor([2, 2, 0]), exclude).tolist() == [
        [False, True, False],
        [False, True, False],
        [False, True, True],
    ]


@pytest.mark.parametrize("exclude", [torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, 3)])
def test_a_wrong_exclude_is_refused(exclude: Tensor) -> None:
    with pytest.raises(ValueError, match=r"pkt needs exclude as a \(3, 3\) bool matrix, got torch\.\w+ of"):
        candidates("pkt", torch.zeros(3, 2), None, exclude)


def test_mean_over_candidates_is_a_mean_of_means() -> None:
    values = torch.tensor([[1.0, 2.0, 9.0], [4.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    assert mean_over_candidates(values, mask).item() == pytest.approx((1.5 + 4 + 0) / 3)


def test_distances_of_some_rows_are_rows_of_all_distances() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    x[5] = x[1]
    queries = torch.tensor([5, 2])
    for squared in (False, True):
        rows = distance_rows(x, queries, squared=squared)
        torch.testing.assert_close(rows, distance_rows(x, None, squared=squared)[queries])
        assert rows[0, 5] == rows[0, 1] == 0


def test_units_and_cosines_with_a_zero_row() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0]], requires_grad=True)
    cosines = cosine_rows(x, None)
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0, -1], [0, 0, 0], [-1, 0, 1]]))
    (gradient,) = torch.autograd.grad(cosines.sum(), x)
    assert gradient.isfinite().all()
    assert unit(x)[1].tolist() == [0.0, 0.0]


def test_products_keep_their_digits_under_autocast() -> None:
    x = unit(torch.randn(8, 300, generator=torch.Generator().manual_seed(0))) + 3
    exact = x.double() @ x.double().T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = product(x, x)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), exact, rtol=6e-8, atol=0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, -math.inf, True, "1", None])
def test_require_positive(value: Any) -> None:
    require_positive("pkt", tau=1e-9)
    numbers: list[Any] = [np.float32(2), np.int64(1)]
    require_positive("pkt", tau=numbers[0], other=numbers[1])
    with pytest.raises(ValueError, match=rf"pkt needs a tau above 0, got {re.escape(repr(value))}$"):
        require_positive("pkt", other=1.0, tau=value)


def test_infinity_is_refused_unless_it_means_something() -> None:
    with pytest.raises(ValueError, match="pkt needs a finite tau, got inf"):
        require_positive("pkt", tau=math.inf)
    require_positive("pkt", finite=False, tau=math.inf)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None])
def test_require_number(value: Any) -> None:
    require_number("pkt", tau=-1.5, other=0)
    require_number("pkt", minimum=0, tau=0)
    with pytest.raises(ValueError, match="pkt needs a tau that is a finite number, got"):
        require_number("pkt", other=1.0, tau=value)
    with pytest.raises(ValueError, match="pkt needs a tau of at least 0, got -1"):
        require_number("pkt", minimum=0, tau=-1)


@pytest.mark.parametrize("value", [1, 0, -3, 2.5, 4.0, math.inf, math.nan, True, "4", None])
def test_require_whole(value: Any) -> None:
    require_whole("pkt", minimum=2, k=2)
    require_whole("pkt", k=np.int32(1))
    with pytest.raises(ValueError, match="pkt needs k as a whole number of at least 2, got"):
        require_whole("pkt", minimum=2, other=3, k=value)


def test_the_base_class_asks_for_an_equation() -> None:
    with pytest.raises(NotImplementedError):
        RelationalLoss()(torch.zeros(3, 2), torch.zeros(3, 2))
