"""Whose a run directory is when others want it too, and where it may lie."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy import locking
from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.training import assemble as assembling
from understudy.training import run as run_module
from understudy.training.directory.claiming import only_writer
from understudy.training.directory.records import Records
from understudy.training.directory.results import read_run
from understudy.training.run import execute

Settings = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 0.0)


@pytest.fixture
def config(settings: Settings) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, settings(steps=4, checkpoint_every=2), where="test")
    return parsed


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class Killed(BaseException):
    """Ends a run at once."""


def cut_off(config: RunConfig, out: Path) -> None:
    """Leaves a run after its first checkpoint."""
    checkpoint = Records.checkpoint

    def last(self: Records, step: int, state: dict[str, Any]) -> None:
        checkpoint(self, step, state)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Records, "checkpoint", last)
        execute(config, out)
    assert not (out / "summary.json").exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_what_came_while_images_were_decoded_is_not_replaced(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool, there: bool
) -> None:
    """An empty directory counts as none, when the run is begun and when it is claimed."""
    out, assemble = tmp_path / "run", assembling.assemble
    if there:
        out.mkdir()

    def slow(*given: Any, **more: Any) -> Any:
        parts = assemble(*given, **more)
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("theirs")
        return parts

    monkeypatch.setattr(run_module, "assemble", slow)
    sentence = "is not a run directory" if resume else "exists already: pass another --out, or --resume"
    with pytest.raises(UserError, match=sentence):
        execute(config, out, resume=resume)
    assert names(out) == ["notes.txt"]


def test_of_two_starts_at_once_one_is_refused_and_the_other_one_not_disturbed(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, assemble = tmp_path / "run", assembling.assemble

    def overtaken(*given: Any, **more: Any) -> Any:
        parts = assemble(*given, **more)
        monkeypatch.setattr(run_module, "assemble", assemble)
        monkeypatch.setattr(Records, "checkpoint", inside)
        return parts

    checkpoint, said = Records.checkpoint, []

    def inside(self: Records, step: int, state: dict[str, Any]) -> None:
        monkeypatch.setattr(Records, "checkpoint", checkpoint)
        (out / "checkpoints" / ".step-00000004.pt.x1.tmp").write_text("being written")
        for resume in (False, True):
            with pytest.raises(UserError) as caught:
                execute(config, out, resume=resume)
            said.append(str(caught.value))
        assert (out / "checkpoints" / ".step-00000004.pt.x1.tmp").exists()
        checkpoint(self, step, state)

    monkeypatch.setattr(run_module, "assemble", overtaken)
    execute(config, out)
    assert said[0].endswith("exists already: pass another --out, or --resume to go on with it")
    assert "is at work on the run in" in said[1]
    assert ".lock" not in names(out)


def test_a_run_that_another_process_is_just_finishing_is_returned(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    finished = execute(config, out)
    (out / "summary.json").rename(tmp_path / "summary.json")
    held, done = threading.Event(), threading.Event()

    def finish() -> None:
        with only_writer(out):
            held.set()
            done.wait(1.0)
            (tmp_path / "summary.json").rename(out / "summary.json")

    other = threading.Thread(target=finish)
    other.start()
    held.wait()
    monkeypatch.setattr(locking, "_PATIENCE", 60.0)
    monkeypatch.setattr(run_module, "assemble", pytest.fail)
    assert execute(config, out, resume=True).metrics == finished.metrics
    other.join()


def test_a_run_that_failed_lets_go_of_its_directory(config: RunConfig, tmp_path: Path) -> None:
    cut_off(config, tmp_path / "run")
    assert ".lock" not in names(tmp_path / "run")
    assert execute(config, tmp_path / "run", resume=True).metrics == read_run(tmp_path / "run").metrics


def test_a_lock_that_a_killed_process_left_is_nothing(config: RunConfig, tmp_path: Path) -> None:
    """It was killed before it had written its settings."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("process 1 on elsewhere")
    execute(config, tmp_path / "run")
    assert ".lock" not in names(tmp_path / "run")


@pytest.mark.parametrize("way", ["link", "to nothing yet", "working directory", "mine"])
def test_a_run_is_written_into_the_directory_that_is_there(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    disk, link = tmp_path / "disk", tmp_path / "link"
    link.symlink_to(disk)
    if way != "to nothing yet":
        disk.mkdir()
    if way == "working directory":
        monkeypatch.chdir(disk)
    node = disk.stat().st_ino if disk.exists() else None
    out = {"working directory": Path(), "mine": disk}.get(way, link)
    execute(config, out)
    assert link.is_symlink()
    assert names(disk) == ["checkpoints", "config.yaml", "metrics.jsonl", "model", "summary.json"]
    assert node in (None, disk.stat().st_ino)
    assert {"disk", "link"} <= set(names(tmp_path))
    assert not list(tmp_path.glob(".*"))


def test_a_name_that_is_too_long_is_one_sentence(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write '.*File name too long.*: pass a place you may write"):
        execute(config, tmp_path / ("x" * 300))


def started_by_torchrun(patch: pytest.MonkeyPatch, launch: str, attempt: int) -> None:
    """What ``torchrun`` tells its processes; without --rdzv-id the id is "none"."""
    patch.setenv("TORCHELASTIC_RUN_ID", "none")
    patch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
    logs = (
        f"logs/attempt_2/3/torchelastic_ab12/none_{launch}/attempt_{attempt}/0/error.json" if launch else ""
    )
    patch.setenv("TORCHELASTIC_ERROR_FILE", logs)


def test_torchrun_goes_on_unasked_with_what_it_has_begun_and_with_nothing_else(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_by_torchrun(monkeypatch, "mine", 0)
    cut_off(config, tmp_path / "run")
    for launch, attempt in (("mine", 0), ("other", 0), ("other", 1), ("", 1)):
        started_by_torchrun(monkeypatch, launch, attempt)
        with pytest.raises(UserError, match="exists already: pass another --out, or --resume"):
            execute(config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "early")
    (tmp_path / "early" / ".launch").unlink()  # begun without torchrun
    started_by_torchrun(monkeypatch, "mine", 1)
    with pytest.raises(UserError, match="exists already"):
        execute(config, tmp_path / "early")
    begun = (tmp_path / "run" / "checkpoints" / "step-00000002.pt").stat().st_mtime_ns
    execute(config, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "step-00000002.pt").stat().st_mtime_ns == begun
    started_by_torchrun(monkeypatch, "mine", 2)  # another process failed at the very end
    monkeypatch.setattr(run_module, "assemble", pytest.fail)
    assert execute(config, tmp_path / "run").metrics == read_run(tmp_path / "run").metrics
