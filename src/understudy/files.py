"""The one place that writes files: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.errors import UserError


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` and moves it there once the block ends without an error.

    A killed process, a full disk or an exception leaves the old file, or none, never half of the new one.

    Args:
        path: Where the finished file is to stand; missing parent folders are made.

    Yields:
        The temporary path to write to.

    Raises:
        UserError: The disk is full or the place cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a" / "note.txt"
        >>> with atomic_file(target) as draft:
        ...     _ = draft.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    with plain_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        draft = Path(name)
        try:
            yield draft
            _flush(draft)
            draft.chmod(0o666 & ~_umask())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, overwrite: bool = False, last: str = "") -> Iterator[Path]:
    """Gives a temporary directory beside ``path`` and moves it there once the block ends without an error.

    Where ``path`` is an empty directory, that one stays, for it may be a disk's mount point or lie where
    nothing else may be written: the temporary one then lies in it, and what it holds is moved one by one.

    Args:
        path: Where the finished directory is to stand; a link stays one.
        overwrite: Replace an existing directory; otherwise it is refused before anything is written, and so
            is one that has come since when the block ends.
        last: The file by which readers know a whole directory: moved last where all are moved one by one.

    Yields:
        The temporary directory to fill.

    Raises:
        UserError: ``path`` exists already, the disk is full, or the place cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_directory(target) as draft:
        ...     _ = (draft / "config.json").write_text("{}")
        >>> sorted(p.name for p in target.iterdir())
        ['config.json']
    """
    path = Path(path)
    with plain_words(path):
        place = Path(os.path.realpath(path))
        if place.exists() and not overwrite:
            raise _taken(path)
        fill = place.is_dir() and is_empty(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place if fill else place.parent
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp", dir=beside))
        try:
            yield draft
            for file in draft.rglob("*"):
                if file.is_file():
                    _flush(file)
            draft.chmod(0o777 & ~_umask())
            if fill:
                _fill(draft, place, path, last)
            elif not place.exists():
                draft.rename(place)
            elif overwrite:
                _swap(draft, place)
            else:
                raise _taken(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def is_empty(path: str | Path) -> bool:
    """Whether nothing stands there, or a directory of hidden files: locks, and what a killed process left.

    Raises:
        UserError: The name is too long, or the directory may not be looked into.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / ".lock").touch()
        >>> is_empty(place), is_empty(place / "none"), is_empty(place / ".lock")
        (True, True, False)
    """
    path = Path(path)
    with plain_words(path):
        try:
            path.stat()
        except FileNotFoundError:
            return True
        return path.is_dir() and all(entry.name.startswith(".") for entry in path.iterdir())


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def make_directory(path: str | Path) -> None:
    """Makes a directory and its parents where they are missing, through links to what is not there yet.

    Raises:
        UserError: The place cannot be written.
    """
    with plain_words(Path(path)):
        Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)


def append_line(path: str | Path, line: str) -> None:
    """Adds a short line to a file that several processes may add lines to.

    Raises:
        UserError: The disk is full or the place cannot be written.
    """
    with plain_words(Path(path)), Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _taken(path: Path) -> UserError:
    return UserError(f"{str(path)!r} exists already: pass another place or remove it first")


def _fill(draft: Path, place: Path, path: Path, last: str) -> None:
    """Moves what a finished directory holds into an empty one."""
    if not is_empty(place):
        raise _taken(path)
    for entry in sorted(draft.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(place / entry.name)


def _swap(draft: Path, path: Path) -> None:
    """Puts a finished directory in the place of an old one; the old one goes last."""
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    try:
        path.rename(old / path.name)
    except OSError:  # a disk is mounted there
        old.rmdir()
        raise
    draft.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_NOT_THERE = (
    errno.EACCES,
    errno.EBUSY,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
    errno.EROFS,
)


@contextlib.contextmanager
def plain_words(path: str | Path) -> Iterator[None]:
    """Says in one sentence that a file or directory cannot be written, and why.

    Args:
        path: What is written, for the sentence.

    Raises:
        UserError: The disk is full, or the place cannot be written.

    Example:
        >>> with plain_words("runs/birds"):
        ...     raise OSError(errno.EBUSY, "Device or resource busy")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: cannot write 'runs/birds' (Device or resource busy): pass a place you may
        write to
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left while writing {str(path)!r}: free some space and run the same command again; "
                "nothing was changed"
            ) from error
        if error.errno in _NOT_THERE:
            raise UserError(
                f"cannot write {str(path)!r} ({error.strerror}): pass a place you may write to"
            ) from error
        raise
