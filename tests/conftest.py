"""Images and models small enough to train in a test."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image


def draw_class(number: int, generator: np.random.Generator, size: int = 16) -> np.ndarray:
    """A grey image of a class: bars whose direction and place belong to it, with a little noise."""
    y, x = np.mgrid[:size, :size] / size
    angle = np.pi * number / 7
    wave = np.sin(2 * np.pi * (2 + number % 3) * (x * np.cos(angle) + y * np.sin(angle)) + number)
    noisy = 127 + 90 * wave + generator.normal(0, 20, (size, size))
    image: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``class/image.png``: 8 classes of 6 images."""
    return make_folder(tmp_path / "images")


@pytest.fixture
def make_images() -> Callable[..., Path]:
    return make_folder


@pytest.fixture(scope="session", autouse=True)
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lets child processes keep compiled modules where the environment forbids it: seconds for each."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp() / "compiled"))
        yield


class Outcome(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls ``understudy`` with words, as the shell would, without the seconds that a new process takes."""
    from understudy.cli import main

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Outcome(status, *capsys.readouterr())

    return call


class Started:
    """``understudy`` with words, in a process of its own that signals reach.

    It is forked from a process that has imported the package and done nothing else: the seconds that imports
    take are spent once for all of them.
    """

    def __init__(self, words: Sequence[object], said: Path) -> None:
        multiprocessing.set_forkserver_preload(PRELOADED)
        context = multiprocessing.get_context("forkserver")
        self._said = said
        self._process = context.Process(target=_command, args=([*map(str, words)], said))
        self._process.start()

    @property
    def status(self) -> int | None:
        """How it ended, the signal's number below 0; None while it runs."""
        return self._process.exitcode

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> str:
        """Waits for the end, and gives what it said on standard error."""
        self._process.join(240)
        assert self.status is not None
        return self._said.read_text(encoding="utf-8")


PRELOADED = [__name__, "torch._dynamo", "understudy.cli", "understudy.training.run"]


def _command(words: list[str], said: Path) -> None:
    from understudy.cli import main

    with said.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ["understudy", *words]
    main()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Started]:
    """Starts a command in a process of its own."""
    return lambda *words: Started(words, tmp_path_factory.mktemp("said") / "stderr.txt")


@pytest.fixture
def apart() -> Callable[..., int | None]:
    """Runs a function of a test module in a process of its own, as `Started`, and says how that ended."""

    def run(work: Callable[..., None], *given: object) -> int | None:
        multiprocessing.set_forkserver_preload(PRELOADED)
        process = multiprocessing.get_context("forkserver").Process(target=work, args=given)
        process.start()
        process.join(240)
        return process.exitcode

    return run


def every_file(place: Path) -> dict[str, bytes | None]:
    """Every file with what is in it, and every folder, hidden ones too."""
    found = sorted(place.rglob("*"))
    return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes | None]]:
    return every_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(command: Callable[..., Outcome], here: Path) -> Callable[..., str]:
    """The sentence with which a command is refused, having left every file as it was."""

    def call(*words: object) -> str:
        before = every_file(here)
        outcome = command(*words)
        assert outcome.status == 2, outcome
        assert outcome.out == ""
        assert len(outcome.err.splitlines()) == 1, outcome.err
        assert outcome.err.startswith("error: ")
        assert every_file(here) == before
        sentence: str = outcome.err.removeprefix("error: ").rstrip("\n")
        return sentence

    return call


STUDENT: dict[str, Any] = {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]}


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``images/``, and in ``teacher/`` a run on them whose model knows their classes."""
    from understudy.config import RunConfig, parse
    from understudy.training.run import execute

    place = tmp_path_factory.mktemp("taught")
    value = {
        "data": str(make_folder(place / "images")),
        "student": {**STUDENT, "backbone": "smallconv_16", "dim": 12},
        "supervised": ["multi_similarity", "cross_entropy"],
        "steps": 40,
        "optim": {"lr": 0.01},
    }
    execute(parse(RunConfig, value, where="the teacher"), place / "teacher")
    return place


@pytest.fixture
def settings(taught: Path) -> Callable[..., dict[str, Any]]:
    """Plain values of a configuration: a small student on the shared images, and what else is given."""

    def fill(**more: Any) -> dict[str, Any]:
        return {"data": str(taught / "images"), "student": dict(STUDENT), "steps": 4, **more}

    return fill


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """A disk on which every file may have so many bytes and no more.

    A limit on the size of files stops a write half-way as a full disk does, only with another number.
    """

    @contextlib.contextmanager
    def room_for(size: int) -> Iterator[None]:
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        monkeypatch.setattr(errno, "ENOSPC", errno.EFBIG)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return room_for


def make_folder(root: Path, classes: int = 8, images: int = 6, *, splits: tuple[str, ...] = ()) -> Path:
    generator = np.random.default_rng(0)
    for split in splits or ("",):
        for number in range(classes):
            # each split has classes of its own
            label = number + classes * (splits.index(split) if split else 0)
            directory = root / split / f"class{label:02d}"
            directory.mkdir(parents=True)
            for image in range(images):
                Image.fromarray(draw_class(label, generator)).save(directory / f"{image}.png")
    return root
