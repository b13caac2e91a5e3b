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
    with _plain_words(path):
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
def atomic_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary directory beside ``path`` and moves it there once the block ends without an error.

    Args:
        path: Where the finished directory is to stand.
        overwrite: Replace an existing directory; otherwise it is refused before anything is written.

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
    if path.exists() and not overwrite:
        raise UserError(f"{str(path)!r} exists already: pass another place or remove it first")
    with _plain_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            yield draft
            for file in draft.rglob("*"):
                if file.is_file():
                    _flush(file)
            draft.chmod(0o777 & ~_umask())
            if path.exists():
                _swap(draft, path)
            else:
                draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def make_directory(path: str | Path) -> None:
    """Makes a directory and its parents where they are missing.

    Raises:
        UserError: The place cannot be written.
    """
    with _plain_words(Path(path)):
        Path(path).mkdir(parents=True, exist_ok=True)


def append_line(path: str | Path, line: str) -> None:
    """Adds a short line to a file that several processes may add lines to.

    Raises:
        UserError: The disk is full or the place cannot be written.
    """
    with _plain_words(Path(path)), Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _swap(draft: Path, path: Path) -> None:
    """Puts a finished directory in the place of an old one; the old one goes last."""
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(old / path.name)
    draft.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _plain_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left while writing {str(path)!r}: free some space and run the same command again; "
                "nothing was changed"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise UserError(
                f"cannot write {str(path)!r} ({error.strerror}): pass a place you may write to"
            ) from error
        raise
