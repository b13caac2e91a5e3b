"""One writer a run, whatever the file system, and whatever ended the one before."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from understudy import locking
from understudy.errors import UserError
from understudy.training.directory.claiming import only_writer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 0.0)


def test_a_second_writer_is_refused_and_the_first_one_keeps_its_lock(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        for _ in range(2):
            with pytest.raises(UserError) as caught, only_writer(tmp_path):
                pass
    assert str(caught.value).startswith(f"process {os.getpid()} on ")
    assert str(caught.value).endswith(
        f"is at work on the run in {str(tmp_path)!r}: wait until it has ended, or pass another --out"
    )
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path):
        pass


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from understudy.training.directory.claiming import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"^process {other.pid} on"), only_writer(tmp_path):
            pass
        other.kill()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with only_writer(tmp_path):
        pass


def test_one_that_is_just_ending_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 60.0)
    held = threading.Event()

    def hold() -> None:
        with only_writer(tmp_path):
            held.set()
            time.sleep(0.5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with only_writer(tmp_path):
        monkeypatch.setattr(locking, "_PATIENCE", 0.0)
        with pytest.raises(UserError), only_writer(tmp_path):  # what is held is the file that lies there
            pass
    other.join()


def test_a_file_that_was_removed_since_it_was_opened_is_not_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 60.0)
    flock = fcntl.flock
    calls: list[int] = []

    def late(file: int, how: int) -> None:
        if not calls:  # the one before ends here
            (tmp_path / ".lock").unlink()
        calls.append(how)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with only_writer(tmp_path):
        monkeypatch.setattr(locking, "_PATIENCE", 0.0)
        with pytest.raises(UserError), only_writer(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_locks_keeps_nobody_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(_file: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with only_writer(tmp_path), only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_locks_keeps_nobody_from_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_KNOWN", False)
    with only_writer(tmp_path), only_writer(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
    try:
        with only_writer(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_lock_of_a_directory_made_anew_is_not_removed(tmp_path: Path) -> None:
    """Somebody removed a running run and began another one in its place."""
    with only_writer(tmp_path):
        (tmp_path / ".lock").rename(tmp_path / "gone")
        (tmp_path / ".lock").write_text("another's")
    assert (tmp_path / ".lock").read_text() == "another's"
