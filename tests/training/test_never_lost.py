"""A run that is cut off, anywhere, by anything, ends where an uninterrupted one ends: to the bit."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data import decoding
from understudy.data.decoding import decode_into
from understudy.data.folders import manifest_from_folder
from understudy.errors import UserError
from understudy.training.directory.records import Records
from understudy.training.directory.resuming import fingerprint, refuse_other_images
from understudy.training.progress import Reporter
from understudy.training.run import execute

Settings = Callable[..., dict[str, Any]]
KILLS, KILLS_OF_ONE = 20, 4
SQUASH: dict[str, Any] = {"mode": "squash", "interpolation": "bilinear"}


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are rounded by how many threads share them: what is compared to the bit has one everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def value(settings: Settings, taught: Path) -> dict[str, Any]:
    """A run with everything that has a state of its own."""
    return settings(
        teachers={"main": str(taught / "teacher" / "model")},
        losses=["similarity_kl", {"name": "absolute_teacher", "weight": 0.1}],
        supervised=["multi_similarity", "cross_entropy"],
        augment={"flip": 0.5, "rotate": 10},
        sampler={"batch_size": 8, "images_per_class": 4},
        steps=8,
        ema=0.9,
        log_every=1,
        checkpoint_every=2,
        evaluation={"every": 3, "keep": "best"},
    )


def result(run: Path) -> dict[str, Any]:
    """What a finished run gave, without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    weights = {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    for line in lines:
        line.pop("images_per_second", None)
    return {"lines": lines, "metrics": summary["metrics"], **weights}


@pytest.fixture
def whole(value: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return result(execute(config(value), tmp_path / "whole").path)


def cut_off(value: dict[str, Any], place: Path) -> None:
    """Starts the run again and again, each time in a process that dies at a random call, until enough have.

    This process is warm: it has done everything once but a backward pass, after which autograd forks no more.
    """
    torch.set_num_threads(1)  # threads of a pool would not live on in a copy of this process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", lambda *_: None)
        execute(config(value), place / "warm")
    assert dies(value, place / "counted", None, place / "calls") == 0
    total = int((place / "calls").read_text())
    draw, kills = random.Random(0), 0
    for number in itertools.count():
        moments = [draw.randrange(total) for _ in range(KILLS_OF_ONE)]
        for at in (*moments, None):
            status = dies(value, place / f"run{number}", at, place / "calls")
            assert status in (0, -signal.SIGKILL)
            if status == 0:  # there was less left to do than that
                break
            kills += 1
        if kills >= KILLS:
            return


def dies(value: dict[str, Any], out: Path, at: int | None, calls: Path) -> int:
    """Runs in a copy of this process that kills itself at a function call: ours, torch's or Python's own."""
    child = os.fork()
    if child == 0:
        try:
            calls.write_text(str(counting(at, lambda: execute(config(value), out, resume=True))))
        except BaseException:  # noqa: BLE001 - the copy must not go on with what this process does
            (calls.parent / "error").write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counting(at: int | None, work: Callable[[], object]) -> int:
    calls = 0

    def count(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return calls


@pytest.mark.slow
def test_killed_at_twenty_random_moments(
    value: dict[str, Any], whole: dict[str, Any], tmp_path: Path, apart: Callable[..., int | None]
) -> None:
    place = tmp_path / "cut"
    place.mkdir()
    streamed = {"source": value["data"], "resident": "never"}  # and images come by a thread
    ended = apart(cut_off, {**value, "data": streamed}, place)
    assert not (place / "error").exists(), (place / "error").read_text()
    assert ended == 0
    runs = sorted(place.glob("run*"))
    assert len(runs) >= KILLS / KILLS_OF_ONE
    for run in runs:
        assert result(run) == whole, run


@pytest.mark.parametrize("left", [0, 100, -100])
def test_a_truncated_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    value: dict[str, Any],
    whole: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    left: int,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Records, "evaluate", at_call(3, Records.evaluate, KeyboardInterrupt()))
        execute(config(value), tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:left])
    execute(config(value), tmp_path / "run", resume=True, reporter=Reporter())
    said = capsys.readouterr().err
    assert f"the checkpoint {newest.name} is damaged: going back to the one before it" in said
    assert "going on from step 4 of 8" in said
    assert result(tmp_path / "run") == whole


def test_a_disk_that_fills_at_any_size_ends_in_one_sentence_and_loses_nothing(
    value: dict[str, Any],
    whole: dict[str, Any],
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
) -> None:
    """Where the settings themselves, the checkpoints or the model do not fit any more."""
    run = tmp_path / "run"
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    rooms = {0, 1, *(size + more for size in sizes.values() for more in (-1, 0))}
    sentences = set()
    for room in sorted(rooms):
        try:
            with full_disk(room):
                execute(config(value), run, resume=True)
        except UserError as error:
            sentences.add(re.sub(r"'.*/", "'", str(error)))
        if run.exists():
            assert not list(run.rglob("*.tmp")), "half-written files stay"
    execute(config(value), run, resume=True)
    assert result(run) == whole
    full = "no space left while writing"  # of the journal it is shown in test_journal.py
    assert any(sentence.startswith(f"{full} 'run'") for sentence in sentences)
    assert any(sentence.startswith(f"{full} 'step-0000000") for sentence in sentences)
    assert all("--resume" in sentence or "run the same command again" in sentence for sentence in sentences)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("terminal", [True, False])
def test_a_log_that_cannot_be_written_ends_nothing(
    value: dict[str, Any], whole: dict[str, Any], tmp_path: Path, terminal: bool
) -> None:
    with contextlib.suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:
        full.isatty = lambda: terminal  # type: ignore[method-assign]
        reporter = Reporter(full, interval=0.0)
        with reporter:
            reporter.start("read", 10)
            reporter.say("a sentence")
            reporter.update(5)
        execute(config(value), tmp_path / "run", reporter=reporter)
    assert result(tmp_path / "run") == whole


def at_call(number: int, real: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """Fails at its n-th call."""
    calls = 0

    def call(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise error
        return real(*given)

    return call


def test_a_data_file_that_vanishes(
    value: dict[str, Any], make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While images are read, and between a run and its going on."""
    images, run = make_images(tmp_path / "images"), tmp_path / "run"
    cut = config({**value, "data": str(images)})
    victim = images / "class03" / "2.png"
    content = victim.read_bytes()

    def vanish(*given: Any) -> Any:
        victim.unlink(missing_ok=True)
        return decode_into(*given[:3], **SQUASH)

    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(decoding, "decode_into", lambda *given, **_: vanish(*given))
        execute(cut, run)
    assert str(caught.value).startswith(f"1 of 48 images cannot be read ({str(victim)!r} does not exist)")
    assert not run.exists()

    victim.write_bytes(content)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Records, "evaluate", at_call(2, Records.evaluate, KeyboardInterrupt()))
        execute(cut, run)
    victim.unlink()
    before = {path: path.read_bytes() for path in run.rglob("*.pt")}
    with pytest.raises(UserError) as caught:
        execute(cut, run, resume=True)
    assert str(caught.value) == (
        f"{str(images)!r} holds other images than when the run was started (11 instead of 12 in 'val'): "
        "put them back, or start anew in another --out"
    )
    assert {path: path.read_bytes() for path in run.rglob("*.pt")} == before
    victim.write_bytes(content)
    assert execute(cut, run, resume=True).metrics == execute(cut, tmp_path / "uncut").metrics


def test_images_of_other_classes_are_other_images(make_images: Callable[..., Path], tmp_path: Path) -> None:
    manifest = manifest_from_folder(make_images(tmp_path / "images"))
    held = np.arange(len(manifest))
    mark = fingerprint(manifest, ("train", "val"), held)
    labels = [*manifest.labels[1:], manifest.labels[0]]
    for other, what in (
        (
            fingerprint(replace(manifest, labels=tuple(labels)), ("train", "val"), held),
            "other names, labels or",
        ),
        (fingerprint(manifest, ("train", "val"), held[1:]), "47 instead of 48 in 'train'"),
        (fingerprint(manifest, ("train",), held), "0 instead of 0 in 'val'"),
    ):
        with pytest.raises(UserError, match=what):
            refuse_other_images(mark, other, "birds")
    refuse_other_images(None, mark, "birds")  # a checkpoint of an older version
    refuse_other_images(mark, fingerprint(manifest, ("val", "train"), held), "birds")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 1e-2)])
def test_on_a_gpu_a_resumed_run_has_the_losses_of_a_whole_one(
    value: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, tolerance: float
) -> None:
    on_gpu = config({**value, "device": "cuda", "precision": precision, "steps": 12, "supervised": []})
    execute(on_gpu, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Records, "evaluate", at_call(3, Records.evaluate, KeyboardInterrupt()))
        execute(on_gpu, tmp_path / "run")
    execute(on_gpu, tmp_path / "run", resume=True)
    losses = [
        [line["loss"] for line in result(tmp_path / name)["lines"] if "loss" in line]
        for name in ("whole", "run")
    ]
    assert len(losses[0]) == len(losses[1]) == 12
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)
