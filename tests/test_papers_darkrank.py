"""The DarkRank bench: its recipes are fair, its budget holds, its pages say what was measured."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from understudy.losses import build_loss
from understudy.study import read_study

PAPERS = Path(__file__).resolve().parents[1] / "benchmarks" / "papers"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PAPERS))
    return importlib.import_module("darkrank")


@pytest.fixture
def module(bench: ModuleType) -> Callable[[str], ModuleType]:
    del bench
    return lambda name: sys.modules[name]


def test_the_recipes_of_the_package_are_what_the_settings_say(module: Callable[[str], ModuleType]) -> None:
    recipes = module("write_recipes")
    for place, text in recipes.recipes().items():
        assert (recipes.RECIPES / place).read_text(encoding="utf-8") == text


def test_every_row_has_the_same_epochs_and_three_candidates_of_a_third_of_them(
    module: Callable[[str], ModuleType],
) -> None:
    market, rows = module("_market1501_settings"), module("_darkrank_studies")
    for name in rows.studies():
        study = read_study(name)
        for row in study.rows:
            if row.teacher is not None:
                continue
            config = study.run_config(row, 0, *(row.choose.among[:1] if row.choose else ()))
            on_validation = config.evaluation.split == "val"
            assert config.data.val_fraction == market.VAL_FRACTION * on_validation
            assert ("val" in config.teachers["main"].reference) == on_validation
            if row.choose is None:
                continue
            times = 2 if row.name == rows.TWICE else 1
            assert config.epochs == times * market.EPOCHS
            assert len(row.choose.among) == 3
            assert row.choose.metric == "map"
            assert not set(row.choose.seeds) & set(study.seed_list)
            for settings in row.choose.among:
                trial = study.run_config(row, 1000, settings, row.choose.overrides)
                assert trial.epochs == pytest.approx(config.epochs / 3, abs=1)
                assert trial.data.val_fraction == market.VAL_FRACTION
                assert {teacher.reference for teacher in trial.teachers.values()} == {
                    "table:teacher-val-views"
                }


def test_every_loss_can_be_built_and_label_free_rows_have_no_labels(
    module: Callable[[str], ModuleType],
) -> None:
    for name in module("_darkrank_studies").studies():
        study = read_study(name)
        for row in study.rows:
            for settings in row.choose.among if row.choose else ({},):
                config = study.run_config(row, 0, settings)
                for loss in config.losses:
                    build_loss(loss.name, loss.args, dim=256, num_classes=751)
                    assert loss.weight
                    assert loss.weight > 0
                if name == "market1501-table3" and row.teacher is None:
                    assert config.supervised == ()
                    assert config.data.label_fraction == 0
                    assert config.losses
                elif row.teacher is None:
                    assert {loss.name for loss in config.supervised or ()} == {
                        "cross_entropy",
                        "batch_hard_triplet",
                    }


def test_the_examples_are_right(module: Callable[[str], ModuleType]) -> None:
    for name in ("_darkrank_losses", "_darkrank_published", "_darkrank_studies", "_darkrank_plots"):
        assert doctest.testmod(module(name)).failed == 0


def test_the_published_weight_is_carried_over_to_other_lists(module: Callable[[str], ModuleType]) -> None:
    losses = module("_darkrank_losses")
    assert losses.published_weight(7) == pytest.approx(2.0)
    assert losses.published_weight(4) == pytest.approx(2 * math.log(5040) / math.log(24))
    assert losses.published_weight(7, losses.CODE) == pytest.approx(2 * 9 / 49)
    tried = [candidate["losses"][-1]["weight"] for candidate in losses.grid([losses.soft(7)], [losses.kd()])]
    assert tried == [0.08, 0.4, 2.0]  # the largest is the published one


def stepping(
    module: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    seconds: float | None = None,
) -> Any:
    """Steps whose `understudy` is a shell script."""
    steps = module("_steps")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(steps.sys, "executable", str(program))
    return steps.Steps(tmp_path, seconds)


def test_a_finished_step_is_never_done_again(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step = module("_steps").Step
    runner = stepping(module, monkeypatch, tmp_path, 'echo "$4" >> said; [ "$4" = c ] || touch "$4.json"')
    a, b, c = (step("part", ("compare", word), f"{word}.json") for word in "abc")
    runner.together([a], devices=1)
    runner.together([a, b], devices=2)
    with pytest.raises(SystemExit, match=r"status 0, without c\.json"):
        runner.together([c], devices=1)
    assert (tmp_path / "said").read_text().split() == ["a", "b", "c"]
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["commands"] for line in lines] == [["compare a"], ["compare b"], ["compare c"]]
    spent = sum(line["seconds"] * devices for line, devices in zip(lines, (1, 2, 1), strict=True))
    assert runner.gpu_seconds("part") == pytest.approx(spent, abs=0.05)
    assert runner.gpu_seconds("other") == 0


def test_when_the_time_is_over_what_runs_writes_a_checkpoint_and_nothing_new_begins(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = module("_steps")
    script = """trap 'touch checkpoint; exit 1' TERM
touch "$4"
while :; do sleep 0.02; done"""
    runner = stepping(module, monkeypatch, tmp_path, script, seconds=0.5)
    with pytest.raises(steps.OutOfTime):
        runner.together([steps.Step("part", ("compare", "begun"), "begun.json")], devices=1)
    assert (tmp_path / "checkpoint").exists() == (tmp_path / "begun").exists()
    with pytest.raises(steps.OutOfTime):
        runner.together([steps.Step("part", ("compare", "new"), "new.json")], devices=1)
    assert not (tmp_path / "new").exists()


def study_results(**more: Any) -> dict[str, Any]:
    def row(name: str, values: list[float], chosen: int | None = None) -> dict[str, Any]:
        tried = [
            {"settings": {"losses": [{"name": "soft_target", "weight": w}]}, "figure": 0.1}
            for w in (3, 16, 80)
        ]
        return {
            "name": name,
            "seeds": [0, 1],
            "metrics": {"map": values, "cmc@1": values, "neighbour_overlap@10": values},
            "chosen": None if chosen is None else {**tried[chosen], "tried": tried},
            "gap": {"map": {"mean": 0.5, "std": 0.02, "values": [0.48, 0.52]}} if name == "KD" else None,
            "trained_on": "a machine",
        }

    test = {"first": "student alone", "second": "KD", "metric": "map", "difference": 0.2, "t": 4.0, "p": 0.04}
    study = {
        "about": "About.",
        "rows": [row("student alone", [0.3, 0.5], 1), row("KD", [0.5, 0.7], 2), row("PKT", [0.4, 0.4], 0)],
        "tests": [test],
        "seeds": [0, 1],
        **more,
    }
    return {
        "part": "table1",
        "commit": "0123456789abcdef",
        "hardware": "a machine",
        "gpu_seconds": 90.0,
        "understudy": "1",
        "torch": "2",
        "seeds": [0, 1],
        "study": study,
    }


def test_the_page_puts_the_published_figures_beside_ours(module: Callable[[str], ModuleType]) -> None:
    results = study_results()
    published = module("_darkrank_published").published
    results["published"] = {row["name"]: published(row["name"]) for row in results["study"]["rows"]}
    page = module("_darkrank_pages").page(results)
    assert "|  | mAP | paper | rank-1 | paper |" in page  # no column that no row measures
    assert "| student alone | 40.0 ± 14.1 | 58.1 | 40.0 ± 14.1 | 80.3 |" in page
    assert "| PKT | 40.0 ± 0.0 |  | 40.0 ± 0.0 |  |" in page
    assert "| KD | – | – | 60.0 ± 14.1 | 50 ± 2 % | soft_target 80 |" in page
    assert "| KD − student alone | mAP | +20.0 | 4.0 | 0.04 | +8.6 |" in page  # 66.7 − 58.1
    assert "At an end of what was tried: KD; PKT." in page
    assert "2 minutes of GPU time for this part" in page
    assert "at 0123456789ab, torch 2" in page


def test_without_labels_the_paper_has_fitnet_alone(module: Callable[[str], ModuleType]) -> None:
    published = module("_darkrank_published").published
    assert published("hard DarkRank")["map"] == 63.5
    assert published("hard DarkRank", "table3") == {}
    assert published("FitNet + soft DarkRank", "table3")["multi/cmc@1"] == 90.3


def test_the_usual_point_lies_on_every_curve_of_figure_3(module: Callable[[str], ModuleType]) -> None:
    rows = module("_darkrank_studies")
    for kind in ("soft", "hard"):
        study = rows.studies()[f"market1501-figure3-{kind}"]
        found = [point for row in study["rows"] for point in rows.points(kind, row["name"])]
        assert len(set(found)) == len(found)
        for varied, count in (("alpha", 7), ("beta", 5), ("weight x", 5)):
            assert sum(point[0] == varied for point in found) == count
        args = {row["name"]: row["config"]["losses"][0] for row in study["rows"]}
        assert args["alpha 5"]["args"]["alpha"] == 5
        assert args["alpha 5"]["args"]["beta"] == 3
        assert args["weight x 5"]["weight"] == pytest.approx(5 * args["usual"]["weight"], rel=0.05)
