from __future__ import annotations

import json
import math

import pytest

from understudy.study.statistics import mean_and_deviation, paired_test


def test_mean_and_sample_deviation_by_hand() -> None:
    assert mean_and_deviation([0.2, 0.4, 0.9]) == pytest.approx((0.5, math.sqrt((0.09 + 0.01 + 0.16) / 2)))
    assert mean_and_deviation([0.7]) == (0.7, 0.0)


def test_a_paired_t_by_hand() -> None:
    """Differences 1, 2, 3, 6: mean 3, deviation √(14/3), t = 3/(√(14/3)/2)."""
    test = paired_test("a", "b", "recall@1", [10.0, 20.0, 30.0, 40.0], [11.0, 22.0, 33.0, 46.0])
    assert test.difference == pytest.approx(3)
    assert test.t == pytest.approx(3 / (math.sqrt(14 / 3) / 2))
    assert test.p == pytest.approx(0.0691, abs=5e-4)  # two-sided, three degrees of freedom
    back = paired_test("b", "a", "recall@1", [11.0, 22.0, 33.0, 46.0], [10.0, 20.0, 30.0, 40.0])
    assert back.difference == pytest.approx(-3)
    assert back.t == pytest.approx(-3 / (math.sqrt(14 / 3) / 2))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [2.0, 3.0]),
        ([0.1, 0.2, 0.3], [1.1, 1.2, 1.3]),  # apart by the rounding of the last digit alone
    ],
)
def test_equal_differences_have_no_error(a: list[float], b: list[float]) -> None:
    """Nothing says how far they would have been apart by chance: that is no certainty of p = 0."""
    same = paired_test("a", "b", "m", a, b).to_dict()
    assert (same["t"], same["p"]) == (None, None)
    assert same["difference"] == pytest.approx(1.0)
    json.dumps(same, allow_nan=False)


def test_no_difference_at_all_is_chance() -> None:
    for b in ([1.0, 2.0], [1.0 + 1e-16, 2.0 - 1e-15]):
        test = paired_test("a", "b", "m", [1.0, 2.0], b)
        assert (test.t, test.p) == (0.0, 1.0)


def test_a_small_spread_is_still_one() -> None:
    test = paired_test("a", "b", "m", [0.1, 0.2, 0.3], [0.2, 0.3, 0.4 + 1e-9])
    assert test.t is not None
    assert test.p is not None
    assert 0 < test.p < 1e-12


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_pairs_are_needed(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="needs the same two or more seeds"):
        paired_test("a", "b", "m", a, b)
