from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.errors import UserError
from understudy.files import atomic_directory, atomic_file, is_empty, make_directory, write_json, write_text


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


@pytest.mark.parametrize("way", ["itself", "a link", "the working directory"])
def test_an_empty_directory_is_filled_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It may be where a disk is mounted, or all that its owner may write to."""
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk)
    before = disk.stat().st_ino
    if way == "the working directory":
        monkeypatch.chdir(disk)
    moved: list[str] = []
    rename = Path.rename

    def remember(path: Path, to: Path) -> Path:
        moved.append(to.name)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", remember)
    place = {"itself": disk, "a link": link, "the working directory": Path()}[way]
    with atomic_directory(place, overwrite=True, last="b.json") as draft:
        for name in ("a", "b.json", "c"):
            (draft / name).write_text("x")
        assert [name for name in names(disk) if name[0] != "."] == []
    assert disk.stat().st_ino == before
    assert link.is_symlink()
    assert names(disk) == ["a", "b.json", "c"]
    assert moved[-1] == "b.json"
    assert names(tmp_path) == ["disk", "link"]


def test_a_link_to_what_is_not_there_yet_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    with atomic_directory(tmp_path / "link") as draft:
        (draft / "a").write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "disk" / "model") == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_that_comes_in_the_meantime_is_not_replaced(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "model"
    if there:
        place.mkdir()
    with (
        pytest.raises(UserError, match="exists already"),
        atomic_directory(place, overwrite=there) as draft,
    ):
        (draft / "mine").write_text("x")
        place.mkdir(exist_ok=True)
        (place / "theirs").write_text("y")
    assert names(place) == ["theirs"]
    assert names(tmp_path) == ["model"]


def test_a_full_directory_that_cannot_be_moved_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "theirs").write_text("y")

    def mounted(_path: Path, _to: Path) -> Path:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "rename", mounted)
    with (
        pytest.raises(UserError, match=r"cannot write '.*disk' \(Device or resource busy\): pass a place"),
        atomic_directory(tmp_path / "disk", overwrite=True),
    ):
        pass
    assert names(tmp_path) == ["disk"]
    assert names(tmp_path / "disk") == ["theirs"]


@pytest.mark.parametrize("use", [is_empty, make_directory, lambda path: write_text(path, "x")])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"cannot write '.*File name too long"):
        use(tmp_path / ("x" * 300))
    with (
        pytest.raises(UserError, match="File name too long"),
        atomic_directory(tmp_path / ("x" * 250)),  # which the name of the draft makes longer
    ):
        pass


def test_locks_and_half_written_files_leave_a_directory_empty(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.yaml.x1.tmp").touch()
    assert is_empty(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not is_empty(tmp_path)
    with pytest.raises(UserError, match="Not a directory"):
        is_empty(tmp_path / "notes.txt" / "below")


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
