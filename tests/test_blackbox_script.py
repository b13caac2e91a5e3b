"""The black-box bench at a size for tests: its studies can be read, its page says what its numbers say."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from understudy.config import parse
from understudy.losses import LOSSES
from understudy.study import StudyConfig

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("blackbox")


@pytest.fixture
def report(bench: ModuleType) -> ModuleType:
    return sys.modules["_blackbox_report"]


def test_every_study_can_be_read(bench: ModuleType) -> None:
    for setting in bench.SETTINGS.values():
        aligned = bench.aligned(setting, 128)
        relational = {name for name, loss in LOSSES.items() if loss.family == "rkd"}
        assert {"absolute_teacher", "contextual_similarity", "similarity_kl", *relational} <= set(aligned)
        blocks = [
            (bench.methods(setting), bench.FRACTIONS),
            (bench.switches(), bench.FRACTIONS),
            (aligned, (1.0,)),
        ]
        for choose in (False, True):
            value = bench.study("s", setting, blocks, seeds=3, steps=90, device="cpu", choose=choose)
            study = parse(StudyConfig, value, where="s")
            assert len(study.rows) == sum(len(rows) * len(fractions) for rows, fractions in blocks)
            for row in study.rows:
                trials = [] if row.choose is None else row.choose.among
                assert len(trials) == choose * len(setting.rates)
                config = study.run_config(row, 2, *trials[:1])
                assert (config.steps, config.data.fraction_seed) == (90, 2)


def test_only_labels_have_labels_and_only_they_have_no_teacher(bench: ModuleType) -> None:
    setting = bench.SETTINGS["omniglot"]
    blocks = [(bench.methods(setting), (0.05,))]
    value = bench.study("s", setting, blocks, seeds=1, steps=9, device="cpu", choose=False)
    study = parse(StudyConfig, value, where="s")
    for row in study.rows:
        config = study.run_config(row, 0)
        alone = row.name.startswith("labels alone")
        assert bool(config.supervised) == alone
        assert bool(config.losses) != alone
        assert config.data.fraction == 0.05


def lines(**figures: list[float]) -> list[dict[str, Any]]:
    return [
        {"method": name, "fraction": share, "images": 10, "figures": {"map": values}}
        for name, values in figures.items()
        for share in (0.1, 1.0)
    ]


def test_tests_go_seed_by_seed_and_over_all_shares(report: ModuleType) -> None:
    found = report.tests(lines(a=[0.1, 0.2, 0.3], b=[0.2, 0.4, 0.6]), [("a", "b"), ("b", "c")], "map")
    assert [test["fraction"] for test in found] == [0.1, 1.0, None]
    assert [test["seeds"] for test in found] == [3, 3, 6]
    for test in found:
        assert test["difference"] == pytest.approx(0.2)
    assert found[0]["t"] == pytest.approx(0.2 / (0.1 / 3**0.5))


def tiny_results(report: ModuleType, **more: Any) -> dict[str, Any]:
    curves = lines(**{"labels alone": [0.1, 0.2], "relative": [0.3, 0.5], "relative + mixtures": [0.2, 0.5]})
    return {
        "data": "birds",
        "about": "Birds.",
        "metrics": ["map"],
        "steps": 30,
        "rates": [0.1, 0.2],
        "chosen": {"relative": 0.1},
        "seeds": 2,
        "hardware": "a machine",
        "version": "1",
        "teacher": {"map": 0.9},
        "curves": curves,
        "switches": [],
        "aligned": [],
        "tests": report.tests(curves, [("relative", "relative + mixtures")], "map"),
        "other_tests": [],
        "switch_tests": [],
        **more,
    }


def test_the_page_says_what_mixtures_cost_as_plainly_as_what_they_give(report: ModuleType) -> None:
    page = report.page(tiny_results(report))
    assert "| relative | 40.0 ± 14.1 | 40.0 ± 14.1 |" in page
    assert "| the teacher |  | 90.0 |" in page
    assert "ahead in 0 of 2 comparisons, by -5.0 points of mAP in the mean (-5.0 to -5.0)" in page
    assert "| relative + mixtures − relative | -5.0 (0.5) | -5.0 (0.5) | -5.0 (0.18) |" in page


def test_both_spaces_stand_side_by_side(report: ModuleType) -> None:
    line = {"method": "fitnet", "fraction": 1.0, "images": 10, "figures": {"map": [0.25]}}
    page = report.page(tiny_results(report, aligned=[{**line, "student": {"map": [0.5]}}]))
    assert "| fitnet | 25.0 | 50.0 |" in page


@pytest.mark.slow
def test_a_tiny_bench_from_start_to_end(
    bench: ModuleType,
    command: Callable[..., Any],
    make_images: Callable[..., Path],
    taught: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Table, three studies, measures and page; the second start trains nothing."""
    student = {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]}
    tiny = dataclasses.replace(
        bench.SETTINGS["typefaces"],
        source=str(make_images(tmp_path / "images", splits=("train", "test"))),
        base={**bench.SETTINGS["typefaces"].base, "student": student},
        metrics=("recall@1",),
        rates=(0.01, 0.02),
    )
    monkeypatch.setitem(bench.SETTINGS, "typefaces", tiny)
    monkeypatch.setattr(bench, "TUNED", 0.5)
    monkeypatch.setattr(bench, "packaged_path", lambda _: taught / "teacher" / "model")
    monkeypatch.setattr("understudy.study.results.images_per_second", lambda _: 1.0)
    monkeypatch.chdir(tmp_path)
    calls: list[str] = []

    def understudy(self: Any, *words: str) -> None:
        calls.append(words[0])
        monkeypatch.chdir(self.work)
        done = command(*words)
        monkeypatch.chdir(tmp_path)
        assert done.status == 0, done.err

    monkeypatch.setattr(bench.Bench, "_understudy", understudy)
    settings = {"steps": 2, "seeds": 1, "fractions": "0.5", "device": "cpu", "work": "work", "out": "out"}
    words = ["typefaces", *(word for key, value in settings.items() for word in (f"--{key}", str(value)))]
    bench.main(words)
    assert calls == ["embed", "compare", "compare"]
    results = json.loads((tmp_path / "out" / "blackbox-typefaces.json").read_text())
    setting = bench.SETTINGS["typefaces"]
    assert len(results["curves"]) == len(bench.methods(setting))
    assert len(results["switches"]) == len(bench.switches())
    assert [line["method"] for line in results["aligned"]] == list(bench.aligned(setting, 12))
    assert all("recall@1" in line["student"] for line in results["aligned"])
    page = (tmp_path / "out" / "blackbox-typefaces.md").read_text()
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("summary.json")}
    bench.main(words)
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert (tmp_path / "out" / "blackbox-typefaces.md").read_text() == page
