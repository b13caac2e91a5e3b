"""What would only go wrong later, at the last step or in the tenth run, is refused before the first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.data.preprocessing import decode
from understudy.training.directory.journal import Journal

Command = Callable[..., Any]
MODEL = ("--model", "smallconv_8", "--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2)


@pytest.fixture
def train(refused: Callable[..., str]) -> Callable[..., str]:
    return lambda data, *words: refused("train", "--data", data, *MODEL, *words, "--out", "run")


def test_what_could_not_be_measured_at_the_end_is_refused_at_the_start(
    train: Callable[..., str],
    command: Command,
    tmp_path: Path,
    taught: Path,
    make_images: Callable[..., Path],
) -> None:
    images = make_images(tmp_path / "images", splits=("train", "test"))
    for directory in (images / "test").iterdir():
        for extra in sorted(directory.iterdir())[1:]:
            extra.unlink()
    assert train(images).startswith("no class has two images in the split 'test', on which the run is to be")
    assert train(images, "--evaluation.split", "val", "--data.val-fraction", 0).startswith(
        "the split 'val', on which"
    )
    teacher = ("--teacher", taught / "teacher" / "model", "--student", "smallconv_8", *MODEL[2:])
    done = command("distill", "--data", images, *teacher, "--out", tmp_path / "run")
    assert done.status == 0  # agreement needs no label


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(
    command: Command,
    refused: Callable[..., str],
    taught: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("train", "--data", taught / "images", *MODEL[:-1], 4, "--out", tmp_path / "run")

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "rewind", interrupt)  # the first thing inside the guarded part
        stopped = command(*words)
    assert stopped.status == 1
    assert stopped.err.splitlines()[-1] == (
        "stopped by SIGINT after step 1 of 4: run the same command again (train and distill with --resume)"
    )
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == [
        *("checkpoints", "config.yaml", "step-00000001.pt")
    ]
    assert "was started with another 'optim.lr'" in refused(*words, "--resume", "--optim.lr", 0.5)
    assert command(*words, "--resume").status == 0
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_images_are_read_leaves_nothing(
    command: Command, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    once = iter([True])

    def interrupt(*words: Any) -> Any:
        if next(once, False):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            time.sleep(0.2)
        return decode(*words)

    monkeypatch.setattr("understudy.data.decoding.decode", interrupt)
    done = command("train", "--data", taught / "images", *MODEL, "--out", tmp_path / "run")
    assert done.status == 1
    assert done.err.startswith(f"stopped by {number.name} before the first step: run the same command again")
    assert list(tmp_path.iterdir()) == []
