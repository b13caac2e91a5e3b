"""The paired test against SciPy, enumeration and simulated models."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from understudy.metrics.bootstrap import interval
from understudy.metrics.paired import paired_test


@pytest.mark.parametrize("n", [1, 5, 9, 13])
def test_few_queries_enumerate_every_assignment_of_signs(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    a, b = torch.rand(n, generator=generator).double() + 0.2, torch.rand(n, generator=generator).double()
    differences = (a - b).tolist()
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=n)
    ]
    want = sum(abs(total) >= abs(sum(differences)) - 1e-12 for total in sums) / 2**n
    found = paired_test(a, b)
    assert found.p_value == want
    assert paired_test(b, a).p_value == want
    assert found.difference == pytest.approx(sum(differences) / n, rel=1e-12)
    same = torch.full((200,), 0.5).double()  # queries on which the models agree say nothing
    assert paired_test(torch.cat([same, a]), torch.cat([same, b])).p_value == want


@pytest.mark.parametrize(("n", "shift"), [(8, 0.1), (60, 0.0)])
def test_equal_to_scipy(n: int, shift: float) -> None:
    from scipy.stats import permutation_test

    generator = torch.Generator().manual_seed(3)
    a = torch.rand(n, generator=generator).double()
    b = a + 0.15 * torch.randn(n, generator=generator).double() - shift
    theirs = permutation_test(
        (a.numpy(), b.numpy()),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    found = paired_test(a, b)
    assert 0.01 < found.p_value < 0.9
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-12 if n == 8 else 0.02)
    assert found.difference == pytest.approx(theirs.statistic, rel=1e-12)


def test_equal_models_are_found_different_as_often_as_the_level_says() -> None:
    generator = torch.Generator().manual_seed(4)
    found = [
        paired_test(*torch.rand(2, 40, generator=generator), resamples=400, seed=number).p_value
        for number in range(300)
    ]
    assert 0.06 <= np.mean(np.array(found) <= 0.1) <= 0.14
    assert 0.4 <= np.mean(np.array(found) <= 0.5) <= 0.6


def test_a_better_model_is_found() -> None:
    generator = torch.Generator().manual_seed(5)
    b = torch.rand(500, generator=generator) < 0.7
    a = b | (torch.rand(500, generator=generator) < 0.1)
    found = paired_test(a, b, resamples=2000)
    assert found.p_value == 1 / 2001  # none of the random ones is as extreme; the observed one counts
    assert 0 < found.low < found.difference < found.high < 0.1
    assert (found.low, found.high) == interval(a.double() - b.double(), resamples=2000)


def test_models_that_never_differ() -> None:
    same = torch.tensor([True, False, True])
    found = paired_test(same, same)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_differences_that_cancel_but_for_rounding() -> None:
    a, b = torch.tensor([0.1, 0.2, 0.3, 0.0]).double(), torch.tensor([0.0, 0.0, 0.0, 0.6]).double()
    assert paired_test(a, b).p_value == 1.0  # 0.1 + 0.2 + 0.3 − 0.6 is not 0 in floating point


def test_the_seed_decides_and_the_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.rand(2, 90, generator=torch.Generator().manual_seed(6))
    want, exact = paired_test(a, b, resamples=500), paired_test(a[:9], b[:9]).p_value
    assert paired_test(a, b, resamples=500) == want
    assert paired_test(a, b, resamples=500, seed=1).p_value != want.p_value
    monkeypatch.setattr("understudy.metrics.bootstrap._CHUNK_BYTES", 1)
    assert paired_test(a, b, resamples=500).p_value == want.p_value
    assert paired_test(a[:9], b[:9]).p_value == exact


ONES = torch.ones(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(paired_test, ONES, ONES[:2]), "same queries, at least one, got 3 and 2"),
        (partial(paired_test, ONES[:0], ONES[:0]), "got 0 and 0"),
        (partial(paired_test, ONES, ONES * torch.nan), "holds NaN"),
        (partial(paired_test, ONES, ONES, resamples=0), "from 1"),
        (partial(paired_test, ONES, ONES, confidence=0.0), "confidence"),
    ],
)
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
