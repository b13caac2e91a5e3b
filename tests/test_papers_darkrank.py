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

import numpy as np
import pytest
from PIL import Image

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


def test_no_row_is_trained_twice(module: Callable[[str], ModuleType]) -> None:
    for name in module("_darkrank_studies").studies():
        study = read_study(name)
        runs = [
            (study.run_config(row, 0).model_dump_json(), row.choose and row.choose.model_dump_json())
            for row in study.rows
        ]
        assert len(set(runs)) == len(runs)


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
                    among = row.choose.among if row.choose else ()
                    weights = {tuple(loss["weight"] for loss in candidate["losses"]) for candidate in among}
                    assert len(weights) == 1  # of a loss that stands alone, it says nothing to AdamW
                    assert len({candidate["optim"]["lr"] for candidate in among}) == 3
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
    assert tried == [0.016, 0.08, 0.4]  # the largest is a fifth of the published one
    assert losses.stronger(losses.soft(7))["weight"] == 0.4


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


def test_a_command_that_fails_is_no_matter_of_time(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = 'if [ "$4" = bad ]; then exit 3; fi; while :; do sleep 0.02; done'
    runner = stepping(module, monkeypatch, tmp_path, script, seconds=1.0)
    bad, slow = (module("_steps").Step("part", ("train", word), f"{word}.json") for word in ("bad", "slow"))
    with pytest.raises(SystemExit, match=r"`understudy train bad` ended with status 3"):
        runner.together([slow, bad], devices=2)


def study_results(**more: Any) -> dict[str, Any]:
    def row(name: str, values: list[float], chosen: int | None = None) -> dict[str, Any]:
        tried = [
            {"settings": {"losses": [{"name": "soft_target", "weight": w}]}, "figure": 0.1}
            for w in (3, 16, 80)
        ]
        return {
            "name": name,
            "seeds": [0, 1],
            "epochs": 19.98 if name == "PKT" else 9.99,
            "metrics": {"map": values, "cmc@1": values, "neighbour_overlap@10": values},
            "chosen": None if chosen is None else {**tried[chosen], "tried": tried},
            "gap": {"map": [0.48, 0.52]} if name == "KD" else {},
            "trained_on": "a machine",
        }

    test = {"first": "student alone", "second": "KD", "metric": "map", "difference": 0.2, "t": 4.0, "p": 0.04}
    study = {
        "about": "About.",
        "rows": [row("student alone", [0.3, 0.5], 1), row("KD", [0.5, 0.7], 2), row("PKT", [0.4, 0.4], 0)],
        "seeds": [0, 1],
    }
    return {
        **study,
        "tests": [test],
        "part": "table1",
        "commit": "0123456789abcdef",
        "hardware": "a machine",
        "gpu_seconds": 90.0,
        "understudy": "1",
        "torch": "2",
        **more,
    }


def test_the_page_puts_the_published_figures_beside_ours(module: Callable[[str], ModuleType]) -> None:
    results = study_results()
    published = module("_darkrank_published").published
    results["published"] = {row["name"]: published(row["name"]) for row in results["rows"]}
    page = module("_darkrank_pages").page(results)
    assert "|  | mAP | paper | rank-1 | paper |" in page  # no column that no row measures
    assert "| student alone | 40.0 ± 14.1 | 58.1 | 40.0 ± 14.1 | 80.3 |" in page
    assert "| PKT | 40.0 ± 0.0 |  | 40.0 ± 0.0 |  |" in page
    assert "| KD | – | – | 60.0 ± 14.1 | 50 ± 3 % | soft_target 80 |" in page
    assert "| KD − student alone | mAP | +20.0 | 4.0 | 0.04 | +8.6 |" in page  # 66.7 − 58.1
    assert "Every row: 10 epochs, seeds 0, 1; but PKT: 20 epochs, seeds 0, 1." in page
    assert "At an end of what was tried: KD; PKT." in page
    assert "2 minutes of GPU time for this part" in page
    assert "at 0123456789ab, torch 2" in page
    assert "diverged" not in page
    results["rows"][2] |= {"metrics": {}, "diverged": {"1": "the gradient became nan at step 3"}}
    page = module("_darkrank_pages").page(results)
    assert "| PKT | – |  | – |  |" in page
    assert "\n\nPKT, seed 1: the gradient became nan at step 3\n\n" in page


def test_rows_that_diverged_are_named_and_left_out_of_tables_and_pictures(
    module: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """Of the curves, Figure 3 and Table 5 too."""
    wild, told = (
        {"metrics": {}, "diverged": {"1": "the gradient became nan at step 3"}},
        "seed 1: the gradient",
    )
    pages, draw = module("_darkrank_pages"), module("_darkrank_plots").draw

    curves = study_results(
        part="curves",
        curves={f"{word} 1": [{"step": [1, 2], "map": [0.1, 0.2]}] for word in ("learning rate", "epochs")},
    )
    curves["rows"][0] |= wild
    assert "| student alone | – | – |" in pages.page(curves)
    assert f"student alone, {told}" in pages.page(curves)
    assert draw(curves, tmp_path)

    points: list[dict[str, Any]] = [
        {
            "kind": "soft",
            "name": f"α {value}",
            "varied": varied,
            "value": value,
            "metrics": {"map": [0.5, 0.6]},
        }
        for varied, value in (("alpha", "3"), ("alpha", "10"), ("list", "whole"))
    ]
    points += [{**points[1], "varied": "beta"}]
    points = [point | wild if point["name"] == "α 10" else point for point in points]
    figure = study_results(part="figure3", points=points)
    assert pages.page(figure).count(f"α 10, {told}") == 1
    assert "| soft | 55.0 ± 7.1 | – |" in pages.page(figure)
    assert draw(figure, tmp_path)

    table = study_results(part="table5", speeds=[])
    for row in table["rows"]:
        row |= {"parameters": 2_000_000, "macs": 3_000_000}
    table["rows"][0] |= {"name": module("_darkrank_studies").TEACHER, "seeds": []}
    table["rows"][1] |= wild | {"parameters": None, "macs": None}
    table["rows"][2] |= wild
    assert "| KD | – | – | – | – |" in pages.page(table)
    assert f"PKT, {told}" in pages.page(table)


def test_two_rows_that_stand_for_one_of_the_paper_do_not_differ_by_nothing_there(
    module: Callable[[str], ModuleType],
) -> None:
    rows, published = module("_darkrank_studies"), module("_darkrank_published").published
    test = {
        "first": rows.SOFT_4,
        "second": rows.SOFT,
        "metric": "map",
        "difference": 0.2,
        "t": 4.0,
        "p": 0.04,
    }
    told = {name: published(name) for name in (rows.SOFT_4, rows.SOFT)}
    page = module("_darkrank_pages").page(study_results(tests=[test], published=told))
    assert f"| {rows.SOFT} − {rows.SOFT_4} | mAP | +20.0 | 4.0 | 0.04 | – |" in page


def test_combinations_are_compared_with_each_of_their_parts(module: Callable[[str], ModuleType]) -> None:
    rows = module("_darkrank_studies")
    names = {*rows.BEYOND, rows.ALONE, rows.KD, rows.SOFT}
    assert {name for pair in rows.BEYOND_TESTS for name in pair} == names
    both = "absolute teacher + soft DarkRank"
    assert {first for first, second in rows.BEYOND_TESTS if second == both} == {
        rows.ALONE,
        "absolute teacher",
        rows.SOFT,
    }


def test_tables_are_joined_and_gaps_are_those_to_the_student_alone(
    module: Callable[[str], ModuleType],
) -> None:
    def row(name: str, values: list[float]) -> dict[str, Any]:
        return {"name": name, "seeds": list(range(len(values))), "metrics": {"map": values}}

    joining = module("_darkrank_joining")
    first = {"rows": [{**row("teacher", [0.9]), "seeds": []}, row("student alone", [0.5, 0.7])]}
    more = {"rows": [row("KD", [0.6, 0.8]), row("PKT", [0.4, 0.7])]}
    rows = joining.joined([more], [first])
    assert [one["name"] for one in rows] == ["KD", "PKT"]
    assert rows[0]["gap"]["map"] == pytest.approx([1 / 3, 1 / 3])  # 0.1 of 0.3, from 0.6 to 0.9
    assert rows[1]["gap"]["map"] == pytest.approx([-1 / 3, 0])
    assert joining.joined([more])[0]["gap"] == {}
    scratch = [row("student alone, from scratch", [0.1, 0.1]), row("KD, from scratch", [0.3, 0.5])]
    gaps = {one["name"]: one["gap"] for one in joining.joined([{"rows": scratch}], [first])}
    assert gaps["student alone, from scratch"] == {}
    assert gaps["KD, from scratch"]["map"] == pytest.approx([0.25, 0.5])  # of 0.8, from 0.1 to 0.9
    every = joining.joined([first, more])
    assert [one["name"] for one in every] == ["teacher", "student alone", "KD", "PKT"]
    assert every[1]["gap"] == {}
    pairs = [("student alone", "PKT"), ("student alone", "no such row"), ("teacher", "KD")]
    (test,) = joining.tests(every, pairs)
    assert (test["second"], test["metric"], test["seeds"]) == ("PKT", "map", 2)
    assert test["difference"] == pytest.approx(-0.05)
    assert test["t"] == pytest.approx(-1.0)  # -0.1 and 0: the mean over its standard error


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
        for varied, count in (("alpha", 7), ("beta", 5), ("weight x", 5), ("beta 1, entropy", 5)):
            assert sum(point[0] == varied for point in found) == count
        args = {row["name"]: row["config"]["losses"][0] for row in study["rows"]}
        assert args["alpha 5"]["args"]["alpha"] == 5
        assert args["alpha 5"]["args"]["beta"] == 3
        assert args["weight x 5"]["weight"] == pytest.approx(5 * args["usual"]["weight"], rel=0.05)


def test_the_docs_page_is_current(module: Callable[[str], ModuleType]) -> None:
    del module
    assert importlib.import_module("write_page").main(["--check"]) == 0


def test_the_docs_page_takes_what_is_measured_and_else_what_is_published(
    module: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    writer = importlib.import_module("write_page")
    results = {**study_results(), "published": {}}
    assert module("_darkrank_pages")
    (tmp_path / "darkrank-table1.json").write_text(json.dumps(results))
    places = "<!-- table3 -->\n<!-- end -->\n<!-- beyond -->\n<!-- end -->"
    text = f"a\n<!-- table1 -->\nold\n<!-- end -->\nb\n{places}"
    filled = writer.filled(text, tmp_path)
    assert "old" not in filled
    assert "| KD − student alone | mAP | +20.0 |" in filled
    assert "| FitNet | 64.0 | 83.4 | 72.4 | 88.6 |" in filled.split("b\n")[1]
    assert filled.count("Not measured here yet.") == 2
    assert writer.filled(filled, tmp_path) == filled
    with pytest.raises(ValueError, match="tabel1"):
        writer.filled(text.replace("table1", "tabel1"), tmp_path)


def draw_market(root: Path) -> Path:
    """Market-1501's layout with patterns in place of persons: 15 identities to learn from, 4 to find."""
    generator = np.random.default_rng(0)

    def draw(folder: str, identity: int, camera: int, number: int) -> None:
        y, x = np.mgrid[:32, :16] / 16
        wave = np.sin(2 * np.pi * (1 + identity % 3) * (x * np.cos(identity) + y * np.sin(identity)))
        noisy = 127 + 90 * wave[..., None] + generator.normal(0, 60, (32, 16, 3))
        (root / folder).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(root / folder / f"{identity:04d}_c{camera}s1_{number:06d}_00.jpg")

    for identity in range(1, 16):
        for place in range(4):
            draw("bounding_box_train", identity, 1 + place % 2, place)
    for identity in range(20, 24):
        draw("query", identity, 1, 0)
        for camera in (1, 2, 3):
            draw("bounding_box_test", identity, camera, 1)
        draw("gt_bbox", identity, 1, 0)
    draw("bounding_box_test", 0, 2, 1)
    return root


def a_few_rows(studies: dict[str, Any], wanted: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The studies with some of their rows, each with the first of its candidates."""
    for name, names in wanted.items():
        study = studies[f"market1501-{name}"]
        study["rows"] = [row for row in study["rows"] if row["name"] in names]
        study["tests"] = [pair for pair in study["tests"] if set(pair) <= set(names)]
        for row in study["rows"]:
            if "choose" in row:
                row["choose"]["among"] = row["choose"]["among"][:1]
    return studies


@pytest.mark.slow
def test_a_tiny_bench_from_start_to_end(
    bench: ModuleType,
    module: Callable[[str], ModuleType],
    command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every part, its results and its page; the second start runs nothing."""
    rows = module("_darkrank_studies")
    wanted = {
        "curves": tuple(row["name"] for row in rows.curves()["rows"][4:6]),
        "table1": (rows.TEACHER, rows.ALONE, rows.KD_SOFT),
        "table1-more": (rows.TEACHER, rows.KD + rows.SCRATCH),
        "table3": (rows.TEACHER, rows.FITNET),
        "figure3-soft": (rows.USUAL, "alpha 5"),
        "figure3-hard": (rows.USUAL, "list 8"),
        "beyond": (rows.TEACHER, "similarity KL"),
        "table5": (rows.TEACHER, f"EfficientNet-Lite0, 128×64, {rows.KD_SOFT}"),
    }
    monkeypatch.setattr(bench, "studies", lambda: a_few_rows(rows.studies(), wanted))
    monkeypatch.setattr(module("_darkrank_speed"), "images_per_second", lambda *_, **__: 5.0)
    for place in ("study.results", "training.measuring"):
        monkeypatch.setattr(f"understudy.{place}.images_per_second", lambda _: 7.0)
    calls: list[str] = []

    def run(self: Any, commands: list[tuple[str, ...]]) -> list[int | None]:
        monkeypatch.chdir(self.work)
        for words in commands:
            calls.append(words[0])
            done = command(*words)
            assert done.status == 0, done.err
        return [0] * len(commands)

    monkeypatch.setattr(module("_steps").Steps, "_run", run)
    out, work = tmp_path / "out", tmp_path / "work"
    data = draw_market(tmp_path / "market")
    words = ["--quick", "--data", data, "--work", work, "--out", out, "--device", "cpu", "--seeds", "1"]
    assert bench.main([str(word) for word in words]) == 0
    assert calls == ["prepare", *["train"] * 2, *["embed"] * 4, *["compare"] * 8, *["evaluate"] * 6]
    parts = {path.stem.removeprefix("darkrank-"): json.loads(path.read_text()) for path in out.glob("*.json")}
    assert set(parts) == set(bench.PARTS) - {"table1-more"}  # which stands in the table of table1
    names = [row["name"] for row in parts["table1"]["rows"]]
    assert names == [rows.TEACHER, rows.ALONE, rows.KD_SOFT, rows.KD + rows.SCRATCH]
    alone = parts["table1"]["rows"][1]
    assert {"map", "cmc@1", "multi/map", "asymmetric/map", "neighbour_overlap@10"} <= set(alone["metrics"])
    assert parts["table5"]["speeds"][-1]["images_per_second"][rows.TEACHER] == 5
    assert [point["varied"] for point in parts["figure3"]["points"]].count("alpha") == 3
    assert {path.stem for path in out.glob("*.svg")} == {
        f"darkrank-{part}" for part in ("teacher", "curves", "figure3")
    }
    first = {path: path.read_bytes() for path in out.iterdir()}
    calls.clear()
    monkeypatch.setattr(module("_darkrank_report"), "draw", lambda *_: None)  # a second of it again
    assert bench.main([str(word) for word in words]) == 0
    assert not calls
    assert {path: path.read_bytes() for path in out.iterdir()} == first
    again = [*words[:-1], "2", "--parts", "figure3"]
    assert bench.main([str(word) for word in again]) == 0
    assert calls == ["compare"] * 2  # a second seed
    assert json.loads((out / "darkrank-figure3.json").read_text())["seeds"] == [0, 1]
    monkeypatch.setitem(module("_darkrank_teacher").TEACHER, "seed", 5)
    with pytest.raises(SystemExit, match="teacher' was trained with another 'seed': pass a fresh --work"):
        bench.main([str(word) for word in words])
