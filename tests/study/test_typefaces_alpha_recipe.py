from __future__ import annotations

from understudy.losses import build_loss
from understudy.study.config import read_study


def test_every_case_tries_the_same_targets_against_a_tuned_alpha() -> None:
    study = read_study("typefaces-alpha")
    cases: dict[tuple[str, float], list[float | str]] = {}
    for row in study.rows:
        tried = [row.config] if row.choose is None else row.choose.among
        for settings in tried:
            (entry,) = settings["losses"]
            loss = build_loss(entry["name"], entry["args"])
            alpha = loss.alpha
            found = cases.setdefault((entry["name"], entry["args"]["beta"]), [])
            found.append(f"h = {loss.target_entropy}" if alpha == "auto" else float(alpha))  # type: ignore[arg-type]
    expected = [1.0, 3.0, 10.0, 30.0, "h = 0.5", "h = 0.7", "h = 0.85", "h = 0.95"]
    assert list(cases.values()) == [expected] * 4
    assert {name for pair in study.tests for name in pair} == {row.name for row in study.rows}
