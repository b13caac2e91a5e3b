"""One writer a table: a process, or several that belong together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TextIO

from understudy.data.table.index import LOCK
from understudy.errors import UserError

_PATIENCE, _PAUSE = 2.0, 0.05  # seconds for another of the group to say that it is the one that holds it

_ALONE = "one process"


class Lock:
    """Holds a directory against others that would write a table into it; a killed process lets it go.

    The first one holds it alone while it sets the table up; `share` then lets those in that give the same
    ``group``.

    Args:
        directory: The table's; it exists.
        group: What processes that belong together have in common; None: this one writes alone.

    Attributes:
        first: Whether nobody held it before.

    Raises:
        UserError: Others hold it.
    """

    def __init__(self, directory: Path, group: str | None) -> None:
        self._directory, self._group = directory, group
        self._file = (directory / LOCK).open("a+", encoding="utf-8")
        try:
            self.first = self._take(alone=True)
            if self.first:
                self._file.truncate(0)
                self._file.write(group or _ALONE)
                self._file.flush()
            elif group is None or not self._joined():
                self._refuse()
        except BaseException:
            self._file.close()
            raise

    def share(self) -> None:
        """Lets the others of the group in."""
        if self.first and self._group is not None and not self._take(alone=False):
            self._file.close()
            self._refuse()

    def release(self) -> None:
        """Lets anybody in."""
        self._file.close()

    def _joined(self) -> bool:
        end = time.monotonic() + _PATIENCE
        while not self._take(alone=False):
            # Setting a large table up takes as long as reading it, and the name may still be a killed one's.
            if _read(self._file) != self._group and time.monotonic() > end:
                return False
            time.sleep(_PAUSE)
        return _read(self._file) == self._group

    def _take(self, *, alone: bool) -> bool:
        import fcntl

        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _refuse(self) -> None:
        raise UserError(
            f"another process is writing the embedding table {str(self._directory)!r}: wait for it, or pass "
            "another place for the table"
        )


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read()
