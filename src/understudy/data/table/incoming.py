"""Vectors that somebody else stored, as a stream of blocks: of arrays, files with columns, data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.data.huggingface import is_saved
from understudy.data.table.columns import (
    as_ids,
    csv_blocks,
    csv_ids,
    parquet_blocks,
    parquet_ids,
    saved_blocks,
    saved_ids,
)
from understudy.errors import UserError

BLOCK = 4096
"""How many vectors are held at a time."""


@dataclass(frozen=True)
class Incoming:
    """Vectors and the ids they belong to, in one order.

    Attributes:
        ids: The id of each vector.
        blocks: Reads the vectors from the beginning, in float32 (m, d) blocks.
    """

    ids: list[str]
    blocks: Callable[[], Iterator[np.ndarray]]


def open_vectors(source: str | Path, *, ids: str | None = None, column: str | None = None) -> Incoming:
    """Finds the vectors that a file or a directory holds; none is read yet.

    Args:
        source: A ``.npy`` matrix; a ``.parquet`` or ``.csv`` file with a column of vectors (in a CSV numbers
            with spaces or commas between them, with or without brackets); or a HuggingFace data set that was
            saved to disk, with ``#SPLIT`` behind it where it has several.
        ids: For a matrix, the file of its ids (``.txt``, one a line; ``.npy``; or ``.csv`` or ``.parquet``
            with a column ``id`` or ``path``); for the others the name of the column, by default ``id`` or
            ``path``.
        column: The column of the vectors; by default ``vector``, ``embedding``, or the only one that can be.

    Raises:
        UserError: The source cannot be read, or it is not clear which column is meant.
    """
    path = Path(source)
    if path.suffix.lower() == ".npy":
        return _matrix(path, ids, column)
    folder, _, split = str(path).partition("#")
    if is_saved(Path(folder)):
        place = Path(folder)
        return Incoming(saved_ids(place, split, ids), lambda: saved_blocks(place, split, column, BLOCK))
    if not path.is_file():
        raise UserError(
            f"{str(path)!r} is neither a file nor a HuggingFace data set on disk: pass a .npy, .parquet or "
            ".csv file, or the directory that save_to_disk wrote"
        )
    if path.suffix.lower() == ".parquet":
        return Incoming(parquet_ids(path, ids), lambda: parquet_blocks(path, column, BLOCK))
    if path.suffix.lower() == ".csv":
        return Incoming(csv_ids(path, ids), lambda: csv_blocks(path, column, BLOCK))
    raise UserError(f"{str(path)!r} ends in none of .npy, .parquet and .csv: vectors are read from these")


def _matrix(path: Path, ids: str | None, column: str | None) -> Incoming:
    if column is not None:
        raise UserError(f"{str(path)!r} has no columns: leave out which one holds the vectors")
    matrix = _load(path)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise UserError(
            f"{str(path)!r} holds {matrix.dtype} of shape {matrix.shape}: vectors are a matrix of "
            "numbers, one row each"
        )
    if ids is None:
        raise UserError(
            f"{str(path)!r} does not say whose vectors it holds: pass the file of their ids (--ids)"
        )
    names = _names(Path(ids))
    if len(names) != len(matrix):
        raise UserError(
            f"{str(path)!r} has {len(matrix)} rows and {ids!r} has {len(names)} ids: there must be one each"
        )

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(matrix), BLOCK):
            yield np.asarray(matrix[start : start + BLOCK], dtype=np.float32)

    return Incoming(names, blocks)


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"there is no file of ids {str(path)!r}: pass one, with an id a line")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return as_ids(_load(path).reshape(-1).tolist(), path)
    if suffix == ".parquet":
        return parquet_ids(path, None)
    if suffix == ".csv":
        return csv_ids(path, None)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{str(path)!r} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    empty = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if empty is not None:
        raise UserError(f"{str(path)!r}, line {empty}: it is empty, and every line must be an id")
    return lines


def _load(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"there is no file {str(path)!r}: check the path") from None
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise UserError(
            f"{str(path)!r} is not an array that can be read ({reason}): save it again"
        ) from error
    return array
