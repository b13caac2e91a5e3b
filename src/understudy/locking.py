"""One process at work in a directory: two would write over each other."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from collections.abc import Iterator
from importlib.util import find_spec
from io import FileIO
from pathlib import Path

from understudy.errors import UserError
from understudy.files import plain_words

_KNOWN = find_spec("fcntl") is not None  # not on Windows, where nothing keeps two of them apart
_NAME = ".lock"
_PATIENCE, _PAUSE = 5.0, 0.1  # seconds for one that is just ending
_NO_LOCKS = (errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextlib.contextmanager
def only_one(place: Path, at_work: str, cure: str) -> Iterator[None]:
    """Holds a directory against other processes; the system lets go of it when this one is killed.

    Where the file system has no locks nothing is held, for it must not keep anybody from working.

    Args:
        place: The directory; it exists.
        at_work: What the sentence says that another process does there.
        cure: What it says to do about it.

    Raises:
        UserError: Another process holds it, and goes on doing so for some seconds.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> with only_one(place, "is writing into", "wait for it"):
        ...     [file.name for file in place.iterdir()]
        ['.lock']
        >>> list(place.iterdir())
        []
    """
    if not _KNOWN:
        yield
        return
    with plain_words(place):
        file = _take(place, at_work, cure)
    try:
        with plain_words(place):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        if _stands(file, place / _NAME):
            with contextlib.suppress(OSError):
                (place / _NAME).unlink()  # while it is held: later it would be another's
        _unlock(file)
        file.close()


def _take(place: Path, at_work: str, cure: str) -> FileIO:
    end = time.monotonic() + _PATIENCE
    while True:
        late = time.monotonic() > end
        with contextlib.ExitStack() as closing:
            file = closing.enter_context((place / _NAME).open("a+b", buffering=0))
            if _locks(file):
                # It may be one that has been removed since it was opened. Some systems number files anew.
                if late or _stands(file, place / _NAME):
                    closing.pop_all()
                    return file
            elif late:
                who = _named(file) or "another process"
                raise UserError(f"{who} {at_work} {str(place)!r}: {cure}")
        time.sleep(_PAUSE)


def _locks(file: FileIO) -> bool:
    """Whether the file is this process's now, or the file system knows no locks."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on some disks behind a network
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _named(file: FileIO) -> str:
    """Who holds it, where that can be read: some systems lock the content, too."""
    try:
        file.seek(0)
        return file.read().decode(errors="replace")
    except OSError:
        return ""


def _unlock(file: FileIO) -> None:
    """Not by closing it alone: a forked child that lives on has it open too."""
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def _stands(file: FileIO, path: Path) -> bool:
    """Whether an open file is the one that lies there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
