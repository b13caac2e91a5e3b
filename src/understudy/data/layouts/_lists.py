"""The list files of data sets, and what of them is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from understudy.data.images import list_images
from understudy.errors import UserError

AGAIN = "unpack the official archive again"

_GAP = re.compile(r",?\s+")


def find_root(path: str | Path, holds: Sequence[str], name: str, *, inside: Sequence[str] = ()) -> Path:
    """The folder that a data set's archive unpacks to: the given one, or one of a known name in it.

    Args:
        path: What the user passed.
        holds: Files or folders, each of which must be there.
        name: The data set, for the message.
        inside: Names the archive gives its folder.

    Raises:
        UserError: The folder does not exist, or what it must hold is not there.
    """
    folder = Path(path)
    if not folder.exists():
        raise UserError(f"the folder {str(folder)!r} does not exist: check the path")
    if folder.is_file():
        raise UserError(f"{str(folder)!r} is a file: unpack the archive of {name} and pass its folder")
    candidates = [folder, *(folder / other for other in inside)]
    for candidate in candidates:
        if all((candidate / part).exists() for part in holds):
            return candidate
    best = max(candidates, key=lambda candidate: sum((candidate / part).exists() for part in holds))
    missing = next(part for part in holds if not (best / part).exists())
    raise UserError(
        f"{str(best)!r} has no {missing!r}: pass the folder that the archive of {name} unpacks to"
    )


def read_list(
    file: Path, columns: Sequence[str], *, header: int = 0, unique: Sequence[int] = (0,)
) -> list[list[str]]:
    """Reads a text file of columns with blanks (or commas) between them.

    Args:
        file: The file, UTF-8.
        columns: What the columns hold, for the messages.
        header: Lines to pass over at the beginning.
        unique: Columns in which no value may come twice.

    Returns:
        One list of values a line; empty lines are passed over.

    Raises:
        UserError: It is not there, not text, a line has other columns, or a value comes twice.
    """
    if not file.is_file():
        raise UserError(f"{str(file)!r} is missing: {AGAIN}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{str(file)!r} is not text: {AGAIN}") from error
    rows: list[list[str]] = []
    seen: list[dict[str, int]] = [{} for _ in unique]
    for number, line in enumerate(lines[header:], start=header + 1):
        row = _GAP.split(line.strip())
        if row == [""]:
            continue
        if len(row) != len(columns):
            names = ", ".join(columns)
            raise UserError(
                f"{str(file)!r}, line {number}: {len(row)} values and not {len(columns)} ({names}): {AGAIN}"
            )
        for column, places in zip(unique, seen, strict=True):
            before = places.setdefault(row[column], number)
            if before != number:
                raise UserError(
                    f"{str(file)!r}, line {number}: the {columns[column]} {row[column]!r} is there already "
                    f"in line {before}: {AGAIN}"
                )
        rows.append(row)
    if not rows:
        raise UserError(f"{str(file)!r} lists nothing: {AGAIN}")
    return rows


def number(text: str, file: Path, what: str) -> int:
    """A whole number of a list.

    Raises:
        UserError: It is not one.

    Example:
        >>> number("017", Path("images.txt"), "class")
        17
    """
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{str(file)!r}: {text!r} is not a whole number ({what}): {AGAIN}") from None


def images_under(folder: Path) -> set[str]:
    """The paths of all images under a folder, as lists name them: relative, with slashes.

    Nothing where there is no such folder.
    """
    return {path.relative_to(folder).as_posix() for path in list_images(folder)} if folder.is_dir() else set()
