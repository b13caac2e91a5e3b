from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.errors import UserError
from understudy.files import atomic_directory, atomic_file, write_json, write_text


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as draft:
        draft.write_text("half of the ne")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "model") as draft:
        (draft / "half").write_text("x")
        raise RuntimeError
    assert names(tmp_path) == []


def test_an_existing_directory_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="exists already"), atomic_directory(tmp_path / "model"):
        raise AssertionError
    assert names(tmp_path) == ["model"]


def test_overwriting_a_directory_replaces_all_of_it(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_directory(tmp_path / "model", overwrite=True) as draft:
            (draft / content).write_text(content)
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_full_disk_is_one_sentence_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"a": 1})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"no space left while writing .*a\.json.*free some space"):
        write_json(target, {"a": 2})
    assert '"a": 1' in target.read_text()
    assert names(tmp_path) == ["a.json"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="pass a place you may write to"):
        write_text(tmp_path / "file" / "below.txt", "x")


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys; from understudy.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as draft:\n"
        "    draft.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -9
    assert target.read_text() == "old"


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
