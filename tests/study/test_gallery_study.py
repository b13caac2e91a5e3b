"""Studies of data with queries and a gallery: stored teachers, gaps, several tests, other settings."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from understudy.config import RunConfig
from understudy.data import Manifest
from understudy.data.table import write_table
from understudy.errors import UserError
from understudy.study import changed, jobs, read_study, to_markdown
from understudy.study.devices import gpus_of, see_only
from understudy.study.job import Job, ending, note_divergence
from understudy.study.results import gpu_share
from understudy.study.spending import Spending
from understudy.study.statistics import gap_closed
from understudy.training.guard import Diverged
from understudy.training.progress import Reporter
from understudy.training.signals import Stopped
from understudy.training.workshop import Workshop

Command = Callable[..., Any]
TRAINED, STORED = "trained", "stored"


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is measured elsewhere, and takes a second each time."""
    for module in ("study.results", "training.measuring"):
        monkeypatch.setattr(f"understudy.{module}.images_per_second", lambda _: 1234.0)


@pytest.fixture
def streets(taught: Path, tmp_path: Path) -> Path:
    """A manifest of the shared images: 4 classes to train on, 4 as queries and gallery, two cameras."""
    files = sorted((taught / "images").rglob("*.png"))
    names = [file.relative_to(taught / "images").as_posix() for file in files]
    number = [int(file.stem) for file in files]
    known = [int(file.parent.name[5:]) < 4 for file in files]
    splits = ["train" if k else "query" if n < 2 else "gallery" for k, n in zip(known, number, strict=True)]
    Manifest.of_paths(
        taught / "images",
        names,
        labels=[file.parent.name for file in files],
        splits=splits,
        cameras=[str(n % 2) for n in number],
    ).save(tmp_path / "streets.csv")
    vectors = np.random.default_rng(0).normal(size=(len(files), 12)).astype(np.float32)
    for place, label in enumerate(file.parent.name for file in files):
        vectors[place, int(label[5:])] += 4.0  # this teacher knows everything
    write_table(tmp_path / "stored", vectors, names, metadata={"teacher": "stored"})
    return tmp_path / "streets.csv"


@pytest.fixture
def study(settings: Callable[..., dict[str, Any]], streets: Path, taught: Path, tmp_path: Path) -> Path:
    base = settings(
        data={"source": "nowhere.csv", "val_fraction": 0.0},
        teachers={"main": "table:nowhere"},
        sampler={"batch_size": 8, "images_per_class": 2},
        augment={"num_views": 1},
        steps=3,
    )
    base["student"] = {**base["student"], "dim": 12}  # as many as both teachers have
    network = {"reference": str(taught / "teacher" / "model"), "clean": f"table:{tmp_path / 'stored'}"}
    among = [{"losses": [{"name": "fitnet", "weight": weight}]} for weight in (0.0, 4.0)]
    choose = {"among": among, "metric": "map", "overrides": {"steps": 2, "data": {"val_fraction": 0.5}}}
    value = {
        "name": "streets",
        "base": base,
        "rows": [
            {"name": STORED, "teacher": "main"},
            {"name": TRAINED, "teacher": "network", "config": {"teachers": {"network": network}}},
            {"name": "alone"},
            {"name": "copied", "choose": choose},
        ],
        "seeds": 2,
        "metrics": ["map", "cmc@1", "asymmetric/map"],
        "tests": [["alone", "copied"]],
        "tests_metrics": ["map", "cmc@1"],
        "gap": {"alone": "alone", "teacher": STORED, "metrics": ["map"]},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "study.yaml"


def test_a_study_by_the_data_s_own_protocol(
    command: Command, study: Path, streets: Path, tmp_path: Path
) -> None:
    words = ["compare", study, "--data", streets, "--teacher", f"table:{tmp_path / 'stored'}", "--steps", 4]
    done = command(*words, "--out", tmp_path / "out")
    assert done.status == 0, done.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["split"] == "gallery"
    stored, trained, alone, copied = results["rows"]
    assert stored["metrics"]["map"] == trained["metrics"]["map"]  # both are looked up in one table
    assert stored["metrics"]["map"][0] > 0.9
    assert (stored["parameters"], stored["images_per_second"]) == (None, None)
    assert trained["parameters"] > 0
    assert (alone["steps"], alone["epochs"]) == (4, round(4 * 8 / 24, 2))
    assert (alone["gpu_seconds"], results["gpu_seconds"]) == (None, None)
    assert results["commit"] is None or len(results["commit"].rstrip("+")) == 40
    assert [(test["metric"], test["seeds"]) for test in results["tests"]] == [("map", 2), ("cmc@1", 2)]

    start = sum(alone["metrics"]["map"]) / 2
    way = stored["metrics"]["map"][0] - start
    for share, ours, theirs in zip(
        copied["gap"]["map"], copied["metrics"]["map"], alone["metrics"]["map"], strict=True
    ):
        assert share == pytest.approx((ours - theirs) / way)
    assert alone["gap"] == stored["gap"] == {}
    head = next(line for line in done.out.splitlines() if line.startswith("|  |"))
    assert head.endswith("| mAP | rank-1 | asymmetric mAP | mAP, gap closed |")
    assert next(line for line in done.out.splitlines() if line.startswith("| stored |")).count("–") == 5
    assert "Figures in percent on the queries in the gallery" in done.out

    trial = tmp_path / "out" / "choice" / "copied" / "1" / "seed-1000"
    summary = json.loads((trial / "summary.json").read_text())
    assert summary["split"] == "val"
    assert {"map", "cmc@1", "recall@1"} <= summary["metrics"].keys()
    assert summary["counts"]["queries"] == 12  # two of four classes of six


def test_rows_and_figures_may_come_to_a_study(
    command: Command, study: Path, streets: Path, tmp_path: Path
) -> None:
    words = ["compare", study, "--data", streets, "--teacher", f"table:{tmp_path / 'stored'}"]
    words += ["--out", tmp_path / "out", "--seeds", 1, "--json"]
    assert command(*words).status == 0
    value = yaml.safe_load(study.read_text())
    value["rows"] += [{"name": "new", "config": {"optim": {"lr": 0.1}}}]
    value["metrics"] = ["minp"]
    study.write_text(yaml.safe_dump(value))
    done = command(*words)
    assert done.status == 0, done.err
    assert "2 of 3 runs are finished already" in done.err
    assert [row["name"] for row in json.loads(done.out)["rows"]][-1] == "new"
    value["rows"][-1]["config"]["optim"]["lr"] = 0.2
    study.write_text(yaml.safe_dump(value))
    assert "holds a study with other 'rows.new.config.optim.lr'" in command(*words).err


@pytest.mark.parametrize(
    ("side_by_side", "gap"),
    [(1, {"alone": "diverges", "teacher": STORED}), (2, {"alone": "copied", "teacher": "diverges"})],
)
def test_a_run_that_diverges_is_a_result_of_its_row(
    command: Command, study: Path, streets: Path, tmp_path: Path, side_by_side: int, gap: dict[str, str]
) -> None:
    value = yaml.safe_load(study.read_text())
    value["rows"] = [
        {"name": "diverges", "config": {"optim": {"name": "sgd", "lr": 1e30}, "steps": 8, "log_every": 1}},
        {"name": "alone"},
        {"name": "copied"},
    ]
    value |= {"tests": [["diverges", "alone"]], "metrics": ["map"], "gap": {**gap, "metrics": ["map"]}}
    value["rows"].append({"name": STORED, "teacher": "main"})
    study.write_text(yaml.safe_dump(value))
    words = ["compare", study, "--data", streets, "--teacher", f"table:{tmp_path / 'stored'}", "--seeds", 2]
    words += ["--out", tmp_path / "out", "--jobs", side_by_side]
    done = command(*words)
    assert done.status == 0, done.err
    assert "diverged: diverges, seed 1: " in done.err
    assert re.search(r"diverges has no figures: with seed 0 the [^:]* at step \d+\.\n", done.out)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    wild, alone, *_ = results["rows"]
    assert list(wild["diverged"]) == ["0", "1"]
    assert wild["metrics"] == wild["gap"] == alone["gap"] == {}
    assert wild["parameters"] is None
    assert not results["tests"]
    assert len(alone["metrics"]["map"]) == 2
    again = command(*words)
    assert again.status == 0
    assert "6 of 6 runs are finished already, 2 diverged (remove a run's diverged.json to" in again.err
    assert "diverged: " not in again.err, "it was begun again"
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"][0] == wild

    wild_too = {"name": "alone", "config": {**value["rows"][0]["config"], "seed": 0}}
    value |= {"rows": [value["rows"][0], wild_too], "tests": [], "gap": None}
    study.write_text(yaml.safe_dump(value))
    none = command(*words[:-3], tmp_path / "none", *words[-2:])
    assert none.status == 2
    assert none.err.splitlines()[-1].startswith("error: all 4 runs diverged; diverges, seed 0: the ")


def failures(total: int, reporter: Reporter | None = None) -> Any:
    return jobs._Failures(total, reporter or Reporter(quiet=True))


def test_a_candidate_that_diverges_is_not_chosen(
    command: Command, study: Path, streets: Path, tmp_path: Path
) -> None:
    value = yaml.safe_load(study.read_text())
    wild = {"optim": {"name": "sgd", "lr": 1e30}, "steps": 8, "log_every": 1}
    among = [wild, {"optim": {"lr": 0.01}}]
    choose = {"metric": "map", "among": among, "overrides": {"data": {"val_fraction": 0.5}}}
    value["rows"] = [{"name": "alone", "choose": choose}]
    value |= {"tests": [], "gap": None, "metrics": ["map"]}
    study.write_text(yaml.safe_dump(value))
    words = ["compare", study, "--data", streets, "--teacher", f"table:{tmp_path / 'stored'}", "--seeds", 1]
    done = command(*words, "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert "diverged: choosing for alone: " in done.err
    (row,) = json.loads(done.out)["rows"]
    assert row["chosen"]["settings"] == {"optim": {"lr": 0.01}}
    assert [one["figure"] is None for one in row["chosen"]["tried"]] == [True, False]
    value["rows"][0]["choose"]["among"].pop()
    study.write_text(yaml.safe_dump(value))
    none = command(*words, "--out", tmp_path / "none")
    assert "every candidate of the row 'alone' diverged: give it one with a lower" in none.err


def test_one_after_another_any_failure_is_named_and_the_others_are_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    def execute(_config: RunConfig, out: Path, **_kept: Any) -> None:
        begun.append(out.name)
        if out.name == "full":
            raise RuntimeError("out of memory")
        if out.name == "stopped":
            raise Stopped("stopped by SIGINT")

    monkeypatch.setattr(jobs, "execute", execute)
    runs = [Job(name, RunConfig(), tmp_path / name) for name in ("full", "other", "stopped", "never")]
    arguments = (Workshop(), Spending(tmp_path / "spent.json"))
    with pytest.raises(
        UserError, match="1 of 2 runs failed, the others are kept; full: RuntimeError: out of"
    ):
        jobs._one_by_one(runs[:2], *arguments, failures(2))
    assert begun == ["full", "other"]
    with pytest.raises(Stopped):
        jobs._one_by_one(runs[2:], *arguments, failures(2))
    assert begun[2:] == ["stopped"]


def test_gpu_time_is_shared_by_all_runs_it_was_spent_on(tmp_path: Path) -> None:
    """Also by those of a seed that the study is now made without, and by those that diverged."""
    for place in ("choice/a/0/seed-1000", "runs/a/seed-0"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "summary.json").write_text(json.dumps({"seconds": 10.0}))
    (tmp_path / "runs/a/seed-1").mkdir()
    note_divergence(tmp_path / "runs/a/seed-1", Diverged("the gradient became nan", "lower it"), 10.0)
    (tmp_path / "runs/a/seed-2").mkdir()  # under way
    spending = Spending(tmp_path / "spent.json")
    assert gpu_share(tmp_path, spending) is None
    spending.gpu_seconds = 15.0
    assert gpu_share(tmp_path, spending) == pytest.approx(0.5)


def test_a_run_that_somebody_finished_after_it_diverged_is_finished(tmp_path: Path) -> None:
    config = RunConfig()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    job = Job("a", config, tmp_path)
    error = Diverged("the loss part 'pml:AngularLoss' became nan at step 3", "lower optim.lr")
    error = pickle.loads(pickle.dumps(error))  # as it comes out of a worker
    assert str(error) == "the loss part 'pml:AngularLoss' became nan at step 3: lower optim.lr"
    note_divergence(tmp_path, error, 1.0)
    assert job.divergence() == "the loss part 'pml:AngularLoss' became nan at step 3"
    assert ending(tmp_path) == {"how": job.divergence(), "seconds": 1.0}
    (tmp_path / "summary.json").write_text('{"seconds": 2.0}')
    assert job.divergence() is None
    assert job.ended()
    assert ending(tmp_path) == {"seconds": 2.0}


def ended(*errors: BaseException | None) -> dict[Future[None], str]:
    """Runs that have ended, with an error or without."""
    futures: dict[Future[None], str] = {}
    for number, error in enumerate(errors):
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        futures[future] = f"run {number}"
    return futures


def test_runs_side_by_side_are_named_too(capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[int] = []
    with pytest.raises(UserError) as caught:
        jobs._watch(
            ended(None, UserError("it diverged: lower optim.lr"), None, KeyError("x"), *([ValueError()] * 4)),
            failures(8, Reporter()),
            lambda: notes.append(1),
        )
    assert str(caught.value).startswith("6 of 8 runs failed, the others are kept; run ")
    assert "failed: run 1: it diverged: lower optim.lr\n" in capsys.readouterr().err
    assert "; …)" in str(caught.value)
    assert notes
    with pytest.raises(UserError, match=r"a process was killed.*start the study again with fewer --jobs"):
        jobs._watch(ended(None, BrokenProcessPool()), failures(2), lambda: None)
    with pytest.raises(Stopped):
        jobs._watch(ended(Stopped("stopped by SIGINT")), failures(1), lambda: None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tests_metrics": ["rank-1"]}, "`tests` compares rows by 'rank-1', which the row 'alone' does not"),
        ({"gap": {"alone": "alone", "teacher": "alone"}}, "gap.teacher 'alone' is no other row"),
        ({"gap": {"alone": STORED, "teacher": "alone"}}, "gap.alone 'stored' is no row that is trained"),
        (
            {"gap": {"alone": "alone", "teacher": STORED, "metrics": ["asymmetric/map"]}},
            "`gap` compares rows by 'asymmetric/map', which the row 'stored' does not measure",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    refused: Callable[..., str], study: Path, streets: Path, tmp_path: Path, change: Any, sentence: str
) -> None:
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | change))
    words = ["compare", study, "--data", streets, "--teacher", f"table:{tmp_path / 'stored'}"]
    assert sentence in refused(*words, "--out", tmp_path / "out")


def test_devices_that_are_not_there_are_refused(
    study: Path, streets: Path, refused: Callable[..., str]
) -> None:
    stored = streets.parent / "stored"
    words = ["compare", study, "--data", streets, "--teacher", f"table:{stored}", "--out", "o"]
    assert "'cuda:7' is no GPU that is here" in refused(*words, "--devices", "cuda:7")


def test_runs_are_shared_out_to_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    free, bound = RunConfig(), RunConfig(device="cuda:1")
    assert gpus_of([free], None) == (0, 1, 2)
    assert gpus_of([free, bound], None) == ()
    assert gpus_of([free], ["cuda:2", "cuda:0", "cuda:2"]) == (2, 0)
    with pytest.raises(UserError, match="the runs are to work on 'cuda:1': leave --devices out"):
        gpus_of([bound], ["cuda:0"])
    for seen, wanted in (("", "1"), ("4, 6", "6")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
        see_only(1)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted


def test_one_of_several_teachers_is_named(study: Path) -> None:
    value = read_study(study)
    base = {**value.base, "teachers": {"a": "table:x", "b": {"reference": "table:y", "view": "clean"}}}
    several = value.model_copy(update={"base": base})
    done = changed(several, {}, teachers=["b=timm:net?weights=w"], clean=["a=table:z"])
    assert done.base["teachers"] == {
        "a": {"reference": "table:x", "clean": "table:z"},
        "b": {"reference": "timm:net?weights=w", "view": "clean"},
    }
    with pytest.raises(UserError, match="does not say for which teacher it stands: write NAME=table:w"):
        changed(several, {}, teachers=["table:w"])


def test_a_teacher_behind_its_student_leaves_no_gap() -> None:
    assert gap_closed([0.7], [0.6], [0.6]) is None
    assert gap_closed([0.3, 0.5], [0.2, 0.2], [0.7, 0.9]) == pytest.approx([0.1 / 0.6, 0.5])


def test_gpu_time_is_told() -> None:
    row = {
        "name": "a",
        "parameters": 1,
        "macs": 2,
        "images_per_second": None,
        "metrics": {"multi/map": [0.5]},
    }
    results = {
        "study": "s",
        "about": "",
        "metrics": ["multi/map"],
        "device": "CPU",
        "hardware": "2 threads",
        "split": "test",
        "version": "1",
        "commit": "0123456789abcdef",
        "tests": [],
        "seeds": [0],
        "rows": [{**row, "trained_on": "a GPU"}],
        "gpu_seconds": 7200.0,
    }
    page = to_markdown(results)
    assert "| multi-query mAP |" in page
    assert "Trained on a GPU, 2.0 GPU hours. understudy 1, commit 0123456789." in page
    assert "GPU" not in to_markdown({**results, "rows": [row], "gpu_seconds": None})
