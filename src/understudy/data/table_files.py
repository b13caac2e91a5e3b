"""The files of an embedding table: a safetensors matrix that is never read whole, and Parquet ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.errors import UserError

_NAME = "vectors"
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_LONGEST_HEADER = 2**20


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """Writes a float32 or float16 matrix as the safetensors tensor ``vectors``.

    By hand, for the library makes a copy in memory, or hides that the disk is full.

    Raises:
        OSError: It cannot be written.
    """
    code = next(code for code, dtype in _TYPES.items() if dtype == vectors.dtype)
    entry = {"dtype": code, "shape": vectors.shape, "data_offsets": [0, vectors.nbytes]}
    header = json.dumps({_NAME: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(np.ascontiguousarray(vectors, dtype=_TYPES[code]).data)


def map_vectors(path: Path) -> np.ndarray:
    """Maps the matrix of `write_vectors` into memory, read-only: only rows that are asked for are read.

    The safetensors library cannot pick scattered rows, so the header (8 bytes of length, then JSON) is read
    here and the rest is mapped.

    Raises:
        UserError: The file is missing, truncated, or holds no such matrix.
    """
    if not path.is_file():
        raise UserError(f"{str(path)!r} is missing: write the embedding table again")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= _LONGEST_HEADER else b""
    try:
        entry = json.loads(header)[_NAME]
        dtype, (rows, dim), (first, last) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(path)!r} is not a safetensors file with a float matrix {_NAME!r}: write the table again"
        ) from error
    end = 8 + length + last
    if last - first != rows * dim * dtype.itemsize or size != end:
        raise UserError(f"{str(path)!r} has {size} of {end} bytes (truncated?): write the table again")
    vectors: np.ndarray = np.memmap(path, dtype=dtype, mode="r", offset=8 + length + first, shape=(rows, dim))
    return vectors


def write_ids(path: Path, ids: Sequence[str], hashes: Sequence[str] | None) -> None:
    """Writes the columns ``id`` and, where given, ``hash``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(ids, pa.string())}
    if hashes is not None:
        columns["hash"] = pa.array(hashes, pa.string())
    pq.write_table(pa.table(columns), path)


def read_ids(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Reads the ids and the hashes, if there are any.

    Raises:
        UserError: The file is missing, damaged, or has no column ``id``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{str(path)!r} is missing: write the embedding table again")
    try:
        table = pq.read_table(path)
        ids = tuple(map(str, table.column("id").to_pylist()))
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise UserError(
            f"{str(path)!r} is not a Parquet file with a column 'id' (truncated?): write the table again"
        ) from error
    hashes = tuple(map(str, table.column("hash").to_pylist())) if "hash" in table.column_names else None
    return ids, hashes


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """Reads the facts of a table.

    Raises:
        UserError: The directory or the file is missing, or the file is not a JSON object.
    """
    path = directory / name
    if not directory.is_dir():
        raise UserError(
            f"there is no embedding table at {str(directory)!r}: pass the directory that holds {name}"
        )
    if not path.is_file():
        raise UserError(f"{str(directory)!r} is not an embedding table: it has no {name}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{str(path)!r} is not JSON ({error}): write the table again") from error
    if not isinstance(facts, dict):
        raise UserError(f"{str(path)!r} must hold a JSON object: write the table again")
    return facts
