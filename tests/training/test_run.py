"""Run directories: what they hold, how they are claimed, and that resumed runs end where whole ones do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import torch
import yaml
from safetensors.torch import load_file

from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.models import load
from understudy.training import run as run_module
from understudy.training.directory.checkpoint import latest_checkpoint
from understudy.training.directory.results import Run, read_run
from understudy.training.run import execute
from understudy.training.signals import Stopped

Settings = Callable[..., dict[str, Any]]

TAUGHT = {"losses": ["similarity_kl"], "log_every": 2, "checkpoint_every": 3, "steps": 8, "ema": 0.9}


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


def tree(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what the clock says."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in read]


def same(one: Path, other: Path) -> None:
    assert lines(one) == lines(other)
    assert read_run(one).metrics == read_run(other).metrics
    weights, others = (load_file(place / "model" / "model.safetensors") for place in (one, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


@pytest.fixture
def teacher(taught: Path) -> dict[str, Any]:
    return {"main": str(taught / "teacher" / "model")}


@pytest.fixture
def whole(settings: Settings, teacher: dict[str, Any], tmp_path: Path) -> Run:
    return execute(config(settings(teachers=teacher, **TAUGHT)), tmp_path / "whole")


def test_what_a_run_directory_holds(whole: Run) -> None:
    assert tree(whole.path) == [
        "checkpoints",
        "checkpoints/step-00000006.pt",
        "checkpoints/step-00000008.pt",
        "config.yaml",
        "metrics.jsonl",
        "model",
        "model/README.md",
        "model/config.json",
        "model/metrics.json",
        "model/model.safetensors",
        "summary.json",
    ]
    assert [line["step"] for line in lines(whole.path)] == [2, 4, 6, 8]
    assert {"loss", "lr", "multi_similarity", "similarity_kl"} <= lines(whole.path)[0].keys()
    summary = json.loads((whole.path / "summary.json").read_text())
    assert summary["metrics"] == whole.metrics
    assert summary["split"] == "val"
    assert (summary["steps"], summary["batch_size"]) == (8, 24)  # six classes to train on, four images each
    assert summary["parameters"] == sum(p.numel() for p in whole.model.parameters())
    assert json.loads((whole.path / "model" / "metrics.json").read_text()) == whole.metrics


def test_the_saved_configuration_is_resolved_and_reads_back(settings: Settings, whole: Run) -> None:
    read = yaml.safe_load((whole.path / "config.yaml").read_text())
    assert read["optim"]["betas"] == [0.9, 0.999]  # a value that nobody wrote
    assert config(read) == config(
        settings(teachers={"main": read["teachers"]["main"]["reference"]}, **TAUGHT)
    )


def test_the_card_says_how_the_student_came_to_be(whole: Run, teacher: dict[str, Any], taught: Path) -> None:
    card = (whole.path / "model" / "README.md").read_text()
    assert f"for 8 steps of 24 images on `{taught / 'images'}`, seed 0; figures on the val split" in card
    assert f"* teachers: `{teacher['main']}`\n* losses: multi_similarity, similarity_kl\n" in card
    assert f"| recall@1 | {whole.metrics['recall@1']:.4f} |" in card


def test_a_teacher_that_taught_nothing_is_not_in_the_card(
    settings: Settings, teacher: dict[str, Any], tmp_path: Path
) -> None:
    run = execute(config(settings(teachers=teacher, losses=[])), tmp_path / "run")
    assert "* teachers: none\n* losses: multi_similarity\n" in (run.path / "model" / "README.md").read_text()
    assert "neighbour_overlap@10" in run.metrics


def test_teachers_are_in_no_checkpoint(whole: Run) -> None:
    state = latest_checkpoint(whole.path / "checkpoints", pytest.fail)
    assert state is not None
    names = state["loop"]["task"].keys()
    assert {name.split(".")[0] for name in names} == {"student"}
    student = sum(value.numel() for value in load(whole.path / "model").state_dict().values())
    assert sum(value.numel() for value in state["loop"]["task"].values()) == student


def test_the_model_gives_what_was_measured(whole: Run, taught: Path) -> None:
    assert whole.model.encode(sorted((taught / "images" / "class00").iterdir())).shape == (6, 8)
    assert whole.model.classes is None


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("at", [1, 4])
def test_a_stopped_and_resumed_run_ends_at_the_same_bits(
    settings: Settings,
    teacher: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    keep: str,
) -> None:
    losses = ["similarity_kl", {"name": "absolute_teacher", "weight": 0.1}]
    drawing = {"name": "TripletMarginLoss", "args": {"margin": 0.3, "triplets_per_anchor": 1}}
    memory = {"name": "pml:CrossBatchMemory", "args": {"loss": drawing, "memory_size": 40}}
    value = settings(
        teachers=teacher,
        **{**TAUGHT, "log_every": 1, "losses": losses, "evaluation": {"every": 2, "keep": keep}},
        supervised=["multi_similarity", "cross_entropy", memory],
    )
    one = execute(config(value), tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "listening", lambda: _Asking(at))
        with pytest.raises(Stopped, match=f"stopped by SIGTERM after step {at} of 8"):
            execute(config(value), tmp_path / "two")
    assert not (tmp_path / "two" / "summary.json").exists()
    torch.manual_seed(99)
    two = execute(config(value), tmp_path / "two", resume=True)
    same(one.path, two.path)


class _Asking:
    """Stands for `listening`: a stop is asked for once so many steps are taken."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def leave(self, outside: str | None) -> None:
        pass

    @property
    def signal(self) -> str | None:
        self.left -= 1
        return "SIGTERM" if self.left == 0 else None


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(
    settings: Settings, tmp_path: Path, whole: Run
) -> None:
    again = tmp_path / "again"
    shutil.copytree(whole.path, again)
    shutil.rmtree(again / "model")
    for file in (*again.glob("checkpoints/*.pt"), again / "summary.json"):
        file.unlink()
    (again / "checkpoints" / ".step-00000009.pt.x1.tmp").write_bytes(b"half")
    (again / ".model.x2.tmp").mkdir()
    execute(config(yaml.safe_load((again / "config.yaml").read_text())), again, resume=True)
    same(whole.path, again)
    assert tree(again) == tree(whole.path)


def test_a_finished_run_is_returned_and_nothing_is_trained(
    whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "assemble", pytest.fail)
    value = yaml.safe_load((whole.path / "config.yaml").read_text())
    assert execute(config(value), whole.path, resume=True).metrics == whole.metrics


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"optim": {"lr": 0.5}}, "optim.lr"),
        ({"seed": 3}, "seed"),
        ({"losses": ["pkt"]}, "losses"),
        ({"teachers": {"main": "elsewhere"}}, "teachers.main.reference"),
        ({"augment": {"flip": 0.1}}, "augment"),
    ],
)
def test_resuming_with_other_settings_is_refused(whole: Run, change: dict[str, Any], key: str) -> None:
    value = yaml.safe_load((whole.path / "config.yaml").read_text())
    before = tree(whole.path)
    changed = config({**value, **change})
    with pytest.raises(UserError, match=f"was started with another '{key}': pass the same settings"):
        execute(changed, whole.path, resume=True)
    assert tree(whole.path) == before


def test_a_directory_that_exists_is_refused(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already: pass another --out, or --resume"):
        execute(config(settings()), place)
    with pytest.raises(UserError, match=r"is not a run directory \(it has no config.yaml\)"):
        execute(config(settings()), place, resume=True)
    with pytest.raises(UserError, match="exists already"):
        execute(config(settings()), place / "notes.txt")
    assert tree(place) == ["notes.txt"]


def test_an_empty_directory_is_as_good_as_none(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert execute(config(settings(steps=1)), tmp_path / "run").path == tmp_path / "run"


def test_a_mangled_configuration_of_a_run_is_one_sentence(whole: Run, settings: Settings) -> None:
    (whole.path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match="not valid YAML"):
        execute(config(settings()), whole.path, resume=True)


def test_a_mistake_leaves_no_directory(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'smallconv_8'"):
        execute(config(settings(student="smalconv_8")), tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_explodes_keeps_the_last_good_checkpoint(settings: Settings, tmp_path: Path) -> None:
    value = settings(optim={"name": "sgd", "lr": 1e30}, checkpoint_every=1, schedule="constant", steps=20)
    value["student"] = {**value["student"], "normalize": False}
    with pytest.raises(UserError, match=r"became (nan|infinite) at step \d+: lower optim.lr") as caught:
        execute(config(value), tmp_path / "run")
    assert str(tmp_path / "run" / "checkpoints") in str(caught.value)
    assert tree(tmp_path / "run" / "checkpoints")
    assert not (tmp_path / "run" / "model").exists()


def test_no_space_is_one_sentence_and_the_last_checkpoint_is_intact(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        if list((tmp_path / "run").glob("checkpoints/step-*2.pt")):
            raise OSError(28, os.strerror(28))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    value = settings(steps=5, checkpoint_every=2)
    with pytest.raises(UserError, match=r"no space left while writing .*step-00000004.pt"):
        execute(config(value), tmp_path / "run")
    monkeypatch.undo()
    assert tree(tmp_path / "run" / "checkpoints") == ["step-00000002.pt"]
    whole = execute(config(value), tmp_path / "whole")
    same(whole.path, execute(config(value), tmp_path / "run", resume=True).path)


def test_no_space_at_all_leaves_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left while writing"):
        execute(config(settings()), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not(
    settings: Settings, tmp_path: Path
) -> None:
    runs = [
        execute(config(settings(seed=seed)), tmp_path / name) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    same(runs[0].path, runs[1].path)
    assert lines(runs[0].path) != lines(runs[2].path)


def test_pieces_of_one_image_are_refused_where_they_have_no_statistics(
    settings: Settings, tmp_path: Path
) -> None:
    value = settings(accumulate=20, sampler={"batch_size": 24, "images_per_class": 4}, supervised=["margin"])
    value["student"]["neck"] = "bn"
    with pytest.raises(UserError, match=r"would see them one by one: raise sampler\.batch_size, lower"):
        execute(config(value), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    del value["student"]["neck"]
    execute(config({**value, "steps": 1}), tmp_path / "run")


def test_no_piece_is_a_single_image_where_none_has_to_be(settings: Settings, tmp_path: Path) -> None:
    """Sixteen images in six pieces: five of three and one of one would leave the last without statistics."""
    value = settings(accumulate=6, sampler={"batch_size": 16, "images_per_class": 4}, steps=1)
    value["student"]["neck"] = "bn"
    assert execute(config(value), tmp_path / "run").metrics


def test_a_stop_during_the_final_evaluation_ends_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_module._finish

    def finish(*parts: Any) -> Run:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_finish", finish)
        with pytest.raises(Stopped, match="stopped by SIGTERM after the last step, before the figures were"):
            execute(config(settings(steps=2)), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    execute(config(settings(steps=2)), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "summary.json").is_file()


def test_accumulation_says_what_batch_normalisation_sees(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from understudy.training.progress import Reporter

    execute(config(settings(accumulate=2)), tmp_path / "run", reporter=Reporter())
    assert "batch normalisation sees each of the 2 pieces" in capsys.readouterr().err


def test_a_place_without_a_finished_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        read_run(tmp_path)


def end(process: Any, run: Path, number: signal.Signals) -> str:
    """Sends a signal once there is a new checkpoint, and gives what was said on standard error."""
    old, deadline = set(run.glob("checkpoints/step-*.pt")), time.monotonic() + 400
    while set(run.glob("checkpoints/step-*.pt")) <= old:
        assert process.status is None, process.end()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send(number)
    said: str = process.end()
    assert not (run / "summary.json").exists()
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_a_process_that_is_killed_and_then_stopped_ends_at_the_same_result(
    settings: Settings, start: Callable[..., Any], teacher: dict[str, Any], tmp_path: Path
) -> None:
    value = settings(teachers=teacher, **{**TAUGHT, "steps": 120, "checkpoint_every": 5})
    file, out = tmp_path / "run.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(value))
    killed = start("distill", file, "--out", out)
    end(killed, out, signal.SIGKILL)
    assert killed.status == -signal.SIGKILL

    stopped = start("distill", file, "--out", out, "--resume")
    said = end(stopped, out, signal.SIGTERM)
    assert stopped.status == 1
    assert re.search(r"going on from step \d+ of 120", said)
    assert re.search(r"stopped by SIGTERM after step \d+ of 120: .*--resume", said)

    resolved = config(yaml.safe_load((out / "config.yaml").read_text()))
    execute(resolved, out, resume=True)
    same(execute(resolved, tmp_path / "whole").path, out)
