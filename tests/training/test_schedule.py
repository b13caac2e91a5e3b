import math

import pytest

from understudy.training.schedule import warmup_cosine, warmup_step


def test_cosine_starts_at_one_and_meets_half_in_the_middle() -> None:
    assert warmup_cosine(0, steps=100) == 1.0
    assert warmup_cosine(50, steps=100) == pytest.approx(0.5)
    assert warmup_cosine(25, steps=100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert warmup_cosine(99, steps=100, floor=0.1) == pytest.approx(0.1, abs=1e-3)


def test_warmup_rises_linearly_and_reaches_one() -> None:
    assert [warmup_cosine(s, steps=10, warmup=4) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_steps_fall_at_the_milestones() -> None:
    rates = [warmup_step(s, steps=8, milestones=(0.5, 0.75), gamma=0.1) for s in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_run_that_is_all_warmup_never_divides_by_zero() -> None:
    assert warmup_cosine(3, steps=4, warmup=4) == 1.0
    assert warmup_cosine(4, steps=4, warmup=4) == pytest.approx(1.0)
