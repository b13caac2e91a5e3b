from __future__ import annotations

import pytest

from understudy.study.config import read_study

PARTS = {"soft DarkRank": "soft DarkRank, list of 8"}


def test_every_loss_tries_a_tenth_one_and_ten_times_of_its_weight() -> None:
    study = read_study("typefaces-beyond")
    alone, taught = study.rows[1], study.rows[2:]
    assert alone.choose is not None
    assert len(alone.choose.among) == 3
    middles: dict[str, dict[str, float]] = {}
    for row in taught:
        assert row.choose is not None
        assert row.choose.overrides["steps"] == study.base["steps"] // 3
        small, middle, large = [
            {one["name"]: one["weight"] for one in settings["losses"]} for settings in row.choose.among
        ]
        beside = middles[row.name.split(" + ")[0]].keys() if " + " in row.name else set()
        for name, weight in middle.items():
            factors = (1, 1, 1) if name in beside else (0.1, 1, 10)
            assert (small[name], large[name]) == pytest.approx((weight * factors[0], weight * factors[2]))
        middles[row.name] = middle
        if beside:
            parts = [PARTS.get(part, part) for part in row.name.split(" + ")]
            assert middle == middles[parts[0]] | middles[parts[1]]
            assert all((part, row.name) in study.tests for part in parts)
        assert ("student alone", row.name) in study.tests
