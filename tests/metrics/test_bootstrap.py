"""Bootstrap intervals against simulated truth, the normal approximation and exhaustive resampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from understudy.metrics.bootstrap import interval


@pytest.mark.parametrize("kind", ["boolean", "continuous"])
def test_intervals_cover_the_truth_as_often_as_they_say(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    covered, sets, n = 0, 400, 80
    for number in range(sets):
        if kind == "boolean":
            values, truth = torch.rand(n, generator=generator) < 0.7, 0.7
        else:
            values, truth = torch.rand(n, generator=generator) ** 2, 1 / 3
        low, high = interval(values, confidence=0.9, resamples=300, seed=number)
        covered += low <= truth <= high
    assert 0.86 <= covered / sets <= 0.94  # half the queries a draw: 0.98; twice: 0.75


@pytest.mark.parametrize("boolean", [True, False])
def test_many_queries_give_the_normal_interval(boolean: bool) -> None:
    values = torch.rand(5000, generator=torch.Generator().manual_seed(1))
    values = values < 0.2 if boolean else values
    low, high = interval(values, resamples=4000)
    mean, error = float(values.double().mean()), float(values.double().std()) / math.sqrt(5000)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)


def test_every_resample_of_four_queries() -> None:
    values = [0.0, 0.1, 0.5, 1.0]
    means = [sum(draw) / 4 for draw in itertools.product(values, repeat=4)]
    low, high = interval(torch.tensor(values), confidence=0.8, resamples=40_000)
    want = np.quantile(means, [0.1, 0.9])
    assert (low, high) == pytest.approx(want.tolist(), abs=0.02)


def test_the_seed_decides_and_the_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(300, generator=torch.Generator().manual_seed(2))
    want = interval(values, seed=5)
    assert interval(values, seed=5) == want != interval(values, seed=6)
    monkeypatch.setattr("understudy.metrics.bootstrap._CHUNK_BYTES", 1)
    assert interval(values, seed=5) == pytest.approx(want, rel=1e-12)


def test_no_queries_and_equal_values() -> None:
    assert all(math.isnan(end) for end in interval(torch.empty(0)))
    assert interval(torch.full((50,), 0.25)) == (0.25, 0.25)
    assert interval(torch.tensor([True])) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(interval, torch.ones(2, 2)), "one value for each query"),
        (partial(interval, torch.tensor([0.5, math.nan])), "holds NaN"),
        (partial(interval, torch.ones(3), confidence=1.0), "between 0 and 1"),
        (partial(interval, torch.ones(3), resamples=0), "from 1, got 0"),
    ],
)
def test_wrong_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
