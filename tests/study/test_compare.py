"""A study from the shell: chosen, trained, compared; killed and started again, it does nothing twice."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.errors import UserError
from understudy.study import crew, read_study, results, runner
from understudy.study.job import Job
from understudy.training.directory.results import read_run
from understudy.training.workshop import Workshop

Command = Callable[..., Any]
CLOCK = {"images_per_second", "seconds", "gpu_seconds"}


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is measured elsewhere, and takes a second each time."""
    for module in ("study.results", "training.measuring"):
        monkeypatch.setattr(f"understudy.{module}.images_per_second", lambda _: 1234.0)


@pytest.fixture
def study(settings: Callable[..., dict[str, Any]], taught: Path, tmp_path: Path) -> Path:
    """Two rows that are trained, with two seeds each, and the teacher's."""
    base = settings(
        teachers={"main": str(taught / "teacher" / "model")}, optim={"lr": 0.01}, checkpoint_every=5, steps=6
    )
    among = [{"losses": [{"name": "pkt", "weight": weight}]} for weight in (0.0, 5.0)]
    value = {
        "name": "tiny",
        "about": "One sentence about it.",
        "base": base,
        "rows": [
            {"name": "the teacher", "teacher": "main"},
            {"name": "alone"},
            {
                "name": "distilled, 5 %",
                "choose": {"among": among, "metric": "map@r", "overrides": {"steps": 3}},
            },
        ],
        "seeds": 2,
        "metrics": ["recall@1", "map@r", "neighbour_overlap@10"],
        "tests": [["alone", "distilled, 5 %"]],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "study.yaml"


def without_clock(results: dict[str, Any]) -> dict[str, Any]:
    rows = [{key: value for key, value in row.items() if key not in CLOCK} for row in results["rows"]]
    return {**results, "rows": rows}


def stamps(out: Path) -> dict[str, int]:
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.rglob("summary.json")}


def test_a_study_makes_a_table(command: Command, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("compare", study, "--out", out)
    assert done.status == 0, done.err
    assert (out / "results.md").read_text() in done.out
    results = json.loads((out / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["the teacher", "alone", "distilled, 5 %"]
    assert sorted(stamps(out)) == [
        "choice/distilled-5/0/seed-1000/summary.json",
        "choice/distilled-5/1/seed-1000/summary.json",
        *(f"runs/{row}/seed-{seed}/summary.json" for row in ("alone", "distilled-5") for seed in (0, 1)),
    ]

    teacher, alone, distilled = results["rows"]
    assert (teacher["seeds"], alone["seeds"]) == ([], [0, 1])
    runs = [read_run(out / "runs" / "distilled-5" / f"seed-{seed}") for seed in (0, 1)]
    assert distilled["metrics"]["recall@1"] == [run.metrics["recall@1"] for run in runs]
    (test,) = results["tests"]
    pairs = zip(alone["metrics"]["recall@1"], distilled["metrics"]["recall@1"], strict=True)
    assert test["difference"] == pytest.approx(sum(b - a for a, b in pairs) / 2)

    figures = [100 * value for value in alone["metrics"]["recall@1"]]
    mean, half = sum(figures) / 2, abs(figures[0] - figures[1]) / 2
    line = next(line for line in done.out.splitlines() if line.startswith("| alone |"))
    assert f"| {mean:.1f} ± {half * 2**0.5:.1f} |" in line
    assert "One sentence about it." in done.out
    assert "mean ± standard deviation over 2 seeds" in done.out
    assert f"* distilled, 5 %: `{distilled['chosen']['settings']}`" in done.out


def test_what_did_best_on_validation_classes_is_chosen(command: Command, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = json.loads(command("compare", study, "--out", out, "--seeds", 1, "--json").out)
    chosen = results["rows"][2]["chosen"]
    trials = [read_run(out / "choice" / "distilled-5" / str(number) / "seed-1000") for number in (0, 1)]
    figures = [trial.metrics["map@r"] for trial in trials]
    assert [tried["figure"] for tried in chosen["tried"]] == figures
    assert chosen["settings"] == chosen["tried"][figures.index(max(figures))]["settings"]
    for trial in trials:
        config = yaml.safe_load((trial.path / "config.yaml").read_text())
        assert (config["steps"], config["evaluation"]["split"], config["seed"]) == (3, "val", 1000)
    final = yaml.safe_load((out / "runs" / "distilled-5" / "seed-0" / "config.yaml").read_text())
    assert final["losses"][0]["weight"] == chosen["settings"]["losses"][0]["weight"]
    assert final["steps"] == 6
    assert results["tests"] == []  # one seed has no pairs


def test_a_second_start_trains_nothing_and_more_seeds_only_those(
    command: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = json.loads(command("compare", study, "--out", out, "--json").out)
    before = stamps(out)
    for model in out.rglob("model"):
        shutil.rmtree(model)  # a finished run is what it wrote down
    again = command("compare", study, "--out", out, "--json")
    assert without_clock(json.loads(again.out)) == without_clock(first)
    assert stamps(out) == before
    assert "4 of 4 runs are finished already" in again.err
    command("compare", study, "--out", out, "--seeds", 3)
    after = stamps(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_another_study_is_refused(command: Command, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("compare", study, "--out", out, "--seeds", 1).status == 0
    changed = yaml.safe_load(study.read_text())
    changed["base"]["steps"] = 7
    study.write_text(yaml.safe_dump(changed))
    before = stamps(out)
    refused = command("compare", study, "--out", out)
    assert refused.status == 2
    assert "holds a study with other 'base.steps'" in refused.err
    assert stamps(out) == before


@pytest.mark.parametrize("there", [False, True])
def test_what_came_while_the_study_was_drawn_up_is_not_replaced(
    command: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def slow(*_: object) -> None:
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("theirs")

    monkeypatch.setattr(runner, "check_study", slow)
    assert "exists already and is not a study" in command("compare", study, "--out", out).err
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_rows_that_share_a_seed_start_from_the_same_weights(
    command: Command, study: Path, tmp_path: Path
) -> None:
    """Pairs are compared seed by seed: with a weight of 0 the teacher must change nothing."""
    value = yaml.safe_load(study.read_text())
    value["rows"][2] = {"name": "idle", "config": {"losses": [{"name": "pkt", "weight": 0.0}]}}
    value["tests"] = [["alone", "idle"]]
    study.write_text(yaml.safe_dump(value))
    results = json.loads(command("compare", study, "--out", tmp_path / "out", "--json").out)
    assert results["rows"][1]["metrics"] == results["rows"][2]["metrics"]
    assert results["tests"][0]["t"] == 0


@pytest.mark.slow
def test_a_killed_study_goes_on_and_redoes_nothing(
    command: Command, start: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    value = yaml.safe_load(study.read_text())
    value["base"].update(steps=40, checkpoint_every=5)
    study.write_text(yaml.safe_dump(value))
    out = tmp_path / "out"
    process = start("compare", study, "--out", out)
    deadline = time.monotonic() + 400
    while not list(out.glob("runs/alone/seed-1/checkpoints/*.pt")):  # one run is finished, another under way
        assert process.status is None, process.end()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send(signal.SIGKILL)
    process.end()
    before = stamps(out)
    assert 3 <= len(before) < 6
    assert not (out / "results.json").exists()

    resumed = command("compare", study, "--out", out, "--json")
    assert resumed.status == 0, resumed.err
    assert {name: stamp for name, stamp in stamps(out).items() if name in before} == before
    assert "going on from step" in resumed.err
    whole = command("compare", study, "--out", tmp_path / "whole", "--json")
    assert without_clock(json.loads(resumed.out)) == without_clock(json.loads(whole.out))


def until(process: Any, reached: Callable[[], bool]) -> None:
    """Waits while a study runs."""
    deadline = time.monotonic() + 200
    while not reached():
        assert process.status is None, process.end()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_study_that_is_stopped_begins_no_other_run(
    start: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    """One run more than there are processes lies in their queue, where it cannot be cancelled."""
    value = yaml.safe_load(study.read_text())
    value["base"].update(steps=3000, checkpoint_every=20)
    value["rows"] = [{"name": name} for name in ("a", "b", "c", "d")]
    del value["tests"]
    study.write_text(yaml.safe_dump(value))
    out = tmp_path / "out"
    process = start("compare", study, "--out", out, "--jobs", 2)
    until(process, lambda: len({file.parents[2] for file in out.glob("runs/*/seed-*/checkpoints/*.pt")}) == 2)
    process.send(signal.SIGTERM)
    process.end()
    assert sorted(place.parent.name for place in out.glob("runs/*/seed-*")) == ["a", "b"]


@pytest.mark.slow
def test_a_study_that_is_stopped_ends_soon_though_one_process_has_nothing_to_do(
    start: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    """A process that is ended while it waits for work keeps the lock of the queue for ever."""
    value = yaml.safe_load(study.read_text())
    value["base"].update(steps=30_000, checkpoint_every=20)
    value["rows"] = [{"name": "idle", "config": {"steps": 1}}, {"name": "busy"}]
    del value["tests"]
    study.write_text(yaml.safe_dump(value))
    out = tmp_path / "out"
    process = start("compare", study, "--out", out, "--jobs", 2, "--seeds", 1)
    wanted = ("runs/idle/seed-0/summary.json", "runs/busy/seed-0/checkpoints/*.pt")
    until(process, lambda: all(list(out.glob(name)) for name in wanted))
    process.send(signal.SIGTERM)
    sent = time.monotonic()
    assert "stopped by SIGTERM with 1 of 2 runs finished" in process.end()
    assert time.monotonic() - sent < 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
def test_no_run_goes_on_when_its_study_is_killed(
    start: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    """It would write into what the study, started again, works on."""
    value = yaml.safe_load(study.read_text())
    value["base"].update(steps=30_000, checkpoint_every=20)
    value["rows"] = [{"name": "a"}, {"name": "b"}]
    del value["tests"]
    study.write_text(yaml.safe_dump(value))
    out = tmp_path / "out"
    process = start("compare", study, "--out", out, "--jobs", 2, "--seeds", 1)
    until(process, lambda: len({file.parents[2] for file in out.glob("runs/*/seed-*/checkpoints/*.pt")}) == 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send(signal.SIGKILL)
    process.end()
    deadline = time.monotonic() + 20
    while any(_lives(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # nobody may be there to bury it


@pytest.mark.slow
def test_runs_side_by_side_give_the_same_table(
    command: Command, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def begin(workers: int, **more: Any) -> ProcessPoolExecutor:
        begun.append(workers)
        return ProcessPoolExecutor(workers, **more)

    monkeypatch.setattr(crew, "ProcessPoolExecutor", begin)
    beside, after = (
        json.loads(command("compare", study, "--out", tmp_path / jobs, "--jobs", jobs, "--json").out)
        for jobs in ("2", "1")
    )
    for row, other in zip(beside["rows"], after["rows"], strict=True):
        assert row["metrics"] == other["metrics"]
    assert begun == [2]  # the processes that tried the settings trained the rows too


def test_a_row_may_be_nothing_without_its_candidates(
    command: Command, settings: Callable[..., dict[str, Any]], taught: Path, tmp_path: Path
) -> None:
    """Which teacher to learn from is chosen, and the losses that need one stand before that."""
    teacher = str(taught / "teacher" / "model")
    among = [{"teachers": {"main": {"reference": teacher, "view": view}}} for view in ("same", "clean")]
    value = {
        "name": "which",
        "base": settings(losses=["similarity_kl"], steps=2),
        "rows": [{"name": "chosen", "choose": {"among": among, "overrides": {"steps": 1}}}],
        "seeds": 1,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(value))
    done = command("compare", tmp_path / "study.yaml", "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["rows"][0]["chosen"]["settings"] in among


def test_what_a_study_leaves_open_stays_open_in_another_form_of_it(study: Path) -> None:
    changed = read_study(study).replaced(seeds=4)
    assert changed.seed_list == (0, 1, 2, 3)
    assert changed.model_fields_set == read_study(study).model_fields_set
    assert changed.rows == read_study(study).rows


def test_a_run_that_is_not_finished_is_no_figure(study: Path, tmp_path: Path) -> None:
    config = read_study(study)
    job = Job("a run", config.run_config(config.rows[1], 0), tmp_path / "nothing")
    assert job.summary() is None
    with pytest.raises(UserError, match="is not finished: start the study again"):
        results.metrics_of(job)


def test_redrawing_gives_each_seed_images_of_its_own(study: Path) -> None:
    value = yaml.safe_load(study.read_text())
    value["base"]["data"] = {"source": value["base"]["data"], "fraction": 0.25}
    study.write_text(yaml.safe_dump(value))

    def used(redraw: bool) -> list[tuple[int, ...]]:
        config = read_study(study).model_copy(update={"redraw": redraw})
        workshop = Workshop()
        runs = [config.run_config(config.rows[1], seed) for seed in (0, 1)]
        return [tuple(workshop.dataset(run.data).manifest.rows("train")) for run in runs]

    first, second = used(redraw=True)
    assert first != second
    assert len(first) == len(second) > 1
    first, second = used(redraw=False)
    assert first == second
